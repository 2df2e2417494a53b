"""capabilities: /metadata in its modes. http://hl7.org/fhir/R4/http.html#capabilities"""

from __future__ import annotations

import json

from conformance.structures import decode
from tests.fhir import Client


async def test_full_is_what_is_told_without_a_mode(fhir: Client) -> None:
    plain, full = [(await fhir.get(f"/metadata{query}", token=None)).json() for query in ("", "?mode=full")]
    assert plain == full
    decode("CapabilityStatement", json.dumps(full).encode())


async def test_normative_tells_of_normative_types_alone(fhir: Client) -> None:
    told = (await fhir.get("/metadata?mode=normative", token=None)).json()
    decode("CapabilityStatement", json.dumps(told).encode())
    types = {resource["type"] for resource in told["rest"][0]["resource"]}
    assert {"Patient", "Observation", "Binary"} <= types
    assert not types & {"Encounter", "Claim", "DocumentReference"}


async def test_terminology_tells_what_there_is(fhir: Client) -> None:
    told = (await fhir.get("/metadata?mode=terminology", token=None)).json()
    decode("TerminologyCapabilities", json.dumps(told).encode())
    assert (told["resourceType"], told["implementation"]["url"]) == ("TerminologyCapabilities", fhir.base)
    # Each of these members would claim an operation, and none answers.
    assert not told.keys() & {"expansion", "validateCode", "translation", "closure", "codeSystem"}
    for operation in ("ValueSet/$expand", "ValueSet/$validate-code", "CodeSystem/$lookup", "ConceptMap/$translate"):
        assert (await fhir.get(f"/{operation}")).status_code == 404


async def test_another_mode_is_refused(fhir: Client) -> None:
    for query in ("mode=nonsense", "mode=", "mode=full&mode=full", "x=1"):
        answer = await fhir.get(f"/metadata?{query}", token=None)
        assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome"), query


async def test_a_summary_of_it_is_given(fhir: Client) -> None:
    told = (await fhir.get("/metadata?_summary=true", token=None)).json()
    assert told["fhirVersion"] == "4.0.1"
    patient = next(r for r in told["rest"][0]["resource"] if r["type"] == "Patient")
    assert patient.keys() & {"profile", "searchParam"} == {"profile"}
