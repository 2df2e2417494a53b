"""Searches of several types, of compartments and of lists. http://hl7.org/fhir/R4/http.html#search"""

from __future__ import annotations

import pytest

from tests.fhir import Client
from tests.http.test_chains import put, ref, result, ward


async def names(fhir: Client, query: str, token: str | None = "all") -> list[str]:
    """Return the references of the matches, in order."""
    answer = await fhir.get(query, token=token)
    assert answer.status_code == 200, answer.text
    entries = answer.json().get("entry", [])
    assert all(e["fullUrl"] == f"{fhir.base}/{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries)
    return [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries if e["search"]["mode"] == "match"]


ALL = "?_sort=-_lastUpdated"
EVERYTHING = {
    *("Organization/group", "Organization/hospital", "Practitioner/doc", "Patient/ada", "Patient/bob"),
    *("Encounter/visit", "Observation/ada-hb", "Observation/bob-na"),
}


async def test_a_compartment_is_searched_by_type_and_whole(fhir: Client) -> None:
    await ward(fhir)
    assert await names(fhir, "/Patient/ada/Observation") == ["Observation/ada-hb"]
    assert await names(fhir, "/Patient/ada/Observation?code=718-7") == ["Observation/ada-hb"]
    assert await names(fhir, "/Patient/ada/Observation?code=2951-2") == []
    assert await names(fhir, "/Patient/ada/Observation?performer:Practitioner.family=house") == []
    assert set(await names(fhir, "/Patient/ada/*")) == {"Patient/ada", "Encounter/visit", "Observation/ada-hb"}
    assert await names(fhir, "/Patient/nobody/*") == []
    assert set(await names(fhir, "/Patient/ada/*?_type=Observation,Encounter")) == {
        "Encounter/visit",
        "Observation/ada-hb",
    }
    assert await names(fhir, "/Patient/ada/*?_type=Observation&code=718-7") == ["Observation/ada-hb"]
    refused = await fhir.get("/Patient/ada/*?_type=Observation,Practitioner")
    assert refused.status_code == 400
    assert refused.json()["issue"][0]["expression"] == ["http._type"]
    assert await names(fhir, "/Encounter/visit/Observation") == ["Observation/ada-hb"]
    assert await names(fhir, "/Encounter/visit/Encounter") == ["Encounter/visit"]
    assert await names(fhir, "/Practitioner/doc/Observation") == ["Observation/bob-na"]
    device = {"resourceType": "Device", "id": "meter"}
    await put(fhir, device)
    await put(fhir, result("measured", "bob", "1-1") | {"device": ref("Device/meter")})
    assert await names(fhir, "/Device/meter/*") == ["Observation/measured", "Device/meter"]
    await put(fhir, {"resourceType": "RelatedPerson", "id": "kin", "patient": ref("Patient/ada")})
    assert await names(fhir, "/RelatedPerson/kin/RelatedPerson") == ["RelatedPerson/kin"]
    answer = (await fhir.get("/Patient/ada/Observation?_include=Observation:patient")).json()
    assert answer["link"][0]["url"].startswith(f"{fhir.base}/Patient/ada/Observation?")
    assert [e["search"]["mode"] for e in answer["entry"]] == ["match", "include"]


async def test_a_compartment_is_searched_by_post_as_well(fhir: Client) -> None:
    await ward(fhir)
    for form, found in ({"code": "718-7"}, 1), ({"code": "2951-2"}, 0), ({}, 1):
        answer = await fhir.post("/Patient/ada/Observation/_search", data=form)
        assert (answer.status_code, len(answer.json().get("entry", []))) == (200, found), answer.text
    assert answer.json()["link"][0]["url"].partition("?")[0] == f"{fhir.base}/Patient/ada/Observation"
    assert (await fhir.get("/Patient/ada/Observation/_search")).status_code == 405
    assert (await fhir.post("/Observation/x/Patient/_search", data={})).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Patient/ada/Organization", 400),
        ("/Patient/%00/Patient", 400),
        ("/Patient/ada/Nothing", 404),
        ("/Observation/x/Patient", 404),
        ("/Patient/ada/Observation/x", 404),
    ],
)
async def test_what_is_no_compartment_is_a_clients_fault(fhir: Client, path: str, status: int) -> None:
    assert (await fhir.get(path)).status_code == status
    assert (await fhir.post("/Patient/ada/Observation", json={})).status_code == 405


