"""What PostgreSQL does for a request: every statement that the server sends, and its plan as it ran.

https://www.postgresql.org/docs/18/using-explain.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest

from fhir_server.store import database
from fhir_server.store.database import Database
from fhir_server.store.values import (
    FLOAT8,
    INT8,
    INT8_ARRAY,
    TEXT_ARRAY,
    TIMESTAMPTZ,
    TIMESTAMPTZ_ARRAY,
    UNKNOWN,
    dumped,
    numbered,
)
from fhir_server.store.wire import Statement

_KINDS = {
    UNKNOWN: "unknown",
    INT8: "bigint",
    INT8_ARRAY: "bigint[]",
    TIMESTAMPTZ: "timestamptz",
    TEXT_ARRAY: "text[]",
    FLOAT8: "float8",
    TIMESTAMPTZ_ARRAY: "timestamptz[]",
}
_REFUSED = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
_READ = ("select ", "with ", "(select ")
_NOT_OF_ROWS = ("select set_config", "select pg_advisory", "select nextval")


class Sent(msgspec.Struct, frozen=True):
    """A statement that reads, as the server sent it: in a tenant, and planned for its values or not."""

    sql: str
    params: Sequence[Any]
    tenant: int | None
    custom: bool


class Cost(msgspec.Struct):
    """What statements touched: rows that scans met, those they refused among them, and blocks of shared memory."""

    rows: int = 0
    blocks: int = 0
    plans: list[dict[str, Any]] = []

    def add(self, plan: dict[str, Any]) -> None:
        """Count one plan."""
        self.rows += looked_at(plan)
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.plans.append(plan)
        assert not plan["Temp Written Blocks"], "a sort or a hash went to disk"


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sent]]:
    """Give a list that holds every statement that reads and is sent in this process while the block runs."""
    seen: list[Sent] = []
    run = database._run

    async def watched(wire: Any, batch: Sequence[Statement]) -> Any:
        tenants = [params[0] for sql, params in batch if sql.startswith(database._SET_TENANT)]
        if tenants or seen:
            tenant = int(tenants[0]) if tenants else seen[-1].tenant
            custom = any(sql == database._SET_TENANT_CUSTOM for sql, _ in batch)
            found = [Sent(sql, params, tenant, custom) for sql, params in batch if _reads(sql)]
            seen.extend(found)
        return await run(wire, batch)

    with monkeypatch.context() as patched:
        patched.setattr(database, "_run", watched)
        yield seen


def _reads(sql: str) -> bool:
    text = sql.lstrip().lower()
    return text.startswith(_READ) and not text.startswith(_NOT_OF_ROWS) and " tenant " not in text


async def custom(db: Database, sent: Sequence[Sent]) -> Cost:
    """Run the statements again with plans made for their values."""
    cost = Cost()
    for one in sent:
        sql = f"explain (analyze, buffers, timing off, format json) {one.sql}"
        rows = await db.fetch(one.tenant, sql, one.params, custom_plan=one.custom)
        cost.add(rows[0][0][0]["Plan"])
    return cost


def generic(dsn: str, sent: Sequence[Sent]) -> Cost:
    """Run the statements again with plans made for any values, as PostgreSQL may come to do for a prepared one."""
    cost = Cost()
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        for one in sent:
            connection.execute("select set_config('app.tenant', %s, false)", (str(one.tenant),))
            kinds = ", ".join(_KINDS[oid] for oid in dumped(one.params)[0])
            connection.execute(b"prepare one (" + kinds.encode() + b") as " + numbered(one.sql))
            slots = ", ".join(["%s"] * len(one.params))
            asked = f"explain (analyze, buffers, timing off, format json) execute one ({slots})"
            row = connection.execute(asked.encode(), one.params).fetchone()
            assert row
            cost.add(row[0][0]["Plan"])
            connection.execute("deallocate one")
    return cost


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def looked_at(plan: dict[str, Any]) -> int:
    """Return how many rows the scans of tables in a plan met."""
    scans = [node for node in nodes(plan) if "Relation Name" in node]
    return round(
        sum(node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(key, 0) for key in _REFUSED)) for node in scans)
    )
