"""Binary.securityContext: who may see what it refers to may see the Binary. http://hl7.org/fhir/R4/binary.html

It is no search parameter, so its keys stand under a salt of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from fhir_server.search.hashing import Hasher
from fhir_server.search.reference import REFERENCES, Place
from fhir_server.search.token import present
from fhir_server.search.tree import AllKeys, Not, Tree, Within

_NAME = "securityContext"


def secure(keys: set[int], place: Place, context: Any) -> int | None:
    """Add the keys of a securityContext, and return the self_key of the Patient that it names, if it names one."""
    salt = _salt(place.hasher, place.tenant_id)
    keys.update(found ^ salt for found in (present(place.hasher), *REFERENCES["Reference"](place, context)))
    target = place.local(context.reference) if context.reference is not UNSET else None
    return place.self_key(target) if target and target.type == "Patient" else None


def unsecured(hasher: Hasher, tenant_id: int) -> Tree:
    """Return what finds the Binaries without a securityContext."""
    return Not(AllKeys((present(hasher) ^ _salt(hasher, tenant_id),)))


def secured_by(hasher: Hasher, tenant_id: int, groups: Iterable[tuple[tuple[str, ...], Tree]]) -> Tree:
    """Return what finds the Binaries whose securityContext is one of these resources."""
    return Within(_salt(hasher, tenant_id), tuple(groups))


def _salt(hasher: Hasher, tenant_id: int) -> int:
    return hasher.salt(tenant_id, "Binary", _NAME)
