"""Tenants, what signs their tokens, the secret of the installation, and the audit of what was done."""

from __future__ import annotations

import asyncio
import base64

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from fhir_server import errors
from fhir_server.store import audit, keys, tenants
from fhir_server.store.database import Database
from tests.store.rows import NOW


async def test_a_tenant_is_found_by_its_name(fresh_database: Database) -> None:
    made = await tenants.add(fresh_database, "clinic-1", {"zone": "Europe/Berlin"})
    assert await tenants.by_name(fresh_database, "clinic-1") == made
    assert await tenants.by_name(fresh_database, "clinic-2") is None
    assert await tenants.all_of(fresh_database) == [made]
    assert await tenants.settings(fresh_database, made.id) == {"zone": "Europe/Berlin"}


async def test_settings_of_no_tenant_are_refused(fresh_database: Database) -> None:
    made = await tenants.add(fresh_database, "a", {"zone": "UTC"})
    with pytest.raises(errors.Invalid):
        await tenants.settings(fresh_database, made.id + 1)


async def test_a_name_is_taken_once(fresh_database: Database) -> None:
    outcomes = await asyncio.gather(*(tenants.add(fresh_database, "a") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, errors.Conflict) for outcome in outcomes) == 4


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b", "a" * 64, "a\n", "\u00e9", "a'; drop table tenant"])
async def test_a_name_that_cannot_stand_in_an_address_is_refused(database: Database, name: str) -> None:
    with pytest.raises(errors.Invalid, match="no name for a tenant"):
        await tenants.add(database, name)
    assert await tenants.finder(database)(name) is None


async def test_a_finder_learns_of_tenants_added_later(fresh_database: Database) -> None:
    find = tenants.finder(fresh_database)
    assert await find("late") is None
    made = await tenants.add(fresh_database, "late")
    assert await find("late") == made == await find("late")


async def test_every_process_gets_the_same_installation_secret(fresh_database: Database) -> None:
    found = set(await asyncio.gather(*(keys.installation_secret(fresh_database) for _ in range(8))))
    assert len(found) == 1
    assert len(found.pop()) == 32


async def test_a_tenants_key_signs_and_verifies(fresh_database: Database) -> None:
    tenant = (await tenants.add(fresh_database, "a")).id
    found = await asyncio.gather(*(keys.active(fresh_database, tenant) for _ in range(8)))
    assert len({key.kid for key in found}) == 1
    token = jwt.encode({"alg": "ES256", "kid": found[0].kid}, {"sub": "x"}, ECKey.import_key(found[0].jwk))
    again = await keys.by_kid(fresh_database, found[0].kid)
    assert again
    assert jwt.decode(token, ECKey.import_key(again.jwk), algorithms=["ES256"]).claims == {"sub": "x"}
    assert len(base64.urlsafe_b64decode(str(found[0].jwk["d"]) + "==")) == 32


async def test_tenants_have_keys_of_their_own(fresh_database: Database) -> None:
    made = [await tenants.add(fresh_database, name) for name in ("a", "b")]
    found = [await keys.active(fresh_database, tenant.id) for tenant in made]
    assert found[0].kid != found[1].kid
    assert [key.tenant_id for key in found] == [tenant.id for tenant in made]


async def test_a_retired_key_still_verifies_and_signs_no_more(fresh_database: Database) -> None:
    tenant = (await tenants.add(fresh_database, "a")).id
    old = await keys.active(fresh_database, tenant)
    new = await keys.rotate(fresh_database, tenant)
    assert (await keys.active(fresh_database, tenant)).kid == new.kid != old.kid
    retired = await keys.by_kid(fresh_database, old.kid)
    assert retired
    assert (retired.retired, retired.jwk) == (True, old.jwk)


async def test_an_unknown_tenant_has_no_key(fresh_database: Database) -> None:
    with pytest.raises(errors.Invalid, match="no tenant 99"):
        await keys.active(fresh_database, 99)


async def test_a_key_is_remembered_and_an_unknown_one_is_none(fresh_database: Database) -> None:
    tenant = (await tenants.add(fresh_database, "a")).id
    key = await keys.active(fresh_database, tenant)
    find = keys.finder(fresh_database, most=1)
    assert await find("unknown") is None
    assert await find("x" * 10_000) is None
    first = await find(key.kid)
    assert first == key
    assert await find(key.kid) is first


async def test_what_was_done_is_kept_with_its_transaction(database: Database, tenants: tuple[int, int]) -> None:
    rows = [
        audit.Audited(
            at=NOW, action="create", subject="u", client="c", outcome=201, type=1, resource_id="a", version=1
        ),
        audit.Audited(at=NOW, action="read", subject="u", client="c", outcome=404, request_id="r", detail={"why": [1]}),
    ]
    async with database.transaction(tenants[0]) as tx:
        audit.record(tx, rows)
        audit.record(tx, [])
    sql = "select action, outcome, type, resource_id, version, request_id, detail from audit order by id"
    assert await database.fetch(tenants[0], sql) == [
        ("create", 201, 1, "a", 1, None, None),
        ("read", 404, None, None, None, "r", {"why": [1]}),
    ]
    assert await database.fetch(tenants[1], sql) == []


async def test_what_was_taken_back_leaves_no_audit(database: Database, tenants: tuple[int, int]) -> None:
    async def failing() -> None:
        async with database.transaction(tenants[0]) as tx:
            audit.record(tx, [audit.Audited(at=NOW, action="create", subject="u", client="c", outcome=201)])
            tx.defer("select 1 / 0")

    with pytest.raises(Exception, match="division"):
        await failing()
    assert await database.fetch(tenants[0], "select 1 from audit") == []
