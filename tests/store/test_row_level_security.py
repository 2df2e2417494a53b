"""Without a tenant nothing is seen, with one its own rows alone, whatever the statement says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import psycopg
import pytest

from fhir_server.store import audit, inbox
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.schema import WITHOUT_RLS, metadata
from tests.postgres import new_tenants
from tests.store.letters import LATER, drain, letter
from tests.store.rows import NOW, create, entries, replace

OF_TENANTS = sorted(set(metadata.tables) - WITHOUT_RLS)
# Tables that this test's data does not reach by the store's own functions.
BY_HAND = {
    "audit_block": "insert into audit_block values (%s, 1, now(), 1, 0, 1, 0, '', '', '', now())",
    "audit_start": "insert into audit_start values (%s, 0, '', now(), now())",
    "audit_state": "insert into audit_state values (%s, 'd', 'b')",
    "oauth_client": "insert into oauth_client (tenant_id, client_id, name, scope, jwks)"
    " values (%s, 'c', 'n', '', '{}')",
    "oauth_assertion": "insert into oauth_assertion (tenant_id, client_id, jti, expires) values (%s, 'c', 'j', now())",
    "oauth_grant": "insert into oauth_grant (tenant_id, id, client_id, scope, created)"
    " values (%s, 'g', 'c', '', now())",
    "care_relation": "insert into care_relation (tenant_id, member, patient, kind, valid_from, source)"
    " values (%s, 1, 2, 'assigned', now(), 3)",
    "clinic_case": "insert into clinic_case (tenant_id, case_key, id, status) values (%s, 1, 'e', 'active')",
    "case_assignment": "insert into case_assignment (tenant_id, self_key, case_key, assigned) values (%s, 2, 1, now())",
    "case_attorney": "insert into case_attorney (tenant_id, case_key, person_id, role, valid_from)"
    " values (%s, 1, 1, 'lead', now())",
    "release_of_information": "insert into release_of_information (tenant_id, case_key, patient, valid_from, expires)"
    " values (%s, 1, 2, now(), now())",
    "special_access": "insert into special_access (tenant_id, id, kind, person_id, reason, opened, expires)"
    " values (%s, 's', 'SUPPORT', 1, 'r', now(), now())",
    "channel_poll": "insert into channel_poll (tenant_id, channel) values (%s, 'c')",
    "channel": "insert into channel (tenant_id, name, state, version, changed) values (%s, 'c', 'running', 1, now())",
    "channel_version": "insert into channel_version (tenant_id, name, version, definition, author, created)"
    " values (%s, 'c', 1, '{}', 'a', now())",
    "channel_count": "insert into channel_count values (%s, 'c', now(), 'done', 1, now())",
    "alert": "insert into alert (tenant_id, channel, kind, count, detail, first, last)"
    " values (%s, 'c', 'silence', 1, '{}', now(), now())",
    "alert_target": "insert into alert_target (tenant_id, kind, address, created, author)"
    " values (%s, 'email', 'a@example.org', now(), 'x')",
    "oauth_request": "insert into oauth_request (tenant_id, handle_hash, client_id, redirect_uri, state, scope,"
    " challenge, created, expires, asked_encounter) values (%s, 'h', 'c', '', '', '', '', now(), now(), false)",
    "oauth_launch": "insert into oauth_launch (tenant_id, launch_hash, client_id, person, created, expires)"
    " values (%s, 'l', 'c', 1, now(), now())",
    "oauth_code": "insert into oauth_code (tenant_id, code_hash, grant_id, client_id, redirect_uri, challenge,"
    " signed_in, expires) values (%s, 'o', 'g', 'c', '', '', now(), now())",
    "oauth_refresh": "insert into oauth_refresh (tenant_id, token_hash, grant_id, client_id, expires)"
    " values (%s, 'r', 'g', 'c', now())",
    "consent_rule": "insert into consent_rule (tenant_id, patient, consent, n, above, deny, made)"
    " values (%s, 1, 2, 0, '{}', true, now())",
    "search_parameter": "insert into search_parameter (tenant_id, id, generation, definition, types, created)"
    " values (%s, 'x', 1, '{}', '{1}', now())",
    "search_pass": "insert into search_pass (tenant_id, type, wanted) values (%s, 1, 1)",
    "job": "insert into job (tenant_id, kind, payload, state, created) values (%s, 'k', '{}', 'queued', now())",
    "binary_object": "insert into binary_object (tenant_id, key, size, touched) values (%s, 'k', 0, now())",
    "message_object": "insert into message_object values (%s, 'k', now(), 1)",
    "delivery": "insert into delivery (tenant_id, received, message_id, channel, destination, sends, content_key,"
    " order_hash, lane, state, created) values (%s, now(), 1, 'c', 'd', 'ack', '', 1, 1, 'queued', now())",
    "delivery_attempt": "insert into delivery_attempt (tenant_id, received, delivery_id, number, began, request_bytes)"
    " values (%s, now(), 1, 1, now(), 0)",
    "destination": "insert into destination (tenant_id, channel, name, changed) values (%s, 'c', 'd', now())",
    "secret": "insert into secret (tenant_id, name, value, author, changed) values (%s, 's', '', 'a', now())",
    "load_mark": 'insert into load_mark (tenant_id, source, "first", "last") values (%s, \'s\', 0, 0)',
}


@pytest.fixture
async def filled(fresh_database: Database) -> tuple[Database, tuple[int, ...]]:
    """Give a database with rows of two tenants in every table."""
    tenants = await new_tenants(fresh_database, 2)
    for tenant in tenants:
        (made,) = await create(fresh_database, tenant, "a")
        await replace(fresh_database, tenant, made.self_key, b"2", entries(2))
        await inbox.accept(fresh_database, tenant, [letter("1")])
        async with fresh_database.transaction(tenant) as tx:
            audit.record(tx, [audit.Audited(at=NOW, action="read", subject="s", client="c", outcome=200)])
            for statement in BY_HAND.values():
                tx.defer(statement, (tenant,))
    return fresh_database, tenants


@pytest.mark.parametrize("table", OF_TENANTS)
async def test_a_tenant_sees_its_own_rows_and_an_unset_one_none(
    filled: tuple[Database, tuple[int, ...]], table: str
) -> None:
    database, tenants = filled
    owners = f"select distinct tenant_id from {table}"
    for tenant in tenants:
        assert await database.fetch(tenant, owners) == [(tenant,)]
        other = f"select 1 from {table} where tenant_id = %s"
        assert await database.fetch(tenant, other, (sum(tenants) - tenant,)) == []
    assert await database.fetch(None, owners) == []
    assert await database.fetch(-1, owners) == []


@pytest.mark.parametrize("table", OF_TENANTS)
async def test_a_row_cannot_be_given_to_another_tenant(filled: tuple[Database, tuple[int, ...]], table: str) -> None:
    database, (tenant, other) = filled
    columns = ", ".join(f'"{column.name}"' for column in metadata.tables[table].columns)
    copied = ", ".join(f'"{c.name}"' if c.name != "tenant_id" else str(other) for c in metadata.tables[table].columns)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        await database.fetch(tenant, f"insert into {table} ({columns}) select {copied} from {table}")


async def test_the_owner_of_the_tables_sees_nothing_either(
    filled: tuple[Database, tuple[int, ...]], postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    with psycopg.connect(postgres.admin_dsn(fresh_name)) as admin:
        admin.execute("set role concord_owner")
        for table in OF_TENANTS:
            assert admin.execute(f"select count(*) from {table}".encode()).fetchone() == (0,)


async def test_rows_are_hidden_from_changes_too(filled: tuple[Database, tuple[int, ...]]) -> None:
    database, (tenant, other) = filled
    for statement in ("update resource set body = 'x'", "update inbox set channel = 'x'", "delete from idx_string"):
        await database.fetch(tenant, statement)
    assert await database.fetch(other, "select distinct body as stored from resource") == [(b"2",)]
    assert await database.fetch(other, "select distinct channel from inbox") == [("mllp",)]
    assert await database.fetch(other, "select count(*) from idx_string") == [(2,)]


CLAIM_AND_DIE = """
import asyncio, os, sys
from datetime import datetime, timedelta, UTC
from fhir_server.store import inbox
from fhir_server.store.database import Database
async def main():
    db = await Database.open(sys.argv[1])
    async with db.transaction(None) as tx:
        (message,) = await inbox.claim(tx, datetime.fromisoformat(sys.argv[2]))
        await tx.fetch("update inbox set channel = 'half done' returning 1")
        print(message.control_id, flush=True)
        os.kill(os.getpid(), int(sys.argv[3]))
