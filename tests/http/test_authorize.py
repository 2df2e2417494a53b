"""How an app comes to a token: it asks, a person agrees, it redeems the code, once, and proves that it is the one.

https://hl7.org/fhir/smart-app-launch/app-launch.html
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fhir_server.app.authorization import authorization_of
from fhir_server.smart.authorize import Actor
from fhir_server.smart.pkce import challenge_of
from fhir_server.smart.refusal import Refusal
from fhir_server.store import clients, people
from fhir_server.store.clients import Kind
from tests.apps import App, actor, app, query
from tests.fhir import Client
from tests.people import member


@pytest.fixture
async def physician(fhir: Client) -> Actor:
    return actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")


async def begun(asking: App, fields: list[tuple[str, str]]) -> dict[str, str]:
    server = authorization_of(asking.fhir.concord)
    location = await server.begin(asking.fhir.tenant_as_named(), fields)
    return query(location) | {"to": location.partition("?")[0]}


@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_a_person_agrees_and_the_app_reads_what_was_agreed_to(fhir: Client, kind: Kind) -> None:
    await fhir.put("/Patient/p1", json={"resourceType": "Patient", "id": "p1"})
    admin = actor(fhir, await member(fhir, "clinic-admin"), "clinic-admin")
    given = await (await app(fhir, kind)).granted(admin, "launch/patient patient/Patient.rs patient/Coverage.read")
    assert (given["token_type"], given["expires_in"], given["patient"]) == ("bearer", 3600, "p1")
    assert given["scope"] == "launch/patient patient/Patient.rs patient/Coverage.rs"
    assert given["need_patient_banner"] is True
    assert "refresh_token" not in given
    assert "id_token" not in given
    token = given["access_token"]
    assert (await fhir.get("/Patient/p1", token=token)).status_code == 200
    assert (await fhir.get("/Observation", token=token)).status_code == 403


async def test_the_style_that_apps_are_given_is_json_for_everybody(fhir: Client, physician: Actor) -> None:
    given = await (await app(fhir)).granted(physician)
    answer = await fhir.http.get(given["smart_style_url"])
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["color_background"]


async def test_the_answer_goes_where_the_app_is_with_its_state_and_our_name(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir, redirect_uris=["https://app.example.org/after?kept=1"])
    asking.redirect = "https://app.example.org/after?kept=1"
    handle = await asking.begins("launch/patient patient/*.rs", state="+ & ü")
    found = query((await asking.answered(physician, handle, "p1", "patient/*.rs")).location)
    assert (found["kept"], found["state"], found["iss"]) == ("1", "+ & ü", fhir.base)
    assert (await asking.redeem(found["code"])).status_code == 200


async def test_what_the_person_does_not_agree_to_is_not_granted(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    scope = "launch/patient openid offline_access patient/Observation.rs patient/Condition.rs"
    given = await asking.granted(physician, scope, agreed="patient/Condition.rs patient/Coverage.rs")
    assert given["scope"] == "launch/patient openid patient/Condition.rs"
    assert "refresh_token" not in given
    refused = await asking.answered(physician, await asking.begins("launch/patient patient/*.rs"), "p1", "openid")
    assert query(refused.location)["error"] == "access_denied"


async def test_an_app_is_asked_about_no_scope_that_it_is_not_registered_for(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir, scope="launch/patient patient/Patient.rs user/*.rs")
    given = await asking.granted(physician, "launch/patient patient/*.cruds offline_access system/*.rs")
    assert given["scope"] == "launch/patient patient/Patient.rs"
    assert (await begun(asking, asking.asks("patient/Coverage.rs openid")))["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"aud": "https://inferno.healthit.gov/invalid_aud"}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"state": "x" * 5000}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"scope": "patient/Patient.sr"}, "invalid_scope"),
        ({"launch": "unknown"}, "invalid_request"),
        ({"scope": "launch patient/*.rs"}, "invalid_request"),
        ({"scope": "launch patient/*.rs", "launch": "unknown"}, "invalid_request"),
        ({"prompt": "none"}, "interaction_required"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://evil.example"}, "request_uri_not_supported"),
        ({"scope": ["patient/*.rs", "patient/*.rs"]}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"nonce": "a\0b"}, "invalid_request"),
    ],
)
async def test_a_request_that_is_not_in_order_goes_back_to_the_app_with_its_state(
    fhir: Client, changes: dict[str, Any], error: str
) -> None:
    asking = await app(fhir)
    found = await begun(asking, asking.asks(**changes))
    assert (found["to"], found["error"], found["iss"]) == (asking.redirect, error, fhir.base)
    assert found["error_description"]
    assert found.get("state") == ("a state" if changes.get("state", "") == "" else changes["state"])
    assert "code" not in found


async def test_a_state_that_stands_there_twice_is_not_sent_back(fhir: Client) -> None:
    asking = await app(fhir)
    found = await begun(asking, asking.asks(state=["one", "two"]))
    assert (found["error"], "state" in found) == ("invalid_request", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"}, {"client_id": None}, {"client_id": "a\0"}, {"redirect_uri": None},
        {"redirect_uri": "https://app.example.org/after/"}, {"redirect_uri": "https://app.example.org.evil.example/"},
        {"redirect_uri": "http://localhost:80@evil.example/"}, {"redirect_uri": "https://app.example.org/after#x"},
        {"redirect_uri": ["https://app.example.org/after", "https://evil.example/"]},
        {"client_id": ["one", "two"]},
    ],
)  # fmt: skip
async def test_nobody_is_sent_to_an_address_that_is_not_known_for_certain(
    fhir: Client, changes: dict[str, Any]
) -> None:
    asking = await app(fhir)
    with pytest.raises(Refusal):
        await begun(asking, asking.asks(**changes))


async def test_a_disabled_app_and_one_of_another_clinic_ask_nobody(fhir: Client, other: Client) -> None:
    asking = await app(fhir)
    with pytest.raises(Refusal):
        await authorization_of(fhir.concord).begin(other.tenant_as_named(), asking.asks(aud=other.base))
    found = await begun(asking, asking.asks(aud=other.base))
    assert found["error"] == "invalid_request"
    await clients.disable(fhir.concord.db, fhir.tenant_id, asking.client_id, fhir.clock())
    with pytest.raises(Refusal):
        await begun(asking, asking.asks())


async def test_a_request_belongs_to_who_answers_it_first_and_is_answered_once(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    server, tenant = authorization_of(fhir.concord), fhir.tenant_as_named()
    handle = await asking.begins("launch/patient patient/*.rs")
    assert (await server.step(tenant, handle, physician)).kind == "patient"
    another = actor(fhir, await member(fhir, "physician"))
    with pytest.raises(Refusal):
        await server.step(tenant, handle, another)
    assert (await server.choose(tenant, handle, physician, patient="p1")).asked.patient == "p1"
    assert (await server.choose(tenant, handle, physician, patient="p2")).asked.patient == "p1"
    answers = await asyncio.gather(
        *(server.agree(tenant, handle, physician, "patient/*.rs") for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Refusal"] * 3 + ["Step"]
    with pytest.raises(Refusal):
        await server.step(tenant, "no such handle", physician)


async def test_a_person_may_refuse_and_a_stranger_to_the_clinic_is_refused(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    server, tenant = authorization_of(fhir.concord), fhir.tenant_as_named()
    refused = await server.refuse(tenant, await asking.begins("user/*.rs"), physician)
    assert (query(refused.location)["error"], query(refused.location)["state"]) == ("access_denied", "a state")
    stranger = actor(fhir, await people.add(fhir.concord.db, f"{asking.client_id}@x.org", "S", fhir.clock()), None)
    step = await server.step(tenant, await asking.begins("user/*.rs"), stranger)
    assert (step.kind, query(step.location)["error"]) == ("done", "access_denied")


async def test_who_is_a_patient_here_is_the_only_patient_of_their_apps(fhir: Client) -> None:
    person = actor(fhir, await member(fhir, "physician", "Patient/own"), "physician", "Patient/own")
    given = await (await app(fhir)).granted(person, "launch/patient patient/*.rs", patient="another")
    assert given["patient"] == "own"


async def test_a_request_is_over_after_its_time(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    handle = await asking.begins("user/*.rs")
    fhir.clock.move(timedelta(hours=1))
    with pytest.raises(Refusal):
        await authorization_of(fhir.concord).step(fhir.tenant_as_named(), handle, physician)


@pytest.mark.parametrize("verifier", [None, "", "x" * 43, "the challenge", "é" * 43, "x" * 200])
async def test_only_the_verifier_of_the_challenge_redeems_a_code(
    fhir: Client, physician: Actor, verifier: str | None
) -> None:
    asking = await app(fhir)
    code = await asking.code(physician)
    wrong = challenge_of(asking.verifier) if verifier == "the challenge" else verifier
    answer = await asking.redeem(code, code_verifier=wrong)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await asking.redeem(code)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "unknown"}, {"redirect_uri": None}, {"redirect_uri": "https://app.example.org/"},
        {"redirect_uri": "https://app.example.org/after?"},
    ],
)  # fmt: skip
async def test_a_code_is_good_for_the_app_and_the_address_it_was_sent_to(
    fhir: Client, physician: Actor, changes: dict[str, Any]
) -> None:
    asking = await app(fhir)
    code = await asking.code(physician)
    answer = await asking.redeem(**{"code": code, **changes})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    thief = await app(fhir)
    thief.verifier = asking.verifier
    assert (await thief.redeem(code)).json()["error"] == "invalid_grant"
    assert (await asking.redeem(code)).status_code == 200


async def test_a_code_that_comes_twice_takes_back_all_that_it_gave(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician, "launch/patient patient/*.rs offline_access")
    given = (await asking.redeem(code)).json()
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    again = await asking.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401
    assert (await asking.refresh(given["refresh_token"])).status_code == 400


async def test_of_many_who_bring_a_code_at_once_one_gets_a_token_and_loses_it(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician)
    answers = await asyncio.gather(*(asking.redeem(code) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    (token,) = [answer.json()["access_token"] for answer in answers if answer.status_code == 200]
    assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_a_code_is_good_for_a_minute(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician)
    fhir.clock.move(timedelta(seconds=61))
    assert (await asking.redeem(code)).json()["error"] == "invalid_grant"


async def test_a_code_gives_nothing_to_who_was_let_out_meanwhile(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician)
    await people.disable(fhir.concord.db, physician.person, fhir.clock())
    assert (await asking.redeem(code)).json()["error"] == "invalid_grant"


async def test_codes_tokens_and_handles_are_nowhere_in_the_database(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician, "launch/patient patient/*.rs offline_access")
    given = (await asking.redeem(code)).json()
    handle = await asking.begins("user/*.rs")
    for table in ("oauth_code", "oauth_refresh", "oauth_request", "oauth_grant", "oauth_client", "audit"):
        sql = f"select convert_to(t::text, 'UTF8')::text || t::text from {table} t where tenant_id = %s"
        text = str(await fhir.concord.db.fetch(fhir.tenant_id, sql, (fhir.tenant_id,)))
        assert len(text) > 20
        for secret in (code, given["refresh_token"], given["access_token"], handle, asking.verifier):
            assert secret not in text
            assert secret.encode().hex() not in text
