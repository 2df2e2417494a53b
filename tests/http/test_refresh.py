"""Refresh tokens: each is good once, gives the next, and never more than was granted.

https://www.rfc-editor.org/rfc/rfc6749#section-6 · https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from fhir_server.app.accounts import accounts_of
from fhir_server.context import Tenant
from fhir_server.smart import members
from fhir_server.smart.authorize import Actor
from fhir_server.smart.members import Admin
from fhir_server.store import clients, opaque, people, sessions
from fhir_server.store.clients import Kind
from fhir_server.store.sessions import Start
from tests.apps import actor, app
from tests.fhir import Client
from tests.people import member

SCOPE = "launch/patient offline_access patient/Patient.rs patient/Observation.rs"


@pytest.fixture
async def physician(fhir: Client) -> Actor:
    return actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")


@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_each_use_gives_the_next_with_the_same_scopes_and_patient(
    fhir: Client, physician: Actor, kind: Kind
) -> None:
    asking = await app(fhir, kind)
    given = await asking.granted(physician, SCOPE)
    for echoed in (None, given["scope"]):
        answer = await asking.refresh(given["refresh_token"], scope=echoed)
        assert answer.headers["cache-control"] == "no-store"
        after = answer.json()
        assert (after["scope"], after["patient"], after["expires_in"]) == (given["scope"], "p1", 3600)
        assert after["refresh_token"] != given["refresh_token"]
        assert (await fhir.get("/Patient", token=after["access_token"])).status_code == 200
        given = after


async def test_a_token_that_was_used_takes_the_whole_family_with_it(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    first = await asking.granted(physician, SCOPE)
    second = (await asking.refresh(first["refresh_token"])).json()
    assert (await fhir.get("/Patient", token=second["access_token"])).status_code == 200
    again = await asking.refresh(first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await asking.refresh(second["refresh_token"])).status_code == 400
    for given in (first, second):
        assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401


async def test_of_many_who_use_it_at_once_one_gets_the_next_and_loses_it(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    answers = await asyncio.gather(*(asking.refresh(given["refresh_token"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    (after,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await asking.refresh(after["refresh_token"])).status_code == 400


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("patient/Patient.read", "patient/Patient.rs"),
        ("patient/Patient.r", "patient/Patient.r"),
        ("patient/*.rs", None),
        ("patient/Patient.cruds", None),
        ("patient/Patient.rs patient/Coverage.rs", None),
        ("user/Patient.rs", None),
        ("patient/Patient.rs openid", None),
    ],
)
async def test_a_refreshed_token_may_have_fewer_scopes_and_never_others(
    fhir: Client, physician: Actor, asked: str, granted: str | None
) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    answer = await asking.refresh(given["refresh_token"], scope=asked)
    if granted is None:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        after = (await asking.refresh(given["refresh_token"])).json()
    else:
        assert answer.json()["scope"] == granted
        after = (await asking.refresh(answer.json()["refresh_token"])).json()
    # What was narrowed for one token is not lost for the next.
    assert after["scope"] == given["scope"]


async def test_it_is_good_for_its_own_app_alone(fhir: Client, physician: Actor) -> None:
    asking, thief = await app(fhir), await app(fhir)
    given = await asking.granted(physician, SCOPE)
    for token in (given["refresh_token"], "random", given["access_token"]):
        answer = await thief.refresh(token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await asking.refresh("")).json()["error"] == "invalid_request"
    assert (await asking.refresh(given["refresh_token"])).status_code == 200


async def test_it_lasts_three_months_from_its_last_use(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    for _ in range(3):
        fhir.clock.move(timedelta(days=93))
        answer = await asking.refresh(given["refresh_token"])
        assert answer.status_code == 200, answer.text
        given = answer.json()
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    fhir.clock.move(timedelta(days=101))
    assert (await asking.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_it_gives_nothing_once_the_user_is_let_out_of_the_clinic(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    await people.disable(fhir.concord.db, physician.person, fhir.clock())
    assert (await asking.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_it_gives_nothing_once_the_app_is_disabled(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    await clients.disable(fhir.concord.db, fhir.tenant_id, asking.client_id, fhir.clock())
    answer = await asking.refresh(given["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_it_is_nothing_in_another_clinic(fhir: Client, other: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    there = await app(other)
    assert (await there.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_online_access_ends_with_the_sign_in_and_offline_access_does_not(fhir: Client) -> None:
    asking, person = await app(fhir), await member(fhir, "physician", "Practitioner/eva")
    start = Start(
        person=person.id, now=fhir.clock(), expires=fhir.clock() + timedelta(hours=8), verified=fhir.clock(),
        method="password", address=None, agent=None,
    )  # fmt: skip
    async with fhir.concord.db.transaction(None) as tx:
        session = opaque.hashed(sessions.begin(tx, start))
    signed_in = msgspec.structs.replace(actor(fhir, person), session=session)
    online = await asking.granted(signed_in, "user/*.rs online_access")
    offline = await asking.granted(signed_in, "user/*.rs offline_access")
    online = (await asking.refresh(online["refresh_token"])).json()
    async with fhir.concord.db.transaction(None) as tx:
        sessions.end(tx, session)
    assert (await asking.refresh(online["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await asking.refresh(offline["refresh_token"])).status_code == 200


@pytest.mark.parametrize("out", ["end-role", "disable"])
async def test_what_was_allowed_does_not_come_back_with_the_person(fhir: Client, out: str) -> None:
    accounts, admin = accounts_of(fhir.concord), Admin("ada", "tests", fhir.clock())
    asking, person = await app(fhir), await member(fhir, "physician", "Practitioner/eva")
    given = await asking.granted(actor(fhir, person), "user/*.rs offline_access")
    if out == "disable":
        await members.disable(accounts, admin, person)
        await members.enable(accounts, admin, person)
    else:
        tenant = Tenant(fhir.tenant_id, "clinic")
        await members.end_role(accounts, admin, tenant, person)
        await members.give_role(accounts, admin, tenant, person, "physician", "Practitioner/eva")
    fhir.clock.move(timedelta(seconds=2))
    assert (await asking.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401
