"""Files of messages become messages of a channel: each by itself, answered beside the file, and never twice."""

from __future__ import annotations

import asyncio
import os
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.engine.folder import FolderPoller
from fhir_server.engine.polling import Trouble
from fhir_server.errors import Busy
from fhir_server.operations.polled import Folder
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import NOW, adt, kept, raw, receiver, shut, tenant_of

LONGEST = 100_000


class World:
    """A tenant with a channel that watches a folder."""

    def __init__(self, db: Database, tenant: Tenant, root: Path) -> None:
        self.db, self.tenant, self.root = db, tenant, root
        self.folder = root / tenant.name / "lab"
        self.folder.mkdir(parents=True)

    def poller(self, **more: Any) -> FolderPoller:
        source = Folder(path="lab", settle=more.pop("settle", 0), files=more.pop("files", "*"))
        channel = Channel("lab", self.tenant, via="folder", polls=source, **more)
        numbers = count(1)
        behind = receiver(self.db, channel)
        return FolderPoller(channel, source, self.root, behind, lambda: NOW, lambda: f"R{next(numbers)}", LONGEST)

    def leave(self, name: str, *messages: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(messages))
        return path

    async def look(self, **more: Any) -> int:
        return await self.poller(**more).look({})

    def put(self, where: str) -> dict[str, bytes]:
        """Return what was put away, by name without its tag."""
        found = (self.folder / where).iterdir()
        return {_untagged(path.name): path.read_bytes() for path in found}

    async def numbers(self, state: str = "received") -> list[str | None]:
        return [one.control_id for one in await kept(self.db, self.tenant) if one.state == state]


def _untagged(name: str) -> str:
    return re.sub(r"\.[0-9a-f]{8}(?=\.|$)", "", name)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    return World(database, await tenant_of(database), tmp_path / "root")


def batch(*messages: bytes, said: int | None = None, end: bool = True) -> bytes:
    trailer = f"BTS|{len(messages) if said is None else said}\r".encode() if end else b""
    return b"BHS|^~\\&|LAB|NORTH|HIS|SOUTH|20260301||||B7\r" + b"".join(messages) + trailer


def codes(report: bytes) -> list[str]:
    return [line.split("|")[1] for line in report.decode().split("\r") if line.startswith("MSA")]


async def test_a_file_of_one_message_is_taken_as_it_is_and_answered_beside_it(world: World) -> None:
    message = adt("M1")
    world.leave("one.hl7", message)
    assert await world.look() == 1
    assert await world.numbers() == ["M1"]
    [stored] = await kept(world.db, world.tenant)
    assert await raw(world.db, world.tenant, stored.id) == message.rstrip(b"\r")
    assert (stored.channel, str(stored.peer)[:5]) == ("lab", "file ")
    done = world.put("done")
    assert done["one.hl7"] == message
    lines = done["one.hl7.ack"].decode().split("\r")
    assert [line[:3] for line in lines] == ["BHS", "MSH", "MSA", "BTS", ""]
    assert lines[2].startswith("MSA|AA|M1")
    assert lines[3] == "BTS|1|1 messages, 0 refused, 0 known before"
    assert sorted(os.listdir(world.folder)) == ["done", "failed", "work"]


async def test_one_bad_message_does_not_sink_the_file(world: World) -> None:
    bad = adt("M2").replace(b"ADT^A01^ADT_A01", b"")
    world.leave("many.hl7", batch(adt("M1"), bad, adt("M3")))
    assert await world.look() == 3
    assert (await world.numbers(), await world.numbers("rejected")) == (["M1", "M3"], ["M2"])
    failed = world.put("failed")
    report = failed["many.hl7.ack"]
    assert codes(report) == ["AA", "AR", "AA"]
    assert report.startswith(b"BHS|^~\\&|HIS|SOUTH|LAB|NORTH|20260301120000+0000||||R1|B7\r")
    assert report.endswith(b"BTS|3|3 messages, 1 refused, 0 known before\r")


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (batch(adt("M1"), said=2), b"BTS-1 says 2 messages, there are 1"),
        (b"FHS|^~\\&\r" + batch(adt("M1")) + b"FTS|2\r", b"FTS-1 says 2 batches, there are 1"),
        (b"hello\r" + adt("M1"), b"there is text that belongs to no message"),
    ],
)
async def test_what_does_not_add_up_is_told_and_the_messages_are_taken(
    world: World, content: bytes, remark: bytes
) -> None:
    world.leave("a", content)
    await world.look()
    assert await world.numbers() == ["M1"]
    assert remark in world.put("failed")["a.ack"]


