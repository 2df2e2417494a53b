"""Which resources are drafts, by status, and a document by its docStatus too, which is no search parameter of R4.

http://hl7.org/fhir/R4/documentreference-definitions.html#DocumentReference.docStatus
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_server.search.hashing import Hasher
from fhir_server.search.tree import AnyKey, Everything, Not, Tree

DOC_STATUS = "docStatus"
_NEVER = ("entered-in-error", "preliminary")
# Of each type that is signed: the parameter that tells, and the codes by which it is not, or was withdrawn.
_DRAFTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Composition": ("status", _NEVER),
    "DiagnosticReport": ("status", ("cancelled", "entered-in-error", "partial", "preliminary", "registered")),
    "DocumentReference": (DOC_STATUS, _NEVER),
    "Observation": ("status", ("cancelled", "entered-in-error", "preliminary", "registered")),
}


def doc_status(hasher: Hasher, tenant_id: int, code: str) -> int:
    """Return the key under which a document's docStatus stands."""
    return hasher.token(tenant_id, "DocumentReference", DOC_STATUS, None, code)


def signed(hasher: Hasher, tenant_id: int, resource_type: str) -> Tree:
    """Return what leaves the drafts of a type out; everything of a type that nobody signs."""
    if resource_type not in _DRAFTS:
        return Everything()
    param, codes = _DRAFTS[resource_type]
    return Not(AnyKey(tuple(hasher.token(tenant_id, resource_type, param, None, code) for code in codes)))
