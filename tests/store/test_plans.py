"""Under row-level security, as the server's role, every kind of condition is answered by its index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from fhir_server.store import figures, history, inbox, loader, messages, narrow, resources, rows, tickets
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.keyring import Keyring
from fhir_server.store.values import (
    BYTEA_ARRAY,
    INT8,
    INT8_ARRAY,
    TEXT_ARRAY,
    TIMESTAMPTZ_ARRAY,
    UNKNOWN,
    dumped,
    numbered,
)
from tests.postgres import create_database, drop_database
from tests.store.letters import REASON, letter

TENANT, OTHER, ROWS = 1, 2, 20_000
# Two tenants alike; of the keys of a row one is its own, one that of 200 rows, one of half of all, the rest noise.
FILL = f"""
insert into tenant (name) values ('one'), ('other');
insert into resource (tenant_id, rid, type, id, version, updated, self_key, keys, body, patient)
select t, t * 1000000 + n, n % 5, 'id' || n, 1, timestamptz '2026-01-01' + n * interval '1 minute', t * 1000000 + n,
       array[t * 10000000 + n, t * 10000000 + 500000 + n % 100, t * 10000000 + 600000 + n % 2]
           || (select array_agg((n * 7919::bigint * m) % 100000007 + t * 1000000000::bigint)
               from generate_series(1, 6) m),
       '{{}}', t * 1000000 + n / 10
from generate_series(1, 2) t, generate_series(1, {ROWS}) n;
insert into resource_history (tenant_id, rid, version, type, updated, body)
select tenant_id, rid, v, type, updated, body from resource, generate_series(1, 2) v;
insert into idx_date
select tenant_id, p, updated, updated + interval '1 hour', rid from resource, generate_series(1, 3) p;
insert into idx_string select tenant_id, p, 'name' || rid % 5000, rid from resource, generate_series(1, 3) p;
insert into idx_number select tenant_id, p, rid % 5000, rid % 5000 + 1, rid from resource, generate_series(1, 3) p;
insert into idx_composite
select tenant_id, rid % 500, rid % 100, rid % 100, 0, 0, '', array[rid % 500, rid % 7], rid from resource;
insert into idx_text
select tenant_id, (tenant_id || '.1.w' || rid % 5000 || ':1A ' || tenant_id || '.1.all:2')::tsvector, rid from resource;
insert into inbox (tenant_id, received, id, channel, order_key, state, raw, content_hash, control_id)
select t, now() + n * interval '10 seconds', n, 'mllp', n, 'done', 'x', 'x', 'c' || n
from generate_series(1, 2) t, generate_series(1, {ROWS}) n;
insert into message_kind select {TENANT}, n, 'mllp' from generate_series(1, 5000) n;
insert into message_seen select tenant_id, ('k' || id)::bytea, 'h', received, id from inbox;
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, due, rank, ahead)
select t, 1, now(), n, n % 1000, now(), case when n <= 1000 then now() end,
    case when n between 100 and 1000 then now() - n % 2 * interval '1 day' end, 86400
from generate_series(1, 2) t, generate_series(1, {ROWS}) n;
analyze;
"""


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """Give a connection as the server's role, with a tenant set, to a database of many rows in two tenants."""
    create_database(postgres, "plans")
    with psycopg.connect(postgres.admin_dsn("plans"), autocommit=True) as admin:
        for statement in FILL.split(";\n"):
            admin.execute(statement.encode())
    with psycopg.connect(postgres.server_dsn("plans"), autocommit=True) as connection:
        connection.prepare_threshold = None
        connection.execute("select set_config('app.tenant', '1', false)")
        yield connection
    drop_database(postgres, "plans")


def scans(plan: dict[str, Any]) -> set[str]:
    """Return the names of the indexes a plan uses, and `seq scan of …` for each table it reads whole."""
    found = {plan["Index Name"]} if "Index Name" in plan else set()
    if plan["Node Type"] == "Seq Scan":
        found.add(f"seq scan of {plan['Relation Name']}")
    return found.union(*(scans(part) for part in plan.get("Plans", ())))


def plan_of(server: psycopg.Connection, sql: str, params: tuple[object, ...], mode: str) -> set[str]:
    """Prepare the statement with the types that the wire gives it, and return what its plan scans."""
    kinds = ", ".join(KINDS[oid] for oid in dumped(params)[0])
    server.execute(f"set plan_cache_mode = force_{mode}_plan".encode())
    server.execute("deallocate all")
    server.execute(f"prepare s ({kinds}) as ".encode() + numbered(sql))
    values = b", ".join(literal(p) for p in params)
    row = server.execute(b"explain (format json) execute s (" + values + b")").fetchone()
    assert row
    return scans(row[0][0]["Plan"])


