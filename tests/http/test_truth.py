"""Whatever the CapabilityStatement claims is done, for every type of resource; what it does not claim is refused.

http://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from conformance.r4 import facts
from conformance.structures import STORABLE
from tests.fhir import Client
from tests.smallest import smallest

ID = "one"
MERGE = {"content-type": "application/merge-patch+json"}
# A value of each type of search parameter.
VALUES = {"token": "true", "string": "x", "date": "ge2020", "number": "1", "quantity": "1", "uri": "http://x.example"}
VALUES |= {"reference": "Patient/x"}
OPERATIONS = (
    *("graphql", "export", "import", "match", "merge", "convert", "validate", "expand", "validate-code", "lookup"),
    *("translate", "subsumes", "closure", "process-message", "apply", "document", "nothing"),
)


async def statement(fhir: Client) -> dict[str, Any]:
    """Return what the server says of itself."""
    rest: dict[str, Any] = (await fhir.get("/metadata", token=None)).json()["rest"][0]
    assert [resource["type"] for resource in rest["resource"]] == list(STORABLE)
    return rest


async def many(fhir: Client, urls: Iterable[str]) -> Mapping[str, int]:
    """Return the status of a GET of each, asked for in batches."""
    asked = list(dict.fromkeys(urls))
    found: dict[str, int] = {}
    for start in range(0, len(asked), 500):
        some = asked[start : start + 500]
        entries = [{"request": {"method": "GET", "url": url}} for url in some]
        answer = await fhir.post("", json={"resourceType": "Bundle", "type": "batch", "entry": entries})
        assert answer.status_code == 200, answer.text
        told = [int(entry["response"]["status"][:3]) for entry in answer.json()["entry"]]
        found |= dict(zip(some, told, strict=True))
    return found


# ---- interactions ------------------------------------------------------------------------------------------------


async def lived(fhir: Client, name: str) -> list[tuple[str, int, int]]:
    """Do each interaction with a resource of a type; return (code, status, expected status)."""
    body = smallest(name)
    place = f"/{name}/{ID}"
    asked: list[tuple[str, int, str, str, dict[str, Any]]] = [
        ("create", 201, "POST", f"/{name}", {"json": body}),
        ("update", 201, "PUT", place, {"json": body | {"id": ID}}),
        ("read", 200, "GET", place, {}),
        ("vread", 200, "GET", f"{place}/_history/1", {}),
        ("patch", 200, "PATCH", place, {"json": {"language": "en"}, "headers": MERGE}),
        ("history-instance", 200, "GET", f"{place}/_history", {}),
        ("history-type", 200, "GET", f"/{name}/_history", {}),
        ("search-type", 200, "GET", f"/{name}?_id={ID}", {}),
        ("search-type", 200, "POST", f"/{name}/_search", {"data": {"_id": ID}}),
        ("delete", 204, "DELETE", place, {}),
        ("read", 410, "GET", place, {}),
    ]
    return [
        (code, (await fhir.request(verb, path, **more)).status_code, wanted) for code, wanted, verb, path, more in asked
    ]


def written(rest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is said of the types that clients write: all but what the server itself tells of them."""
    return [resource for resource in rest["resource"] if resource["type"] != "AuditEvent"]


async def test_audit_events_are_read_and_searched_and_nothing_else(fhir: Client) -> None:
    (resource,) = [each for each in (await statement(fhir))["resource"] if each["type"] == "AuditEvent"]
    assert {each["code"] for each in resource["interaction"]} == {"read", "search-type"}
    told = {code: status for code, status, _ in await lived(fhir, "AuditEvent") if code != "read"}
    assert {code for code, status in told.items() if status < 400} == {"search-type"}


async def test_every_interaction_of_every_type_is_done(fhir: Client) -> None:
    for resource in written(await statement(fhir)):
        told = await lived(fhir, resource["type"])
        assert [code for code, status, wanted in told if status != wanted] == [], resource["type"]
        assert {code for code, _, _ in told} == {each["code"] for each in resource["interaction"]}


async def test_every_conditional_interaction_of_every_type_is_done(fhir: Client) -> None:
    for resource in written(await statement(fhir)):
        name, body = resource["type"], smallest(resource["type"]) | {"meta": {"tag": [{"code": "tagged"}]}}
        assert resource["conditionalCreate"]
        assert resource["conditionalUpdate"]
        made = await fhir.post(f"/{name}", json=body, headers={"if-none-exist": "_tag=tagged"})
        again = await fhir.post(f"/{name}", json=body, headers={"if-none-exist": "_tag=tagged"})
        updated = await fhir.put(f"/{name}?_tag=tagged", json=body | {"language": "en"})
        known = {"if-none-match": updated.headers["etag"]}
        read = await fhir.get(f"/{name}/{made.json()['id']}", headers=known)
        deleted = await fhir.delete(f"/{name}?_tag=tagged")
        told = [answer.status_code for answer in (made, again, updated, read, deleted)]
        assert told == [201, 200, 200, 304, 204], name


async def test_every_interaction_of_the_system_is_done(fhir: Client) -> None:
    rest = await statement(fhir)
    bundles = {kind: {"resourceType": "Bundle", "type": kind} for kind in ("batch", "transaction")}
    told = {
        "batch": (await fhir.post("", json=bundles["batch"])).status_code,
        "transaction": (await fhir.post("", json=bundles["transaction"])).status_code,
        "search-system": (await fhir.get("?_type=Patient")).status_code,
        "history-system": (await fhir.get("/_history")).status_code,
    }
    assert told == {each["code"]: 200 for each in rest["interaction"]}


# ---- search ------------------------------------------------------------------------------------------------------


