"""What a grant may see, as a search tree that every query carries. One tree for reads, searches and counts.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

from fhir_server.context import Grant
from fhir_server.errors import Forbidden
from fhir_server.search.hashing import Hasher
from fhir_server.search.tree import Everything, Nothing, OfPatient, Tree
from fhir_server.smart.scopes import covers

# Types that belong to no patient and that a patient's app needs to understand the record.
SHARED = frozenset(
    ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "HealthcareService", "Endpoint")
)
_NAMES = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


def visible(grant: Grant, hasher: Hasher, resource_type: str, letter: str) -> Tree:
    """Return the tree of rows that the grant may touch by interaction `letter` (one of c r u d s).

    Raises Forbidden where no scope covers the type or the interaction.
    """
    allowed = covers(grant.scopes, resource_type, letter)
    if not allowed:
        raise Forbidden(f"no scope of this token allows to {_NAMES[letter]} {resource_type}")
    if any(scope.context != "patient" for scope in allowed):
        return Everything()
    if resource_type in SHARED:
        return Everything() if letter in "rs" else Nothing()
    if grant.patient is None:
        return Nothing()
    return OfPatient(hasher.self_key(grant.tenant.id, "Patient", grant.patient))


def may_hold(grant: Grant, hasher: Hasher, resource_type: str, patient: int | None, letter: str) -> bool:
    """Tell whether the grant may leave behind, by interaction `letter`, a resource of this patient (a self_key)."""
    allowed = covers(grant.scopes, resource_type, letter)
    if any(scope.context != "patient" for scope in allowed):
        return True
    if grant.patient is None or patient is None:
        return False
    return patient == hasher.self_key(grant.tenant.id, "Patient", grant.patient)