def literal(value: object) -> bytes:
    if value is None:
        return b"null"
    if isinstance(value, bytes):
        return b"'\\x" + value.hex().encode() + b"'::bytea"
    if isinstance(value, list):
        kind = KINDS[dumped([value])[0][0]].encode()
        return b"array[" + b", ".join(literal(v) for v in value) + b"]::" + kind
    return str(value).encode() if isinstance(value, int) else b"'" + str(value).encode() + b"'"


KINDS = {
    UNKNOWN: "unknown",
    INT8: "bigint",
    INT8_ARRAY: "bigint[]",
    TEXT_ARRAY: "text[]",
    BYTEA_ARRAY: "bytea[]",
    TIMESTAMPTZ_ARRAY: "timestamptz[]",
}
RARE, MIDDLING = TENANT * 10_000_000 + 77, TENANT * 10_000_000 + 500_007
RID = TENANT * 1_000_000 + 77
MOMENT = "2026-01-03 00:00+00"
TODAY = datetime.now(UTC).isoformat()
WHERE = "select rid from resource where tenant_id = %s and"

# Statement, parameters, the one index that answers it.
CONDITIONS: dict[str, tuple[str, tuple[object, ...], str]] = {
    "token": (f"{WHERE} keys @> %s::bigint[] and body is not null", (TENANT, [RARE]), "resource_keys"),
    "two tokens": (f"{WHERE} keys @> %s::bigint[]", (TENANT, [RARE, MIDDLING]), "resource_keys"),
    "any of several tokens": (f"{WHERE} keys && %s::bigint[]", (TENANT, [RARE, RARE + 1]), "resource_keys"),
    "newest first": (
        f"{WHERE} type = %s order by updated desc, rid desc limit 20",
        (TENANT, 1),
        "resource_updated",
    ),
    "a page": (
        f"{WHERE} type = %s and (updated, rid) < (%s, %s) order by updated desc, rid desc limit 20",
        (TENANT, 1, MOMENT, RID),
        "resource_updated",
    ),
    "last updated": (
        f"{WHERE} type = %s and updated between %s and %s",
        (TENANT, 1, MOMENT, MOMENT),
        "resource_updated",
    ),
    "date": (
        "select rid from idx_date where tenant_id = %s and param = %s and lo between %s and %s and hi >= %s",
        (TENANT, 1, MOMENT, MOMENT, MOMENT),
        "idx_date_lo",
    ),
    "string prefix": (
        "select rid from idx_string where tenant_id = %s and param = %s and value >= %s and value < %s",
        (TENANT, 1, "name77", "name78"),
        "idx_string_value",
    ),
    "string starts with": (
        "select rid from idx_string where tenant_id = %s and param = %s and value ^@ %s",
        (TENANT, 1, "name777"),
        "idx_string_value",
    ),
    "number": (
        "select rid from idx_number where tenant_id = %s and param = %s and lo >= %s and lo <= %s",
        (TENANT, 1, 70, 71),
        "idx_number_lo",
    ),
    "words": (
        "select rid from idx_text where tenant_id = %s and words @@ %s::tsquery",
        (TENANT, f"{TENANT}.1.w77:A"),
        "idx_text_words",
    ),
    "composite": (
        "select rid from idx_composite where tenant_id = %s and key = any(%s::bigint[]) and lo >= %s"
        " and keys && %s::bigint[]",
        (TENANT, [77], 50, [77]),
        "idx_composite_key",
    ),
    "rows of found numbers": (f"{WHERE} rid = any(%s::bigint[])", (TENANT, [RID, RID + 1]), "resource_pkey"),
}

