"""An app is started from here: what was open on the screen goes with it, for that app, that person, once.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from fhir_server.app.authorization import authorization_of
from fhir_server.context import Role
from fhir_server.smart.authorize import Actor
from fhir_server.store import clients
from fhir_server.store.people import Person
from tests.apps import LAUNCHED, App, actor, app, query
from tests.fhir import Client
from tests.people import member, token_of

SCOPE = "launch openid fhirUser patient/Patient.rs user/Encounter.rs"


@pytest.fixture
async def person(fhir: Client) -> Person:
    await fhir.put("/Patient/p1", json={"resourceType": "Patient", "id": "p1"})
    await fhir.put("/Patient/p2", json={"resourceType": "Patient", "id": "p2"})
    visit = {"resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": "AMB"}}
    done = await fhir.put("/Encounter/e1", json={**visit, "subject": {"reference": "Patient/p1"}})
    assert done.status_code == 201, done.text
    return await member(fhir, "clinic-admin", "Practitioner/eva")


async def launches(fhir: Client, who: Person | str, asked: Any) -> httpx.Response:
    token = who if isinstance(who, str) else await token_of(fhir, who)
    address = fhir.base.removesuffix("/fhir") + "/api/launch"
    return await fhir.http.post(address, json=asked, headers={"authorization": f"Bearer {token}"})


async def launched(fhir: Client, who: Person, asking: App, **more: Any) -> str:
    answer = await launches(fhir, who, {"client_id": asking.client_id, "patient": "p1", **more})
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["url"]
    assert url.startswith(LAUNCHED)
    assert query(url)["iss"] == fhir.base
    return query(url)["launch"]


def signed_in(fhir: Client, person: Person, role: Role = "clinic-admin") -> Actor:
    return actor(fhir, person, role, "Practitioner/eva")


async def test_patient_and_encounter_go_with_the_app(fhir: Client, person: Person) -> None:
    asking = await app(fhir, "symmetric", launch_uri=LAUNCHED)
    launch = await launched(fhir, person, asking, encounter="e1")
    given = await asking.granted(signed_in(fhir, person), SCOPE, launch=launch)
    assert (given["patient"], given["encounter"], given["need_patient_banner"]) == ("p1", "e1", False)
    assert given["smart_style_url"].endswith("/style.json")
    token = given["access_token"]
    assert (await fhir.get("/Patient/p1", token=token)).status_code == 200
    assert (await fhir.get("/Patient/p2", token=token)).status_code == 404
    assert (await fhir.get("/Encounter/e1", token=token)).status_code == 200
    assert "id_token" in given


async def test_a_launch_without_a_patient_asks_for_one_where_the_scopes_need_it(fhir: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    server, tenant = authorization_of(fhir.concord), fhir.tenant_as_named()
    for scope, step in (("launch user/*.rs", "consent"), ("launch patient/*.rs", "patient")):
        launch = await launched(fhir, person, asking, patient=None)
        handle = await asking.begins(scope, launch=launch)
        assert (await server.step(tenant, handle, signed_in(fhir, person))).kind == step


async def test_a_launch_is_good_once(fhir: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    launch = await launched(fhir, person, asking)
    await asking.begins(SCOPE, launch=launch)
    location = await authorization_of(fhir.concord).begin(fhir.tenant_as_named(), asking.asks(SCOPE, launch=launch))
    assert query(location)["error"] == "invalid_request"


async def test_a_launch_is_over_after_its_time(fhir: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    launch = await launched(fhir, person, asking)
    fhir.clock.move(timedelta(minutes=6))
    location = await authorization_of(fhir.concord).begin(fhir.tenant_as_named(), asking.asks(SCOPE, launch=launch))
    assert query(location)["error"] == "invalid_request"


async def test_a_launch_is_good_for_its_app_alone_and_stays_so(fhir: Client, person: Person) -> None:
    asking, thief = await app(fhir, launch_uri=LAUNCHED), await app(fhir, launch_uri=LAUNCHED)
    launch = await launched(fhir, person, asking)
    server, tenant = authorization_of(fhir.concord), fhir.tenant_as_named()
    assert query(await server.begin(tenant, thief.asks(SCOPE, launch=launch)))["error"] == "invalid_request"
    assert "request" in query(await server.begin(tenant, asking.asks(SCOPE, launch=launch)))


async def test_a_launch_is_good_for_who_made_it_alone(fhir: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    handle = await asking.begins(SCOPE, launch=await launched(fhir, person, asking))
    another = signed_in(fhir, await member(fhir, "clinic-admin"))
    step = await authorization_of(fhir.concord).step(fhir.tenant_as_named(), handle, another)
    assert (step.kind, query(step.location)["error"]) == ("done", "access_denied")


async def test_a_launch_of_one_clinic_is_nothing_in_another(fhir: Client, other: Client, person: Person) -> None:
    asking, there = await app(fhir, launch_uri=LAUNCHED), await app(other, launch_uri=LAUNCHED)
    launch = await launched(fhir, person, asking)
    location = await authorization_of(other.concord).begin(other.tenant_as_named(), there.asks(SCOPE, launch=launch))
    assert query(location)["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"patient": "nobody"}, 404),
        ({"patient": "p1", "encounter": "none"}, 404),
        ({"patient": "p2", "encounter": "e1"}, 400),
        ({"encounter": "e1"}, 400),
        ({"patient": "../x"}, 400),
        ({"patient": "_history"}, 400),
        ({"client_id": "nobody"}, 404),
        ({"client_id": ""}, 400),
        ({"more": "x"}, 400),
    ],
)
async def test_nothing_is_launched_that_is_not_there_or_does_not_belong_together(
    fhir: Client, person: Person, asked: dict[str, Any], status: int
) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    answer = await launches(fhir, person, {"client_id": asking.client_id, **asked})
    assert answer.status_code == status, answer.text


async def test_an_app_that_is_not_started_from_here_or_disabled_is_not_launched(fhir: Client, person: Person) -> None:
    plain, gone = await app(fhir), await app(fhir, launch_uri=LAUNCHED)
    await clients.disable(fhir.concord.db, fhir.tenant_id, gone.client_id, fhir.clock())
    for asking in (plain, gone):
        assert (await launches(fhir, person, {"client_id": asking.client_id})).status_code == 404


async def test_nobody_but_a_person_of_the_clinic_launches(fhir: Client, other: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    asked = {"client_id": asking.client_id, "patient": "p1"}
    address = fhir.base.removesuffix("/fhir") + "/api/launch"
    assert (await fhir.http.post(address, json=asked)).status_code == 401
    assert (await launches(fhir, await fhir.token("system/*.cruds"), asked)).status_code == 403
    assert (await launches(fhir, await token_of(other, await member(other, "clinic-admin")), asked)).status_code == 403


async def test_a_launch_is_audited_with_its_patient(fhir: Client, person: Person) -> None:
    asking = await app(fhir, launch_uri=LAUNCHED)
    await launched(fhir, person, asking)
    key = fhir.concord.service.hasher.self_key(fhir.tenant_id, "Patient", "p1")
    sql = "select subject, outcome, patient from audit where action = 'launch' and client = %s"
    rows = await fhir.concord.db.fetch(fhir.tenant_id, sql, (asking.client_id,))
    assert rows == [(person.sub, 201, key)]
