"""What is sealed opens only by its tenant's key, at its own place, unchanged; a key goes, what it sealed stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.errors import Unreadable
from fhir_server.store import keys, masterkey
from fhir_server.store.database import Database
from fhir_server.store.keyring import Keyring
from fhir_server.store.masterkey import MasterKey
from tests.postgres import MASTER_KEY

Tenants = tuple[int, int]
PLACE = b"resource/1/a"


async def ring(database: Database, *tenants: int, master: str = MASTER_KEY) -> Keyring:
    """Return a keyring that is ready, of an installation that knows the tests' master key."""
    await keys.ensure_installation(database)
    await database.fetch(
        None, "update installation set master_check = %s where master_check is null", (MasterKey.of(MASTER_KEY).check,)
    )
    made = Keyring(MasterKey.of(master))
    for tenant in tenants:
        await made.ready(database, tenant)
    return made


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
async def test_what_is_sealed_comes_back_and_is_not_to_be_seen(
    database: Database, tenants: Tenants, data: bytes
) -> None:
    keyring = await ring(database, tenants[0])
    sealed = keyring.seal(tenants[0], PLACE, data)
    assert keyring.open(tenants[0], PLACE, sealed) == data
    assert keyring.seal(tenants[0], PLACE, data) != sealed
    assert len(data) < 4 or data not in sealed


async def test_without_a_master_key_data_are_kept_as_they_are_and_stay_readable(
    database: Database, tenants: Tenants
) -> None:
    plain = Keyring().seal(tenants[0], PLACE, b"as it is")
    assert Keyring().open(tenants[0], PLACE, plain) == b"as it is"
    assert (await ring(database, tenants[0])).open(tenants[0], PLACE, plain) == b"as it is"


async def test_what_was_moved_or_changed_does_not_open(database: Database, tenants: Tenants) -> None:
    keyring = await ring(database, *tenants)
    sealed = keyring.sealed(tenants[0], PLACE, b"of Ada alone")
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(1, len(sealed))]
    for tenant, place, blob in [
        (tenants[0], b"resource/1/b", sealed),
        (tenants[1], PLACE, sealed),
        *((tenants[0], PLACE, blob) for blob in (*changed, sealed[:-1], sealed[:10], b"\1", b"\7" + sealed[1:])),
    ]:
        with pytest.raises(Unreadable):
            keyring.opened(tenant, place, blob)


async def test_each_process_finds_the_keys_that_another_has_made(database: Database, tenants: Tenants) -> None:
    one, two = await ring(database, tenants[0]), await ring(database, tenants[0])
    first = one.sealed(tenants[0], PLACE, b"first")
    assert await one.rotate(database, tenants[0]) == 2
    second = one.sealed(tenants[0], PLACE, b"second")
    await two.known(database, tenants[0], second)
    assert [two.opened(tenants[0], PLACE, blob) for blob in (first, second)] == [b"first", b"second"]
    assert second.startswith(one.head(tenants[0]))
    assert not first.startswith(one.head(tenants[0]))
    assert one.head(tenants[0]) == two.head(tenants[0])


async def test_another_master_key_opens_no_data_key_and_makes_none(database: Database, tenants: Tenants) -> None:
    await ring(database, tenants[0])
    other = Keyring(MasterKey(b"x" * 32))
    for tenant in tenants:
        with pytest.raises(Unreadable):
            await other.ready(database, tenant)
    assert await database.fetch(None, "select 1 from data_key where tenant_id = %s", (tenants[1],)) == []


async def test_no_data_key_stands_in_the_database_as_it_is(database: Database, tenants: Tenants) -> None:
    keyring = await ring(database, tenants[0])
    [(wrapped,)] = await database.fetch(None, "select wrapped from data_key where tenant_id = %s", (tenants[0],))
    key = MasterKey.of(MASTER_KEY).unwrap(tenants[0], 1, wrapped)
    assert len(key) == 32
    assert key not in wrapped
    assert keyring.on
    with pytest.raises(Unreadable):
        MasterKey.of(MASTER_KEY).unwrap(tenants[0], 2, wrapped)


@pytest.mark.parametrize("text", ["", "short", "c2hvcnQ=", "é" * 32, "Y29uY29yZA==\n\n"])
def test_what_is_no_master_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="master key") as told:
        MasterKey.of(text)
    assert not text or text not in str(told.value)


def test_a_key_file_is_for_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    first, second = masterkey.made(file), masterkey.made(file)
    assert first.is_of(second.check)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["master.key"]
    kept: Any = masterkey.kept(file)
    assert kept.is_of(first.check)
    assert masterkey.kept(tmp_path / "none") is None
