"""The database as the rest of the program sees it: one statement in a tenant, or a transaction of several.

The tenant is set in the same round trip as the statement it protects; unset, row-level security shows no rows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import lookup

from fhir_server import errors
from fhir_server.store import opening, vital
from fhir_server.store.keyring import PLAIN_HEAD, Keyring
from fhir_server.store.pool import Pool
from fhir_server.store.slow import Noted, Slow
from fhir_server.store.wire import Rows, Statement, Wire, failed

_SET_TENANT = "select set_config('app.tenant', %s, true)"
_SET_TENANT_CUSTOM = (
    "select set_config('app.tenant', %s, true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)

# https://www.postgresql.org/docs/18/errcodes-appendix.html: the same request may succeed later.
_PASSING: dict[str, str] = {
    "55P03": "another transaction holds the same rows",
    "57P01": "the database is stopping",
    "57P02": "the database was restarted",
    "57P03": "the database is starting",
    "25P03": "the transaction was idle for too long",
    "53100": "the database's disk is full",
    "53200": "the database is out of memory",
    "53300": "the database has no connection free",
}


# Less than monitors wait for an answer.
_PROBE_SECONDS = 2.0


class Collision(Exception):
    """Two writers met: the whole transaction, tried again, may well succeed. Is a Clash or an Exists."""


class Clash(errors.Busy, Collision):
    """Two transactions waited for each other, or changed the same rows."""


class Stale(Clash):
    """The tenant's search parameters are not those by which the writer indexed: it must look at them again."""


class Exists(errors.Conflict, Collision):
    """A row of this key exists already, or the version that was to be replaced is no longer the newest."""


