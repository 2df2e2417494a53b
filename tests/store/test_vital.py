"""A connection that gives no sign of life is given up by both sides, and what it had locked is free."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from fhir_server import errors
from fhir_server.store.database import Database


async def test_both_sides_are_asked_to_give_up_a_silent_connection(server_dsn: str) -> None:
    db = await Database.open(server_dsn, lost_after=12)
    try:
        assert await db.fetch(None, "show idle_in_transaction_session_timeout") == [("12s",)]
        ours = conninfo_to_dict(db.asked)
        assert ours["tcp_user_timeout"] == "12000"
        asked = int(str(ours["keepalives_idle"])) + int(str(ours["keepalives_interval"])) * 3
        assert asked == 12
        assert "-c tcp_keepalives_idle=6 -c tcp_keepalives_interval=2" in str(ours["options"])
    finally:
        await db.close()


async def test_what_the_connection_string_says_wins(server_dsn: str) -> None:
    given = psycopg.conninfo.make_conninfo(server_dsn, options="-c idle_in_transaction_session_timeout=5s")
    db = await Database.open(given, lost_after=12)
    try:
        assert await db.fetch(None, "show idle_in_transaction_session_timeout") == [("5s",)]
    finally:
        await db.close()


async def test_a_lock_of_a_silent_transaction_is_free_after_a_while(server_dsn: str, database: Database) -> None:
    silent = await Database.open(server_dsn, lost_after=0.5)
    tx = silent.transaction(None)
    held = await tx.__aenter__()
    await held.fetch("select pg_advisory_xact_lock(4711)")
    # Another waits for the same lock meanwhile, and gets it without our saying anything.
    await database.fetch(None, "select pg_advisory_xact_lock(4711)")
    with pytest.raises(errors.Busy):
        await held.fetch("select 1")
    with pytest.raises(errors.Busy):
        await tx.__aexit__(None, None, None)
    await silent.close()
