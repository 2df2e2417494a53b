"""_include and _revinclude over HTTP. http://hl7.org/fhir/R4/search.html#include"""

from __future__ import annotations

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import Client, running
from tests.http.test_chains import put, ref, result, ward


async def seen(fhir: Client, query: str, token: str | None = "all") -> list[tuple[str, str]]:
    """Return mode and reference of each entry, and assert that none stands twice."""
    answer = await fhir.get(query, token=token)
    assert answer.status_code == 200, answer.text
    entries = answer.json().get("entry", [])
    found = [(e["search"]["mode"], f"{e['resource']['resourceType']}/{e['resource'].get('id', '')}") for e in entries]
    assert len({name for _, name in found}) == len(found)
    for e in entries:
        if e["search"]["mode"] != "outcome":
            assert e["fullUrl"] == f"{fhir.base}/{e['resource']['resourceType']}/{e['resource']['id']}"
    return sorted(found)


ADA, BOB = ("include", "Patient/ada"), ("include", "Patient/bob")
ADAS, BOBS = ("match", "Observation/ada-hb"), ("match", "Observation/bob-na")
VISIT, DOC = ("include", "Encounter/visit"), ("include", "Practitioner/doc")
HOSPITAL, GROUP = ("include", "Organization/hospital"), ("include", "Organization/group")
HB, NA = ("include", "Observation/ada-hb"), ("include", "Observation/bob-na")
INCLUDED: list[tuple[str, list[tuple[str, str]]]] = [
    ("/Observation?_include=Observation:subject", [ADAS, BOBS, ADA, BOB]),
    ("/Observation?_include=Observation:subject:Patient", [ADAS, BOBS, ADA, BOB]),
    ("/Observation?_include=Observation:subject:Group", [ADAS, BOBS]),
    ("/Observation?code=718-7&_include=Observation:*", [ADAS, ADA, VISIT]),
    ("/Observation?code=718-7&_include=*", [ADAS, ADA, VISIT]),
    ("/Observation?_include=Observation:performer&_include=Observation:encounter", [ADAS, BOBS, VISIT, DOC]),
    ("/Observation?code=718-7&_include=Observation:patient&_include=Patient:organization", [ADAS, ADA]),
    ("/Observation?code=718-7&_include=Observation:patient&_include:iterate=Patient:*", [ADAS, ADA, HOSPITAL]),
    (
        "/Observation?code=718-7&_include=Observation:patient&_include:iterate=Patient:organization"
        "&_include:iterate=Organization:partof",
        [ADAS, ADA, HOSPITAL, GROUP],
    ),
    ("/Observation?code=718-7&_include:iterate=*", [ADAS, ADA, VISIT, HOSPITAL, GROUP]),
    ("/Patient?_id=ada&_revinclude=Observation:subject", [("match", "Patient/ada"), HB]),
    ("/Patient?_id=ada&_revinclude=Observation:subject:Patient", [("match", "Patient/ada"), HB]),
    ("/Patient?_id=ada&_revinclude=Observation:subject:Group", [("match", "Patient/ada")]),
    ("/Patient?_id=ada&_revinclude=*", [("match", "Patient/ada"), HB, VISIT]),
    ("/Patient?_id=bob&_revinclude=Observation:*&_include:iterate=*", [("match", "Patient/bob"), NA, DOC]),
    ("/Organization?_id=group&_revinclude:iterate=*", [("match", "Organization/group"), HOSPITAL, ADA, HB, VISIT]),
    ("/Patient?_include=Observation:subject", [("match", "Patient/ada"), ("match", "Patient/bob")]),
    ("/Patient?_id=none&_revinclude=*", []),
]  # fmt: skip


async def test_includes_bring_each_resource_once_beside_the_matches(fhir: Client) -> None:
    await ward(fhir)
    for query, expected in INCLUDED:
        assert await seen(fhir, query) == sorted(expected), query


async def test_a_match_is_never_included_as_well_and_a_circle_ends(fhir: Client) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        linked = [{"other": ref(f"Patient/{other}"), "type": "seealso"}]
        await put(fhir, {"resourceType": "Patient", "id": name, "link": linked})
    both = [("match", "Patient/a"), ("match", "Patient/b")]
    assert await seen(fhir, "/Patient?_include:iterate=Patient:link&_revinclude:iterate=Patient:link") == both
    assert await seen(fhir, "/Patient?_id=a&_include:iterate=*") == [("include", "Patient/b"), ("match", "Patient/a")]


