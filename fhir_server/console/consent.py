"""What a person is asked before an app gets anything, as values, and the scopes that their answer stands for.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from fhir_server.console.words import CATEGORY, KINDS, categories, narrowed, title
from fhir_server.context import Scope
from fhir_server.smart.granting import REFRESH
from fhir_server.smart.scopes import parse_scopes

_SEEING, _CHANGING = "rs", "cud"
_VERBS = {"c": "add", "u": "change", "d": "delete"}
Fields = Sequence[tuple[str, str]]


class Kind(msgspec.Struct, frozen=True):
    """A part of a type, or of everything, that may be agreed to alone, by these scopes."""

    words: str
    scopes: tuple[str, ...]


class Part(msgspec.Struct, frozen=True):
    """One scope as it is asked about: what may be seen (`sees`), what done to it (`changes`, `verbs`), as scopes.

    `key` names its fields in the form, `only` is what the app narrowed it to, `kinds` what the person may narrow it to.
    """

    key: str
    context: str
    title: str
    only: str
    sees: str
    changes: str
    verbs: str
    kinds: tuple[Kind, ...]


class Consent(msgspec.Struct, frozen=True):
    """All that an app asks for; `refresh` is the scope by which it would keep its access."""

    parts: tuple[Part, ...]
    identity: bool
    refresh: Literal["", "offline_access", "online_access"]

    def of(self, context: str) -> tuple[Part, ...]:
        """Return the parts about one patient (`patient`), or about all that the person may see (`user`)."""
        return tuple(part for part in self.parts if part.context == context)


def consent_of(scope: str) -> Consent:
    """Return what these scopes ask a person for."""
    plain = scope.split()
    parts = tuple(_part(str(number), one) for number, one in enumerate(parse_scopes(scope)))
    refresh = next((name for name in REFRESH if name in plain), "")
    identity = any(name in plain for name in ("openid", "fhirUser", "profile"))
    return Consent(parts, identity, refresh)  # type: ignore[arg-type]


def answered(consent: Consent, fields: Fields) -> str:
    """Return the scopes that a form agrees to: what is not ticked is not agreed to."""
    scopes = [text for part in consent.parts for text in _agreed(part, fields)]
    if consent.refresh and ("refresh", "yes") in fields:
        scopes.append(consent.refresh)
    return " ".join(dict.fromkeys(scopes))


def described(scope: str) -> list[str]:
    """Return each scope of a grant as a line for people: what may be seen or done, and to what."""
    return [_line(part) for part in consent_of(scope).parts]


def _agreed(part: Part, fields: Fields) -> Iterator[str]:
    see = dict(fields).get(f"see-{part.key}")
    if part.sees and see == "all":
        yield part.sees
    if see == "some":
        ticked = {value for name, value in fields if name == f"kind-{part.key}"}
        for number, kind in enumerate(part.kinds):
            if str(number) in ticked:
                yield from kind.scopes
    if part.changes and (f"change-{part.key}", "yes") in fields:
        yield part.changes


def _part(key: str, scope: Scope) -> Part:
    sees, changes = _only(scope, _SEEING), _only(scope, _CHANGING)
    verbs = [_VERBS[letter] for letter in scope.interactions if letter in _VERBS]
    only = narrowed(scope.type, scope.params)
    kinds = tuple(_kinds(scope)) if sees and not only else ()
    return Part(key, scope.context, title(scope.type), only, sees, changes, _listed(verbs), kinds)


def _only(scope: Scope, letters: str) -> str:
    """Return the scope with no more than these interactions, "" where it has none of them."""
    found = "".join(letter for letter in scope.interactions if letter in letters)
    return msgspec.structs.replace(scope, interactions=found).text if found else ""


def _kinds(scope: Scope) -> Iterator[Kind]:
    if scope.type == "*":
        for words, types in categories().items():
            yield Kind(words, tuple(_only(msgspec.structs.replace(scope, type=name), _SEEING) for name in types))
    for value, words in KINDS.get(scope.type, {}).items():
        narrow = msgspec.structs.replace(scope, params=((CATEGORY, value),))
        yield Kind(words, (_only(narrow, _SEEING),))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _line(part: Part) -> str:
    verbs = " and ".join(filter(None, ("see" if part.sees else "", part.verbs)))
    return f"{part.title}{f': {part.only}' if part.only else ''} ({verbs})"
