"""Apps that people use, as tests play them: registered, they ask, a person agrees, they redeem the code."""

from __future__ import annotations

import base64
import json
import secrets
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from fhir_server.app.authorization import authorization_of
from fhir_server.context import Member, Role
from fhir_server.smart.assertion import TYPE
from fhir_server.smart.authorize import Actor, Step
from fhir_server.smart.pkce import challenge_of
from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients
from fhir_server.store.clients import Kind
from fhir_server.store.people import Person
from tests.fhir import Client

REDIRECT = "https://app.example.org/after"
LAUNCHED = "https://app.example.org/launch"
MOST = (
    "launch launch/patient launch/encounter openid fhirUser profile offline_access online_access"
    " patient/*.cruds user/*.cruds"
)
KID = "app-key"


@cache
def key() -> Any:
    """Make the apps' key once."""
    return ec.generate_private_key(ec.SECP384R1())


def jwks() -> dict[str, Any]:
    """Return its public part."""
    return {"keys": [{**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key().public_key())), "kid": KID}]}


class App:
    """An application registered with the clinic of `fhir`; `secret` is that of a symmetric one."""

    def __init__(self, fhir: Client, client_id: str, secret: str | None, kind: Kind) -> None:
        self.fhir, self.client_id, self.secret, self.kind = fhir, client_id, secret, kind
        self.oauth = fhir.base.removesuffix("/fhir") + "/oauth"
        self.verifier = secrets.token_urlsafe(48)
        self.redirect = REDIRECT

    def asks(self, scope: str = "launch/patient patient/*.rs", **changes: Any) -> list[tuple[str, str]]:
        """Return the fields of an authorization request; a field of None is left out, of a list repeated."""
        fields = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect,
            "scope": scope,
            "state": "a state",
            "aud": self.fhir.base,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        return [
            (name, one) for name, value in fields.items() if value is not None
            for one in (value if isinstance(value, list) else [value])
        ]  # fmt: skip

    def proof(self) -> dict[str, Any]:
        """Return what a request proves the app by: fields of the form, or the header of Basic."""
        if self.kind == "symmetric":
            basic = base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
            return {"headers": {"authorization": f"Basic {basic}"}, "data": {}}
        if self.kind == "public":
            return {"data": {"client_id": self.client_id}}
        now = int(self.fhir.clock().timestamp())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": f"{self.oauth}/token", "exp": now + 240}
        signed = jwt.encode({**claims, "jti": str(uuid4())}, key(), "ES384", {"kid": KID})
        return {"data": {"client_assertion_type": TYPE, "client_assertion": signed}}

    async def post(self, name: str, **fields: Any) -> httpx.Response:
        """Post a form to an endpoint of the authorization server; a field of None is left out."""
        proof = self.proof()
        data = {**proof.pop("data"), **fields}
        given = {name: value for name, value in data.items() if value is not None}
        return await self.fhir.http.post(f"{self.oauth}/{name}", data=given, **proof)

    async def redeem(self, code: str, **changes: Any) -> httpx.Response:
        """Redeem a code."""
        fields = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect,
            "code_verifier": self.verifier, **changes,
        }  # fmt: skip
        return await self.post("token", **fields)

    async def refresh(self, token: str, **changes: Any) -> httpx.Response:
        """Use a refresh token."""
        return await self.post("token", **{"grant_type": "refresh_token", "refresh_token": token, **changes})

    async def begins(self, scope: str, **changes: Any) -> str:
        """Ask, and return the handle by which the person answers."""
        location = await authorization_of(self.fhir.concord).begin(
            self.fhir.tenant_as_named(), self.asks(scope, **changes)
        )
        return query(location)["request"]

    async def code(
        self, actor: Actor, scope: str = "launch/patient patient/*.rs", patient: str | None = "p1",
        agreed: str | None = None, **changes: Any,
    ) -> str:  # fmt: skip
        """Return the code of an app that asked for `scope`, all of which, or `agreed`, this person has agreed to."""
        step = await self.answered(actor, await self.begins(scope, **changes), patient, agreed or scope)
        return query(step.location)["code"]

    async def answered(self, actor: Actor, handle: str, patient: str | None, agreed: str) -> Step:
        """Return the last step of a person who chooses and agrees."""
        server, tenant = authorization_of(self.fhir.concord), self.fhir.tenant_as_named()
        step = await server.step(tenant, handle, actor)
        if step.kind == "patient":
            step = await server.choose(tenant, handle, actor, patient=patient)
        if step.kind == "encounter":
            step = await server.choose(tenant, handle, actor, encounter=None)
        return await server.agree(tenant, handle, actor, agreed) if step.kind == "consent" else step

    async def granted(self, actor: Actor, scope: str = "launch/patient patient/*.rs", **more: Any) -> dict[str, Any]:
        """Return the token response of an app that this person agreed to."""
        answer = await self.redeem(await self.code(actor, scope, **more))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def app(fhir: Client, kind: Kind = "public", scope: str = MOST, **more: Any) -> App:
    """Register an application."""
    asked = Registration(
        name="An app", kind=kind, scope=scope, client_id=f"app-{uuid4()}",
        **{"redirect_uris": [REDIRECT], "jwks": jwks() if kind == "asymmetric" else None, **more},
    )  # fmt: skip
    client, secret = registered(asked, fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, client)
    return App(fhir, client.client_id, secret, kind)


def actor(fhir: Client, person: Person, role: Role | None = "physician", reference: str | None = None) -> Actor:
    """Return a person who is signed in."""
    member = Member(person.id, role, reference) if role else None
    return Actor(person.id, person.sub, person.name, member, b"session of the test", fhir.clock())


def query(address: str) -> dict[str, str]:
    """Return the query of an address."""
    return dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
