"""Which of the scopes that are asked for are granted: never more than registered, than asked, than agreed to.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

from collections.abc import Iterable

from fhir_server.context import Scope
from fhir_server.errors import Invalid
from fhir_server.smart import granular
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import parse_scope, parse_scopes

# Scopes that name no data: who signs in, what is open at the launch, for how long, and asking about others' tokens.
IDENTITY = ("openid", "fhirUser", "profile")
LAUNCH = ("launch", "launch/patient", "launch/encounter")
REFRESH = ("offline_access", "online_access")
INTROSPECTION = "introspection"
_LETTERS = "cruds"
_Key = tuple[str, str, tuple[tuple[str, str], ...]]


def backend_scope(asked: str, registered: str) -> str:
    """Return the system scopes of `asked` that `registered` covers, as v2; raise Refusal where none is left."""
    texts = asked.split()
    if not texts:
        raise Refusal("invalid_scope", "scope is needed: system scopes, separated by spaces")
    for text in texts:
        scope = parse_scope(text)
        if (scope is None or scope.context != "system") and text != INTROSPECTION:
            raise Refusal("invalid_scope", f"{text[:100]!r} is not a system scope such as system/Patient.rs")
    return _required(shared(asked, registered))


def app_scope(asked: str, registered: str) -> str:
    """Return what an app for people may be granted of what it asks for; raise Refusal where no such scope is left."""
    texts = [text for text in asked.split() if not text.startswith("system/") and text != INTROSPECTION]
    if not texts:
        raise Refusal("invalid_scope", "scope is needed: scopes such as launch/patient and patient/*.rs")
    return _required(shared(" ".join(texts), registered))


def shared(one: str, other: str) -> str:
    """Return the scopes that both lists cover: clinical ones as v2, the others as they stand in `one`.

    Of scopes with parameters that differ the rows that both cover are left, so the parameters of both hold.
    """
    plain = [text for text in dict.fromkeys(one.split()) if parse_scope(text) is None and text in other.split()]
    found: dict[_Key, set[str]] = {}
    for left in parse_scopes(one):
        for right in parse_scopes(other):
            letters = set(left.interactions) & set(right.interactions)
            if letters and left.context == right.context and (name := _shared_type(left, right)):
                found.setdefault((left.context, name, _both(left, right)), set()).update(letters)
    scopes = [Scope(*key[:2], _ordered(letters), key[2]) for key, letters in found.items()]
    return " ".join([*plain, *(one.text for one in scopes if not any(_within(one, more) for more in scopes))])


def require_usable(rules: Rules, scope: str) -> str:
    """Return the scopes; raise Refusal where one narrows by what no row can be told by."""
    try:
        granular.check(rules, parse_scopes(scope))
    except Invalid as problem:
        raise Refusal("invalid_scope", str(problem)) from problem
    return scope


def _required(granted: str) -> str:
    if not granted:
        raise Refusal("invalid_scope", "this client is registered for none of these scopes")
    return granted


def _within(one: Scope, other: Scope) -> bool:
    """Tell whether a scope gives nothing that another, of fewer parameters, does not give."""
    same = (one.context, one.type) == (other.context, other.type) and set(one.interactions) <= set(other.interactions)
    return same and set(other.params) < set(one.params)


def _both(left: Scope, right: Scope) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({*left.params, *right.params}))


def _shared_type(one: Scope, other: Scope) -> str | None:
    if one.type == other.type or other.type == "*":
        return one.type
    return other.type if one.type == "*" else None


def _ordered(letters: Iterable[str]) -> str:
    return "".join(letter for letter in _LETTERS if letter in letters)