# The store's own statements: parameters and every index they may touch.
OWN: dict[str, tuple[str, tuple[object, ...], set[str]]] = {
    "read": (rows._READ, (TENANT, 1, "id77"), {"resource_type_id_key"}),
    "reads together": (loader._TOGETHER, ([1, 2], ["id1", "id2"], TENANT), {"resource_type_id_key"}),
    "current, locked": (resources._CURRENT + " for update", (TENANT, [RID, RID + 1]), {"resource_self_key_key"}),
    "found by keys, locked": (resources._BY_KEYS + " for update", (TENANT, [RARE]), {"resource_keys"}),
    "keep the old version": (resources._KEEP, (TENANT, [RID], [1], TENANT), {"resource_pkey"}),
    "old versions": (
        *history._old(TENANT, history.Group([1]), history.Window(20, rid=RID)),
        {"resource_history_pkey", "resource_pkey"},
    ),
    "old versions of a type": (
        *history._old(TENANT, history.Group([1]), history.Window(20)),
        {"resource_history_updated", "resource_pkey"},
    ),
    "newest versions of types": (
        *history._newest(TENANT, history.Group([1, 2]), history.Window(20)),
        {"resource_updated"},
    ),
    "one version": (history._ONE, ("x", TENANT, RID, 1), {"resource_history_pkey"}),
    "head of an order": (tickets._PROMOTE, (TENANT, 7, TENANT, 7), {"job_ticket_pkey"}),
    "take a ticket out": (tickets._DELETE, (TENANT, 7, 7), {"job_ticket_pkey"}),
    "claim": (tickets._CLAIM, (1, "2026-12-01") * 2, {"job_ticket_late", "job_ticket_ready"}),
    "guards": (tickets._FREE, ([7, 8], TENANT, 7), {"job_ticket_pkey"}),
}


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_uses_its_index(server: psycopg.Connection, name: str, mode: str) -> None:
    sql, params, index = CONDITIONS[name]
    assert plan_of(server, sql, params, mode) == {index}


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", OWN)
def test_the_stores_own_statements_read_no_table_whole(server: psycopg.Connection, name: str, mode: str) -> None:
    sql, params, indexes = OWN[name]
    assert plan_of(server, sql, params, mode) == indexes


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("table", narrow.NARROW, ids=lambda t: t.kind)
def test_changed_entries_are_found_by_their_resource(
    server: psycopg.Connection, table: narrow.Narrow, mode: str
) -> None:
    columns: dict[str, list[object]] = {
        "dates": [[1], [MOMENT], [MOMENT]],
        "strings": [[1], ["x"]],
        "numbers": [[1], [1], [1]],
        "words": [["a:1"]],
        "composites": [[1], [1], [1], [0], [0], [""], ["{1}"]],
    }
    params = ([RID], *columns[table.kind], TENANT, [RID], TENANT, TENANT)
    found = plan_of(server, table.change, params, mode)
    assert found & {"idx_date_rid", "idx_string_rid", "idx_number_rid", "idx_composite_rid", "idx_text_rid"}
    assert not [scan for scan in found if scan.startswith("seq scan")]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        (inbox._LOAD, (TENANT, TODAY, 77)),
        (inbox._SETTLE, ("done", MOMENT, None, None, None, None, TENANT, TODAY, 77)),
        (messages._SHOW, (TENANT, 77)),
    ],
)
def test_a_message_is_found_by_the_key_of_its_day(
    server: psycopg.Connection, sql: str, params: tuple[object, ...]
) -> None:
    found = plan_of(server, sql, params, "custom")
    filled = "select 'seq scan of ' || relname from pg_class where relname like 'inbox%' and reltuples > 0"
    assert [scan for scan in found if scan.endswith("_pkey")]
    assert not found & {scan for (scan,) in server.execute(filled).fetchall()}


@pytest.mark.parametrize("mode", ["generic", "custom"])
def test_what_waits_is_counted_without_reading_what_is_done(server: psycopg.Connection, mode: str) -> None:
    found = plan_of(server, figures._WAITING, (TENANT, figures.MOST_WAITING), mode)
    filled = "select 'seq scan of ' || relname from pg_class where relname like 'inbox%' and reltuples > 0"
    assert found
    assert not found & {scan for (scan,) in server.execute(filled).fetchall()}


@pytest.mark.parametrize("mode", ["generic", "custom"])
def test_accepting_a_message_looks_up_its_keys_alone(server: psycopg.Connection, mode: str) -> None:
    given = [letter("1", reason=REASON, order_text="1", message_type="ADT", trigger="A01", peer="here")]
    columns = inbox._columns(given, Keyring(), TENANT, [b"h" * 32])
    made = ([b"h" * 32], [b"k" * 16], [0], [7], [b"{}"], ["{5,6}"], [0], [b"AE"], ["[]"], [60])
    params = (*columns, *made, *(TENANT,) * 5, [1, 1], [7, 8], *(TENANT,) * 3)
    assert plan_of(server, inbox._ACCEPT, params, mode) == {"message_seen_pkey", "job_ticket_pkey", "message_kind_pkey"}


def test_without_the_marks_the_index_of_tokens_is_lost(server: psycopg.Connection, postgres: EmbeddedPostgres) -> None:
    """What the marks are for: without them this very statement reads every row of the tenant."""
    function = b"alter function pg_catalog.arraycontains(anyarray, anyarray) "
    sql, params, index = CONDITIONS["token"]
    with psycopg.connect(postgres.admin_dsn("plans"), autocommit=True) as admin:
        admin.execute(function + b"not leakproof")
        try:
            assert index not in plan_of(server, sql, params, "custom")
        finally:
            admin.execute(function + b"leakproof")
    assert plan_of(server, sql, params, "custom") == {index}
