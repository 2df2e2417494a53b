"""Which process works on a ticket, known outside the transaction of the work: what kills its process is counted.

A ticket that is claimed is locked, so a row that another process has left for it tells that this process died at it.
The table is not logged: after a crash of PostgreSQL it is empty, and the count begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from fhir_server.store.database import Database, Tx
from fhir_server.store.tickets import Ticket

_BEGIN = """
insert into job_attempt (tenant_id, ticket, worker, deaths) select %s, ticket, %s, 0 from unnest(%s::bigint[]) ticket
on conflict do nothing returning ticket
"""
_AGAIN = """
insert into job_attempt as a (tenant_id, ticket, worker, deaths) values (%s, %s, %s, 0)
on conflict (tenant_id, ticket) do update
set deaths = a.deaths + (a.worker <> excluded.worker)::int, worker = excluded.worker returning deaths
"""
_END = "delete from job_attempt where tenant_id = %s and ticket = any(%s::bigint[])"


async def begin(db: Database, tickets: Sequence[Ticket], worker: UUID) -> bool:
    """Note that this process works on tickets of one tenant; False where another has died at one of them."""
    ids = [ticket.id for ticket in tickets]
    rows = await db.fetch_aside(_BEGIN, (tickets[0].tenant_id, worker, ids))
    if len(rows) < len(ids):
        await db.fetch_aside(_END, (tickets[0].tenant_id, [id_ for (id_,) in rows]))
    return len(rows) == len(ids)


async def again(db: Database, ticket: Ticket, worker: UUID) -> int:
    """Note that this process works on a ticket at which another has died, and return how many did."""
    rows = await db.fetch_aside(_AGAIN, (ticket.tenant_id, ticket.id, worker))
    return int(rows[0][0])


def end(tx: Tx, tickets: Sequence[Ticket]) -> None:
    """Queue that the work on tickets of one tenant has come to its end, good or bad."""
    tx.defer(_END, (tickets[0].tenant_id, [ticket.id for ticket in tickets]))


async def leave(db: Database, tickets: Sequence[Ticket]) -> None:
    """Note that this process lives, and that its work on these tickets was taken back."""
    await db.fetch_aside(_END, (tickets[0].tenant_id, [ticket.id for ticket in tickets]))
