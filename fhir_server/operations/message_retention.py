"""How long messages are kept: as their channel says, otherwise as the settings do; what goes is told and audited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from fhir_server.context import Tenant
from fhir_server.operations.queueing import Retention
from fhir_server.store import audit, channels, message_retention
from fhir_server.store.audit import Audited
from fhir_server.store.channels import StoredChannel
from fhir_server.store.database import Database
from fhir_server.store.message_retention import Gone, Limit

log = structlog.get_logger(__name__)


async def retain(
    db: Database, tenants: Iterable[Tenant], rest: Retention, now: datetime, *, really: bool = True
) -> list[Gone]:
    """Let messages go whose time is over, and tell which; without `really` only tell. Raises errors.Busy."""
    limits = {
        (tenant.id, one.name): _limit(_of(one), rest, now)
        for tenant in tenants
        for one in await channels.all_of(db, tenant.id)
    }
    least = _limit(Retention(), rest, now)
    newest = max(one.others for one in (*limits.values(), least))
    told: list[Gone] = []
    for day in await message_retention.days(db, min(newest.date(), now.date() - timedelta(days=1))):
        found = await message_retention.retain(db, day, limits, least, really=really)
        if really:
            await _tell(db, found, now)
        told += [one for one in found if one.gone]
    return told


def _of(channel: StoredChannel) -> Retention:
    given = channel.definition.get("retention", {})
    return Retention(days=given.get("days"), buried=given.get("buried"))


def _limit(own: Retention, rest: Retention, now: datetime) -> Limit:
    """Return the limits of a channel: what waits for a person is kept no shorter than the rest."""
    assert rest.days is not None
    assert rest.buried is not None
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = own.days if own.days is not None else rest.days
    waiting = own.buried if own.buried is not None else max(rest.buried, days)
    return Limit(today - timedelta(days=days), today - timedelta(days=waiting))


async def _tell(db: Database, found: list[Gone], now: datetime) -> None:
    by_tenant: dict[int, dict[str, int]] = {}
    for one in found:
        if one.gone:
            by_tenant.setdefault(one.tenant_id, {})[one.state] = one.gone
    for tenant_id, states in by_tenant.items():
        told = {"day": found[0].day.isoformat(), **states}
        row = Audited(at=now, action="message-retain", subject=None, client="concord", outcome=200, detail=told)
        async with db.transaction(tenant_id) as tx:
            audit.record(tx, [row])
        if states.keys() & {"buried", "quarantined"}:
            log.warning("messages that waited for a person are gone: their time was over", tenant=tenant_id)
