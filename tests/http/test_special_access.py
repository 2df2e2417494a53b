"""Broken glass and support sessions: what opens them, what they open, when they end, and who looks at them after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pyotp
import pytest

from fhir_server.app.accounts import accounts_of
from fhir_server.context import Role
from fhir_server.store import people, sessions
from fhir_server.store.people import Person
from tests.fhir import Client
from tests.http.clinic import Clinic, clinic
from tests.http.consents import REASON as REASONS
from tests.http.consents import coded, consent, deny
from tests.people import member
from tests.signin import Visitor, app_for, session_of, somebody, visitor

REASON = "unconscious in the emergency room"


class Someone(msgspec.Struct):
    """Somebody who is signed in by a browser, with an authenticator app, at a clinic."""

    client: Client
    person: Person
    browser: Visitor
    app: pyotp.TOTP
    clinic: str

    async def send(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Send a request to the clinic's API as a page of ours would."""
        accounts = accounts_of(self.client.concord)
        session = await sessions.find(
            self.client.concord.db, self.browser.cookie or "", self.client.clock(), timedelta(hours=1)
        )
        headers = {"x-csrf-token": accounts.signin.sessions.proof(session)}
        return await self.browser.http.request(method, f"/{self.clinic}/api{path}", json=body or None, headers=headers)

    async def opens(self, path: str, **given: Any) -> httpx.Response:
        """Ask for special access with a new code of the app."""
        self.client.clock.move(timedelta(seconds=31))
        given = {"reason": REASON, "code": self.app.at(self.client.clock()), **given}
        return await self.send("POST", path, **given)


@asynccontextmanager
async def signed_in(
    client: Client, role: Role | None, reference: str | None = None, **more: Any
) -> AsyncIterator[Someone]:
    """Give somebody with a role, or none, in a clinic."""
    person = await somebody(client, None, **more)
    if role:
        await people.enrol(client.concord.db, client.tenant_id, person.id, role, reference, client.clock())
    app = await app_for(client, person)
    async with visitor(client) as browser:
        browser.http.cookies.set("concord-session", await session_of(client, person))
        yield Someone(client, person, browser, app, client.tenant)


@pytest.fixture
async def here(fhir: Client) -> Clinic:
    """Return a clinic with two patients."""
    return await clinic(fhir)


@pytest.fixture
async def doctor(here: Clinic) -> AsyncIterator[Someone]:
    """Return a physician with no patients."""
    async with signed_in(here.fhir, "physician", here.places["doctor"]) as someone:
        yield someone


@pytest.fixture
async def admin(here: Clinic) -> AsyncIterator[Someone]:
    """Return the clinic's admin."""
    async with signed_in(here.fhir, "clinic-admin") as someone:
        yield someone


async def test_broken_glass_opens_one_patients_record_to_be_read(here: Clinic, doctor: Someone) -> None:
    opened = await doctor.opens("/break-glass", patient=here.places["patient"])
    assert opened.status_code == 201, opened.text
    token = opened.json()["token"]
    assert await here.seen(token) == {"patient", "result", "draft", "note", "unsigned", "invoice"}
    assert [await here.status(token, name) for name in ("result2", "patient2", "secret", "mine")] == [404] * 4
    stored = (await here.fhir.get(f"/{here.places['result']}")).json()
    assert (await here.fhir.put(f"/{here.places['result']}", json=stored, token=token)).status_code == 403
    assert (await here.fhir.delete(f"/{here.places['result']}", token=token)).status_code == 403


@pytest.mark.parametrize(("purpose", "opens"), [(None, True), ("TREAT", True), ("BTG", False)])
async def test_broken_glass_is_stopped_only_by_a_denial_that_names_it(
    here: Clinic, doctor: Someone, purpose: str | None, opens: bool
) -> None:
    named = {"purpose": coded(REASONS, purpose)} if purpose else {}
    await consent(here.fhir, deny(**named), of=here.places["patient"].removeprefix("Patient/"))
    token = (await doctor.opens("/break-glass", patient=here.places["patient"])).json().get("token", "none")
    assert (await here.status(token, "result") == 200) is opens
    ordinary = await doctor.client.token("user/*.rs", subject=doctor.person.sub)
    assert await here.status(ordinary, "result") == 404


