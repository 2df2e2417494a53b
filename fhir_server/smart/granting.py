"""Which of the scopes that a client asks for it is granted: never more than it is registered for.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

from fhir_server.context import Scope
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.scopes import parse_scope, parse_scopes

_LETTERS = "cruds"


def backend_scope(asked: str, registered: str) -> str:
    """Return the system scopes of `asked` that `registered` covers, as v2; raise Refusal where none is left."""
    texts = asked.split()
    if not texts:
        raise Refusal("invalid_scope", "scope is needed: system scopes, separated by spaces")
    for text in texts:
        scope = parse_scope(text)
        if scope is None or scope.context != "system":
            raise Refusal("invalid_scope", f"{text[:100]!r} is not a system scope such as system/Patient.rs")
    granted: dict[str, set[str]] = {}
    for one in parse_scopes(asked):
        for most in parse_scopes(registered):
            if most.context == "system" and (shared := _shared_type(one, most)):
                granted.setdefault(shared, set()).update(set(one.interactions) & set(most.interactions))
    found = [f"system/{name}.{_ordered(letters)}" for name, letters in granted.items() if letters]
    if not found:
        raise Refusal("invalid_scope", "this client is registered for none of these scopes")
    return " ".join(found)


def _shared_type(one: Scope, other: Scope) -> str | None:
    if one.type == other.type or other.type == "*":
        return one.type
    return other.type if one.type == "*" else None


def _ordered(letters: set[str]) -> str:
    return "".join(letter for letter in _LETTERS if letter in letters)