class Database:
    """A pool of connections under the server's role, on one event loop."""

    def __init__(self, pool: Pool, aside: Pool, probe: Pool, dsn: str, asked: str, slow: Slow) -> None:
        self._pool = pool
        self._aside = aside
        self._probe = probe
        self.dsn = dsn
        # The connection string with what this process asks of every connection.
        self.asked = asked
        self.slow = slow
        # Without a master key: what is written stays plain, and what is encrypted cannot be read.
        self.keyring = Keyring()

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = 10,
        statement_timeout_ms: int = 30_000,
        lock_timeout_ms: int = 10_000,
        acquire_timeout: float = 30.0,
        lost_after: float = 60.0,
        slow: Slow | None = None,
    ) -> Self:
        """Open the pool. Raises psycopg.OperationalError where the database cannot be reached.

        A connection without a sign of life for `lost_after` seconds is given up by both sides.
        """
        limits = f"-c statement_timeout={statement_timeout_ms} -c lock_timeout={lock_timeout_ms}"
        ours = f"-c timezone=UTC {limits} {vital.asked_of_server(lost_after)}"
        # What the connection string asks for comes last and wins.
        asked = conninfo_to_dict(dsn)
        asked["options"] = f"{ours} {asked.get('options') or ''}".strip()
        whole = make_conninfo(
            "", **{"application_name": "concord", "connect_timeout": 10, **vital.asked_of_client(lost_after), **asked}
        )
        pool = Pool(whole, min_size=min_size, max_size=max_size, acquire_timeout=acquire_timeout)
        await pool.open()
        aside = Pool(whole, min_size=0, max_size=1, acquire_timeout=acquire_timeout)
        probe = Pool(whole, min_size=0, max_size=1, acquire_timeout=_PROBE_SECONDS)
        return cls(pool, aside, probe, dsn, whole, slow or Slow(math.inf, 0))

    async def close(self) -> None:
        """Close every connection."""
        await self.slow.close()
        await self._pool.close()
        await self._aside.close()
        await self._probe.close()

    async def fetch(
        self, tenant_id: int | None, sql: str, params: Sequence[Any] = (), *, custom_plan: bool = False
    ) -> Rows:
        """Run one statement in a transaction of its own, in one round trip, and return its rows.

        `tenant_id` None sets no tenant, for the listed tables without row-level security. `custom_plan` plans for
        these very parameters, as a search needs it: one that takes long is noted. Raises errors.Busy, errors.Conflict
        or psycopg.Error.
        """
        if custom_plan:
            return await self._search(tenant_id, sql, params)
        batch: list[Statement] = [(sql, params)]
        if tenant_id is not None:
            batch.insert(0, (_SET_TENANT, (str(tenant_id),)))
        return (await self._fetched(self._pool, tenant_id, batch, len(batch) - 1))[0]

    async def _search(self, tenant_id: int | None, sql: str, params: Sequence[Any]) -> Rows:
        tenant = [] if tenant_id is None else [(_SET_TENANT_CUSTOM, (str(tenant_id),))]
        wire = await self._pool.take()
        began = time.monotonic()
        try:
            result = (await _run(wire, [*tenant, (sql, params)]))[-1]
            rows = wire.rows(result)
        finally:
            self._pool.give(wire)
            took = time.monotonic() - began
            if took > self.slow.threshold:
                self.slow.note(Noted(tenant_id, sql, params, took))
        return await self.opened(tenant_id, result, rows)

    async def explain(self, noted: Noted) -> Rows:
        """Return the plan of a search as JSON; it holds the values that were searched for."""
        return await self._search(noted.tenant_id, f"explain (format json) {noted.sql}", noted.params)

    async def run(self, tenant_id: int | None, *statements: Statement) -> list[Rows]:
        """Run statements in a transaction of their own, in one round trip, and return the rows of each."""
        if tenant_id is None:
            return await self._fetched(self._pool, None, statements)
        return await self._fetched(self._pool, tenant_id, [(_SET_TENANT, (str(tenant_id),)), *statements], 1)

    async def fetch_aside(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        """Run a short statement that waits for no lock on a connection kept for such.

        For those who hold a transaction already: were they to wait for a connection of the pool, all of whose users
        may wait for their locks, nobody would go on.
        """
        return (await self._fetched(self._aside, None, [(sql, params)]))[0]

    async def probe(self, sql: str) -> Rows:
        """Run a statement that tells whether the database answers, however busy the pool is.

        On a connection of its own; raises errors.TimedOut soon.
        """
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                return (await self._fetched(self._probe, None, [(sql, ())]))[0]
        except TimeoutError:
            raise errors.TimedOut(f"the database does not answer within {_PROBE_SECONDS:g} s") from None

    async def opened(self, tenant_id: int | None, result: pq.abc.PGresult, rows: Rows) -> Rows:
        """Return the rows of a result, with what is encrypted in them opened. Raises errors.Unreadable."""
        found = opening.places(result) if rows else None
        return rows if found is None else await opening.opened(self.keyring, self, tenant_id, rows, found)

    async def seal(self, tenant_id: int, place: bytes, data: bytes) -> bytes:
        """Return data as they may be stored, bound to a place of the tenant. Raises errors.Unreadable, errors.Busy."""
        await self.keyring.ready(self, tenant_id)
        return self.keyring.seal(tenant_id, place, data)

    async def unseal(self, tenant_id: int, place: bytes, blob: bytes) -> bytes:
        """Return what `seal` was given. Raises errors.Unreadable, errors.Busy."""
        if blob[:1] == PLAIN_HEAD:
            return blob[1:]
        await self.keyring.known(self, tenant_id, blob)
        return self.keyring.opened(tenant_id, place, blob)

    async def _fetched(
        self, pool: Pool, tenant_id: int | None, batch: Sequence[Statement], skip: int = 0
    ) -> list[Rows]:
        """Run a batch without BEGIN, which is one transaction, committed by the sync; return the rows after `skip`."""
        wire = await pool.take()
        try:
            results = (await _run(wire, batch))[skip:]
            found = [wire.rows(result) for result in results]
        finally:
            pool.give(wire)
        return [await self.opened(tenant_id, result, rows) for result, rows in zip(results, found, strict=True)]

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None) -> AsyncIterator[Tx]:
        """Give a transaction that commits at the end of the block and is taken back where the block raises."""
        if tenant_id is not None:
            await self.keyring.ready(self, tenant_id)
        tx = Tx(self, self._pool, tenant_id)
        try:
            yield tx
            await tx._commit()
        except BaseException:
            await tx._abandon()
            raise
        finally:
            tx._release()


