"""What an app may ask for: an authorization request, checked before anybody is bothered with it.

https://hl7.org/fhir/smart-app-launch/app-launch.html#obtain-authorization-code
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fhir_server.smart.granting import app_scope
from fhir_server.smart.pkce import require_challenge
from fhir_server.smart.redirects import is_registered
from fhir_server.smart.refusal import Refusal
from fhir_server.store.clients import Client

Fields = Sequence[tuple[str, str]]
_LONGEST = 2048


class Asked(msgspec.Struct, frozen=True):
    """A request that is in order; `launch` is the handle of a launch from here."""

    state: str
    scope: str
    challenge: str
    nonce: str | None
    launch: str | None


def single(fields: Fields) -> tuple[dict[str, str], frozenset[str]]:
    """Return the fields by name, and the names of those that stand there more than once, whose values do not count."""
    found: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in fields:
        if name in found:
            repeated.add(name)
        found[name] = value
    return {name: value for name, value in found.items() if name not in repeated}, frozenset(repeated)


def require_redirect(client: Client | None, given: Mapping[str, str]) -> str:
    """Return where answers go; raise Refusal, to be shown and never sent there, where that is not known for certain."""
    if client is None or client.disabled is not None:
        raise Refusal("invalid_client", "client_id is that of no application registered here")
    address = given.get("redirect_uri", "")
    if not is_registered(address, client.redirect_uris):
        raise Refusal("invalid_request", "redirect_uri is none of the addresses registered for this application")
    return address


def checked(client: Client, given: Mapping[str, str], repeated: frozenset[str], base: str) -> Asked:
    """Return what the request asks for; raise Refusal, to be sent to the redirect URI."""
    if repeated:
        raise Refusal("invalid_request", f"{sorted(repeated)[0][:50]} stands there more than once")
    _require_kind(given)
    if given.get("aud", "").removesuffix("/") != base:
        raise Refusal("invalid_request", f"aud is needed: the FHIR base {base}")
    for name in ("state", "nonce"):
        if len(given.get(name, "")) > _LONGEST or "\0" in given.get(name, ""):
            raise Refusal("invalid_request", f"{name} has at most {_LONGEST} characters")
    if not given.get("state"):
        raise Refusal("invalid_request", "state is needed")
    challenge = require_challenge(given.get("code_challenge"), given.get("code_challenge_method"))
    scope = app_scope(given.get("scope", ""), client.scope)
    launch = given.get("launch") or None
    if (launch is not None) != ("launch" in scope.split()):
        raise Refusal("invalid_request", "the scope launch and the parameter launch belong together")
    return Asked(given["state"], scope, challenge, given.get("nonce"), launch)


def _require_kind(given: Mapping[str, str]) -> None:
    for name in ("request", "request_uri"):
        if name in given:
            raise Refusal("request_not_supported" if name == "request" else "request_uri_not_supported", name)
    if given.get("response_type") != "code":
        raise Refusal("unsupported_response_type", "response_type is code")
    if given.get("response_mode", "query") != "query":
        raise Refusal("invalid_request", "response_mode is query")
    if "none" in given.get("prompt", "").split():
        raise Refusal("interaction_required", "people are asked each time: prompt=none cannot be answered")
