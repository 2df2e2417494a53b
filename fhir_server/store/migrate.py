"""Bring a database to the newest schema: roles, migrations, leakproof marks, days, settings of the server's role.

Runs as the owner or, better, a superuser: only a superuser can mark operators as leakproof. Repeatable at any time;
a restored backup needs it, since pg_dump keeps neither roles nor marks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec
import psycopg
from psycopg import conninfo, sql

from fhir_server.store.tables import GROWING, MAINTAIN_FROM

OWNER_ROLE = "concord_owner"
SERVER_ROLE = "concord_server"
DAYS_AHEAD = 7
_FOLDER = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = 7_236_518_901

# What every session of the server's role starts with, wherever PostgreSQL runs.
ROLE_SETTINGS = {
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # A worker on a machine that vanished holds its ticket's lock until the server notices.
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
}


class Migrated(msgspec.Struct, frozen=True):
    """What was done: the revision before and after, and whether the leakproof marks could be set."""

    before: str | None
    after: str
    marked: bool


class MigrationError(RuntimeError):
    """The database cannot be brought to the newest schema; the message says why and what to do."""


def newest() -> str:
    """Return the newest revision of this program, from the names of its migrations."""
    return max(path.stem[1:5] for path in (_FOLDER / "versions").glob("v[0-9]*.py"))


# Under a superuser's rights: of tables under row-level security nobody else sees statistics. Keys are hashes, and only
# those that many rows hold are told.
KEY_STATISTICS = """
create or replace function public.key_statistics(out resources bigint, out keys bigint[], out shares float8[])
language sql stable security definer set search_path = pg_catalog as $$
    select greatest(c.reltuples, 0)::bigint, s.most_common_elems::text::bigint[],
           s.most_common_elem_freqs[:array_length(s.most_common_elems::text::bigint[], 1)]::float8[]
    from pg_class c
         left join pg_stats s on s.schemaname = 'public' and s.tablename = 'resource' and s.attname = 'keys'
    where c.oid = 'public.resource'::regclass
$$;
revoke all on function public.key_statistics() from public;
grant execute on function public.key_statistics() to concord_server;
"""


def migrate(admin_dsn: str, server_dsn: str | None = None, *, today: date) -> Migrated:
    """Migrate; `server_dsn` names the role the server logs in with, made if missing. Raises MigrationError."""
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute("select pg_advisory_lock(%s)", (_ONE_AT_A_TIME,))
            return _migrate(admin, admin_dsn, server_dsn, today)
    except psycopg.Error as failure:
        raise MigrationError(str(failure).strip()) from failure


def ensure_roles(admin_dsn: str, server_dsn: str | None) -> None:
    """Make the roles that own the tables and that the server logs in with, where they are missing."""
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            _ensure_roles(admin, server_dsn)
            _ensure_owner(admin, _one(admin, "select rolsuper from pg_roles where rolname = current_user") is True)
    except psycopg.Error as failure:
        raise MigrationError(str(failure).strip()) from failure


def _migrate(admin: psycopg.Connection, admin_dsn: str, server_dsn: str | None, today: date) -> Migrated:
    superuser = _one(admin, "select rolsuper from pg_roles where rolname = current_user") is True
    _ensure_roles(admin, server_dsn)
    owner = _ensure_owner(admin, superuser)
    before = revision(admin)
    if before is not None and before > newest():
        raise MigrationError(f"the database is at {before}, this program knows up to {newest()}: use a newer program")
    if before != newest():
        _upgrade(admin_dsn, owner)
    if superuser:
        _mark(admin)
        admin.execute(KEY_STATISTICS.encode())
    _let_vacuum(admin)
    _tell_cluster(admin)
    admin.execute("select ensure_days(%s, %s)", (today, DAYS_AHEAD))
    return Migrated(before, newest(), superuser)


def _let_vacuum(admin: psycopg.Connection) -> None:
    """Let the server's role vacuum what it has filled; the same privilege lets it do nothing to what is in the rows."""
    if admin.info.server_version >= MAINTAIN_FROM:
        names = sql.SQL(", ").join(map(sql.Identifier, GROWING))
        admin.execute(sql.SQL("grant maintain on {} to {}").format(names, sql.Identifier(SERVER_ROLE)))


