"""Facts about the database that must hold for it to be safe and fast, each with what to do where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from fhir_server.store import tables
from fhir_server.store.fact import Fact
from fhir_server.store.migrate import newest
from fhir_server.store.schema import BY_DAY, LEAKPROOF, WITHOUT_RLS, metadata

OLDEST_SERVER = 16
# Tokens expire and partitions begin by the clock of one machine and are judged by another's.
LARGEST_SKEW = timedelta(seconds=5)
_MIGRATE = "run `concord migrate`"

Connection = psycopg.AsyncConnection[Any]


async def facts(dsn: str, clock: Callable[[], datetime]) -> list[Fact]:
    """Return every fact, asked as the server's role; one fact that it cannot be reached where that is so."""
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    except psycopg.OperationalError as failure:
        return [Fact("database", False, str(failure).strip(), "start PostgreSQL or mend CONCORD_DATABASE_URL")]
    async with connection:
        found = [await check(connection) for check in (_version, _migrations)]
        if found[-1].ok:
            found += [await check(connection) for check in _CHECKS]
            found.append(await _days(connection, clock))
        return [*found, await _skew(connection, clock)]


async def _version(connection: Connection) -> Fact:
    number = connection.info.server_version
    text = f"PostgreSQL {number // 10000}.{number % 10000}"
    return Fact("database", number // 10000 >= OLDEST_SERVER, text, f"use PostgreSQL {OLDEST_SERVER} or later")


async def _migrations(connection: Connection) -> Fact:
    name = "migrations"
    if await _one(connection, "select to_regclass('public.alembic_version')") is None:
        return Fact(name, False, "the database was never migrated", _MIGRATE)
    found = await _one(connection, "select version_num from public.alembic_version")
    remedy = "use a newer program" if str(found) > newest() else _MIGRATE
    return Fact(name, found == newest(), f"at {found}, this program needs {newest()}", remedy)


async def _role(connection: Connection) -> Fact:
    faults = [sentence for sentence, sql in _FAULTS_OF_ROLE.items() if await _one(connection, sql)]
    user = await _one(connection, "select current_user")
    remedy = "let CONCORD_DATABASE_URL log in as a role that owns nothing, such as concord_server"
    return Fact("server role", not faults, f"{user} {', '.join(faults) or 'owns nothing and cannot bypass'}", remedy)


_FAULTS_OF_ROLE = {
    "is superuser": "select rolsuper from pg_roles where rolname = current_user",
    "bypasses row-level security": "select rolbypassrls from pg_roles where rolname = current_user",
    "may become a superuser or one who bypasses": """
        select exists (select 1 from pg_roles where (rolsuper or rolbypassrls) and rolname <> current_user
                       and pg_has_role(current_user, oid, 'member'))""",
    "owns tables or may become their owner": """
        select exists (select 1 from pg_class where relnamespace = 'public'::regnamespace
                       and relkind in ('r', 'p') and pg_has_role(current_user, relowner, 'member'))""",
}


async def _row_level_security(connection: Connection) -> Fact:
    sql = """
        select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
        and not (relrowsecurity and relforcerowsecurity) and relname <> all(%s) order by relname"""
    open_ = [name for (name,) in await _rows(connection, sql, sorted(WITHOUT_RLS))]
    detail = f"not forced on {', '.join(open_)}" if open_ else "forced on every table of tenants"
    return Fact("row-level security", not open_, detail, _MIGRATE)


async def _policies(connection: Connection) -> Fact:
    """A table whose policy was loosened is as open as one without; ours compare the tenant, for everybody."""
    wanted = sorted(set(metadata.tables) - WITHOUT_RLS)
    sql = """
        select tablename, permissive, roles::text, cmd, qual, with_check from pg_policies
        where schemaname = 'public' order by tablename"""
    rule = "(tenant_id = (NULLIF(current_setting('app.tenant'::text, true), ''::text))::integer)"
    found = [(table, tuple(rest)) for table, *rest in await _rows(connection, sql)]
    ours = ("PERMISSIVE", "{public}", "ALL", rule, None)
    wrong = sorted({t for t, policy in found if policy != ours} | (set(wanted) - {t for t, _ in found}))
    detail = f"changed or missing on {', '.join(wrong)}" if wrong else "compare the tenant on every table"
    return Fact("policies", not wrong, detail, f"restore the policy `tenant` or {_MIGRATE} on a fresh database")


async def _unset_tenant(connection: Connection) -> Fact:
    seen = await _one(connection, "select exists (select 1 from resource) or exists (select 1 from inbox)")
    detail = "rows are seen without a tenant" if seen else "nothing is seen without a tenant"
    return Fact("unset tenant", not seen, detail, "check the server role and row-level security above")


async def _leakproof(connection: Connection) -> Fact:
    sql = "select f from unnest(%s::text[]) f join pg_proc p on p.oid = f::regprocedure where not p.proleakproof"
    missing = [name for (name,) in await _rows(connection, sql, list(LEAKPROOF))]
    detail = f"not marked: {', '.join(missing)}" if missing else "all marked"
    return Fact("leakproof marks", not missing, detail, f"{_MIGRATE} as a superuser: searches cannot use their index")


async def _indexes(connection: Connection) -> Fact:
    lost = await tables.unusable_indexes(connection)
    detail = f"missing or invalid: {', '.join(lost)}" if lost else "all there and valid"
    remedy = "`reindex index concurrently` an invalid one as the owner; a missing one stands in the migrations"
    return Fact("indexes", not lost, detail, remedy)


async def _statistics(connection: Connection) -> Fact:
    found = await tables.stale(connection)
    detail = "; ".join(found) or "as fresh as they need be"
    return Fact("statistics", not found, detail, "run `analyze` as the owner, and look whether autovacuum is on")


async def _dead_rows(connection: Connection) -> Fact:
    found = await tables.dead(connection)
    remedy = "run `vacuum (analyze)` as the owner; look whether autovacuum is on and no transaction stays open"
    return Fact("dead rows", not found, "; ".join(found) or "few", remedy)


_CHECKS = (
    _role, _row_level_security, _policies, _unset_tenant, _leakproof, _indexes, _statistics, _dead_rows,
)  # fmt: skip


async def _days(connection: Connection, clock: Callable[[], datetime]) -> Fact:
    today = clock().astimezone(UTC).date()
    wanted = [f"{table}_{today + timedelta(days=n):%Y%m%d}" for table in BY_DAY for n in (0, 1)]
    sql = "select name from unnest(%s::text[]) name where to_regclass('public.' || name) is null"
    missing = [name for (name,) in await _rows(connection, sql, wanted)]
    detail = f"missing: {', '.join(missing)}" if missing else "made for today and tomorrow"
    return Fact("day partitions", not missing, detail, f"{_MIGRATE}, or start the worker: it makes them every day")


async def _skew(connection: Connection, clock: Callable[[], datetime]) -> Fact:
    """The truth lies between the two moments at which we looked at our own clock."""
    before = clock()
    theirs = await _one(connection, "select clock_timestamp()")
    after = clock()
    skew = max(before - theirs, theirs - after, timedelta())
    remedy = "set the clocks of both machines by NTP"
    return Fact("clock", skew <= LARGEST_SKEW, f"{skew.total_seconds():.1f} s from the database's", remedy)


async def _rows(connection: Connection, sql: str, *params: object) -> Sequence[tuple[Any, ...]]:
    return await (await connection.execute(sql.encode(), params or None)).fetchall()


async def _one(connection: Connection, sql: str, *params: object) -> Any:
    rows = await _rows(connection, sql, *params)
    return rows[0][0] if rows else None