asyncio.run(main())
"""


@pytest.mark.parametrize("sign", [9, 19], ids=["killed", "stopped, as a machine that vanished"])
async def test_the_message_of_a_lost_worker_is_taken_by_another(
    fresh_database: Database, postgres: EmbeddedPostgres, fresh_name: str, sign: int
) -> None:
    (tenant,) = await new_tenants(fresh_database, 1)
    await inbox.accept(fresh_database, tenant, [letter("1"), letter("2")])
    # The role's own setting is a minute; a test has less patience.
    dsn = psycopg.conninfo.make_conninfo(
        postgres.server_dsn(fresh_name), options="-c idle_in_transaction_session_timeout=2s"
    )
    argv = [sys.executable, "-c", CLAIM_AND_DIE, dsn, LATER.isoformat(), str(sign)]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout
        with worker.stdout as said:
            assert await asyncio.to_thread(said.readline) == "1\n"
        done: list[str] = []
        async with asyncio.timeout(60):
            while len(done) < 2:
                done += await drain(fresh_database)
                await asyncio.sleep(0.02)
    finally:
        os.kill(worker.pid, 9)
        worker.wait()
    assert done == ["1", "2"]
    assert await fresh_database.fetch(tenant, "select distinct channel from inbox") == [("mllp",)]