async def test_files_with_file_and_batch_segments_are_answered_alike(world: World) -> None:
    content = b"FHS|^~\\&|A|B|||||||F1\r" + batch(adt("M1")) + batch(adt("M2"), adt("M3")) + b"FTS|2\r"
    world.leave("a", content)
    await world.look()
    report = world.put("done")["a.ack"].decode().split("\r")
    assert [line[:3] for line in report if line[:3] not in ("MSH", "MSA")] == [
        *("FHS", "BHS", "BTS", "BHS", "BTS", "FTS", ""),
    ]
    assert report[-2] == "FTS|2"
    assert report[0].endswith("|F1")


async def test_the_last_message_of_a_file_that_was_cut_off_is_not_believed(world: World) -> None:
    world.leave("a", batch(adt("M1"), adt("M2"), end=False))
    await world.look()
    assert (await world.numbers(), await world.numbers("rejected")) == (["M1"], ["M2"])
    report = world.put("failed")["a.ack"]
    assert codes(report) == ["AA", "AR"]
    assert b"the file ends before the BTS" in report
    world.leave("a", batch(adt("M1"), adt("M2")))
    await world.look()
    assert await world.numbers() == ["M1", "M2"]


@pytest.mark.parametrize("content", [b"", b"\r\n", b"%PDF-1.4 nothing of HL7\n", bytes(range(256))])
async def test_a_file_without_a_message_fails_and_is_kept(world: World, content: bytes) -> None:
    world.leave("a", content)
    assert await world.look() == 0
    failed = world.put("failed")
    assert failed["a"] == content
    assert b"there is no message in this file" in failed["a.ack"]
    stored = await kept(world.db, world.tenant)
    assert [one.state for one in stored] == (["rejected"] if content else [])


