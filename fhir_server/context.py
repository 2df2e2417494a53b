"""The world of one request, passed in: who asks, in which tenant, and when."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Tenant(msgspec.Struct, frozen=True):
    """A clinic; `id` leads every row, `name` stands in every address."""

    id: int
    name: str


class Scope(msgspec.Struct, frozen=True):
    """One SMART v2 clinical scope; `interactions` is an ordered subset of `cruds`.

    https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
    """

    context: str
    type: str
    interactions: str


class Grant(msgspec.Struct, frozen=True):
    """What a verified token gives: a tenant, a subject, a client, scopes and a patient in context."""

    tenant: Tenant
    subject: str
    client: str
    scopes: tuple[Scope, ...]
    patient: str | None = None


class Context(msgspec.Struct, frozen=True):
    """Grant, moment and addresses of one request; `base` is the tenant's FHIR base without a final slash."""

    grant: Grant
    base: str
    now: datetime
    request_id: str

    @property
    def tenant(self) -> Tenant:
        """Return the one tenant this request may touch."""
        return self.grant.tenant
