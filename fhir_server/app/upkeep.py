"""What a serving process looks after beside its requests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from fhir_server.app.accounts import forget_old
from fhir_server.app.alerts import watch_of
from fhir_server.app.concord import Concord
from fhir_server.app.pollers import poll
from fhir_server.errors import Busy, Conflict
from fhir_server.operations.message_retention import retain
from fhir_server.operations.queueing import Retention
from fhir_server.store import sealer, tenants, tickets
from fhir_server.store.message_retention import Gone
from fhir_server.store.partitions import ensure_days

log = structlog.get_logger(__name__)


async def keep(concord: Concord) -> None:
    """Look after all of it, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_days(concord))
        group.create_task(keep_sealed(concord))
        group.create_task(poll(concord))
        group.create_task(watch_of(concord).keep())


async def keep_sealed(concord: Concord) -> None:
    """Seal the audit of every tenant, again and again, until cancelled."""
    while True:
        try:
            for tenant in await tenants.all_of(concord.db):
                await sealer.seal(concord.db, tenant.id, concord.clock())
        except (Busy, Conflict):
            log.warning("the audit was not sealed; the next look does it", database="busy")
        except Exception:
            log.exception("the audit could not be sealed")
        await asyncio.sleep(concord.settings.audit_seal_seconds)


async def keep_days(concord: Concord, every: float = 3600.0) -> None:
    """Make coming days' partitions and let old messages go, sweep the object store, forget old sessions: for ever."""
    while True:
        try:
            await ensure_days(concord.db, concord.clock().date())
            await sweep(concord)
            await forget_old(concord)
            await tickets.clear_guards(concord.db, concord.clock() - timedelta(hours=1))
            await retain_messages(concord)
        except Busy:
            log.warning("upkeep not done; the next look does it", database="busy")
        except Exception:
            # Whatever it is, what the others look after goes on, and the next look tries again.
            log.exception("upkeep not done; the next look does it")
        await asyncio.sleep(every)


async def retain_messages(concord: Concord, *, really: bool = True) -> list[Gone]:
    """Let messages go whose time is over, and tell which; without `really` only tell."""
    given = concord.settings
    rest = Retention(days=given.message_days, buried=max(given.buried_days, given.message_days))
    return await retain(concord.db, await tenants.all_of(concord.db), rest, concord.clock(), really=really)


async def sweep(concord: Concord) -> int:
    """Take away contents that no write came to use within the grace, and tell how many."""
    found = await tenants.all_of(concord.db)
    before = concord.clock() - timedelta(seconds=concord.settings.object_grace)
    return await concord.service.objects.sweep([tenant.id for tenant in found], before)
