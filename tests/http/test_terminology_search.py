"""`:in`, `:not-in`, `:above` and `:below` over what a tenant has stored. http://hl7.org/fhir/R4/search.html#token"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fhir import Client

ANIMALS = "urn:sys:animals"
PLANTS = "urn:sys:plants"
IN = "http://example.org/ValueSet/"
Found = dict[str, Any]

# animal > mammal > (dog > puppy, cat); animal > bird, which has left; plants name their parents and children.
CODE_SYSTEM: Found = {
    "url": ANIMALS,
    "status": "active",
    "content": "complete",
    "caseSensitive": False,
    "hierarchyMeaning": "is-a",
    "property": [{"code": "legs", "type": "integer"}, {"code": "status", "type": "code"}],
    "concept": [
        {
            "code": "animal",
            "display": "Animal",
            "concept": [
                {
                    "code": "mammal",
                    "concept": [
                        {
                            "code": "dog",
                            "display": "Dog",
                            "property": [{"code": "legs", "valueInteger": 4}],
                            "concept": [{"code": "puppy", "property": [{"code": "legs", "valueInteger": 4}]}],
                        },
                        {"code": "cat", "display": "Cat", "property": [{"code": "legs", "valueInteger": 4}]},
                    ],
                },
                {
                    "code": "bird",
                    "property": [{"code": "legs", "valueInteger": 2}, {"code": "status", "valueCode": "retired"}],
                },
            ],
        }
    ],
}
BY_PROPERTY: Found = {
    "url": PLANTS,
    "status": "active",
    "content": "complete",
    "property": [{"code": "up", "uri": "http://hl7.org/fhir/concept-properties#parent", "type": "code"}],
    "concept": [
        {"code": "plant", "property": [{"code": "child", "valueCode": "tree"}]},
        {"code": "tree"},
        {"code": "oak", "property": [{"code": "up", "valueCode": "tree"}, {"code": "up", "valueCode": "green"}]},
        {"code": "green"},
    ],
}


async def put(fhir: Client, kind: str, id_: str, **body: Any) -> None:
    """Store a resource."""
    answer = await fhir.put(f"/{kind}/{id_}", json={"resourceType": kind, "id": id_, **body})
    assert answer.status_code in (200, 201), answer.text


async def value_set(fhir: Client, name: str, *include: Found, exclude: list[Found] | None = None, **more: Any) -> str:
    """Store a ValueSet and return its canonical URL."""
    compose: Found = {"include": list(include), **({"exclude": exclude} if exclude else {})}
    if (inactive := more.pop("inactive", None)) is not None:
        compose["inactive"] = inactive
    id_ = more.pop("id", name)
    await put(fhir, "ValueSet", id_, **{"url": IN + name, "status": "active", "compose": compose, **more})
    return IN + name


async def conditions(fhir: Client, *codes: str, system: str = ANIMALS) -> None:
    """Store a Condition for each code, under the code as its id, and one that has no code."""
    for code in codes:
        concept = {"coding": [{"system": system, "code": code}]}
        await put(fhir, "Condition", code.lower(), subject={"reference": "Patient/p"}, code=concept)
    await put(fhir, "Condition", "none", subject={"reference": "Patient/p"})


async def ids(fhir: Client, query: str, **more: Any) -> list[str]:
    """Return the ids that a search finds."""
    answer = await fhir.get(query, **more)
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))


async def refused(fhir: Client, query: str, status: int = 400, **more: Any) -> str:
    """Return why a search is refused."""
    answer = await fhir.get(query, **more)
    assert answer.status_code == status, answer.text
    return str(answer.json()["issue"][0]["diagnostics"])


FILTERS: list[tuple[Found, list[str]]] = [
    ({"property": "concept", "op": "is-a", "value": "mammal"}, ["cat", "dog", "puppy"]),
    ({"property": "concept", "op": "is-a", "value": "DOG"}, ["dog", "puppy"]),
    ({"property": "concept", "op": "descendent-of", "value": "dog"}, ["puppy"]),
    ({"property": "concept", "op": "is-not-a", "value": "mammal"}, ["bird"]),
    ({"property": "concept", "op": "generalizes", "value": "puppy"}, ["dog", "puppy"]),
    ({"property": "legs", "op": "=", "value": "4"}, ["cat", "dog", "puppy"]),
    ({"property": "code", "op": "in", "value": "cat, bird"}, ["bird", "cat"]),
    ({"property": "code", "op": "not-in", "value": "cat,bird"}, ["dog", "puppy"]),
    ({"property": "code", "op": "regex", "value": "[a-c].*|pup+y"}, ["bird", "cat", "puppy"]),
    ({"property": "display", "op": "regex", "value": "D.g"}, ["dog"]),
    ({"property": "status", "op": "exists", "value": "true"}, ["bird"]),
    ({"property": "status", "op": "exists", "value": "false"}, ["cat", "dog", "puppy"]),
    ({"property": "parent", "op": "=", "value": "dog"}, ["puppy"]),
]


@pytest.mark.parametrize(
    ("filter_", "expected"), FILTERS, ids=lambda f: f"{f['property']} {f['op']}" if "op" in f else ""
)
async def test_filters_select_codes_of_a_stored_system(fhir: Client, filter_: Found, expected: list[str]) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await conditions(fhir, "dog", "puppy", "cat", "bird")
    url = await value_set(fhir, "some", {"system": ANIMALS, "filter": [filter_]})
    assert await ids(fhir, f"/Condition?code:in={url}") == expected
    everything = {"bird", "cat", "dog", "none", "puppy"}
    assert await ids(fhir, f"/Condition?code:not-in={url}") == sorted(everything - set(expected))


async def test_what_is_composed_is_what_is_found(fhir: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await conditions(fhir, "dog", "puppy", "cat", "bird")
    pets = await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": "dog"}, {"code": "cat"}]})
    assert await ids(fhir, f"/Condition?code:in={pets}") == ["cat", "dog"]
    four = {"system": ANIMALS, "filter": [{"property": "legs", "op": "=", "value": "4"}]}
    both = await value_set(fhir, "both", {**four, "valueSet": [pets]})
    assert await ids(fhir, f"/Condition?code:in={both}") == ["cat", "dog"]
    rest = await value_set(fhir, "rest", four, exclude=[{"valueSet": [pets]}])
    assert await ids(fhir, f"/Condition?code:in={rest}") == ["puppy"]
    every = await value_set(fhir, "every", {"system": ANIMALS}, {"valueSet": [pets]})
    assert await ids(fhir, f"/Condition?code:in={every}") == ["bird", "cat", "dog", "puppy"]
    part = await value_set(
        fhir, "part", {"system": ANIMALS}, exclude=[{"system": ANIMALS, "concept": [{"code": "cat"}]}]
    )
    assert await ids(fhir, f"/Condition?code:in={part}") == ["bird", "dog", "puppy"]
    used = await value_set(fhir, "used", {"system": ANIMALS}, inactive=False)
    assert await ids(fhir, f"/Condition?code:in={used}") == ["cat", "dog", "puppy"]
    assert await ids(fhir, f"/Condition?code:in={pets},{rest}") == ["cat", "dog", "puppy"]
    assert await ids(fhir, f"/Condition?code:in={every}&code:not-in={pets}") == ["bird", "puppy"]
    assert await ids(fhir, "/Condition?code:in=ValueSet/pets") == ["cat", "dog"]
    assert await ids(fhir, f"/Condition?code:in={fhir.base}/ValueSet/pets") == ["cat", "dog"]
    assert await ids(fhir, f"/Patient?_has:Condition:patient:code:in={pets}") == []
    assert await ids(fhir, f"/?_type=Condition&code:in={pets}") == ["cat", "dog"]


async def test_a_code_without_its_system_is_in_no_value_set(fhir: Client) -> None:
    url = await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": "dog"}]})
    whole = await value_set(fhir, "whole", {"system": ANIMALS})
    await put(fhir, "Condition", "bare", subject={"reference": "Patient/p"}, code={"coding": [{"code": "dog"}]})
    await put(fhir, "Condition", "text", subject={"reference": "Patient/p"}, code={"text": "dog"})
    for one in (url, whole):
        assert await ids(fhir, f"/Condition?code:in={one}") == []
        assert await ids(fhir, f"/Condition?code:not-in={one}") == ["bare", "text"]


async def test_an_element_that_implies_its_system_is_in_the_value_sets_of_that(fhir: Client) -> None:
    await put(fhir, "Patient", "f", gender="female")
    await put(fhir, "Patient", "m", gender="male")
    gender = "http://hl7.org/fhir/administrative-gender"
    women = await value_set(fhir, "women", {"system": gender, "concept": [{"code": "female"}]})
    foreign = await value_set(fhir, "foreign", {"system": "urn:other", "concept": [{"code": "female"}]})
    whole = await value_set(fhir, "whole", {"system": gender})
    assert await ids(fhir, f"/Patient?gender:in={women}") == ["f"]
    assert await ids(fhir, f"/Patient?gender:not-in={women}") == ["m"]
    assert await ids(fhir, f"/Patient?gender:in={foreign}") == []
    assert await ids(fhir, f"/Patient?gender:in={whole}") == ["f", "m"]


async def test_above_and_below_follow_the_hierarchy(fhir: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await put(fhir, "CodeSystem", "plants", **BY_PROPERTY)
    await conditions(fhir, "animal", "mammal", "dog", "puppy", "bird")
    await conditions(fhir, "plant", "tree", "oak", "green", system=PLANTS)
    assert await ids(fhir, f"/Condition?code:below={ANIMALS}|mammal") == ["dog", "mammal", "puppy"]
    assert await ids(fhir, f"/Condition?code:above={ANIMALS}|dog") == ["animal", "dog", "mammal"]
    assert await ids(fhir, f"/Condition?code:below={PLANTS}|plant") == ["oak", "plant", "tree"]
    assert await ids(fhir, f"/Condition?code:above={PLANTS}|oak") == ["green", "oak", "plant", "tree"]
    assert await ids(fhir, f"/Condition?code:below={ANIMALS}|bird,{PLANTS}|oak") == ["bird", "oak"]


async def test_the_newest_active_version_counts_or_the_one_that_is_named(fhir: Client) -> None:
    await conditions(fhir, "dog", "cat", "bird")
    for id_, version, status, code in (("v2", "2", "active", "cat"), ("v10", "10.0", "active", "dog"),
                                       ("v11", "11", "draft", "bird")):  # fmt: skip
        include = {"system": ANIMALS, "concept": [{"code": code}]}
        url = await value_set(fhir, "pets", include, id=id_, version=version, status=status)
    assert await ids(fhir, f"/Condition?code:in={url}") == ["dog"]
    assert await ids(fhir, f"/Condition?code:in={url}|2") == ["cat"]
    assert await ids(fhir, f"/Condition?code:in={url}|11") == ["bird"]
    assert "in version 3" in await refused(fhir, f"/Condition?code:in={url}|3")


async def test_a_stored_expansion_answers_where_the_definition_cannot(fhir: Client) -> None:
    await conditions(fhir, "dog", "cat")
    expansion: Found = {
        "timestamp": "2024-01-01",
        "contains": [{"system": ANIMALS, "abstract": True, "code": "cat",
                      "contains": [{"system": ANIMALS, "code": "dog"}]}],
    }  # fmt: skip
    await put(fhir, "ValueSet", "only", url=f"{IN}only", status="active", expansion=expansion)
    assert await ids(fhir, f"/Condition?code:in={IN}only") == ["dog"]
    is_a = {"system": ANIMALS, "filter": [{"property": "concept", "op": "is-a", "value": "dog"}]}
    url = await value_set(fhir, "unknown", is_a, expansion=expansion)
    assert await ids(fhir, f"/Condition?code:in={url}") == ["dog"]
    await put(fhir, "ValueSet", "cut", url=f"{IN}cut", status="active", expansion={**expansion, "total": 7})
    assert "no whole expansion" in await refused(fhir, f"/Condition?code:in={IN}cut")


async def test_what_changes_is_followed_at_once(fhir: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await conditions(fhir, "dog", "puppy", "cat", "bird")
    inner = await value_set(fhir, "inner", {"system": ANIMALS, "concept": [{"code": "dog"}]})
    legs = {"system": ANIMALS, "filter": [{"property": "legs", "op": "=", "value": "2"}]}
    outer = await value_set(fhir, "outer", {"valueSet": [inner]}, legs)
    query = f"/Condition?code:in={outer}"
    assert await ids(fhir, query) == await ids(fhir, query) == ["bird", "dog"]
    await value_set(fhir, "inner", {"system": ANIMALS, "concept": [{"code": "cat"}]})
    assert await ids(fhir, query) == ["bird", "cat"]
    await put(fhir, "CodeSystem", "animals", **{**CODE_SYSTEM, "concept": [{"code": "bird"}, {"code": "x",
              "property": [{"code": "legs", "valueInteger": 2}]}]})  # fmt: skip
    assert await ids(fhir, query) == ["cat"]
    new = {"system": ANIMALS, "concept": [{"code": "puppy"}]}
    await value_set(fhir, "inner", new, id="newer", version="9")
    assert await ids(fhir, query) == ["puppy"]
    assert (await fhir.delete("/ValueSet/newer")).status_code == 204
    assert await ids(fhir, query) == ["cat"]
    assert (await fhir.delete("/ValueSet/inner")).status_code == 204
    assert "is not stored here" in await refused(fhir, query)


async def test_searches_beside_updates_answer_by_one_version_or_the_other(fhir: Client) -> None:
    await conditions(fhir, "dog", "cat")
    url = await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": "dog"}]})
    query = f"/Condition?code:in={url}"

    async def change() -> None:
        for number in range(12):
            await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": ("cat", "dog")[number % 2]}]})

    async def look() -> None:
        for _ in range(12):
            assert await ids(fhir, query) in (["dog"], ["cat"])

    await asyncio.gather(change(), look(), look())
    assert await ids(fhir, query) == ["dog"]


async def test_another_tenants_terminology_is_unknown_here(fhir: Client, other: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    url = await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": "dog"}]})
    for client in (fhir, other):
        await conditions(client, "dog", "cat")
    assert await ids(fhir, f"/Condition?code:in={url}") == ["dog"]
    assert "ValueSet" in await refused(other, f"/Condition?code:in={url}")
    assert "CodeSystem" in await refused(other, f"/Condition?code:below={ANIMALS}|dog")
    await value_set(other, "pets", {"system": ANIMALS, "concept": [{"code": "cat"}]})
    assert await ids(other, f"/Condition?code:in={url}") == ["cat"]
    assert await ids(fhir, f"/Condition?code:in={url}") == ["dog"]


async def test_the_token_must_be_allowed_to_search_the_terminology(fhir: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await conditions(fhir, "dog")
    is_a = {"system": ANIMALS, "filter": [{"property": "concept", "op": "is-a", "value": "dog"}]}
    url = await value_set(fhir, "dogs", is_a)
    assert await ids(fhir, f"/Condition?code:in={url}") == ["dog"]
    blind = await fhir.token("system/Condition.rs")
    half = await fhir.token("system/Condition.rs system/ValueSet.rs")
    able = await fhir.token("patient/Condition.rs system/ValueSet.rs system/CodeSystem.rs", patient="p")
    assert "ValueSet" in await refused(fhir, f"/Condition?code:in={url}", 403, token=blind)
    assert "CodeSystem" in await refused(fhir, f"/Condition?code:in={url}", 403, token=half)
    assert await ids(fhir, f"/Condition?code:in={url}", token=able) == ["dog"]
    foreign = await fhir.token("patient/Condition.rs system/ValueSet.rs system/CodeSystem.rs", patient="q")
    assert await ids(fhir, f"/Condition?code:in={url}", token=foreign) == []


async def test_what_the_terminology_cannot_answer_is_a_400_that_says_why(fhir: Client) -> None:
    await put(fhir, "CodeSystem", "animals", **CODE_SYSTEM)
    await put(fhir, "CodeSystem", "parts", **{**CODE_SYSTEM, "url": "urn:parts", "hierarchyMeaning": "part-of"})
    await put(fhir, "CodeSystem", "empty", url="urn:empty", status="active", content="not-present")
    here = {"system": ANIMALS}
    loop = await value_set(fhir, "loop", {"valueSet": [f"{IN}back"]})
    await value_set(fhir, "back", {"valueSet": [loop]})
    unknown = await value_set(fhir, "lost", {"valueSet": [f"{IN}nowhere"]})
    bad = await value_set(fhir, "bad", {**here, "filter": [{"property": "code", "op": "regex", "value": "(("}]})
    odd = await value_set(fhir, "odd", {**here, "filter": [{"property": "colour", "op": "=", "value": "red"}]})
    gone = await value_set(fhir, "gone", {**here, "filter": [{"property": "concept", "op": "is-a", "value": "cow"}]})
    for query, words in (
        (f"code:in={loop}", "includes itself"),
        (f"code:in={IN}nowhere", "ValueSet http://example.org/ValueSet/nowhere is not stored here"),
        (f"code:in={unknown}", "nowhere is not stored here"),
        (f"code:in={bad}", "regular expression"),
        (f"code:in={odd}", "'colour'"),
        (f"code:in={gone}", "no code 'cow'"),
        ("code:in=pets", "canonical URL"),
        ("code:in=ValueSet/none", "is not stored here"),
        ("code:below=dog", "system|code"),
        ("code:below=urn:parts|dog", "part-of"),
        ("code:above=urn:empty|dog", "without its codes"),
        ("code:above=urn:nowhere|dog", "CodeSystem urn:nowhere is not stored here"),
        (f"code:below={ANIMALS}|cow", "no code 'cow'"),
        (f"subject:Patient.identifier:in={loop}", "not supported"),
    ):
        answer = await fhir.get(f"/Condition?{query}")
        assert answer.status_code == 400, query
        issue = answer.json()["issue"][0]
        assert words in issue["diagnostics"], issue
        assert issue["expression"], issue


async def test_more_codes_than_the_limit_are_refused(fhir: Client) -> None:
    most = fhir.concord.settings.max_expansion
    codes = [{"code": f"c{number}"} for number in range(most + 1)]
    await put(fhir, "CodeSystem", "big", url="urn:big", status="active", content="complete", concept=codes)
    await conditions(fhir, "c7", "C9", system="urn:big")
    all_but_one = {"system": "urn:big", "filter": [{"property": "code", "op": "not-in", "value": "c1"}]}
    fits = await value_set(fhir, "fits", all_but_one)
    assert await ids(fhir, f"/Condition?code:in={fits}") == ["c7", "c9"]
    listed = {"system": "urn:big", "filter": [{"property": "code", "op": "exists", "value": "true"}]}
    assert "more than" in await refused(fhir, f"/Condition?code:in={await value_set(fhir, 'much', listed)}")
    whole = await value_set(fhir, "whole", {"system": "urn:big"})
    assert await ids(fhir, f"/Condition?code:in={whole}") == ["c7", "c9"]


@pytest.mark.parametrize("kind", ["filters", "patterns", "value sets", "excludes"])
async def test_a_definition_that_takes_too_much_work_is_refused(fhir: Client, kind: str) -> None:
    codes = [{"code": f"c{number}", "display": "a" * 9} for number in range(9_000)]
    await put(fhir, "CodeSystem", "big", url="urn:big", status="active", content="complete", concept=codes)
    all_of = {"system": "urn:big", "filter": [{"property": "code", "op": "exists", "value": "true"}]}
    whole = await value_set(fhir, "all", all_of)
    assert await ids(fhir, f"/Condition?code:in={whole}") == []
    same = {"property": "display", "op": "=", "value": "a"}
    like = {"property": "display", "op": "regex", "value": "(a|aa)*b"}
    includes: dict[str, list[Found]] = {
        "filters": [{"system": "urn:big", "filter": [same] * 5_000}],
        "patterns": [{"system": "urn:big", "filter": [like] * 50}],
        "value sets": [{"valueSet": [whole] * 5_000}],
        "excludes": [{"system": "urn:big"}],
    }
    exclude: list[Found] | None = [{"valueSet": [whole]}] * 5_000 if kind == "excludes" else None
    much = await value_set(fhir, "much", *includes[kind], exclude=exclude)
    assert "more work" in await refused(fhir, f"/Condition?code:in={much}")


async def test_a_value_set_does_not_say_which_resource_a_write_means(fhir: Client) -> None:
    url = await value_set(fhir, "pets", {"system": ANIMALS, "concept": [{"code": "dog"}]})
    answer = await fhir.delete(f"/Condition?code:in={url}")
    assert answer.status_code == 400
    assert "code:in" in answer.json()["issue"][0]["diagnostics"]