def values(resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give a value for each search parameter that a type claims."""
    found = {(base, param.code): param for param in facts.search_parameters() for base in param.base}
    by_url = {param.url: param for param in facts.search_parameters()}
    for claimed in resource["searchParam"]:
        name, kind = claimed["name"], claimed["type"]
        param = found.get((resource["type"], name)) or found.get(("Resource", name)) or found[("DomainResource", name)]
        if kind == "reference":
            yield name, f"{(param.target or ('Patient',))[0]}/x"
        elif kind == "composite":
            yield name, "$".join(VALUES[by_url[part.definition].type] for part in param.component)
        else:
            yield name, VALUES.get(kind, "x")


async def test_every_search_parameter_of_r4_is_claimed_but_for_those_left_out(fhir: Client) -> None:
    of_all = {"Resource", "DomainResource"}
    every = {(name, p.code) for p in facts.search_parameters() for name in (STORABLE if of_all & {*p.base} else p.base)}
    resources = (await statement(fhir))["resource"]
    claimed = {(resource["type"], each["name"]) for resource in resources for each in resource["searchParam"]}
    assert claimed - every == set()
    # _text is of what has a narrative.
    left = {(name, code) for name, code in every - claimed if name != "AuditEvent"}
    assert {(name, code) for name, code in left if code not in ("_filter", "_query", "near")} == {
        (name, "_text") for name in ("Binary", "Bundle")
    }


async def test_every_search_parameter_of_every_type_is_searched_by(fhir: Client) -> None:
    resources = (await statement(fhir))["resource"]
    urls = [f"{r['type']}?{name}={value}&_count=1" for r in resources for name, value in values(r)]
    assert len(urls) > 2000
    values_of_all = dict(values(resources[0]))
    urls += [f"?{each['name']}={values_of_all[each['name']]}" for each in (await statement(fhir))["searchParam"]]
    assert {url: status for url, status in (await many(fhir, urls)).items() if status != 200} == {}


async def test_every_include_is_taken(fhir: Client) -> None:
    urls = []
    for resource in (await statement(fhir))["resource"]:
        # What refers to a type may be very much: some of it is tried.
        for name, claimed in (
            ("_include", resource.get("searchInclude", ())),
            ("_revinclude", resource.get("searchRevInclude", ())[:40]),
        ):
            groups = [claimed[start : start + 20] for start in range(0, len(claimed), 20)]
            urls += [f"{resource['type']}?" + "&".join(f"{name}={value}" for value in group) for group in groups]
    assert {url: status for url, status in (await many(fhir, urls)).items() if status != 200} == {}


# ---- operations --------------------------------------------------------------------------------------------------


async def test_every_operation_is_there(fhir: Client) -> None:
    """An operation may ask for more than its name says: then it tells what, and is not unknown or not allowed."""
    rest = await statement(fhir)
    places = [(f"/{r['type']}", each["name"]) for r in rest["resource"] for each in r.get("operation", ())]
    places += [("", each["name"]) for each in rest.get("operation", ())]
    assert [f"{place}/${name}" for place, name in places if not await known(fhir, place, name)] == []


async def known(fhir: Client, place: str, name: str) -> bool:
    """Tell whether an operation answers at a type or the base, or at a resource of the type."""
    for path in (f"{place}/{ID}/${name}", f"{place}/${name}") if place else (f"/${name}",):
        for verb in ("GET", "POST"):
            answer = await fhir.request(verb, path)
            assert answer.status_code < 500, answer.text
            if answer.status_code != 405 and not _nothing_answers(answer.json()):
                return True
    return False


def _nothing_answers(outcome: Mapping[str, Any]) -> bool:
    return any("nothing answers" in issue.get("diagnostics", "") for issue in outcome.get("issue", ()))


# ---- what is not claimed -----------------------------------------------------------------------------------------


async def test_what_is_not_claimed_is_refused_for_every_type(fhir: Client) -> None:
    asked: dict[str, int] = {}
    every = {claimed.code for claimed in facts.search_parameters()} | {"_filter", "_query", "near", "colour"}
    every |= {"_contained", "_containedType"}
    for number, resource in enumerate((await statement(fhir))["resource"]):
        name = resource["type"]
        unclaimed = sorted(every - {each["name"] for each in resource["searchParam"]} - {"_text", "_content", "_list"})
        some = {*unclaimed[number % 40 :: 40], "colour"} | (
            {"_filter", "_query", "_contained", "near"} & set(unclaimed)
        )
        asked |= {f"{name}?{code}=1": 400 for code in some}
        asked |= {f"{name}?_include={name}:colour": 400, f"{name}/{ID}/_nothing": 404}
    assert {
        url: (status, asked[url]) for url, status in (await many(fhir, asked)).items() if status != asked[url]
    } == {}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_that_is_not_claimed_is_unknown_everywhere(fhir: Client, name: str) -> None:
    rest = await statement(fhir)
    claimed = {each["name"] for of in (rest, *rest["resource"]) for each in of.get("operation", ())}
    assert name not in claimed
    answers = await asyncio.gather(
        *(
            fhir.request(verb, f"{place}/${name}")
            for place in ("", "/Patient", "/Patient/x")
            for verb in ("GET", "POST")
        )
    )
    assert {answer.status_code for answer in answers} == {404}


async def test_types_that_are_not_claimed_are_unknown(fhir: Client) -> None:
    for name in ("Parameters", "DomainResource", "Nonsense", "patient", "SubscriptionStatus"):
        assert (await fhir.get(f"/{name}")).status_code == 404
        assert (await fhir.post(f"/{name}", json={"resourceType": name})).status_code == 404