async def test_several_types_are_searched_at_once(fhir: Client) -> None:
    await ward(fhir)
    assert set(await names(fhir, ALL)) == EVERYTHING
    assert set(await names(fhir, "?_type=Patient,Observation")) == {
        name for name in EVERYTHING if name.startswith(("Patient", "Observation"))
    }
    assert set(await names(fhir, "?_type=Patient&_type=Encounter&_id=ada,visit")) == {"Patient/ada", "Encounter/visit"}
    await put(fhir, {"resourceType": "Organization", "id": "tagged", "identifier": [{"value": "7"}]})
    await put(fhir, {"resourceType": "Patient", "id": "tagged", "identifier": [{"value": "7"}]})
    both = ["Patient/tagged", "Organization/tagged"]
    assert await names(fhir, "?_type=Organization,Patient&identifier=7") == both
    posted = await fhir.http.post(
        f"{fhir.base}/_search",
        data={"_type": "Organization,Patient", "identifier": "7"},
        headers={"authorization": f"Bearer {await fhir.token('system/*.rs')}"},
    )
    assert [e["resource"]["id"] for e in posted.json()["entry"]] == ["tagged", "tagged"]
    count = (await fhir.get("?_type=Organization,Patient&identifier=7&_summary=count")).json()
    assert count["total"] == 2
    assert (await fhir.get("?_type=Patient,Observation&birthdate=2000")).status_code == 400
    assert (await fhir.get("?_type=Patient,Nothing")).status_code == 400
    assert (await fhir.get("")).status_code == 400
    lenient = await fhir.get("?_type=Patient,Observation&birthdate=2000", headers={"prefer": "handling=lenient"})
    assert [e["search"]["mode"] for e in lenient.json()["entry"]] == ["match"] * 5 + ["outcome"]
    assert "birthdate" not in lenient.json()["link"][0]["url"]


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
async def test_pages_of_several_types_neither_skip_nor_repeat(fhir: Client, sort: str) -> None:
    await ward(fhir)
    whole = await names(fhir, f"?_sort={sort}")
    paged: list[str] = []
    path: str | None = f"?_sort={sort}&_count=3"
    while path is not None:
        paged += await names(fhir, path)
        links = {link["relation"]: link["url"] for link in (await fhir.get(path)).json()["link"]}
        path = links["next"].removeprefix(fhir.base) if "next" in links else None
    assert paged == whole
    assert set(whole) == EVERYTHING


async def test_a_page_token_belongs_to_its_compartment(fhir: Client) -> None:
    await ward(fhir)
    await put(fhir, result("second", "ada", "1-1"))
    answer = (await fhir.get("/Patient/ada/Observation?_count=1")).json()
    following = next(link["url"] for link in answer["link"] if link["relation"] == "next").removeprefix(fhir.base)
    assert await names(fhir, following) == ["Observation/ada-hb"]
    assert (await fhir.get(following.replace("/Patient/ada/", "/Patient/bob/"))).status_code == 400
    assert (await fhir.get(following.replace("/Patient/ada/", "/"))).status_code == 400


async def test_a_token_sees_of_compartments_and_all_types_what_it_may(fhir: Client, other: Client) -> None:
    await ward(fhir)
    await put(other, result("canary", "ada", "1-1"))
    bob = await fhir.token("patient/*.rs", patient="bob")
    shared = {"Organization/group", "Organization/hospital", "Practitioner/doc"}
    assert set(await names(fhir, ALL, bob)) == {"Patient/bob", "Observation/bob-na", *shared}
    assert await names(fhir, "/Patient/ada/*", bob) == []
    assert await names(fhir, "/Patient/ada/Observation", bob) == []
    assert await names(fhir, "/Encounter/visit/*", bob) == []
    few = await fhir.token("system/Observation.rs system/Patient.r")
    assert set(await names(fhir, ALL, few)) == {"Observation/ada-hb", "Observation/bob-na"}
    assert await names(fhir, "/Patient/ada/*", few) == ["Observation/ada-hb"]
    assert (await fhir.get("?_type=Observation,Patient", token=few)).status_code == 403
    assert (await fhir.get("/Patient/ada/Encounter", token=few)).status_code == 403
    reads = await fhir.token("system/*.r")
    assert (await fhir.get(ALL, token=reads)).status_code == 403
    assert await names(other, ALL) == ["Observation/canary"]


async def test_a_list_names_what_is_found(fhir: Client) -> None:
    await ward(fhir)
    items = [{"item": ref("Patient/ada")}, {"item": ref("Observation/bob-na")}]
    await put(fhir, {"resourceType": "List", "id": "round", "status": "current", "mode": "working", "entry": items})
    assert await names(fhir, "/Patient?_list=round") == ["Patient/ada"]
    assert await names(fhir, "/Patient?_list=round&gender=male") == []
    assert await names(fhir, "/Observation?_list=round,none") == ["Observation/bob-na"]
    assert await names(fhir, "/Observation?patient._list=round") == ["Observation/ada-hb"]
    assert await names(fhir, "/Patient?_list=none") == []
    assert (await fhir.get("/Patient?_list=$current-problems")).status_code == 400
    # The list is of nobody, so a patient may not read it, and learns nothing of what is on it.
    ada = await fhir.token("patient/*.rs", patient="ada")
    assert await names(fhir, "/Patient?_list=round", ada) == []


async def test_metadata_tells_the_compartments_and_the_search_of_the_system(fhir: Client) -> None:
    rest = (await fhir.get("/metadata", token=None)).json()["rest"][0]
    assert "http://hl7.org/fhir/CompartmentDefinition/patient" in rest["compartment"]
    assert len(rest["compartment"]) == 5
    assert {"code": "search-system"} in rest["interaction"]