async def test_broken_glass_ends_by_itself_and_by_hand(here: Clinic, doctor: Someone, admin: Someone) -> None:
    place = here.places["patient"]
    short = (await doctor.opens("/break-glass", patient=place, minutes=5)).json()
    assert await here.status(short["token"], "result") == 200
    here.fhir.clock.move(timedelta(minutes=6))
    assert await here.status(short["token"], "result") == 401
    long = (await doctor.opens("/break-glass", patient=place, minutes=1440)).json()
    by_admin = (await doctor.opens("/break-glass", patient=place)).json()
    assert (await doctor.send("POST", f"/special-access/{long['id']}/end")).status_code == 204
    assert (await admin.send("POST", f"/special-access/{by_admin['id']}/end")).status_code == 204
    assert (await doctor.send("POST", f"/special-access/{long['id']}/end")).status_code == 409
    for one in (long, by_admin):
        assert await here.status(one["token"], "result") == 401
    lasting = (await doctor.opens("/break-glass", patient=place, minutes=1440)).json()
    here.fhir.clock.move(timedelta(minutes=61))
    assert await here.status(lasting["token"], "result") == 401


async def test_who_loses_the_role_loses_the_access(here: Clinic, doctor: Someone) -> None:
    token = (await doctor.opens("/break-glass", patient=here.places["patient"])).json()["token"]
    db = here.fhir.concord.db
    await people.enrol(db, here.fhir.tenant_id, doctor.person.id, "biller", None, here.fhir.clock())
    here.fhir.clock.move(timedelta(seconds=2))
    assert await here.status(token, "result") == 401


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"code": "000000"}, 403), ({"code": ""}, 403), ({"reason": "why"}, 400), ({"reason": " " * 50}, 400),
        ({"patient": "Patient/none"}, 404), ({"patient": "Practitioner/x"}, 404), ({"minutes": 0}, 400),
        ({"more": 1}, 400),
    ],
)  # fmt: skip
async def test_what_is_not_proven_said_or_there_opens_nothing(
    here: Clinic, doctor: Someone, given: dict[str, Any], status: int
) -> None:
    answer = await doctor.opens("/break-glass", **({"patient": here.places["patient"]} | given))
    assert answer.status_code == status, answer.text
    assert (await doctor.send("GET", "/special-access")).json() == []


async def test_a_code_opens_once(here: Clinic, doctor: Someone) -> None:
    first = await doctor.opens("/break-glass", patient=here.places["patient"])
    code = doctor.app.at(here.fhir.clock())
    again = {"patient": here.places["patient"], "reason": REASON, "code": code}
    assert first.status_code == 201
    assert (await doctor.send("POST", "/break-glass", **again)).status_code == 403


@pytest.mark.parametrize("role", ["biller", "front-desk", "attorney"])
async def test_other_roles_cannot_break_the_glass(here: Clinic, role: Role) -> None:
    async with signed_in(here.fhir, role) as someone:
        assert (await someone.opens("/break-glass", patient=here.places["patient"])).status_code == 403


