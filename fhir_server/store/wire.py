"""One connection in pipeline mode: statements go out together, their results come back in order.

libpq through `psycopg.pq`, without psycopg's cursor: a third of the processor time of a short statement.
https://www.postgresql.org/docs/18/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import capabilities, pq
from psycopg.adapt import Transformer

from fhir_server.store.values import BINARY, dumped, numbered

Rows = list[tuple[Any, ...]]
Statement = tuple[str, Sequence[Any]]
_Key = tuple[str, tuple[int, ...]]
# A connection with more prepared statements than this is replaced: each costs the server some 20 kB.
_PREPARED_LIMIT = 1000
# Seconds between two looks after results that nothing announced.
_LOOK = 1.0
_OK = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


class Wire:
    """A connection that one user holds at a time: `run` a batch, await its results, then the next batch.

    A batch without BEGIN is one transaction of its own.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], prepare_threshold: int) -> None:
        self._connection = connection
        self._pg = connection.pgconn
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        self._load = Transformer(connection)
        self._prepare_threshold = prepare_threshold
        self._uses: dict[_Key, int] = {}
        self._names: dict[_Key, bytes] = {}
        # What each coming result answers: None a statement, otherwise the preparation of (key, name).
        self._expected: deque[tuple[_Key, bytes] | None] = deque()
        self._named = 0
        self._results: list[pq.abc.PGresult] = []
        self._waiting: asyncio.Future[list[pq.abc.PGresult]] | None = None
        self.lost: psycopg.OperationalError | None = None
        self._next_look: asyncio.TimerHandle
        self._loop = asyncio.get_running_loop()
        self._socket = self._pg.socket
        self._loop.add_reader(self._socket, self._readable)
        self._tend()

    @property
    def busy(self) -> bool:
        """Say whether results are still to come."""
        return self._waiting is not None

    @property
    def in_transaction(self) -> bool:
        """Say whether a transaction is open, as the server last told."""
        return self._pg.transaction_status != pq.TransactionStatus.IDLE

    @property
    def worn(self) -> bool:
        """Say whether it holds so many prepared statements that a fresh connection is better."""
        return len(self._names) > _PREPARED_LIMIT or len(self._uses) > 4 * _PREPARED_LIMIT

    def send(self, batch: Sequence[Statement]) -> asyncio.Future[list[pq.abc.PGresult]]:
        """Send statements and a sync; the future has one result for each, up to and with the first that failed.

        Raises psycopg.OperationalError where the connection is lost.
        """
        if self.lost is not None:
            raise self.lost
        if self._waiting is not None:
            raise RuntimeError("a transaction or connection serves one task at a time")
        # All values first: one that cannot be sent must not leave half a batch in the buffer.
        values = [dumped(params) for _, params in batch]
        self._expected.clear()
        self._results = []
        try:
            for (sql, _), dump in zip(batch, values, strict=True):
                self._queue(sql, *dump)
            self._pg.pipeline_sync()
            self._waiting = future = self._loop.create_future()
            if self._pg.flush():
                self._loop.add_writer(self._socket, self._writable)
        except psycopg.OperationalError as failure:
            self._fail(failure)
            raise
        except BaseException:  # half a batch stands in the buffer: nothing may follow it
            self._fail(psycopg.OperationalError("a statement could not be sent"))
            raise
        return future

    def rows(self, result: pq.abc.PGresult) -> Rows:
        """Return the rows of a result as Python values."""
        if not result.ntuples:
            return []
        self._load.set_pgresult(result)
        return self._load.load_rows(0, result.ntuples, tuple)

    async def rest(self, seconds: float) -> bool:
        """Wait until no results are to come or the connection is lost; False where that takes too long."""
        if self._waiting is not None:
            self._waiting = rest = self._loop.create_future()
            await asyncio.wait([rest], timeout=seconds)
            if rest.done() and not rest.cancelled():
                rest.exception()
        return self._waiting is None

    def close(self) -> None:
        """Close at once; the server ends an open transaction by itself."""
        if self.lost is None:
            self._fail(psycopg.OperationalError("the connection was closed"))

    def canceller(self) -> Callable[[], None]:
        """Return what asks the server to stop the running statement, for another thread: it waits for the network."""
        if capabilities.has_cancel_safe():  # keeps to the connection's own encryption
            return self._pg.cancel_conn().blocking
        return self._pg.get_cancel().cancel

    def _queue(self, sql: str, oids: tuple[int, ...], values: list[bytes | None], formats: list[int]) -> None:
        key = (sql, oids)
        name = self._names.get(key)
        if name is None:
            uses = self._uses[key] = self._uses.get(key, 0) + 1
            if uses < self._prepare_threshold:
                self._pg.send_query_params(numbered(sql), values, oids, formats, BINARY)
                self._expected.append(None)
                return
            name = self._prepare(key)
        self._pg.send_query_prepared(name, values, formats, BINARY)
        self._expected.append(None)

    def _prepare(self, key: _Key) -> bytes:
        self._named += 1
        name = b"s%d" % self._named
        self._pg.send_prepare(name, numbered(key[0]), key[1])
        self._expected.append((key, name))
        return name

    def _tend(self) -> None:
        """Look after results that nothing announced.

        A server that goes with our bytes unread leaves an error on the socket, upon which libuv stops watching it
        without a word: who waits for results would wait for ever.
        """
        if self._waiting is not None:
            self._readable()
        if self.lost is None:
            self._next_look = self._loop.call_later(_LOOK, self._tend)

    def _writable(self) -> None:
        try:
            if not self._pg.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as failure:
            self._fail(failure)

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            while self._waiting is not None and not self._pg.is_busy():
                self._take(self._pg.get_result())
            if self._pg.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError("the server closed the connection")
        except psycopg.OperationalError as failure:
            self._fail(failure)

    def _take(self, result: pq.abc.PGresult | None) -> None:
        if result is None:  # the end of one statement's results, or of the connection
            if self._pg.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError("the server closed the connection")
            return
        status = result.status
        if status == pq.ExecStatus.PIPELINE_SYNC:
            self._done()
            return
        prepared = self._expected.popleft() if self._expected else None
        if prepared is None or failed(result):
            if status != pq.ExecStatus.PIPELINE_ABORTED:
                self._results.append(result)
        else:
            self._names[prepared[0]] = prepared[1]

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(self._results)

    def _fail(self, failure: psycopg.OperationalError) -> None:
        if self.lost is not None:
            return
        self.lost = failure
        self._next_look.cancel()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(failure)
        for forget in (self._loop.remove_writer, self._loop.remove_reader):
            # libpq closes a socket at its end by itself, and an event loop may not like to forget what is closed.
            with contextlib.suppress(OSError, RuntimeError):
                forget(self._socket)
        self._pg.finish()


def failed(result: pq.abc.PGresult) -> bool:
    """Say whether a result is an error."""
    return result.status not in _OK


async def connect(dsn: str, prepare_threshold: int = 5) -> Wire:
    """Return a new connection. Raises psycopg.OperationalError."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    return Wire(connection, prepare_threshold)
