"""Every route beside FHIR's, as the framework knows them, and which of them answer without a sign-in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fhir_server.http.front import Front

# What answers whoever asks, and why that tells nothing of anybody.
OPEN: dict[str, str] = {
    "/healthz": "that the process runs",
    "/readyz": "that the database answers",
    "/metrics": "figures of the process and of channels, by name",
    "/openapi.json": "the description of the API",
    "/console/{name}": "styles and scripts of the pages",
    "/login": "the form to sign in",
    "/login/second": "sends whoever gave no password back to it",
    "/login/enrol": "the same",
    "/logout": "ends the session there is",
    "/invitation": "asks for the secret of a link",
    "/{tenant}/oauth/jwks": "public keys",
    "/{tenant}/oauth/style.json": "colours",
    "/{tenant}/oauth/authorize": "begins a sign-in",
    "/{tenant}/oauth/token": "asks for a proof of its own",
    "/{tenant}/oauth/introspect": "asks for a proof of its own",
    "/{tenant}/oauth/revoke": "asks for a proof of its own",
    "/{tenant}/documents/{address}": "asks for an address that was made of a document",
}
# What a patient's token may ask for beside the records: what the same scopes show it over FHIR.
OF_PATIENTS = frozenset((("GET", "/{tenant}/api/cases"), ("GET", "/{tenant}/api/me/permissions")))
# Enough for each route to come to the question who asks.
_BODY = {
    "email": "x@example.org",
    "reference": "Observation/two",
    "references": ["Observation/two"],
    "practitioner": "Practitioner/nobody",
    "patient": "Patient/two",
    "kind": "assigned",
    "expires": "2099-01-01T00:00:00Z",
    "role": "lead",
    "name": "x",
    "state": "paused",
    "client_id": "x",
    "reason": "because of a test",
    "codes": ["PSYTHPN"],
    "justified": True,
}
QUERY = "patient=Patient/two"
_NAMED = re.compile(r"\{(\w+)(?::\w+)?\}")
# What stands in the place of a parameter; any other gets a number, which is a name as well.
_VALUES = {"id_": "one", "id": "one", "type": "Observation", "name": "x"}


def _pages(front: Front) -> Any:
    """Return the framework's application, behind whatever stands before it."""
    found: Any = front._pages
    while not hasattr(found, "routes"):
        found = found._pages
    return found


def routes(front: Front) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route."""
    for route in _flat(_pages(front).routes):
        for method in sorted(set(route.methods or ()) - {"HEAD"}):
            yield method, route.path


def _flat(given: Any) -> Iterator[Any]:
    for route in given:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _flat(inner.routes)
        else:
            yield route


def body_of(front: Front, method: str, path: str) -> bytes:
    """Return a body that a route takes: of what it declares, what has a value here."""
    described = _pages(front).openapi()
    asked = described["paths"].get(path, {}).get(method.lower(), {}).get("requestBody", {})
    schema = asked.get("content", {}).get("application/json", {}).get("schema", {})
    named = described.get("components", {}).get("schemas", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    known = {name: declared for name, declared in named.get("properties", {}).items() if name in _BODY}
    return json.dumps({name: _value(_BODY[name], declared) for name, declared in known.items()}).encode()


def _value(given: Any, declared: Any) -> Any:
    """Return a value as a property takes it: an id where a reference would not fit its pattern."""
    return given.rpartition("/")[2] if "pattern" in json.dumps(declared) and isinstance(given, str) else given


def filled(path: str, tenant: str) -> str:
    """Return an address of a route."""
    return _NAMED.sub(lambda found: tenant if found[1] == "tenant" else _VALUES.get(found[1], "1"), path)