async def test_glass_is_never_broken_across_clinics_nor_by_an_app(here: Clinic, other: Client) -> None:
    theirs = (await other.post("/Patient", json={"resourceType": "Patient"})).json()["id"]
    async with signed_in(here.fhir, "physician") as doctor:
        assert (await doctor.opens("/break-glass", patient=f"Patient/{theirs}")).status_code == 404
        elsewhere = msgspec.structs.replace(doctor, clinic=other.tenant)
        assert (await elsewhere.opens("/break-glass", patient=f"Patient/{theirs}")).status_code == 403
        mine = (await doctor.opens("/break-glass", patient=here.places["patient"])).json()["token"]
        assert (await other.get(f"/Patient/{theirs}", token=mine)).status_code == 403
    token = await here.token("physician")
    address = here.fhir.base.removesuffix("/fhir") + "/api/break-glass"
    given = {"patient": here.places["patient"], "reason": REASON, "code": "1"}
    answer = await here.fhir.http.post(address, json=given, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert (await here.fhir.http.post(address, json=given)).status_code == 401


async def test_it_is_audited_and_waits_for_somebody_elses_review(here: Clinic, doctor: Someone, admin: Someone) -> None:
    opened = (await doctor.opens("/break-glass", patient=here.places["patient"])).json()
    assert await here.status(opened["token"], "result") == 200
    db, tenant = here.fhir.concord.db, here.fhir.tenant_id
    rows = await db.fetch(tenant, "select action, patient from audit where purpose = 'BTG' order by at, id")
    assert [action for action, _ in rows] == ["break-glass", "read"]
    assert {patient for _, patient in rows} == {here.key("patient")}
    (row,) = (await admin.send("GET", "/special-access?unreviewed=true")).json()
    assert (row["id"], row["email"], row["reason"]) == (opened["id"], doctor.person.email, REASON)
    review = f"/special-access/{opened['id']}/review"
    assert (await doctor.send("POST", review, justified=True)).status_code == 403
    assert (await admin.send("POST", review, justified=True, note="was on duty")).status_code == 204
    assert (await admin.send("POST", review, justified=False)).status_code == 409
    assert (await admin.send("GET", "/special-access?unreviewed=true")).json() == []
    async with signed_in(here.fhir, "physician") as colleague:
        assert (await colleague.send("GET", "/special-access")).json() == []
        assert (await colleague.send("POST", f"/special-access/{opened['id']}/end")).status_code == 404
    own = (await admin.opens("/break-glass", patient=here.places["patient"])).json()
    assert (await admin.send("POST", f"/special-access/{own['id']}/review", justified=True)).status_code == 403


async def test_a_super_admin_reads_in_one_clinic_by_a_support_session(
    here: Clinic, other: Client, admin: Someone
) -> None:
    async with signed_in(here.fhir, None, super_admin=True) as helper:
        assert (await helper.send("GET", "/cases")).status_code == 403
        assert (await helper.opens("/support-sessions", reason="x")).status_code == 400
        opened = await helper.opens("/support-sessions")
        assert opened.status_code == 201, opened.text
        token = opened.json()["token"]
        assert {"patient", "patient2", "result", "note2"} <= await here.seen(token)
        assert [await here.status(token, name) for name in ("secret", "mine2")] == [404, 404]
        assert (await here.fhir.post("/Patient", json={"resourceType": "Patient"}, token=token)).status_code == 403
        assert (await other.get("/Patient", token=token)).status_code == 403
        (row,) = (await admin.send("GET", "/special-access")).json()
        assert (row["kind"], row["email"]) == ("SUPPORT", helper.person.email)
        await here.fhir.concord.db.fetch(
            None, "update person set super_admin = false where id = %s", (helper.person.id,)
        )
        here.fhir.clock.move(timedelta(seconds=2))
        assert await here.status(token, "patient") == 401
    async with signed_in(here.fhir, "clinic-admin") as nobody:
        assert (await nobody.opens("/support-sessions")).status_code == 403


async def test_an_app_that_was_let_see_less_sees_nothing_of_special_access(here: Clinic, doctor: Someone) -> None:
    assert (await doctor.opens("/break-glass", patient=here.places["patient"])).status_code == 201
    admin = await member(here.fhir, "clinic-admin")
    api = here.fhir.base.removesuffix("/fhir") + "/api"

    async def asked(path: str, token: str) -> httpx.Response:
        return await here.fhir.http.get(api + path, headers={"authorization": f"Bearer {token}"})

    for path in ("/special-access", "/access-review"):
        for scope in ("openid", "patient/*.cruds", "user/Patient.rs", "user/*.cruds?_tag=x"):
            token = await here.fhir.token(scope, subject=admin.sub, patient="p")
            assert (await asked(path, token)).status_code == 403, (path, scope)
        assert (await asked(path, await here.fhir.token("system/*.cruds?_tag=x"))).status_code == 403
        assert (await asked(path, await here.fhir.token("user/*.rs", subject=admin.sub))).status_code == 200
    for of, others in (("user/*.rs", True), ("user/Patient.r", False)):
        token = await here.fhir.token(of, subject=admin.sub)
        told = await here.fhir.get(f"/{here.places['patient']}/$explain-access", token=token)
        assert ('"who"' in told.text) is others


async def test_broken_glass_ends_with_the_sign_in(here: Clinic, doctor: Someone) -> None:
    token = (await doctor.opens("/break-glass", patient=here.places["patient"])).json()["token"]
    assert await here.status(token, "patient") == 200
    async with here.fhir.concord.db.transaction(None) as tx:
        sessions.end_all(tx, doctor.person.id)
    here.fhir.clock.move(timedelta(seconds=2))
    assert await here.status(token, "patient") == 401