class Tx:
    """A transaction. What is deferred goes out with the next fetch, or with the commit, in one round trip.

    BEGIN and the tenant are sent with the first of them, so a transaction of deferred statements alone costs one round
    trip.
    """

    def __init__(self, database: Database, pool: Pool, tenant_id: int | None) -> None:
        self.database = database
        self.tenant_id = tenant_id
        self._pool = pool
        self._wire: Wire | None = None
        self._ended = False
        self._deferred: list[Statement] = []
        if tenant_id is not None:
            self.set_tenant(tenant_id)

    def set_tenant(self, tenant_id: int) -> None:
        """Let the rest of the transaction see and write this tenant's rows alone."""
        self.tenant_id = tenant_id
        self._deferred.append((_SET_TENANT, (str(tenant_id),)))

    def defer(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Queue a statement; a failure rises at the next fetch or at the end of the block."""
        self._deferred.append((sql, params))

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        """Send what is queued and this, and return this one's rows. Raises as Database.fetch."""
        self._deferred.append((sql, params))
        results = await self._send()
        assert self._wire is not None
        return await self.database.opened(self.tenant_id, results[-1], self._wire.rows(results[-1]))

    async def flush(self) -> None:
        """Send what is queued, if anything is, so that it fails here if it fails. Raises as Database.fetch."""
        if self._deferred:
            await self._send()

    def savepoint(self, name: str) -> None:
        """Queue a point to which `rollback_to` can return; only after a fetch."""
        self._deferred.append((f"savepoint {name}", ()))

    def rollback_to(self, savepoint: str) -> None:
        """Forget what is queued and take back what was done since the savepoint, failed or not."""
        self._deferred = [(f"rollback to savepoint {savepoint}", ())]

    async def _send(self) -> list[pq.abc.PGresult]:
        if self._ended:
            raise RuntimeError("the transaction has ended")
        if self.tenant_id is not None:
            await self.database.keyring.ready(self.database, self.tenant_id)
        batch, self._deferred = self._deferred, []
        if self._wire is None:
            self._wire = await self._pool.take()
            batch.insert(0, ("begin", ()))
        return await _run(self._wire, batch)

    async def _commit(self) -> None:
        if self._wire is None:
            # Nothing was fetched, so all goes out at once: a transaction without BEGIN and COMMIT.
            if any(sql != _SET_TENANT for sql, _ in self._deferred):
                await self.database._fetched(self._pool, self.tenant_id, self._deferred)
            return
        self._deferred.append(("commit", ()))
        results = await self._send()
        # COMMIT of a failed transaction is answered by ROLLBACK, without an error.
        if results[-1].command_status != b"COMMIT":
            raise errors.Busy("the transaction had failed before and was taken back")

    async def _abandon(self) -> None:
        wire = self._wire
        if wire is not None and wire.lost is None and not wire.busy and wire.in_transaction:
            try:
                await wire.send([("rollback", ())])
            except psycopg.OperationalError:
                wire.close()

    def _release(self) -> None:
        self._ended = True
        if self._wire is not None:
            self._pool.give(self._wire)
            self._wire = None


async def _run(wire: Wire, batch: Sequence[Statement]) -> list[pq.abc.PGresult]:
    try:
        results = await wire.send(batch)
    except psycopg.OperationalError as failure:
        raise errors.Busy("the connection to the database was lost") from failure
    if failed(results[-1]):
        raise translated(_error(results[-1]))
    return results


def _error(result: pq.abc.PGresult) -> psycopg.Error:
    """Return the failure with its first line alone: the detail holds values of rows, which must not reach a log."""
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    message = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"the statement failed").decode()
    try:
        kind: type[psycopg.Error] = lookup(state)
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(message, info=result, encoding="utf-8")


def translated(failure: psycopg.Error) -> Exception:
    """Return the category of a failure that has one, otherwise the failure itself."""
    state = failure.sqlstate or ""
    if state == "57014":
        problem: Exception = errors.TimedOut("the database's time for one statement was over: ask for less")
    elif state in _PASSING or state.startswith("08"):
        problem = errors.Busy(_PASSING.get(state, "the connection to the database was lost"))
    elif state in ("40001", "40P01"):
        problem = Clash("another transaction works on the same rows")
    elif state == "CG001":
        problem = Stale("the search parameters of this tenant have just changed")
    elif state == "23505":
        # Never the detail: it holds the key's values.
        problem = Exists(f"it exists already ({failure.diag.constraint_name})")
    elif state == "23502" and failure.diag.table_name == "resource_history":
        problem = Exists("another writer has changed it meanwhile")
    else:
        return failure
    problem.__cause__ = failure
    return problem
