"""The clinic's API: attorneys and authorizations of a case, releases of records, assignments of care."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from fhir_server.context import Role
from tests.fhir import Client
from tests.http.belonging import cases, encounter, episode, observation, patient, put, relations
from tests.people import member, token_of


class Desk(msgspec.Struct):
    """Somebody at the clinic's API."""

    client: Client
    token: str

    async def get(self, path: str) -> httpx.Response:
        """Send a GET to a path below /{tenant}/api."""
        return await self._send("GET", path)

    async def post(self, path: str, **given: Any) -> httpx.Response:
        """Send a POST of JSON to a path below /{tenant}/api."""
        return await self._send("POST", path, json=given)

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        address = self.client.base.removesuffix("/fhir") + "/api" + path
        headers = {"authorization": f"Bearer {self.token}"}
        return await self.client.http.request(method, address, headers=headers, **more)


async def desk_of(client: Client, role: Role, reference: str | None = None, scope: str = "user/*.cruds") -> Desk:
    """Return somebody with a role."""
    return Desk(client, await token_of(client, await member(client, role, reference), scope))


@pytest.fixture
async def admin(fhir: Client) -> Desk:
    """Return a clinic admin of a clinic with one patient, one case and one record."""
    await patient(fhir)
    await episode(fhir, identifier=[{"value": "C-1"}])
    await encounter(fhir, "e", "case")
    await observation(fhir)
    await put(fhir, "Practitioner", "dr")
    return await desk_of(fhir, "clinic-admin")


async def audited(client: Client, action: str) -> list[Any]:
    """Return the details of the audit rows of an action."""
    sql = "select detail from audit where action = %s order by at, id"
    return [row[0] for row in await client.concord.db.fetch(client.tenant_id, sql, (action,))]


# ---- cases and attorneys


async def test_cases_are_found_by_patient_and_by_number(admin: Desk) -> None:
    (found,) = (await admin.get("/cases?patient=Patient/p")).json()
    assert (found["id"], found["patient"], found["number"], found["status"]) == ("case", "Patient/p", "C-1", "active")
    assert [one["id"] for one in (await admin.get("/cases?number=C-1")).json()] == ["case"]
    assert (await admin.get("/cases?number=C-2")).json() == []
    assert (await admin.get("/cases?after=case")).json() == []


async def test_an_attorney_is_named_and_ended_with_before_and_after(admin: Desk) -> None:
    lawyer = await member(admin.client, "attorney")
    made = await admin.post("/cases/case/attorneys", email=lawyer.email)
    assert made.status_code == 201, made.text
    (shown,) = (await admin.get("/cases/case")).json()["attorneys"]
    assert (shown["email"], shown["role"], shown["valid_to"]) == (lawyer.email, "lead", None)
    assert (await admin.post(f"/cases/case/attorneys/{made.json()['id']}/end")).status_code == 200
    assert (await admin.get("/cases/case")).json()["attorneys"][0]["valid_to"] is not None
    (ended,) = await audited(admin.client, "case.attorney.end")
    assert ended["before"]["valid_to"] is None
    assert ended["after"]["valid_to"] is not None


async def test_an_attorney_is_ended_once(admin: Desk) -> None:
    lawyer = await member(admin.client, "attorney")
    made = (await admin.post("/cases/case/attorneys", email=lawyer.email)).json()
    await admin.post(f"/cases/case/attorneys/{made['id']}/end")
    assert (await admin.post(f"/cases/case/attorneys/{made['id']}/end")).status_code == 409
    assert (await admin.post("/cases/case/attorneys/999999/end")).status_code == 404