async def test_what_is_deleted_or_elsewhere_is_not_included(fhir: Client, other: Client) -> None:
    await ward(other)
    await put(fhir, {"resourceType": "Patient", "id": "gone"})
    await put(fhir, result("one", "gone", "1-1"))
    await put(fhir, result("two", "ada", "1-1"))
    await fhir.delete("/Patient/gone")
    found = await seen(fhir, "/Observation?_include=Observation:subject&_include=*")
    assert found == [("match", "Observation/one"), ("match", "Observation/two")]


async def test_links_of_pages_keep_the_includes(fhir: Client) -> None:
    await ward(fhir)
    answer = (await fhir.get("/Observation?_count=1&_include=Observation:patient")).json()
    links = {link["relation"]: link["url"] for link in answer["link"]}
    assert "_include=Observation%3Apatient" in links["self"]
    second = await seen(fhir, links["next"].removeprefix(fhir.base))
    assert [mode for mode, _ in second] == ["include", "match"]


async def test_a_token_gets_included_what_it_may_read_and_nothing_else(fhir: Client) -> None:
    await ward(fhir)
    await put(fhir, result("bob-odd", "bob", "1-1") | {"encounter": ref("Encounter/visit")})
    bob = await fhir.token("patient/*.rs", patient="bob")
    own = [BOBS, ("match", "Observation/bob-odd"), BOB, DOC]
    assert await seen(fhir, "/Observation?_include=*&_include:iterate=*", bob) == sorted(own)
    found = await seen(fhir, "/Practitioner?_revinclude=*&_include:iterate=*&_revinclude:iterate=*", bob)
    assert found == sorted([("match", "Practitioner/doc"), BOB, NA, ("include", "Observation/bob-odd")])
    few = await fhir.token("system/Observation.rs system/Encounter.s")
    assert await seen(fhir, "/Observation?code=718-7&_include=*", few) == [ADAS]
    reads = await fhir.token("system/Patient.rs system/Observation.r")
    assert await seen(fhir, "/Patient?_id=ada&_revinclude=Observation:subject", reads) == [("match", "Patient/ada")]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Observation:colour", "no search parameter"),
        ("Observation:code", "no search parameter"),
        ("Nothing:subject", "not a resource type"),
        ("Observation:subject:Nothing", "not a resource type"),
        ("Observation:encounter:Patient", "does not lead"),
        ("Observation", "write Type:reference"),
    ],
)
async def test_an_include_that_means_nothing_is_refused(fhir: Client, value: str, said: str) -> None:
    for name in ("_include", "_revinclude", "_include:iterate"):
        answer = await fhir.get(f"/Observation?{name}={value}")
        assert answer.status_code == 400
        assert said in answer.json()["issue"][0]["diagnostics"]
    assert (await fhir.get("/Observation?_include:again=Observation:subject")).status_code == 400


async def test_metadata_tells_what_can_be_included(fhir: Client) -> None:
    statement = (await fhir.get("/metadata", token=None)).json()
    told = {r["type"]: r for r in statement["rest"][0]["resource"]}
    assert {"*", "Observation:subject", "Observation:encounter"} <= set(told["Observation"]["searchInclude"])
    assert "Observation:code" not in told["Observation"]["searchInclude"]
    assert {"*", "Observation:subject", "Provenance:target"} <= set(told["Patient"]["searchRevInclude"])
    assert "Observation:encounter" not in told["Patient"]["searchRevInclude"]


async def test_more_than_the_limit_is_cut_and_told(server_dsn: str) -> None:
    async with running(server_dsn, max_included=2) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        fhir = Client(concord, clock, await tenants.add(concord.db, f"cut-{clock().timestamp():.0f}"), http)
        await ward(fhir)
        exact = await seen(fhir, "/Observation?_include=Observation:subject")
        assert [mode for mode, _ in exact] == ["include", "include", "match", "match"]
        cut = await seen(fhir, "/Observation?_include=Observation:subject&_include=Observation:performer")
        assert [mode for mode, _ in cut] == ["include", "include", "match", "match", "outcome"]
        answer = (await fhir.get("/Observation?_include=Observation:subject&_include=Observation:performer")).json()
        assert "more than 2" in answer["entry"][-1]["resource"]["issue"][0]["diagnostics"]
