"""Codes, launches, refresh tokens and assertions: N17 to N21. The attacks on tokens are made with PyJWT.

https://www.rfc-editor.org/rfc/rfc9700 (best current practice for the security of OAuth 2.0)
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fhir_server.app.authorization import authorization_of
from fhir_server.smart.authorize import Actor
from fhir_server.smart.pkce import challenge_of
from fhir_server.smart.refusal import Refusal
from fhir_server.store import people
from tests.apps import App, actor, app, query
from tests.fhir import Client, running
from tests.http.test_backend_services import FORGERIES, registered
from tests.people import member

SCOPE = "launch/patient offline_access patient/Patient.rs patient/Observation.rs"


@pytest.fixture
async def physician(fhir: Client) -> Actor:
    return actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")


async def begun(asking: App, **changes: Any) -> dict[str, str]:
    """Return the query of where an authorization request is sent back to; raise Refusal where to nowhere."""
    server = authorization_of(asking.fhir.concord)
    return query(await server.begin(asking.fhir.tenant_as_named(), asking.asks(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "S512"},
        {"code_challenge_method": None},
        {"code_challenge_method": ["S256", "plain"]},
    ],
)
async def test_n17_no_code_is_given_without_a_challenge_by_s256(fhir: Client, changes: dict[str, Any]) -> None:
    found = await begun(await app(fhir), **changes)
    assert found["error"] == "invalid_request"
    assert not {"code", "request"} & set(found)


async def test_n17_a_code_is_worth_nothing_without_its_verifier(fhir: Client, physician: Actor) -> None:
    for kind in ("public", "symmetric", "asymmetric"):
        asking = await app(fhir, kind)  # type: ignore[arg-type]
        code = await asking.code(physician)
        for verifier in (
            None,
            "",
            "y" * 43,
            challenge_of(asking.verifier),
            asking.verifier + "x",
            asking.verifier[:-1],
        ):
            answer = await asking.redeem(code, code_verifier=verifier)
            assert answer.status_code == 400, (kind, verifier)
            assert "access_token" not in answer.text
        assert (await asking.redeem(code)).status_code == 200


async def test_n18_a_code_that_is_replayed_takes_the_family_with_it(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    code = await asking.code(physician, SCOPE)
    given = (await asking.redeem(code)).json()
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    assert (await asking.redeem(code)).status_code == 400
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401
    assert (await asking.refresh(given["refresh_token"])).status_code == 400


REDIRECTS = [
    "https://app.example.org/after/",
    "https://app.example.org/after?x=1",
    "https://app.example.org/after/../evil",
    "https://app.example.org/after%2f..%2fevil",
    "https://app.example.org.evil.example/after",
    "https://evil.example/?https://app.example.org/after",
    "https://app.example.org@evil.example/after",
    "http://localhost:80@evil.example/",
    "https://app.example.org/after#fragment",
    "https://app.example.org:444/after",
    "http://app.example.org/after",
    "HTTPS://APP.EXAMPLE.ORG/AFTER",
    "//app.example.org/after",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize("address", REDIRECTS)
async def test_n18_nobody_is_sent_to_an_address_that_is_not_registered(
    fhir: Client, physician: Actor, address: str
) -> None:
    asking = await app(fhir)
    with pytest.raises(Refusal):
        await begun(asking, redirect_uri=address)
    with pytest.raises(Refusal):  # nor on an error
        await begun(asking, redirect_uri=address, response_type="token", scope="nonsense")
    code = await asking.code(physician)
    assert (await asking.redeem(code, redirect_uri=address)).json()["error"] == "invalid_grant"


async def test_n18_a_code_is_worth_nothing_to_another_app(fhir: Client, physician: Actor) -> None:
    asking, thief = await app(fhir), await app(fhir)
    code = await asking.code(physician)
    thief.verifier = asking.verifier
    assert (await thief.redeem(code)).json()["error"] == "invalid_grant"
    assert (await thief.redeem(code, client_id=asking.client_id, code_verifier="x" * 43)).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None},
        {"aud": ""},
        {"aud": "https://inferno.healthit.gov/invalid_aud"},
        {"aud": "the other"},
        {"aud": "a prefix"},
        {"aud": "a suffix"},
        {"launch": "unknown", "scope": "launch patient/*.rs"},
        {"scope": "launch patient/*.rs"},
        {"scope": ["patient/*.rs", "patient/*.rs"]},
        {"response_type": ["code", "code"]},
    ],
)
async def test_n19_an_audience_a_launch_or_a_field_that_is_wrong_gets_no_code(
    fhir: Client, other: Client, changes: dict[str, Any]
) -> None:
    named = {"the other": other.base, "a prefix": fhir.base[:-1], "a suffix": f"{fhir.base}.evil.example"}
    if changes.get("aud") in named:
        changes = {"aud": named[changes["aud"]]}
    found = await begun(await app(fhir), **changes)
    assert found["error"] == "invalid_request"
    assert not {"code", "request"} & set(found)


async def test_n19_two_states_are_none_and_a_state_comes_back_as_it_was(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    found = await begun(asking, state=["one", "two"])
    assert (found["error"], "state" in found) == ("invalid_request", False)
    evil = "x&code=stolen#<script>\n"
    handle = await asking.begins("launch/patient patient/*.rs", state=evil)
    back = query((await asking.answered(physician, handle, "p1", "patient/*.rs")).location)
    assert back["state"] == evil
    assert back["code"] != "stolen"


async def test_n20_a_refresh_token_that_was_used_ends_its_family(fhir: Client, physician: Actor) -> None:
    asking, thief = await app(fhir), await app(fhir)
    first = await asking.granted(physician, SCOPE)
    assert (await thief.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    second = (await asking.refresh(first["refresh_token"])).json()
    assert (await asking.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await asking.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    for given in (first, second):
        assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401


@pytest.mark.parametrize("wider", ["patient/*.rs", "patient/Patient.cruds", "user/Patient.rs", "system/*.rs", "openid"])
async def test_n20_a_refreshed_token_is_never_wider(fhir: Client, physician: Actor, wider: str) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    assert (await asking.refresh(given["refresh_token"], scope=wider)).json()["error"] == "invalid_scope"


async def test_n20_nothing_is_left_to_an_app_once_its_user_is_let_out(fhir: Client, physician: Actor) -> None:
    asking = await app(fhir)
    given = await asking.granted(physician, SCOPE)
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 200
    await people.disable(fhir.concord.db, physician.person, fhir.clock())
    fhir.clock.move(timedelta(seconds=2))
    assert (await fhir.get("/Patient", token=given["access_token"])).status_code == 401
    assert (await asking.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("name", FORGERIES)
async def test_n21_a_forged_assertion_gets_no_token(fhir: Client, name: str) -> None:
    service = await registered(fhir)
    answer = await service.ask(FORGERIES[name](service))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_n21_an_assertion_is_good_for_one_token_in_all_processes(fhir: Client, server_dsn: str) -> None:
    """A second server on the same database, as a second worker is one."""
    service = await registered(fhir)
    async with running(server_dsn, base_url=fhir.concord.base_url) as (second, _):
        elsewhere = service.endpoint.replace(fhir.concord.base_url, f"http://127.0.0.1:{second.settings.port}")
        assertion = service.assertion()
        form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion": assertion}
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        places = [service.endpoint, elsewhere] * 4
        answers = await asyncio.gather(*(fhir.http.post(place, data=form) for place in places))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


TOKENS: dict[str, Any] = {
    "alg none": lambda c, h: jwt.encode(c, None, "none", h),
    "HS256 by a guessed secret": lambda c, h: jwt.encode(c, "secret" * 8, "HS256", h),
    "a key of its own": lambda c, h: jwt.encode(c, ec.generate_private_key(ec.SECP256R1()), "ES256", h),
    "an embedded key": lambda c, h: embedded(c, h),
    "a foreign jku": lambda c, h: jwt.encode(
        c, ec.generate_private_key(ec.SECP256R1()), "ES256", h | {"jku": "https://e"}
    ),
    "another kid": lambda c, h: jwt.encode(c, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "../../x"}),
    "kid as SQL": lambda c, h: jwt.encode(c, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "' or '1'='1"}),
    "another curve": lambda c, h: jwt.encode(c, ec.generate_private_key(ec.SECP384R1()), "ES384", h),
}


def embedded(claims: dict[str, Any], headers: dict[str, Any]) -> str:
    """Return a token that brings its key along."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return jwt.encode(claims, key, "ES256", headers | {"jwk": public})


@pytest.mark.parametrize("name", TOKENS)
async def test_n21_a_forged_access_token_opens_nothing(fhir: Client, name: str) -> None:
    genuine = await fhir.token("system/*.cruds")
    header = jwt.get_unverified_header(genuine)
    claims = jwt.decode(genuine, options={"verify_signature": False})
    forged = TOKENS[name](claims | {"scope": "system/*.cruds"}, {"kid": header["kid"]})
    answer = await fhir.get("/Patient", token=forged)
    assert answer.status_code == 401
    assert answer.json()["resourceType"] == "OperationOutcome"
    api = fhir.base.removesuffix("/fhir") + "/api/messages"
    assert (await fhir.http.get(api, headers={"authorization": f"Bearer {forged}"})).status_code == 401
