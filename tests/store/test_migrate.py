"""The schema is the sum of its migrations, safe for many tenants, and repeatable on any database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, Table, UniqueConstraint, create_engine
from sqlalchemy.pool import NullPool

from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.migrate import MigrationError, migrate, newest
from fhir_server.store.schema import LEAKPROOF, WITHOUT_RLS, metadata
from tests.postgres import drop_database

TODAY = date(2026, 3, 1)
OF_TENANTS = sorted(set(metadata.tables) - WITHOUT_RLS)


def rows(dsn: str, sql: str, *params: object) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(sql.encode(), params or None).fetchall()


# What makes two schemas the same; days and the migrations' own mark left aside.
TABLES = "relnamespace = 'public'::regnamespace and relname !~ %s and relname <> 'alembic_version'"
CATALOG = {
    "columns": f"""
        select relname::text, attnum, attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
               attcollation::regcollation::text, pg_get_expr(adbin, adrelid)
        from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0
        left join pg_attrdef d on adrelid = c.oid and adnum = attnum
        where relkind in ('r', 'p') and {TABLES} order by 1, 2""",
    "keys and checks": f"""
        select relname::text, conname::text, pg_get_constraintdef(k.oid) from pg_class c
        join pg_constraint k on conrelid = c.oid where contype <> 'n' and {TABLES} order by 1, 2""",
    "indexes": f"""
        select relname::text, pg_get_indexdef(oid) from pg_class
        where relkind in ('i', 'I') and {TABLES.replace("relname !~ %s", "pg_get_indexdef(oid) !~ %s")} order by 1""",
    "partitions": f"""
        select relname::text, pg_get_partkeydef(oid) from pg_class where relkind = 'p' and {TABLES} order by 1""",
    "sequences": """
        select sequencename::text, data_type::text, start_value, increment_by from pg_sequences
        where sequencename !~ %s order by 1""",
}
OF_A_DAY = r"_(default|\d{8})(_|$| )|alembic_version"


@pytest.fixture(scope="module")
def declared(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Give a database made from the declared schema, without any migration."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database declared template template0")
    dsn = postgres.admin_dsn("declared")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    metadata.create_all(engine)
    yield dsn
    drop_database(postgres, "declared")


@pytest.mark.parametrize("kind", CATALOG)
def test_the_migrations_make_what_the_schema_declares(admin_dsn: str, declared: str, kind: str) -> None:
    made = rows(admin_dsn, CATALOG[kind], OF_A_DAY)
    assert len(made) > 1
    assert made == rows(declared, CATALOG[kind], OF_A_DAY)


@pytest.mark.parametrize("name", OF_TENANTS)
def test_every_key_of_a_tenants_table_leads_with_the_tenant(name: str) -> None:
    table = metadata.tables[name]
    assert next(iter(table.columns)).name == "tenant_id"
    assert all(columns[0] == "tenant_id" for columns in keys(table))


def keys(table: Table) -> list[list[str]]:
    kinds = (PrimaryKeyConstraint, UniqueConstraint, ForeignKeyConstraint)
    found = [c for c in table.constraints if isinstance(c, kinds) and len(c.columns)]
    return [[column.name for column in constraint.columns] for constraint in found]


def test_every_index_but_those_of_hashes_and_words_leads_with_the_tenant(admin_dsn: str) -> None:
    """The hashes, also those of cases, and the words have the tenant in them."""
    sql = """
        select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_class t on t.oid = i.indrelid join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0]
        where t.relnamespace = 'public'::regnamespace and a.attname <> 'tenant_id'
        and t.relname <> all(%s)"""
    found = sorted(rows(admin_dsn, sql, sorted(WITHOUT_RLS)))
    assert found == [("idx_text_words",), ("resource_cases",), ("resource_keys",)]


def test_row_level_security_is_forced_on_every_table_but_the_listed_few(admin_dsn: str) -> None:
    sql = """
        select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
        and not (relrowsecurity and relforcerowsecurity) order by 1"""
    assert {name for (name,) in rows(admin_dsn, sql)} == WITHOUT_RLS


def test_the_servers_role_owns_nothing_and_cannot_bypass(admin_dsn: str, server_dsn: str) -> None:
    sql = "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = 'concord_server'"
    assert rows(admin_dsn, sql) == [(False, False, False, False)]
    owned = "select 1 from pg_class where relowner = 'concord_server'::regrole"
    assert rows(admin_dsn, owned) == []
    for statement in (
        "create table mine (id int)",
        "set role concord_owner",
        "alter table resource disable row level security",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(server_dsn, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set action = 'x'",
        "delete from audit",
        "truncate audit",
        "update resource_history set version = 1",
        "delete from resource_history",
        "delete from resource",
        "delete from inbox",
        "delete from tenant",
        "select 1 from audit_default",
    ],
)
def test_what_is_kept_for_good_the_server_cannot_change(server_dsn: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(server_dsn, statement)


def test_a_second_migration_changes_nothing(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    done = migrate(postgres.admin_dsn(fresh_name), today=TODAY)
    assert (done.before, done.after, done.marked) == (newest(), newest(), True)


def test_a_second_migration_restores_lost_marks(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    dsn = postgres.admin_dsn(fresh_name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"alter function {LEAKPROOF[0]} not leakproof".encode())
    marked = "select proleakproof from pg_proc where oid = %s::regprocedure"
    assert rows(dsn, marked, LEAKPROOF[0]) == [(False,)]
    migrate(dsn, today=TODAY)
    assert rows(dsn, marked, LEAKPROOF[0]) == [(True,)]


def test_a_database_of_a_newer_program_is_left_alone(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    dsn = postgres.admin_dsn(fresh_name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(MigrationError, match="newer program"):
        migrate(dsn, today=TODAY)


def test_a_database_that_is_away_is_told_in_words(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(MigrationError, match="no_such_database"):
        migrate(postgres.admin_dsn("no_such_database"), today=TODAY)


def test_an_owner_who_is_no_superuser_migrates_and_says_that_marks_are_missing(postgres: EmbeddedPostgres) -> None:
    """As on a managed PostgreSQL: an owner of the database who may make roles."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute("create role manager createrole")
        admin.execute("grant concord_server to manager with admin option")
        admin.execute("create database managed owner manager")
    dsn = psycopg.conninfo.make_conninfo(postgres.admin_dsn("managed"), options="-c role=manager")
    try:
        done = migrate(dsn, today=TODAY)
        assert (done.before, done.after, done.marked) == (None, newest(), False)
        owners = "select distinct tableowner::text from pg_tables where schemaname = 'public'"
        assert rows(dsn, owners) == [("manager",)]
        assert rows(postgres.server_dsn("managed"), "select count(*) from resource") == [(0,)]
    finally:
        drop_database(postgres, "managed")
        with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
            admin.execute("drop role manager")


def test_a_login_of_its_own_gets_the_servers_rights_and_settings(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(postgres.server_dsn(fresh_name), user="clinic", password="secret'\\")
    migrate(postgres.admin_dsn(fresh_name), dsn, today=TODAY)
    admin = postgres.admin_dsn(fresh_name)
    assert rows(admin, "select pg_has_role('clinic', 'concord_server', 'member')") == [(True,)]
    ((settings,),) = rows(admin, "select setconfig from pg_db_role_setting where setrole = 'clinic'::regrole")
    assert "jit=off" in str(settings)
    ((password,),) = rows(admin, "select rolpassword from pg_authid where rolname = 'clinic'")
    assert str(password).startswith("SCRAM-SHA-256$")
