"""What patients have denied, as a leaf of the permission tree: asked of every row, in the query itself.

https://profiles.ihe.net/ITI/PCF/ · http://terminology.hl7.org/ValueSet/v3-PurposeOfUse

A Consent itself is not closed by what it says, since who keeps the consents must see them; roles and scopes say who.
What is created is not looked at: a result of a patient who denies is still collected.
"""

from __future__ import annotations

from collections.abc import Mapping

from conformance.r4 import facts
from fhir_server.context import Context, Role
from fhir_server.search.consent import TYPE
from fhir_server.search.hashing import Hasher
from fhir_server.search.ownership import BESIDE
from fhir_server.search.tree import Consented, Everything, Tree

# What somebody of a role asks for, where nothing else is said.
PURPOSES: Mapping[Role, tuple[str, ...]] = {
    "super-admin": ("SYSADMIN",),
    "clinic-admin": ("HOPERAT", "HSYSADMIN"),
    "physician": ("TREAT", "CAREMGT", "COC"),
    "biller": ("HPAYMT", "CLMATTCH", "COVAUTH"),
    "front-desk": ("HOPERAT", "PATADMIN"),
    "attorney": ("HLEGAL",),
}
_EMERGENCY = ("BTG", "ETREAT", "TREAT")
_OF_PATIENTS = frozenset((*facts.compartments()["Patient"], *BESIDE, "Patient")) - {TYPE}


def consented(ctx: Context, hasher: Hasher, resource_type: str, letter: str) -> Tree:
    """Return the rows whose patients do not deny them to the one who asks, for what they are asked for."""
    grant = ctx.grant
    if not grant.consents or letter == "c" or resource_type not in _OF_PATIENTS:
        return Everything()
    emergency = grant.purpose == "BTG"
    purposes = None if grant.member is None else _EMERGENCY if emergency else PURPOSES[grant.member.role]
    actors, by_role = _who(ctx, hasher)
    return Consented(actors, by_role, purposes, ctx.now, emergency)


def _who(ctx: Context, hasher: Hasher) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """Return the keys of who asks, and by what the roles of a practitioner are found and name an organization."""
    tenant, member = ctx.tenant.id, ctx.grant.member
    kind, _, name = (member.reference or "").partition("/") if member else ("", "", "")
    if not name:
        return (), None
    key = hasher.self_key(tenant, kind, name)
    if kind != "Practitioner":
        return (key,), None
    role = "PractitionerRole"
    return (key,), (key ^ hasher.salt(tenant, role, "practitioner"), hasher.salt(tenant, role, "organization"))
