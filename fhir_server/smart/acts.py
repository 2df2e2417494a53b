"""Who may do what in the clinic beside FHIR: acts on cases, attorneys, releases and care, by role and scope."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fhir_server.context import Context, Grant, Role
from fhir_server.errors import Forbidden
from fhir_server.smart.scopes import covers


class Act(msgspec.Struct, frozen=True):
    """An act: the roles that may, and the type and interaction that a scope must cover."""

    says: str
    roles: frozenset[Role]
    type: str
    letter: str


_DESK: frozenset[Role] = frozenset(("clinic-admin", "biller", "front-desk"))
_INTAKE: frozenset[Role] = frozenset(("clinic-admin", "front-desk"))
_TREATING: frozenset[Role] = frozenset(("clinic-admin", "physician"))
_ADMIN: frozenset[Role] = frozenset(("clinic-admin",))

ACTS: Mapping[str, Act] = {
    "case.parties": Act("see the attorneys and releases of a case", _DESK | _TREATING, "EpisodeOfCare", "r"),
    "case.attorney": Act("name the attorneys of a case", _DESK, "EpisodeOfCare", "u"),
    "case.authorize": Act("record what a patient authorizes", _INTAKE, "Consent", "u"),
    "case.assign": Act("put records into a case", _DESK | _TREATING, "EpisodeOfCare", "u"),
    "record.release": Act("release records to attorneys, and withdraw them", _TREATING, "", "u"),
    "record.unlabel": Act("take away labels that protect", _TREATING, "", "u"),
    "care.see": Act("see who cares for whom", _INTAKE | _TREATING, "CareTeam", "r"),
    "care.assign": Act("assign patients to practitioners", _ADMIN, "CareTeam", "u"),
    "care.cover": Act("hand own patients to others for a time", _TREATING, "CareTeam", "u"),
}


def require(ctx: Context, act: str, resource_type: str = "") -> None:
    """Raise Forbidden where the one who asks may not do this act; `resource_type` where it is of any type.

    A person needs the role as of now and a user's scope, a client that acts for itself a system's scope.
    """
    found, grant = ACTS[act], ctx.grant
    kind = "system" if grant.member is None else "user"
    may = grant.purpose is None and (grant.member is None or grant.member.role in found.roles)
    scopes = covers(grant.scopes, found.type or resource_type, found.letter)
    if not may or not any(scope.context == kind and not scope.params for scope in scopes):
        raise Forbidden(f"you may not {found.says}")


def require_operator(grant: Grant, what: str, letter: str) -> Grant:
    """Return a grant that may see (`letter` r) or change (u) what is of no single type: `what`, messages or channels.

    A person is an administrator of the clinic, or sees in a support session; the scope is unlimited and of every type.
    Raises Forbidden.
    """
    supporting = grant.purpose == "SUPPORT" and letter == "r"
    if grant.member and not supporting and (grant.member.role != "clinic-admin" or grant.purpose is not None):
        raise Forbidden(f"{what} are for the administrators of a clinic")
    scopes = covers(grant.scopes, "*", letter)
    if not any(scope.type == "*" and scope.context != "patient" and not scope.params for scope in scopes):
        raise Forbidden(f"{what} need a token with system/*.{letter} or user/*.{letter}")
    return grant


def require_message_sender(grant: Grant) -> Grant:
    """Return a grant that may send HL7 messages: a service, with a scope to create MessageHeaders. Raises Forbidden.

    Which of them may send what is for the channels to say.
    """
    scopes = covers(grant.scopes, "MessageHeader", "c")
    if grant.member or grant.patient or not any(s.context == "system" and not s.params for s in scopes):
        raise Forbidden("messages are sent by services, with a token for system/MessageHeader.c")
    return grant
