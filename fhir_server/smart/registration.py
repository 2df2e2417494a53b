"""Which applications may be registered: what each kind of client brings, and what it may never have.

https://hl7.org/fhir/smart-app-launch/app-launch.html#support-for-public-and-confidential-apps
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.errors import Invalid
from fhir_server.smart.assertion import require_jwks
from fhir_server.smart.granting import IDENTITY, INTROSPECTION, LAUNCH, REFRESH
from fhir_server.smart.granular import check
from fhir_server.smart.redirects import origin_of, require_address, require_origin, require_redirect_uri
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import parse_scope, parse_scopes
from fhir_server.store import clients, opaque
from fhir_server.store.clients import Client, Kind
from fhir_server.store.database import Database

_OF_APPS = (*IDENTITY, *LAUNCH, *REFRESH)
_MOST_ADDRESSES = 20
_LONGEST = 255


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: see Client; `origins` are those beside the origins of the redirect URIs."""

    name: str
    kind: Kind
    scope: str
    client_id: str | None = None
    redirect_uris: Sequence[str] = ()
    launch_uri: str | None = None
    jwks: Any = None
    jwks_uri: str | None = None
    origins: Sequence[str] = ()


async def register(
    db: Database, tenant_id: int, rules: Rules, asked: Registration, now: datetime
) -> tuple[Client, str | None]:
    """Register a client and return it, with its secret as `registered`; raise Invalid, or Conflict for a known id."""
    client, secret = registered(asked, now)
    check(rules, parse_scopes(client.scope))
    await clients.add(db, tenant_id, client)
    return client, secret


def registered(asked: Registration, now: datetime) -> tuple[Client, str | None]:
    """Return the client, and the secret of a symmetric one, which is kept nowhere. Raises Invalid, saying why."""
    _require_scopes(asked)
    _require_keys(asked)
    redirects = [require_redirect_uri(uri, native=asked.kind == "public") for uri in asked.redirect_uris]
    if len(redirects) > _MOST_ADDRESSES or len(asked.origins) > _MOST_ADDRESSES:
        raise Invalid(f"a client has at most {_MOST_ADDRESSES} redirect URIs and as many origins")
    secret = opaque.new() if asked.kind == "symmetric" else None
    client = Client(
        client_id=_client_id(asked.client_id),
        name=_name(asked.name),
        scope=" ".join(dict.fromkeys(asked.scope.split())),
        jwks=require_jwks(asked.jwks) if asked.jwks is not None else None,
        created=now,
        kind=asked.kind,
        jwks_uri=require_address(asked.jwks_uri, "address of a key set") if asked.jwks_uri else None,
        secret_hash=opaque.hashed(secret) if secret else None,
        redirect_uris=redirects,
        launch_uri=require_address(asked.launch_uri, "launch address") if asked.launch_uri else None,
        origins=_origins(asked, redirects),
    )
    return client, secret


def _require_scopes(asked: Registration) -> None:
    texts = asked.scope.split()
    clinical = {text: parse_scope(text) for text in texts}
    for text, scope in clinical.items():
        if scope is None and text not in (*_OF_APPS, INTROSPECTION):
            raise Invalid(f"{text[:100]!r} is no scope such as patient/*.rs, system/Patient.rs or openid")
    contexts = {scope.context for scope in clinical.values() if scope}
    of_app = bool(contexts & {"patient", "user"}) or any(text in _OF_APPS for text in texts)
    if not texts:
        raise Invalid("a client needs scopes: the most that it may be granted")
    if "system" in contexts and asked.kind != "asymmetric":
        raise Invalid("system scopes are for asymmetric clients: who acts for itself proves by a key who it is")
    if INTROSPECTION in texts and asked.kind == "public":
        raise Invalid("introspection is for clients that prove who they are, not for public ones")
    if of_app != bool(asked.redirect_uris):
        raise Invalid("an app for people has redirect URIs and scopes for them; a backend service has neither")
    if asked.launch_uri and "launch" not in texts:
        raise Invalid("an app that is launched from here has a launch address and the scope launch")


def _require_keys(asked: Registration) -> None:
    given = (asked.jwks is not None) + bool(asked.jwks_uri)
    if given != (asked.kind == "asymmetric"):
        raise Invalid("an asymmetric client has a key set or the address of one, other clients have neither")


def _client_id(given: str | None) -> str:
    made = given or str(uuid.uuid4())
    # A colon ends the id where it is sent with a secret (RFC 7617).
    if len(made) > _LONGEST or not (made.isascii() and made.isprintable()) or ":" in made:
        raise Invalid(f"a client_id has 1 to {_LONGEST} plain characters, no colon among them")
    return made


def _name(given: str) -> str:
    if not 0 < len(given.strip()) <= _LONGEST or not given.isprintable():
        raise Invalid(f"the name of a client has 1 to {_LONGEST} printable characters")
    return given.strip()


def _origins(asked: Registration, redirects: Sequence[str]) -> list[str]:
    found = [origin_of(uri) for uri in (*redirects, asked.launch_uri) if uri]
    return sorted({origin for origin in found if origin} | {require_origin(origin) for origin in asked.origins})
