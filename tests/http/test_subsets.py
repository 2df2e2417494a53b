"""_summary and _elements over HTTP. http://hl7.org/fhir/R4/search.html#summary"""

from __future__ import annotations

from typing import Any

import pytest

from conformance.structures import decode
from tests.fhir import Client
from tests.http.test_chains import put, ref

OBSERVATION = b"""{"resourceType":"Observation","id":"o","meta":{"tag":[{"code":"mine"}]},
"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"},
"status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p"},"valueQuantity":{"value":1.500,"unit":"g"},
"note":[{"text":"private"}],"modifierExtension":[{"url":"http://x.example","valueBoolean":true}],
"component":[{"code":{"text":"a"},"valueQuantity":{"value":2.50},"referenceRange":[{"text":"long"}]}]}"""
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
ALWAYS = {"resourceType", "id", "meta"}


async def stored(fhir: Client) -> None:
    """Store a patient and an observation of theirs."""
    patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "A"}], "active": True, "gender": "female"}
    await put(fhir, patient | {"contact": [{"name": {"family": "B"}}], "managingOrganization": ref("Organization/o")})
    answer = await fhir.put("/Observation/o", content=OBSERVATION, headers={"content-type": "application/fhir+json"})
    assert answer.status_code == 201, answer.text


# Where the observation is the first entry.
LISTING = ("/Observation", "/Observation/o/_history", "/Observation/_history", "/_history")
CUT: list[tuple[str, set[str]]] = [
    ("_summary=true", {"status", "code", "subject", "valueQuantity", "modifierExtension", "component"}),
    ("_summary=text", {"text", "status", "code"}),
    (
        "_summary=data",
        {"status", "code", "subject", "valueQuantity", "note", "modifierExtension", "component"},
    ),
    ("_elements=subject", {"status", "code", "subject", "modifierExtension"}),
    ("_elements=value,note", {"status", "code", "valueQuantity", "note", "modifierExtension"}),
    ("_elements=value[x]", {"status", "code", "valueQuantity", "modifierExtension"}),
    ("_elements=resourceType,id,subject", {"status", "code", "subject", "modifierExtension"}),
    ("_elements=id", {"status", "code", "modifierExtension"}),
    ("_elements=Observation.subject", {"status", "code", "subject", "modifierExtension"}),
]


@pytest.mark.parametrize(("query", "members"), CUT)
async def test_a_resource_is_cut_to_what_was_asked_and_tagged(fhir: Client, query: str, members: set[str]) -> None:
    await stored(fhir)
    read = await fhir.get(f"/Observation/o?{query}")
    version = await fhir.get(f"/Observation/o/_history/1?{query}")
    bundles = [await fhir.get(f"{path}?{query}") for path in LISTING]
    listed = [answer.json()["entry"][0]["resource"] for answer in bundles]
    for resource in (read.json(), version.json(), *listed):
        assert set(resource) == ALWAYS | members
        assert resource["meta"]["tag"] == [{"code": "mine"}, SUBSETTED]
        assert resource["meta"]["versionId"] == "1"
    decode("Observation", read.content)
    assert read.headers["etag"] == 'W/"1"'
    if "valueQuantity" in members:
        assert all('"value":1.500' in answer.text for answer in (read, version, *bundles))


async def test_a_summary_goes_into_the_parts_of_a_resource_and_keeps_digits(fhir: Client) -> None:
    await stored(fhir)
    answer = await fhir.get("/Observation/o?_summary=true")
    assert set(answer.json()["component"][0]) == {"code", "valueQuantity"}
    assert '"value":2.50' in answer.text
    patient = (await fhir.get("/Patient/p?_summary=true")).json()
    assert set(patient) == ALWAYS | {"name", "active", "gender", "managingOrganization"}
    assert (await fhir.get("/Patient/p?_summary=false")).json() == (await fhir.get("/Patient/p")).json()


async def test_what_is_included_follows_the_summary_and_elements_of_its_own_type(fhir: Client) -> None:
    await stored(fhir)

    async def members(query: str) -> list[set[str]]:
        answer = await fhir.get(f"/Observation?_include=Observation:subject&{query}")
        entries: list[dict[str, Any]] = answer.json()["entry"]
        return [set(e["resource"]) - ALWAYS for e in entries]

    whole = {"name", "active", "gender", "contact", "managingOrganization"}
    short = {"status", "code", "modifierExtension"}
    assert (await members("_summary=true"))[1] == whole - {"contact"}
    assert await members("_elements=code") == [short, whole]
    assert await members("_elements=code,Patient.gender") == [short, {"active", "gender"}]
    answer = await fhir.get("/Observation?_include=Observation:subject&_summary=text")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        *("_summary=most", "_elements=colour", "_elements=Patient.colour", "_elements=component.code"),
        *("_elements=code,", "_elements=Observation.component.code", "_elements=code&_summary=true"),
    ],
)
async def test_what_is_no_summary_and_no_element_is_refused(fhir: Client, query: str) -> None:
    await stored(fhir)
    for path in ("/Observation/o", "/Observation/o/_history/1", "/Observation", "/Observation/_history"):
        answer = await fhir.get(f"{path}?{query}")
        assert answer.status_code == 400, path
        assert answer.json()["issue"][0]["expression"][0] in ("http._summary", "http._elements")


async def test_nested_paths_are_no_base_elements_and_are_told_so(fhir: Client) -> None:
    answer = await fhir.get("/Patient?_elements=name.family")
    assert answer.status_code == 400
    assert "'name.family' is no element at the root of Patient" in answer.json()["issue"][0]["diagnostics"]


async def test_only_a_search_is_counted(fhir: Client) -> None:
    await stored(fhir)
    assert (await fhir.get("/Observation?_summary=count")).json()["total"] == 1
    for path in ("/Observation/o", "/Observation/o/_history/1", "/Observation/_history", "/_history"):
        assert (await fhir.get(f"{path}?_summary=count")).status_code == 400, path


async def test_a_deletion_has_nothing_to_be_cut_and_history_may_be_summarised_all_the_same(fhir: Client) -> None:
    await stored(fhir)
    await fhir.delete("/Observation/o")
    answer = await fhir.get("/Observation/_history?_elements=subject&_count=1")
    assert "resource" not in answer.json()["entry"][0]
    links = {link["relation"]: link["url"] for link in answer.json()["link"]}
    assert "_elements=subject" in links["self"]
    page = (await fhir.get(links["next"].removeprefix(fhir.base))).json()
    assert set(page["entry"][0]["resource"]) == ALWAYS | {"status", "code", "subject", "modifierExtension"}


async def test_several_types_take_an_element_that_one_of_them_has(fhir: Client) -> None:
    await stored(fhir)
    entries = (await fhir.get("?_type=Patient,Observation&_elements=gender")).json()["entry"]
    cut = {e["resource"]["resourceType"]: set(e["resource"]) - ALWAYS for e in entries}
    assert cut == {"Patient": {"active", "gender"}, "Observation": {"status", "code", "modifierExtension"}}