async def test_a_message_that_is_too_long_is_refused_and_the_rest_taken(world: World) -> None:
    long = adt("M2") + b"NTE|1||" + b"x" * LONGEST + b"\r"
    world.leave("a", adt("M1"), long, adt("M3"))
    await world.look()
    assert (await world.numbers(), await world.numbers("rejected")) == (["M1", "M3"], ["M2"])
    assert codes(world.put("failed")["a.ack"]) == ["AA", "AR", "AA"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_line_feeds_are_taken_for_line_ends_and_answered_alike(world: World, end: bytes) -> None:
    world.leave("a", batch(adt("M1"), adt("M2")).replace(b"\r", end))
    await world.look()
    assert await world.numbers() == ["M1", "M2"]
    assert world.put("done")["a.ack"].count(end) == 6


async def test_a_file_in_utf_16_is_taken_and_answered_in_utf_16(world: World) -> None:
    text = batch(adt("M1").replace(b"2.5.1", b"2.5.1||||||UNICODE UTF-16")).decode().replace("Meier", "Müller")
    world.leave("a", text.encode("utf-16"))
    await world.look()
    assert await world.numbers() == ["M1"]
    report = world.put("done")["a.ack"].decode("utf-16")
    assert "MSA|AA|M1\r" in report
    assert report.endswith("\r")


async def test_the_same_file_again_has_no_second_effect(world: World) -> None:
    for name in ("a", "b"):
        world.leave(name, batch(adt("M1"), adt("M2")))
        await world.look()
    assert await world.numbers() == ["M1", "M2"]
    done = world.put("done")
    assert codes(done["b.ack"]) == ["AA", "AA"]
    assert b"2 known before" in done["b.ack"]


async def test_a_file_of_a_process_that_ended_is_read_again_before_others(world: World) -> None:
    await world.look()
    (world.folder / "work" / "old").write_bytes(adt("M1"))
    (world.folder / "work" / "dead.part").write_bytes(b"half a report")
    world.leave("new", adt("M2"))
    await world.look()
    assert await world.numbers() == ["M1", "M2"]
    assert set(world.put("done")) == {"old", "old.ack", "new", "new.ack"}


async def test_a_file_is_left_while_it_is_written(world: World) -> None:
    poller = world.poller(settle=0.2)
    path = world.leave("a", adt("M1"))
    assert await poller.look({}) == 0
    with path.open("ab") as more:
        more.write(adt("M2"))
    await asyncio.sleep(0.25)
    assert await poller.look({}) == 0, "it has changed since the last look"
    await asyncio.sleep(0.25)
    assert await poller.look({}) == 2


@pytest.mark.parametrize("name", [".hidden", "a.tmp", "a.PART", "a.filepart", "a.hl7~", "a.txt"])
async def test_names_of_files_that_are_not_complete_or_not_meant_are_left(world: World, name: str) -> None:
    path = world.leave(name, adt("M1"))
    assert await world.look(files="*.hl7*") == 0
    os.rename(path, world.folder / "a.hl7")
    assert await world.look(files="*.hl7*") == 1


async def test_the_channels_rules_count_as_for_any_message(world: World) -> None:
    world.leave("a", adt("M1"), adt("M2", app="OTHER"))
    await world.look(senders=frozenset({("HIS", "NORTH")}))
    assert (await world.numbers(), await world.numbers("rejected")) == (["M1"], ["M2"])


async def test_a_thousand_messages_keep_their_order(world: World) -> None:
    names = [f"M{n}" for n in range(1000)]
    world.leave("a", batch(*map(adt, names)))
    assert await world.look() == 1000
    assert await world.numbers() == names


async def test_while_the_database_is_away_a_file_waits(
    fresh_database: Database, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    world = World(fresh_database, await tenant_of(fresh_database), tmp_path)
    await world.look()
    world.leave("a", adt("M1"), adt("M2"))
    name = conninfo_to_dict(fresh_database.dsn)["dbname"]
    assert isinstance(name, str)
    shut(postgres, name)
    try:
        with pytest.raises(Busy):
            await world.look()
    finally:
        shut(postgres, name, shut=False)
    assert "a" in os.listdir(world.folder / "work")
    assert (world.put("done"), world.put("failed")) == ({}, {})
    assert await world.look() == 2
    assert await world.numbers() == ["M1", "M2"]


async def test_a_link_in_the_folder_is_left_and_what_took_a_files_place_does_not_stop_the_rest(
    world: World, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(adt("SECRET"))
    await world.look()
    (world.folder / "link.hl7").symlink_to(secret)
    (world.folder / "work" / "slipped.hl7").symlink_to(secret)
    world.leave("b.hl7", adt("M1"))
    with pytest.raises(Trouble, match="1 files cannot be read"):
        await world.look()
    assert await world.numbers() == ["M1"]
    assert (world.folder / "link.hl7").is_symlink()
    assert secret.read_bytes() == adt("SECRET")
    assert await world.look() == 0


async def test_a_folder_that_is_not_there_is_told(world: World) -> None:
    os.rename(world.folder, world.folder.with_name("away"))
    with pytest.raises(Trouble, match="the folder is not there"):
        await world.look()


async def test_a_clinic_cannot_name_the_folder_of_another(world: World, database: Database) -> None:
    other = World(database, await tenant_of(database), world.root)
    other.leave("a", adt("OTHERS"))
    for path in (f"../{other.tenant.name}/lab", "lab/../../x", "/etc", "lab/work", ".."):
        source = Folder(path=path, settle=0)
        channel = Channel("lab", world.tenant, via="folder", polls=source)
        poller = FolderPoller(channel, source, world.root, receiver(database, channel), lambda: NOW, str, LONGEST)
        if path != "lab/work":
            with pytest.raises(Trouble):
                await poller.look({})
    assert await world.numbers() == await other.numbers() == []
