"""An encrypted document gives any range of itself, and nothing where anything of it was changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fhir_server.errors import Busy, Unreadable
from fhir_server.store.database import Database
from fhir_server.store.object_seal import CHUNK, HEAD, Layout
from fhir_server.store.objects import Content, Objects
from tests.store.test_keyring import ring

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7, (1 << 20) + 5)


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    """Give the data in pieces, as a request does."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(objects: Objects, tenant: int, content: Content, start: int, end: int) -> bytes:
    """Return a range of a document."""
    return b"".join([piece async for piece in objects.stream(tenant, content, start, end)])


def made(size: int) -> bytes:
    """Return contents of which every part differs from every other."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


@pytest.fixture
async def objects(database: Database, tenants: tuple[int, int], tmp_path: Path) -> Objects:
    """Return a store that encrypts."""
    database.keyring = await ring(database, *tenants)
    return Objects(tmp_path.as_uri(), database, b"secret")


@pytest.mark.parametrize("size", SIZES)
async def test_every_range_is_what_was_kept(
    objects: Objects, tenants: tuple[int, int], tmp_path: Path, size: int
) -> None:
    data = made(size)
    content = await objects.keep(tenants[0], pieces(data), NOW)
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.stat().st_size == Layout(size).whole
    assert size < 100 or data[:100] not in file.read_bytes()
    edges = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, size - 1, size}
    for start in sorted(edge for edge in edges if 0 <= edge <= size):
        for end in sorted(edge for edge in edges if start <= edge <= size):
            assert await read(objects, tenants[0], content, start, end) == data[start:end]


async def test_what_was_changed_cut_off_or_moved_is_not_given_out(
    objects: Objects, tenants: tuple[int, int], tmp_path: Path
) -> None:
    data = made(2 * CHUNK + 100)
    content = await objects.keep(tenants[0], pieces(data), NOW)
    other = await objects.keep(tenants[0], pieces(data[:-1]), NOW)
    file = tmp_path / f"{tenants[0]}" / content.key.hex()[:2] / f"{content.key.hex()}.sealed"
    whole = file.read_bytes()
    piece = CHUNK + 16
    swapped = (
        whole[:HEAD] + whole[HEAD + piece : HEAD + 2 * piece] + whole[HEAD : HEAD + piece] + whole[HEAD + 2 * piece :]
    )
    flipped = whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]
    twin = tmp_path / f"{tenants[0]}" / other.key.hex()[:2] / f"{other.key.hex()}.sealed"
    for changed in (swapped, flipped, whole[:-1] + b"x", twin.read_bytes() + b"\0", whole[: Layout(CHUNK).whole]):
        file.write_bytes(changed)
        with pytest.raises((Unreadable, Busy)):
            await read(objects, tenants[0], content, 0, content.size)
    file.write_bytes(whole)
    assert await read(objects, tenants[0], content, 0, content.size) == data


async def test_a_document_from_before_the_master_key_is_read_and_swept_as_before(
    objects: Objects, database: Database, tenants: tuple[int, int], tmp_path: Path
) -> None:
    keyring = database.keyring
    database.keyring = type(keyring)()
    content = await objects.keep(tenants[0], pieces(b"plain"), NOW)
    database.keyring = keyring
    assert await read(objects, tenants[0], content, 1, 5) == b"lain"
    assert await objects.there(tenants[0], content.key)
    newer = await objects.keep(tenants[0], pieces(b"newer"), NOW)
    assert await objects.sweep([tenants[0]], NOW.replace(year=NOW.year + 1)) == 2
    for gone in (content, newer):
        assert not await objects.there(tenants[0], gone.key)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
