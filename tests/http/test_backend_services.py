"""SMART Backend Services: a signed assertion gets a short-lived token, and every forgery of one is refused.

https://hl7.org/fhir/smart-app-launch/backend-services.html
The assertions are made with PyJWT: another implementation than the server's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fhir_server.smart.assertion import TYPE, require_jwks
from fhir_server.store import clients
from fhir_server.store.clients import Client as Registered
from tests.fhir import Client

RSA, EC = "rsa-key", "ec-key"


@cache
def private(kid: str) -> Any:
    """Make each key once for the module: an RSA key takes a while."""
    return rsa.generate_private_key(65537, 2048) if kid == RSA else ec.generate_private_key(ec.SECP384R1())


def public(kid: str, key: Any = None) -> dict[str, Any]:
    found = (key or private(kid)).public_key()
    algorithm = jwt.algorithms.RSAAlgorithm if kid == RSA else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(found)), "kid": kid}


class Service:
    """A backend service registered with one tenant."""

    def __init__(self, fhir: Client, client_id: str) -> None:
        self.fhir, self.client_id = fhir, client_id
        self.endpoint = fhir.base.removesuffix("/fhir") + "/oauth/token"

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.fhir.clock().timestamp())
        made = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.endpoint,
            "exp": now + 240,
            "jti": str(uuid4()),
        }
        return {name: value for name, value in {**made, **changes}.items() if value is not None}

    def assertion(self, kid: str = EC, algorithm: str = "", headers: Any = None, **changes: Any) -> str:
        chosen = algorithm or {RSA: "RS384", EC: "ES384"}[kid]
        return jwt.encode(self.claims(**changes), private(kid), chosen, {"kid": kid, **(headers or {})})

    async def ask(self, assertion: str, scope: str = "system/*.rs", **changes: Any) -> httpx.Response:
        form = {"grant_type": "client_credentials", "scope": scope, "client_assertion_type": TYPE}
        fields = {**form, "client_assertion": assertion, **changes}
        given = {name: value for name, value in fields.items() if value is not None}
        return await self.fhir.http.post(self.endpoint, data=given)


async def registered(fhir: Client, scope: str = "system/*.rs", *kids: str) -> Service:
    client_id = f"service-{uuid4()}"
    jwks = require_jwks({"keys": [public(kid) for kid in kids or (RSA, EC)]})
    await clients.add(fhir.concord.db, fhir.tenant_id, Registered(client_id, "Reports", scope, jwks, fhir.clock()))
    return Service(fhir, client_id)


def refused(answer: httpx.Response, code: str, status: int) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "access_token" not in answer.text


@pytest.mark.parametrize("kid", [RSA, EC])
async def test_an_assertion_gets_a_token_that_does_what_was_granted_and_no_more(fhir: Client, kid: str) -> None:
    service = await registered(fhir)
    answer = await service.ask(service.assertion(kid))
    assert answer.status_code == 200
    given = answer.json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("bearer", 300, "system/*.rs")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    token = given["access_token"]
    assert (await fhir.get("/Patient", token=token)).status_code == 200
    assert (await fhir.post("/Patient", json={"resourceType": "Patient"}, token=token)).status_code == 403


async def test_the_token_can_be_verified_with_the_published_keys_and_names_the_client(fhir: Client) -> None:
    service = await registered(fhir)
    token = (await service.ask(service.assertion())).json()["access_token"]
    published = (await fhir.http.get(service.endpoint.removesuffix("token") + "jwks")).json()
    assert all("d" not in key for key in published["keys"])
    keys = {key["kid"]: jwt.PyJWK(key) for key in published["keys"]}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=fhir.base, issuer=fhir.base)
    assert claims["client_id"] == claims["sub"] == service.client_id
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("system/*.cruds", "system/Observation.cru system/Patient.rs"),
        ("system/Patient.read", "system/Patient.rs"),
        ("system/Patient.rs system/Coverage.rs", "system/Patient.rs"),
        ("system/Observation.c system/Observation.d", "system/Observation.c"),
    ],
)
async def test_no_scope_is_granted_beyond_what_is_registered(fhir: Client, asked: str, granted: str) -> None:
    service = await registered(fhir, "system/Patient.rs system/Observation.cru")
    answer = (await service.ask(service.assertion(), asked)).json()
    assert sorted(answer["scope"].split()) == granted.split()


@pytest.mark.parametrize("asked", ["", "system/Coverage.rs", "patient/*.rs", "user/*.rs", "system/*.sr", "openid", "x"])
async def test_scopes_that_cannot_be_granted_are_invalid_scope(fhir: Client, asked: str) -> None:
    service = await registered(fhir, "system/Patient.rs")
    refused(await service.ask(service.assertion(), asked), "invalid_scope", 400)


async def test_an_assertion_is_good_for_one_token_whoever_asks_at_the_same_time(fhir: Client) -> None:
    service = await registered(fhir)
    assertion = service.assertion()
    answers = await asyncio.gather(*(service.ask(assertion) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [200] + [401] * 7
    refused(await service.ask(assertion), "invalid_client", 401)


async def test_what_expired_is_forgotten_and_still_refused(fhir: Client) -> None:
    service = await registered(fhir)
    assertion = service.assertion()
    assert (await service.ask(assertion)).status_code == 200
    fhir.clock.move(timedelta(minutes=6))
    try:
        refused(await service.ask(assertion), "invalid_client", 401)
        assert (await service.ask(service.assertion())).status_code == 200
        sql = "select count(*) from oauth_assertion where client_id = %s"
        assert await fhir.concord.db.fetch(fhir.tenant_id, sql, (service.client_id,)) == [(1,)]
    finally:
        fhir.clock.move(timedelta(minutes=-6))


Forge = Callable[[Service], str]
FORGERIES: dict[str, Forge] = {
    "alg none": lambda s: jwt.encode(s.claims(), None, "none", {"kid": EC}),
    "HS256 with the public key": lambda s: hs256(s, json.dumps(public(RSA))),
    "RS256": lambda s: s.assertion(RSA, "RS256"),
    "ES256": lambda s: jwt.encode(s.claims(), ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": EC}),
    "another key": lambda s: jwt.encode(s.claims(), ec.generate_private_key(ec.SECP384R1()), "ES384", {"kid": EC}),
    "the key of another kid": lambda s: jwt.encode(s.claims(), private(EC), "ES384", {"kid": RSA}),
    "an embedded jwk": lambda s: own_key(s),
    "a foreign jku": lambda s: s.assertion(headers={"jku": "https://evil.example/jwks"}),
    "x5u": lambda s: s.assertion(headers={"x5u": "https://evil.example/cert"}),
    "an unknown crit": lambda s: s.assertion(headers={"crit": ["b64"], "b64": True}),
    "no kid": lambda s: jwt.encode(s.claims(), private(EC), "ES384"),
    "kid as a path": lambda s: jwt.encode(s.claims(), private(EC), "ES384", {"kid": "../../etc/passwd"}),
    "kid as SQL": lambda s: jwt.encode(s.claims(), private(EC), "ES384", {"kid": "' or 1=1 --"}),
    "another typ": lambda s: s.assertion(headers={"typ": "at+jwt"}),
    "another audience": lambda s: s.assertion(aud="https://evil.example/token"),
    "the FHIR base as audience": lambda s: s.assertion(aud=s.fhir.base),
    "another tenant's audience": lambda s: s.assertion(aud=s.endpoint.replace(s.fhir.tenant, "somebody")),
    "no audience": lambda s: s.assertion(aud=None),
    "iss is not sub": lambda s: s.assertion(iss="somebody"),
    "no jti": lambda s: s.assertion(jti=None),
    "an endless jti": lambda s: s.assertion(jti="x" * 300),
    "a jti with NUL": lambda s: s.assertion(jti="a\0b"),
    "a jti that is a number": lambda s: s.assertion(jti=None, jit=1),
    "no exp": lambda s: s.assertion(exp=None),
    "exp past": lambda s: s.assertion(exp=int(s.fhir.clock().timestamp()) - 1),
    "exp in ten minutes": lambda s: s.assertion(exp=int(s.fhir.clock().timestamp()) + 600),
    "nbf in the future": lambda s: s.assertion(nbf=int(s.fhir.clock().timestamp()) + 120),
    "iat in the future": lambda s: s.assertion(iat=int(s.fhir.clock().timestamp()) + 120),
    "an unknown client": lambda s: s.assertion(iss="nobody", sub="nobody"),
    "a client id with NUL": lambda s: s.assertion(iss="a\0", sub="a\0"),
    "a tampered payload": lambda s: tampered(s.assertion()),
    "no JWT": lambda s: "x.y.z",
    "too long": lambda s: s.assertion(more="x" * 20_000),
    "deep": lambda s: f"{b64(b'{' * 5000)}.{b64(b'[' * 5000)}.x",
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(service: Service, secret: str) -> str:
    """Sign by hand: the library refuses to do such a thing."""
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT", "kid": RSA}).encode())
    signed = f"{head}.{b64(json.dumps(service.claims()).encode())}"
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def own_key(service: Service) -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    return jwt.encode(service.claims(), key, "ES384", {"kid": EC, "jwk": public(EC, key)})


def tampered(assertion: str) -> str:
    head, body, signature = assertion.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{b64(json.dumps({**claims, 'jti': 'other'}).encode())}.{signature}"


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_assertion_is_invalid_client(fhir: Client, name: str) -> None:
    service = await registered(fhir)
    refused(await service.ask(FORGERIES[name](service)), "invalid_client", 401)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"client_assertion_type": "x"}, "invalid_request"),
        ({"client_assertion_type": None}, "invalid_request"),
        ({"client_assertion": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": ["system/*.rs", "system/*.rs"]}, "invalid_request"),
    ],
)
async def test_a_request_that_lacks_something_is_refused_in_oauths_words(
    fhir: Client, changes: dict[str, Any], code: str
) -> None:
    service = await registered(fhir)
    refused(await service.ask(service.assertion(), **changes), code, 400)


async def test_other_bodies_than_a_small_form_are_refused(fhir: Client) -> None:
    service = await registered(fhir)
    refused(await fhir.http.post(service.endpoint, json={"grant_type": "client_credentials"}), "invalid_request", 400)
    form = {"content-type": "application/x-www-form-urlencoded"}
    for content in (b"a=" + b"x" * 100_000, b"a=%ff%fe\xff", b"&".join(b"a%d=1" % n for n in range(100))):
        answer = await fhir.http.post(service.endpoint, content=content, headers=form)
        refused(answer, "invalid_request", 400)


async def test_a_disabled_client_gets_no_more_tokens(fhir: Client) -> None:
    service = await registered(fhir)
    assert await clients.disable(fhir.concord.db, fhir.tenant_id, service.client_id, fhir.clock())
    refused(await service.ask(service.assertion()), "invalid_client", 401)


async def test_a_client_of_one_tenant_is_nobody_in_another(fhir: Client, other: Client) -> None:
    service = await registered(fhir)
    there = Service(other, service.client_id)
    refused(await there.ask(there.assertion()), "invalid_client", 401)
    assert await clients.by_id(other.concord.db, other.tenant_id, service.client_id) is None
    token = (await service.ask(service.assertion())).json()["access_token"]
    assert (await other.get("/Patient", token=token)).status_code == 403


async def test_every_token_and_every_refusal_is_audited_without_the_assertion(fhir: Client) -> None:
    service = await registered(fhir)
    await service.ask(service.assertion())
    await service.ask(service.assertion(aud="https://evil.example"))
    sql = "select outcome, subject, detail from audit where client = %s order by id"
    rows = await fhir.concord.db.fetch(fhir.tenant_id, sql, (service.client_id,))
    (given, subject, told), refusal = rows
    assert (given, subject, told["scope"]) == (200, service.client_id, "system/*.rs")
    assert sorted(told) == ["grant", "scope"]
    assert refusal == (401, service.client_id, {"error": "invalid_client"})


@pytest.mark.parametrize("accept", ["*/*", "application/fhir+xml", "text/html"])
async def test_discovery_is_json_for_everybody_whatever_they_accept(fhir: Client, accept: str) -> None:
    answer = await fhir.get("/.well-known/smart-configuration", token=None, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["access-control-allow-origin"] == "*"
    found = answer.json()
    assert found["token_endpoint"] == fhir.base.removesuffix("/fhir") + "/oauth/token"
    assert found["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert "client-confidential-asymmetric" in found["capabilities"]
    assert "plain" not in found["code_challenge_methods_supported"]


async def test_metadata_names_the_token_endpoint_in_the_oauth_uris_extension(fhir: Client) -> None:
    security = (await fhir.get("/metadata", token=None)).json()["rest"][0]["security"]
    (uris,) = security["extension"]
    assert uris["url"].endswith("/oauth-uris")
    assert {"url": "token", "valueUri": fhir.base.removesuffix("/fhir") + "/oauth/token"} in uris["extension"]


def unfit(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    key = public(EC)
    return {"keys": [change(key) or key]}


@pytest.mark.parametrize(
    ("jwks", "word"),
    [
        ([], "JWK set"),
        ({"keys": []}, "JWK set"),
        ({"keys": [{}]}, "kid"),
        (unfit(lambda k: k.pop("kid") and None), "kid"),
        (unfit(lambda k: k.update(d="x")), "private"),
        (unfit(lambda k: k.update(kty="oct", k="x")), "private"),
        (unfit(lambda k: k.update(x="x")), "cannot be read"),
        ({"keys": [public(EC), public(EC)]}, "same kid"),
        ({"keys": [public(RSA, rsa.generate_private_key(65537, 1024))]}, "2048"),
        (unfit(lambda k: {**public(EC, ec.generate_private_key(ec.SECP256R1())), "kid": "a"}), "P-384"),
    ],
)
def test_keys_that_could_not_verify_anything_are_refused_when_they_are_registered(jwks: Any, word: str) -> None:
    with pytest.raises(Exception, match=word):
        require_jwks(jwks)
