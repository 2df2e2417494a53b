"""Migrations since the version before only add: what its statements name is there, as it was, and takes their rows.

The catalog of the schema that the version before knows is compared with that of the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from fhir_server.store import migrate
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import drop_database
from tests.previous import previous

NAMED = "relnamespace = 'public'::regnamespace and relname !~ '_(default|[0-9]{8})(_|$)|alembic_version'"
COLUMNS = f"""
    select relname::text, attname::text, format_type(atttypid, atttypmod), attnotnull,
           atthasdef or attidentity <> '' or attgenerated <> ''
    from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped
    where relkind in ('r', 'p') and {NAMED}"""
# What `on conflict` and the one-and-only of a row hang on.
UNIQUE = f"""
    select t.relname::text, pg_get_indexdef(i.indexrelid) from pg_index i join pg_class t on t.oid = i.indrelid
    where i.indisunique and {NAMED.replace("relname", "t.relname")}"""
CHECKS = f"""
    select relname::text, conname::text, pg_get_constraintdef(k.oid) from pg_constraint k
    join pg_class c on c.oid = conrelid where contype in ('c', 'f') and {NAMED}"""
FUNCTIONS = """
    select p.oid::regprocedure::text, pg_get_function_result(p.oid) from pg_proc p
    where pronamespace = 'public'::regnamespace"""
RIGHTS = f"""
    select relname::text, privilege_type from pg_class c, lateral aclexplode(relacl) x
    where grantee = 'concord_server'::regrole and relkind in ('r', 'p', 'S') and {NAMED}"""
SEQUENCES = f"select relname::text from pg_class where relkind = 'S' and {NAMED}"

Rows = set[tuple[object, ...]]
Catalog = Callable[[str], tuple[Rows, Rows]]


@pytest.fixture(scope="module")
def catalog(postgres: EmbeddedPostgres) -> Iterator[Catalog]:
    """Give what tells of a query's rows before and after the migrations that the version before does not know."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database expanded template template0")
    dsn = postgres.admin_dsn("expanded")
    _upgrade(dsn, previous().revision)
    queries = (COLUMNS, UNIQUE, CHECKS, FUNCTIONS, RIGHTS, SEQUENCES)
    before = {query: _rows(dsn, query) for query in queries}
    _upgrade(dsn, "head")
    after = {query: _rows(dsn, query) for query in queries}
    yield lambda query: (before[query], after[query])
    drop_database(postgres, "expanded")


def _rows(dsn: str, sql: str) -> Rows:
    with psycopg.connect(dsn) as connection:
        return set(connection.execute(sql.encode()).fetchall())


def _upgrade(dsn: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate._FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_every_table_and_column_is_there_of_the_same_type(catalog: Catalog) -> None:
    before, after = catalog(COLUMNS)
    assert {row[:3] for row in before} - {row[:3] for row in after} == set()
    assert len(before) > 100


def test_nothing_that_was_optional_must_be_given_now(catalog: Catalog) -> None:
    before, after = catalog(COLUMNS)
    optional = {row[:2] for row in before if not row[3] or row[4]}
    assert {row[:2] for row in after if row[3] and not row[4]} & optional == set()


def test_a_new_column_of_an_old_table_need_not_be_given(catalog: Catalog) -> None:
    before, after = catalog(COLUMNS)
    tables, known = {row[0] for row in before}, {row[:2] for row in before}
    new = {row for row in after if row[0] in tables and row[:2] not in known}
    assert {row[:2] for row in new if row[3] and not row[4]} == set()


def test_what_is_unique_is_the_same(catalog: Catalog) -> None:
    before, after = catalog(UNIQUE)
    tables = {row[0] for row in before}
    assert before - after == set()
    assert {row for row in after - before if row[0] in tables} == set()


def test_an_old_table_refuses_no_row_that_it_took(catalog: Catalog) -> None:
    """Where a check has to become wider, its new text stands in `WIDER`, with the version that may forget it."""
    before, after = catalog(CHECKS)
    tables = {row[0] for row in before} | {row[0] for row in catalog(COLUMNS)[0]}
    assert {row for row in after - before if row[0] in tables} - WIDER == set()


_STATES = "'received'::text, 'done'::text, 'buried'::text, 'rejected'::text, 'quarantined'::text"
# A state that the version before never sets (0030).
WIDER: Rows = {("inbox", "inbox_state_check", f"CHECK ((state = ANY (ARRAY[{_STATES}])))")}


def test_functions_sequences_and_rights_of_the_servers_role_are_kept(catalog: Catalog) -> None:
    for query in (FUNCTIONS, SEQUENCES, RIGHTS):
        before, after = catalog(query)
        assert before
        assert before - after == set()


def test_the_recorded_version_is_one_that_migrations_followed_or_the_newest() -> None:
    assert previous().revision <= migrate.newest()
    assert len(previous().commit) == 40
