"""What a grant may do, said: each type with its interactions, and the rules by which. No row is looked at.

What is told here depends on the grant alone, so that it tells nobody what there is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from conformance.structures import STORABLE
from fhir_server.context import Context, Role
from fhir_server.errors import Forbidden
from fhir_server.search.tree import Nothing
from fhir_server.smart.policy import Rules, visible
from fhir_server.smart.roles import RULES
from fhir_server.smart.scopes import covers

_LETTERS = "cruds"
_GLASS = "one patient's record in an emergency, but for what guarded labels close"


class Permission(msgspec.Struct, frozen=True):
    """A rule by which the grant reaches rows of some types; `says` is how far."""

    rule: str
    types: list[str]
    interactions: str
    says: str


class Permissions(msgspec.Struct, frozen=True):
    """Who asks, and what they may do; of a type `interactions` is an ordered subset of cruds."""

    subject: str
    client: str
    role: Role | None
    reference: str | None
    purpose: str | None
    patient: str | None
    scopes: list[str]
    rules: list[Permission]
    interactions: Mapping[str, str]


def permissions(ctx: Context, rules: Rules) -> Permissions:
    """Return what the grant of a request may do."""
    grant = ctx.grant
    found = {name: "".join(x for x in _LETTERS if _may(ctx, rules, name, x)) for name in STORABLE}
    return Permissions(
        subject=grant.subject,
        client=grant.client,
        role=grant.member.role if grant.member else None,
        reference=grant.member.reference if grant.member else None,
        purpose=grant.purpose,
        patient=grant.patient,
        scopes=[scope.text for scope in grant.scopes],
        rules=ways(ctx),
        interactions={name: letters for name, letters in found.items() if letters},
    )


def _may(ctx: Context, rules: Rules, resource_type: str, letter: str) -> bool:
    try:
        return not isinstance(visible(ctx, rules, resource_type, letter), Nothing)
    except Forbidden:
        return False


def ways(ctx: Context, resource_type: str | None = None) -> list[Permission]:
    """Return the rules by which a grant reaches rows, of a type or of any, as far as its scopes cover them."""
    contexts = {scope.context for scope in ctx.grant.scopes}
    found = [_scoped(ctx, "system", "every row of the clinic")] if "system" in contexts else []
    if "patient" in contexts and ctx.grant.patient:
        found.append(_scoped(ctx, "patient", f"what is of Patient/{ctx.grant.patient}, and what records share"))
    if "user" in contexts and ctx.grant.purpose == "BTG":
        found.append(_scoped(ctx, "user", _GLASS, "break-glass"))
    elif "user" in contexts and ctx.grant.member:
        found += [
            Permission(rule.name, types, letters, rule.says)
            for rule in RULES
            if ctx.grant.member.role in rule.roles
            and (types := [name for name in sorted(rule.types) if _covered(ctx, name)])
            and (letters := "".join(x for x in _LETTERS if x in rule.letters and _covered(ctx, types[0], x)))
        ]
    return [one for one in found if resource_type is None or "*" in one.types or resource_type in one.types]


def _covered(ctx: Context, resource_type: str, letters: str = _LETTERS) -> bool:
    return any(
        scope.context == "user" for letter in letters for scope in covers(ctx.grant.scopes, resource_type, letter)
    )


def _scoped(ctx: Context, context: str, says: str, rule: str = "") -> Permission:
    own = [scope for scope in ctx.grant.scopes if scope.context == context]
    letters = "".join(x for x in _LETTERS if any(x in scope.interactions for scope in own))
    return Permission(rule or f"{context} scopes", sorted({scope.type for scope in own}), letters, says)
