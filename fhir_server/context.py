"""The world of one request, passed in: who asks, in which tenant, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec


def _escaped(text: str) -> str:
    return quote(text, safe=":/|,$_-.~")


class Tenant(msgspec.Struct, frozen=True):
    """A clinic; `id` leads every row, `name` stands in every address."""

    id: int
    name: str


class Scope(msgspec.Struct, frozen=True):
    """One SMART v2 clinical scope; `interactions` is an ordered subset of `cruds`, `params` narrow the type's rows.

    https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
    """

    context: str
    type: str
    interactions: str
    params: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """Return the scope as it stands in a token: RFC 6749 allows neither spaces nor quotes in it."""
        query = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in self.params)
        return f"{self.context}/{self.type}.{self.interactions}{'?' if query else ''}{query}"


Role = Literal["super-admin", "clinic-admin", "physician", "biller", "front-desk", "attorney"]


class Member(msgspec.Struct, frozen=True):
    """Who a person is in a clinic, as of now: `reference` is them in its records, such as Practitioner/123."""

    person: int
    role: Role
    reference: str | None = None


class Grant(msgspec.Struct, frozen=True):
    """What a verified token gives: a tenant, a subject, a client, scopes and what is in context.

    `member` is the person who acts, None where a client acts for itself or a patient for themselves. `id` is that of
    the oauth_grant by which the token stands and falls, `purpose` what the access is for where it is special.
    `consents` is False where it is known that no patient of the tenant denies anything. `key` is its signer's `kid`.
    """

    tenant: Tenant
    subject: str
    client: str
    scopes: tuple[Scope, ...]
    patient: str | None = None
    encounter: str | None = None
    member: Member | None = None
    id: str | None = None
    jti: str = ""
    purpose: Literal["BTG", "SUPPORT"] | None = None
    consents: bool = True
    key: str | None = None


class Note(msgspec.Struct, frozen=True):
    """One thing that a request saw, or was refused, for the audit; `outcome` is the HTTP status.

    `type` is the resource type's code, `patient` the self_key of the patient whose data it was. `kept` says that it is
    committed already.
    """

    action: str
    outcome: int = 200
    type: int | None = None
    id: str | None = None
    version: int | None = None
    patient: int | None = None
    query: bytes | None = None
    detail: dict[str, Any] | None = None
    kept: bool = False


class Context(msgspec.Struct, frozen=True):
    """Grant, moment and addresses of one request; `base` is the tenant's FHIR base without a final slash.

    `peer` is the address that it came from, `trail` what was seen so far; the door has it committed before it answers.
    `alone` is False for the entries of a bundle, of which what was seen is committed together.
    """

    grant: Grant
    base: str
    now: datetime
    request_id: str
    peer: str | None = None
    trail: list[Note] = []
    alone: bool = True

    @property
    def tenant(self) -> Tenant:
        """Return the one tenant this request may touch."""
        return self.grant.tenant


def fhir_base(base_url: str, tenant: Tenant) -> str:
    """Return the FHIR base of a tenant: issuer, audience and start of every link."""
    return f"{base_url}/{tenant.name}/fhir"


def oauth_address(base_url: str, tenant: Tenant, name: str) -> str:
    """Return the address of a tenant's authorization server called `name`: authorize, token, jwks …"""
    return f"{base_url}/{tenant.name}/oauth/{name}"
