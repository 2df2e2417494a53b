"""An app for one patient sees no more of the record than the person who agreed: scopes never widen roles."""

from __future__ import annotations

import pytest

from fhir_server.context import Context, Grant, Member, Role
from fhir_server.interactions.message import Request
from fhir_server.interactions.table import dispatch
from fhir_server.smart.scopes import parse_scopes
from fhir_server.store.people import Person
from tests.fhir import Client
from tests.http.binaries import sent
from tests.http.clinic import Clinic, clinic
from tests.people import member

WHOLE = {"patient", "result", "draft", "note", "unsigned", "invoice", "secret", "mine"}
SEARCH = "_type=Patient,Observation,DocumentReference,Invoice"


@pytest.fixture
async def here(fhir: Client) -> Clinic:
    """Return a clinic with two patients."""
    return await clinic(fhir)


async def in_app(here: Clinic, person: Person, patient: str = "patient") -> str:
    """Return the token of an app with which this person opened a patient's record."""
    chosen = here.places[patient].partition("/")[2]
    return await here.fhir.token("patient/*.cruds", subject=person.sub, patient=chosen)


async def test_an_attorneys_app_sees_what_is_released_and_nothing_else(here: Clinic) -> None:
    await here.into_case("case", "result", "note", "invoice")
    await here.release("result")
    person = await member(here.fhir, "attorney")
    token = await in_app(here, person)
    assert await here.seen(token, SEARCH) == set()
    since = here.fhir.clock()
    await here.run(
        "insert into case_attorney (tenant_id, case_key, person_id, role, valid_from) values (%s, %s, %s, 'lead', %s)",
        here.key("case"), person.id, since,
    )  # fmt: skip
    assert await here.status(token, "note") == 404
    assert "result2" not in await here.seen(token, SEARCH)


@pytest.mark.parametrize(
    ("role", "closed"),
    [("clinic-admin", {"secret", "mine"}), ("physician", WHOLE), ("biller", {"secret", "mine", "draft", "unsigned"})],
)
async def test_an_app_of_staff_sees_one_patient_as_their_role_does(here: Clinic, role: Role, closed: set[str]) -> None:
    person = await member(here.fhir, role, here.places["doctor"] if role == "physician" else None)
    found = await here.seen(await in_app(here, person), SEARCH)
    assert not found & closed
    assert not {name for name in found if name.endswith("2")}
    assert ("patient" in found) is (role != "physician")


async def test_a_physicians_app_sees_the_record_once_the_patient_is_in_their_care(here: Clinic) -> None:
    token = await in_app(here, await member(here.fhir, "physician", here.places["doctor"]))
    assert await here.status(token, "result") == 404
    await here.care()
    assert await here.status(token, "result") == 200
    assert await here.status(token, "result2") == 404


async def test_patients_see_their_own_record_whatever_they_are_here_otherwise(here: Clinic) -> None:
    token = await in_app(here, await member(here.fhir, "front-desk", here.places["patient"]))
    assert await here.seen(token, SEARCH) == WHOLE
    somebody_else = await in_app(here, await member(here.fhir, "front-desk", here.places["patient2"]))
    assert "secret" not in await here.seen(somebody_else, SEARCH)


async def test_an_apps_scope_does_not_let_a_role_write_what_it_may_not(here: Clinic) -> None:
    token = await in_app(here, await member(here.fhir, "clinic-admin"))
    answer = await here.fhir.delete(f"/{here.places['result']}", token=token)
    assert answer.status_code in (403, 404)
    assert await here.status(token, "result") == 200


@pytest.mark.parametrize("role", ["biller", "front-desk", "attorney", "physician", "clinic-admin"])
async def test_an_app_for_one_patient_sees_no_more_of_the_audit_than_who_agreed(here: Clinic, role: Role) -> None:
    await here.fhir.get(f"/{here.places['patient']}")
    token = await in_app(here, await member(here.fhir, role, here.places["doctor"] if role == "physician" else None))
    asked = f"/AuditEvent?patient={here.places['patient']}&altid=tester"
    answer = await here.fhir.get(asked, token=token)
    if role in ("biller", "front-desk"):
        assert answer.status_code == 403
    else:
        assert bool(answer.json().get("entry")) is (role == "clinic-admin")
    if role == "physician":
        await here.care()
        assert (await here.fhir.get(asked, token=token)).json()["entry"]


async def test_an_app_changes_no_content_of_what_its_person_may_only_read(here: Clinic) -> None:
    person = await member(here.fhir, "biller")
    place = await sent(here.fhir, **{"X-Security-Context": here.places["result"]})
    token = await in_app(here, person)
    assert (await here.fhir.get(place, token=token)).status_code == 200
    assert (await here.fhir.delete(place, token=token)).status_code == 403
    again = await here.fhir.put(place, content=b"x", headers={"content-type": "text/plain"}, token=token)
    assert again.status_code == 403


async def test_an_emergency_opens_no_content_that_belongs_to_nobody(here: Clinic) -> None:
    fhir, (kind, patient) = here.fhir, here.places["patient"].split("/")
    person = await member(fhir, "physician")
    theirs = await sent(fhir, **{"X-Security-Context": f"{kind}/{patient}"})
    others = [await sent(fhir), await sent(fhir, **{"X-Security-Context": here.places["patient2"]})]
    grant = Grant(
        fhir.tenant_as_named(), person.sub, "tests", parse_scopes("user/*.rs"), patient,
        member=Member(person.id, "physician", None), purpose="BTG",
    )  # fmt: skip
    ctx = Context(grant, fhir.base, fhir.clock(), "test")
    found = await dispatch(fhir.concord.service, ctx, Request("GET", ("Binary",)))
    assert theirs.encode() in found.body
    for place in others:
        assert place.encode() not in found.body