def _tell_cluster(admin: psycopg.Connection) -> None:
    """Begin an era of the audit where the tables came into another cluster, whose transactions are counted anew."""
    try:
        cluster = str(_one(admin, "select system_identifier from pg_control_system()"))
    except psycopg.errors.InsufficientPrivilege:
        return
    known = _one(admin, "select cluster from audit_era order by number desc limit 1")
    if known == "":
        admin.execute("update audit_era set cluster = %s where cluster = ''", (cluster,))
    elif known != cluster:
        admin.execute(
            "insert into audit_era (number, cluster, after) select max(number) + 1, %s,"
            " greatest((select last_value from audit_id), (select max(id) from audit)) from audit_era",
            (cluster,),
        )


def revision(connection: psycopg.Connection) -> str | None:
    """Return the revision that the database is at, None before the first migration."""
    if _one(connection, "select to_regclass('public.alembic_version')") is None:
        return None
    found = _one(connection, "select version_num from public.alembic_version")
    return str(found) if found is not None else None


def _upgrade(admin_dsn: str, owner: str) -> None:
    # Imported here: Alembic and SQLAlchemy take half a second, which a database at the newest schema need not pay.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(admin_dsn), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f'set local role "{owner}"')
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _ensure_roles(admin: psycopg.Connection, server_dsn: str | None) -> None:
    _ensure_role(admin, SERVER_ROLE, None)
    wanted = conninfo.conninfo_to_dict(server_dsn or "")
    login = str(wanted.get("user") or SERVER_ROLE)
    if login != SERVER_ROLE:
        _ensure_role(admin, login, wanted.get("password"))
        if _one(admin, "select pg_has_role(%s, %s, 'member')", login, SERVER_ROLE) is False:
            admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(SERVER_ROLE), sql.Identifier(login)))
    elif wanted.get("password"):
        _set_password(admin, login, str(wanted["password"]))
    for name, value in ROLE_SETTINGS.items():
        change = sql.SQL("alter role {} set {} = {}")
        admin.execute(change.format(sql.Identifier(login), sql.Identifier(name), sql.Literal(value)))


def _ensure_role(admin: psycopg.Connection, role: str, password: object) -> None:
    if _one(admin, "select 1 from pg_roles where rolname = %s", role) is not None:
        return
    with _unless_made_meanwhile():
        admin.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
    if password:
        _set_password(admin, role, str(password))


def _set_password(admin: psycopg.Connection, role: str, password: str) -> None:
    admin.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password)))


def _ensure_owner(admin: psycopg.Connection, superuser: bool) -> str:
    """Return the role that shall own the tables: our own for a superuser, otherwise whoever migrates."""
    if not superuser:
        return str(_one(admin, "select current_user"))
    if _one(admin, "select 1 from pg_roles where rolname = %s", OWNER_ROLE) is None:
        with _unless_made_meanwhile():
            admin.execute(sql.SQL("create role {} nologin").format(sql.Identifier(OWNER_ROLE)))
    admin.execute(sql.SQL("grant usage, create on schema public to {}").format(sql.Identifier(OWNER_ROLE)))
    return OWNER_ROLE


@contextmanager
def _unless_made_meanwhile() -> Iterator[None]:
    """Roles belong to all databases of a server: another database's migration may be making the same one."""
    try:
        yield
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return


def _mark(admin: psycopg.Connection) -> None:
    from fhir_server.store.schema import LEAKPROOF  # with SQLAlchemy, as Alembic below: only a migration pays

    for function in LEAKPROOF:
        if _one(admin, "select proleakproof from pg_proc where oid = %s::regprocedure", function) is False:
            admin.execute(sql.SQL("alter function " + function + " leakproof"))


def _one(connection: psycopg.Connection, query: str, *params: object) -> object:
    row = connection.execute(query.encode(), params).fetchone()
    return row[0] if row is not None else None
