"""How we sign in to FHIR servers of others. A definition names secrets; the secrets themselves never stand in one.

https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

import re

from adapters.web import Refused, origin
from conformance.issue import Issue
from fhir_server.operations.part import Part, wrong

_SECRET = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_LONGEST = 255


class Backend(Part, frozen=True, tag="backend", tag_field="kind"):
    """A backend service of SMART: the tenant's own key signs, the other server reads its public part at our JWKS.

    `token_url` is needed where the server's SMART configuration does not name an endpoint of its own origin.
    """

    client_id: str
    scope: str = "system/*.rs"
    token_url: str | None = None


class Basic(Part, frozen=True, tag="basic", tag_field="kind"):
    """A name and a password; `secret` is the name of the secret that holds the password."""

    user: str
    secret: str


class Bearer(Part, frozen=True, tag="bearer", tag_field="kind"):
    """A token that was given to us; `secret` is the name of the secret that holds it."""

    secret: str


SignIn = Backend | Basic | Bearer


def secrets_of(given: SignIn | None) -> tuple[str, ...]:
    """Return the names of the secrets that signing in needs."""
    return (given.secret,) if isinstance(given, Basic | Bearer) else ()


def problems(path: str, given: SignIn | None) -> list[Issue]:
    """Return what is wrong with it; `path` is where it stands below the channel."""
    found = []
    for name in secrets_of(given):
        if not _SECRET.match(name):
            text = f"{name[:80]!r} is no name of a secret: the secret itself never stands in a definition"
            found.append(wrong(f"{path}.secret", text))
    if isinstance(given, Backend):
        found += _backend(path, given)
    if isinstance(given, Basic) and (":" in given.user or not _printable(given.user)):
        found.append(wrong(f"{path}.user", "1 to 255 characters, without a colon"))
    return found


def _backend(path: str, given: Backend) -> list[Issue]:
    found = []
    if not _printable(given.client_id):
        found.append(wrong(f"{path}.client_id", "1 to 255 characters"))
    if not _printable(given.scope):
        found.append(wrong(f"{path}.scope", "such as system/*.rs"))
    try:
        origin(given.token_url or "https://none.example")
    except Refused as problem:
        found.append(wrong(f"{path}.token_url", str(problem)))
    return found


def _printable(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable()
