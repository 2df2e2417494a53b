"""What a token is good for, told to those who may know, and its end, for those who hold it.

https://www.rfc-editor.org/rfc/rfc7662 · https://www.rfc-editor.org/rfc/rfc7009
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from fhir_server.smart.authorize import Actor
from fhir_server.store import people
from fhir_server.store.clients import Kind
from tests.apps import MOST, App, actor, app
from tests.fhir import Client
from tests.people import member

SCOPE = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs"
ACTIVE, INACTIVE = "active", {"active": False}


@pytest.fixture
async def physician(fhir: Client) -> Actor:
    return actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")


async def resource_server(fhir: Client, kind: Kind = "symmetric") -> App:
    return await app(fhir, kind, scope="introspection", redirect_uris=())


async def said(asking: App, token: str) -> dict[str, Any]:
    answer = await asking.post("introspect", token=token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
    return dict(answer.json())


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
async def test_an_active_token_is_told_with_its_context(fhir: Client, physician: Actor, kind: Kind) -> None:
    holder = await app(fhir)
    given = await holder.granted(physician, SCOPE)
    found = await said(await resource_server(fhir, kind), given["access_token"])
    identity = jwt.decode(given["id_token"], options={"verify_signature": False})
    assert found[ACTIVE] is True
    assert (found["client_id"], found["scope"], found["patient"]) == (holder.client_id, given["scope"], "p1")
    assert (found["iss"], found["sub"]) == (identity["iss"], identity["sub"])
    assert found["fhirUser"] == identity["fhirUser"]
    assert 0 < found["exp"] - int(fhir.clock().timestamp()) <= 3600


async def test_a_refresh_token_is_told_as_long_as_it_is_good(fhir: Client, physician: Actor) -> None:
    holder, server = await app(fhir), await resource_server(fhir)
    given = await holder.granted(physician, SCOPE)
    found = await said(server, given["refresh_token"])
    assert (found[ACTIVE], found["client_id"], found["patient"]) == (True, holder.client_id, "p1")
    await holder.refresh(given["refresh_token"])
    assert await said(server, given["refresh_token"]) == INACTIVE


async def test_what_is_not_active_is_told_with_nothing_else(fhir: Client, other: Client, physician: Actor) -> None:
    holder, server = await app(fhir), await resource_server(fhir)
    given = await holder.granted(physician, SCOPE)
    token = given["access_token"]
    elsewhere = await other.token("system/*.rs")
    for bad in ("x", "x.y.z", token[:-2] + "xx", given["id_token"], elsewhere, "a\0b", "x" * 20_000):
        assert await said(server, bad) == INACTIVE
    await people.disable(fhir.concord.db, physician.person, fhir.clock())
    fhir.clock.move(timedelta(seconds=2))
    assert await said(server, token) == INACTIVE
    assert await said(server, given["refresh_token"]) == INACTIVE


async def test_an_expired_token_is_not_active(fhir: Client, physician: Actor) -> None:
    holder, server = await app(fhir), await resource_server(fhir)
    token = (await holder.granted(physician, SCOPE))["access_token"]
    fhir.clock.move(timedelta(hours=2))
    assert await said(server, token) == INACTIVE


async def test_a_client_without_the_scope_is_told_of_its_own_tokens_alone(fhir: Client, physician: Actor) -> None:
    holder, another = await app(fhir, "symmetric"), await app(fhir, "symmetric")
    token = (await holder.granted(physician, SCOPE))["access_token"]
    assert (await said(holder, token))[ACTIVE] is True
    assert await said(another, token) == INACTIVE


async def test_a_resource_server_of_another_clinic_is_told_nothing(
    fhir: Client, other: Client, physician: Actor
) -> None:
    token = (await (await app(fhir)).granted(physician, SCOPE))["access_token"]
    assert await said(await resource_server(other), token) == INACTIVE


async def test_who_proves_nothing_is_told_nothing(fhir: Client, physician: Actor) -> None:
    public = await app(fhir)
    token = (await public.granted(physician, SCOPE))["access_token"]
    answers = [
        await public.post("introspect", token=token),
        await fhir.http.post(f"{public.oauth}/introspect", data={"token": token}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert "active" not in answer.text


async def bearing(fhir: Client, token: str, bearer: str) -> httpx.Response:
    address = fhir.base.removesuffix("/fhir") + "/oauth/introspect"
    return await fhir.http.post(address, data={"token": token}, headers={"authorization": f"Bearer {bearer}"})


async def test_a_bearer_token_with_the_scope_may_ask(fhir: Client, other: Client, physician: Actor) -> None:
    service = await app(fhir, "asymmetric", scope="introspection system/Patient.rs", redirect_uris=())
    answer = await service.post("token", grant_type="client_credentials", scope="introspection")
    bearer = answer.json()["access_token"]
    token = (await (await app(fhir)).granted(physician, SCOPE))["access_token"]
    assert (await bearing(fhir, token, bearer)).json()[ACTIVE] is True
    without = await bearing(fhir, token, token)
    assert (without.status_code, without.json()["error"]) == (403, "insufficient_scope")
    for bad in ("x", await other.token("system/*.rs")):
        refused = await bearing(fhir, token, bad)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_no_app_for_people_gets_the_scope(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir, "symmetric", scope=f"{MOST} introspection")
    given = await asking.granted(physician, "user/*.rs introspection")
    assert given["scope"] == "user/*.rs"


@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_a_token_that_is_given_back_ends_with_all_of_its_grant(
    fhir: Client, physician: Actor, kind: Kind, which: str
) -> None:
    asking = await app(fhir, kind)
    first = await asking.granted(physician, SCOPE)
    kept = await asking.granted(physician, SCOPE)
    second = (await asking.refresh(first["refresh_token"])).json()
    answer = await asking.post("revoke", token=second[which], token_type_hint="access_token")
    assert (answer.status_code, answer.content) == (200, b"")
    for given in (first, second):
        assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401
    assert (await asking.refresh(second["refresh_token"])).status_code == 400
    assert (await fhir.get("/Patient", token=kept["access_token"])).status_code == 200
    assert (await asking.post("revoke", token=second[which])).status_code == 200


async def test_an_expired_access_token_still_ends_its_grant(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    fhir.clock.move(timedelta(hours=2))
    assert (await asking.post("revoke", token=given["access_token"])).status_code == 200
    assert (await asking.refresh(given["refresh_token"])).status_code == 400


async def test_a_backend_service_gives_its_token_back(fhir: Client) -> None:
    service = await app(fhir, "asymmetric", scope="system/*.rs", redirect_uris=())
    token = (await service.post("token", grant_type="client_credentials", scope="system/*.rs")).json()["access_token"]
    assert (await fhir.get("/Patient", token=token)).status_code == 200
    assert (await service.post("revoke", token=token)).status_code == 200
    assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_nobody_ends_anothers_token(fhir: Client, other: Client, physician: Actor) -> None:
    asking, thief, there = await app(fhir), await app(fhir), await app(other)
    given = await asking.granted(physician, SCOPE)
    for token in (given["access_token"], given["refresh_token"]):
        answer = await thief.post("revoke", token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert (await there.post("revoke", token=token)).status_code == 200
    assert (await fhir.http.post(f"{asking.oauth}/revoke", data={"token": "x"})).status_code == 401
    assert (await asking.post("revoke")).json()["error"] == "invalid_request"
    assert (await asking.post("revoke", token="unknown")).status_code == 200
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    assert (await asking.refresh(given["refresh_token"])).status_code == 200


async def test_questions_and_ends_are_audited_without_the_tokens(fhir: Client, physician: Actor) -> None:
    holder, server = await app(fhir), await resource_server(fhir)
    given = await holder.granted(physician, SCOPE)
    await said(server, given["access_token"])
    await said(server, "x")
    await holder.post("revoke", token=given["access_token"])
    await fhir.http.post(f"{server.oauth}/introspect", data={"token": "x", "client_id": server.client_id})
    sql = "select action, outcome, detail from audit where client = any(%s) and action in ('introspect', 'revoke')"
    rows = await fhir.concord.db.fetch(fhir.tenant_id, sql + " order by id", ([holder.client_id, server.client_id],))
    told = [(action, outcome, (detail or {}).get("active")) for action, outcome, detail in rows]
    assert told == [
        ("introspect", 200, True), ("introspect", 200, False), ("revoke", 200, None), ("introspect", 401, None)
    ]  # fmt: skip
    assert given["access_token"] not in str(rows)