async def test_two_who_name_the_same_attorney_at_once_make_one(admin: Desk) -> None:
    lawyer = await member(admin.client, "attorney")
    answers = await asyncio.gather(*(admin.post("/cases/case/attorneys", email=lawyer.email) for _ in range(6)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409, 409, 409]


async def test_only_an_attorney_of_this_clinic_can_be_named(admin: Desk, other: Client) -> None:
    for person in (await member(other, "attorney"), await member(admin.client, "physician")):
        answer = await admin.post("/cases/case/attorneys", email=person.email)
        assert answer.status_code == 422, answer.text
    assert (await admin.get("/cases/case")).json()["attorneys"] == []


# ---- releases of information


async def test_a_release_of_information_ends_or_is_revoked(admin: Desk) -> None:
    until = (admin.client.clock() + timedelta(days=30)).isoformat()
    made = await admin.post("/cases/case/releases", expires=until)
    assert made.status_code == 201, made.text
    assert (await admin.post(f"/cases/case/releases/{made.json()['id']}/revoke")).status_code == 200
    (shown,) = (await admin.get("/cases/case")).json()["releases"]
    assert shown["revoked_at"] is not None
    assert (await admin.post(f"/cases/case/releases/{made.json()['id']}/revoke")).status_code == 409
    (told,) = await audited(admin.client, "case.revoke")
    assert told["before"]["revoked_at"] is None


async def test_a_release_of_information_that_ended_before_it_began_is_refused(admin: Desk) -> None:
    past = (admin.client.clock() - timedelta(days=1)).isoformat()
    assert (await admin.post("/cases/case/releases", expires=past)).status_code == 422
    answer = await admin.post("/cases/case/releases", expires="2030-01-01T00:00:00")
    assert answer.status_code == 400
    assert "2030" not in answer.text


# ---- records


async def test_what_no_encounter_tells_is_put_into_a_case_by_hand(admin: Desk) -> None:
    await observation(admin.client, "loose", in_=None)
    assert (await admin.post("/cases/case/records", reference="Observation/loose")).status_code == 204
    assert await cases(admin.client, "Observation/loose") == ["case"]
    assert (await admin.post("/cases/case/records/remove", reference="Observation/loose")).status_code == 204
    assert await cases(admin.client, "Observation/loose") == []
    (told,) = await audited(admin.client, "case.assign")
    assert told["before"] == {"cases": []}


async def test_what_an_encounter_tells_is_not_put_into_another_case(admin: Desk) -> None:
    await episode(admin.client, "second")
    answer = await admin.post("/cases/second/records", reference="Observation/o")
    assert answer.status_code == 409
    assert await cases(admin.client, "Observation/o") == ["case"]


async def test_an_encounter_tells_before_a_person_does(admin: Desk) -> None:
    await episode(admin.client, "second")
    await observation(admin.client, "loose", in_=None)
    await admin.post("/cases/second/records", reference="Observation/loose")
    await observation(admin.client, "loose")
    assert await cases(admin.client, "Observation/loose") == ["case"]
    await observation(admin.client, "loose", in_=None)
    assert await cases(admin.client, "Observation/loose") == ["second"]


async def test_another_patients_record_is_never_put_into_a_case(admin: Desk) -> None:
    await patient(admin.client, "q")
    await observation(admin.client, "strange", in_=None, of="q")
    assert (await admin.post("/cases/case/records", reference="Observation/strange")).status_code == 422
    assert await cases(admin.client, "Observation/strange") == []


async def released_at(client: Client, reference: str) -> Any:
    """Return when a record was released."""
    key = client.concord.service.hasher.self_key(client.tenant_id, *reference.split("/"))
    sql = "select released_at from resource where self_key = %s"
    return (await client.concord.db.fetch(client.tenant_id, sql, (key,)))[0][0]


async def test_records_are_released_and_withdrawn(admin: Desk) -> None:
    answer = await admin.post("/released", references=["Observation/o"])
    assert answer.status_code == 200, answer.text
    assert await released_at(admin.client, "Observation/o") is not None
    assert (await admin.post("/released/withdraw", references=["Observation/o"])).json() == {"Observation/o": None}
    assert await released_at(admin.client, "Observation/o") is None
    assert len(await audited(admin.client, "record.release")) == 1
    assert len(await audited(admin.client, "record.withdraw")) == 1


async def test_records_are_released_all_or_none(admin: Desk) -> None:
    await observation(admin.client, "loose", in_=None)
    for other, status in (("Observation/loose", 409), ("Observation/none", 404)):
        answer = await admin.post("/released", references=["Observation/o", other])
        assert answer.status_code == status
    assert await released_at(admin.client, "Observation/o") is None


async def test_what_a_guarded_label_closes_is_not_released(admin: Desk) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}
    await observation(admin.client, meta={"security": [label]})
    assert (await admin.post("/released", references=["Observation/o"])).status_code in (403, 404)
    assert await released_at(admin.client, "Observation/o") is None


async def test_a_record_that_was_deleted_comes_back_unreleased(admin: Desk) -> None:
    await admin.post("/released", references=["Observation/o"])
    await admin.client.delete("/Observation/o")
    await observation(admin.client)
    assert await released_at(admin.client, "Observation/o") is None


# ---- care


async def test_a_patient_is_assigned_and_the_assignment_ended(admin: Desk) -> None:
    made = await admin.post("/care", practitioner="Practitioner/dr", patient="Patient/p", kind="assigned")
    assert made.status_code == 201, made.text
    ((kind, _, until),) = await relations(admin.client, "Practitioner/dr")
    assert (kind, until) == ("assigned", None)
    (shown,) = (await admin.get("/care?patient=Patient/p")).json()
    assert (shown["id"], shown["practitioner"]) == (made.json()["id"], "Practitioner/dr")
    assert (await admin.post(f"/care/{shown['id']}/end")).status_code == 200
    assert (await admin.get("/care?patient=Patient/p")).json() == []
    assert (await admin.post(f"/care/{shown['id']}/end")).status_code == 409
    assert len(await audited(admin.client, "care.end")) == 1


async def test_what_an_encounter_tells_is_not_ended_by_hand(admin: Desk) -> None:
    team = [{"individual": {"reference": "Practitioner/dr"}}]
    await encounter(admin.client, "e", "case", participant=team, period={"start": "2026-03-02T09:00:00Z"})
    (shown,) = (await admin.get("/care?patient=Patient/p")).json()
    assert (shown["id"], shown["kind"]) == (None, "encounter")


