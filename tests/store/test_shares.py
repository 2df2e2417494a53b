"""What the server learns of the keys that many rows hold, and who else may."""

from __future__ import annotations

import psycopg
import pytest

from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.shares import KnownShares, Shares
from tests.postgres import new_tenants

FILL = """
insert into resource (tenant_id, rid, type, id, version, updated, self_key, keys, body)
select %s, n, 1, 'i' || n, 1, now(), n, array[7, 1000 + n, 100 + n %% 2], '{}' from generate_series(1, 4000) n
"""


async def test_common_keys_are_told_with_their_share_and_rare_ones_are_not(
    fresh_database: Database, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    (tenant,) = await new_tenants(fresh_database, 1)
    with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
        admin.execute(FILL, (tenant,))
        admin.execute("analyze resource")
    shares = await KnownShares(fresh_database).now()
    assert shares.rows == 4000
    assert shares.of[7] == pytest.approx(1.0)
    assert shares.of[100] == pytest.approx(0.5)
    assert 1001 not in shares.of


async def test_of_a_database_without_statistics_or_without_the_function_nothing_is_known(
    fresh_database: Database, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    known = KnownShares(fresh_database)
    assert await known.now() == Shares()
    with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
        admin.execute("drop function key_statistics()")
    assert await KnownShares(fresh_database).now() == Shares()


async def test_shares_are_asked_for_now_and_again_and_not_each_time(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    fetch = fresh_database.fetch

    async def counted(*given: object) -> object:
        nonlocal asked
        asked += 1
        return await fetch(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fresh_database, "fetch", counted)
    known = KnownShares(fresh_database)
    for _ in range(5):
        await known.now()
    assert asked == 1


def test_no_other_role_may_ask(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
        admin.execute("create role curious")
        try:
            admin.execute("set role curious")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute("select * from key_statistics()")
        finally:
            admin.execute("reset role")
            admin.execute("drop role curious")