async def test_a_cover_needs_an_end(admin: Desk) -> None:
    given = {"practitioner": "Practitioner/dr", "patient": "Patient/p", "kind": "cover"}
    assert (await admin.post("/care", **given)).status_code == 422
    until = (admin.client.clock() + timedelta(days=2)).isoformat()
    assert (await admin.post("/care", **given, valid_to=until)).status_code == 201


# ---- who may


ACTS = {
    "case.parties": ("GET", "/cases/case", {}, {"clinic-admin", "physician", "biller", "front-desk"}),
    "case.attorney": ("POST", "/cases/case/attorneys", {"email": "x@y"}, {"clinic-admin", "biller", "front-desk"}),
    "case.authorize": (
        "POST",
        "/cases/case/releases",
        {"expires": "2000-01-01T00:00:00Z"},
        {"clinic-admin", "front-desk"},
    ),
    "record.release": ("POST", "/released", {"references": ["Observation/none"]}, {"clinic-admin", "physician"}),
    "care.assign": (
        "POST",
        "/care",
        {"practitioner": "Practitioner/x", "patient": "Patient/none", "kind": "assigned"},
        {"clinic-admin"},
    ),
}


@pytest.mark.parametrize("role", ["clinic-admin", "physician", "biller", "front-desk", "attorney", "super-admin"])
@pytest.mark.parametrize("act", ACTS)
async def test_each_act_is_for_its_roles_alone(admin: Desk, act: str, role: Role) -> None:
    method, path, given, roles = ACTS[act]
    desk = await desk_of(admin.client, role)
    answer = await (desk.get(path) if method == "GET" else desk.post(path, **given))
    assert (answer.status_code == 403) == (role not in roles), answer.text


async def test_a_scope_is_the_upper_bound_of_what_a_role_may(admin: Desk) -> None:
    desk = await desk_of(admin.client, "clinic-admin", scope="user/*.rs")
    assert (await desk.post("/released", references=["Observation/o"])).status_code == 403
    desk = await desk_of(admin.client, "clinic-admin", scope="user/Patient.cruds")
    assert (await desk.get("/cases")).status_code == 403


async def test_a_patients_token_acts_on_nothing(admin: Desk) -> None:
    desk = Desk(admin.client, await admin.client.token("patient/*.cruds", patient="p"))
    assert (await desk.post("/released", references=["Observation/o"])).status_code == 403
    assert (await desk.get("/cases/case")).status_code == 403


async def test_another_clinics_case_is_not_known(admin: Desk, other: Client) -> None:
    strange = await desk_of(other, "clinic-admin")
    assert (await strange.get("/cases")).json() == []
    assert (await strange.get("/cases/case")).status_code == 404
    assert (await strange.post("/released", references=["Observation/o"])).status_code == 404
    crossed = Desk(other, admin.token)
    assert (await crossed.get("/cases")).status_code in (401, 403)


async def test_what_is_not_understood_is_told_by_its_place_alone(admin: Desk) -> None:
    answer = await admin.post("/care", practitioner="Practitioner/dr", patient="Patient/p", kind="secret-name")
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "secret-name" not in answer.text


async def test_nobody_hands_a_patient_to_themselves(admin: Desk) -> None:
    doctor = await desk_of(admin.client, "physician", "Practitioner/dr")
    since = (admin.client.clock() - timedelta(hours=1)).isoformat()
    until = (admin.client.clock() + timedelta(days=2)).isoformat()
    given = {"practitioner": "Practitioner/dr", "patient": "Patient/p"}
    await admin.post("/care", **given, kind="cover", valid_from=since, valid_to=until)
    for kind in ("cover", "referral"):
        longer = await doctor.post("/care", **given, kind=kind, valid_to="2999-01-01T00:00:00Z")
        assert longer.status_code == 403
    await put(admin.client, "Practitioner", "partner")
    given["practitioner"] = "Practitioner/partner"
    assert (await doctor.post("/care", **given, kind="referral")).status_code == 201


@pytest.mark.parametrize(
    "path", ["/care/{}/end", "/cases/case/attorneys/{}/end", "/messages/{}/replay", "/channels/lab/versions/{}/promote"]
)
async def test_a_number_that_nothing_can_have_is_refused(admin: Desk, path: str) -> None:
    answer = await admin.post(path.format("9" * 40))
    assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome")


async def test_who_only_reads_has_no_message_worked_again(admin: Desk) -> None:
    client = admin.client
    for token, status in (
        (await client.token("system/*.rs"), 403),
        (await client.token("system/*.cruds?_tag=x"), 403),
        (await client.token("system/*.cruds"), 404),
        (admin.token, 404),
    ):
        assert (await Desk(client, token).post("/messages/1/replay")).status_code == status
    narrow = Desk(client, await client.token("system/*.rs?_tag=x"))
    assert (await narrow.get("/messages")).status_code == 403
