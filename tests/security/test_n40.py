"""N40: what MLLP senders do to an engine. Memory and a thousand connections are in tests/torture.

https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from adapters.frames import wrap
from adapters.mllp import Limits, Listener
from fhir_server.app import Concord, opened, worker
from fhir_server.app.work import receiver
from fhir_server.context import Tenant
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.settings import Settings
from fhir_server.store import messages, tenants
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.messages import Summary
from tests.engine.world import adt, kept
from tests.torture.world import Wild


class House:
    """An installation with one channel, for the sender HIS of NORTH at this address, and its open door."""

    def __init__(self, concord: Concord, tenant: Tenant, port: int) -> None:
        self.concord, self.tenant, self.port = concord, tenant, port

    async def tell(self, *frames: bytes) -> list[bytes]:
        """Send bytes as they are over one connection, and return an answer for each."""
        async with Wild.to(self.port) as wild:
            answers = []
            for frame in frames:
                await wild.write(frame)
                answers.append(await wild.answer())
        return answers

    async def worked(self) -> list[Summary]:
        await worker(self.concord).drain()
        return await kept(self.concord.db, self.tenant)

    async def refused(self) -> list[Summary]:
        """Return what is kept of unknown senders, and of what is no message at all."""
        return await kept(self.concord.db, await tenants.quarantine(self.concord.db))


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[House]:
    given = Settings.load(env="test", object_store=tmp_path.as_uri(), message_text_bytes=32 << 20)
    async with opened(given, postgres.server_dsn(fresh_name)) as concord:
        tenant = await tenants.add(concord.db, "north")
        channel = {
            "name": "adt",
            "source": {"kind": "mllp", "peers": ["127.0.0.1"]},
            "accepts": {"senders": [["HIS", "NORTH"]]},
        }
        who = Editor(tenant.id, "engineer", "tests", concord.clock())
        await channels.apply(concord.db, who, [msgspec.json.encode(channel)])
        async with receiver(concord) as door:
            limits = Limits(frame=64 << 20, whole=64 << 10, read=1.0, idle=30.0)
            listener = await Listener.start(door.message, limits=limits, faults=door.fault, intake=door.large)
            yield House(concord, tenant, listener.port)
            await listener.stop()


async def closed(wild: Wild) -> None:
    """Wait until the other end closes the connection without an answer."""
    with contextlib.suppress(OSError):
        assert await wild.answer() == b""


@pytest.mark.parametrize("size", [10, 300_000])
async def test_n40_a_message_without_an_end_is_given_up_and_its_beginning_is_kept(house: House, size: int) -> None:
    async with Wild.to(house.port) as wild:
        await wild.write(b"\x0b" + adt("endless") + b"NTE|1||" + b"x" * size)
        await closed(wild)
    (row,) = await house.worked()
    assert (row.state, row.control_id) == ("rejected", "endless")
    assert "broke off" in row.reason[0]["diagnostics"]


async def test_n40_a_sender_that_drips_cannot_hold_a_message_open(house: House) -> None:
    async with Wild.to(house.port) as wild:
        with contextlib.suppress(OSError):
            await wild.write(b"\x0b" + adt("drip"))
            for _ in range(200):
                await wild.write(b"x")
                await asyncio.sleep(0.02)
        await closed(wild)
    assert [(row.control_id, row.state) for row in await house.worked()] == [("drip", "rejected")]


async def test_n40_vt_and_fs_inside_a_message_end_it_and_both_halves_are_kept(house: House) -> None:
    first = adt("1")
    async with Wild.to(house.port) as wild:
        await wild.write(
            b"\x0b" + first[:60] + wrap(adt("2")) + b"\x0b" + adt("3") + b"\x1cPID|1||smuggled\r\x1c\r" + wrap(adt("4"))
        )
        assert [b"MSA|AA|%d" % n in await wild.answer() for n in (2, 3, 4)] == [True] * 3
    states = {(row.control_id, row.state) for row in await house.worked()}
    assert {("2", "done"), ("3", "done"), ("4", "done")} < states
    reasons = [
        row.reason[0]["diagnostics"]
        for row in [*await house.worked(), *await house.refused()]
        if row.state == "rejected"
    ]
    assert sorted(reason.partition("(")[0].strip() for reason in reasons) == [
        "bytes outside any MLLP frame",
        "the message broke off before its end",
    ]


async def test_n40_a_million_segments_are_given_up_with_the_reason_and_others_go_on(house: House) -> None:
    many = adt("many") + b"NTE|1||x\r" * 1_000_000
    answers = await house.tell(wrap(many), wrap(adt("after", "2")))
    assert [b"MSA|AA|many" in answers[0], b"MSA|AA|after" in answers[1]] == [True, True]
    states = {row.control_id: row.state for row in await house.worked()}
    assert states == {"many": "buried", "after": "done"}
    (buried,) = [row for row in await house.worked() if row.state == "buried"]
    assert buried.reason[0]["code"] == "too-costly"


WILD_ESCAPES = (
    "\\X0D0A50494430\\", "\\X\\", "\\XZZ\\", "\\X0\\", "\\X000B1C0D\\", "\\Zwild\\", "\\Z\\", "\\C1B2842\\",
    "\\M1B284A\\",
    "\\E", "\\\\", "\\F\\S\\T\\R\\E\\", "\\.br\\" * 1000, "\\.sp99999999\\", "\\.in-99999\\", "\\H\\" * 999, "\\" * 999,
    "\\XD83D\\", "\\XC3\\",
)  # fmt: skip


async def test_n40_no_escape_sequence_makes_a_segment_or_stops_a_message(house: House) -> None:
    sent = {f"e{n}": adt(f"e{n}", str(n), family=f"A{text}B") for n, text in enumerate(WILD_ESCAPES)}
    answers = await house.tell(*map(wrap, sent.values()))
    assert [b"MSA|AA|" in answer for answer in answers] == [True] * len(sent)
    rows = await house.worked()
    assert {row.state for row in rows} == {"done"}
    for row in rows:
        stored = await messages.show(house.concord.db, house.tenant.id, row.id)
        assert stored is not None
        assert stored.raw == sent[row.control_id or ""]
        assert [name.partition("/")[0] for name in row.result["written"]].count("Patient") == 1


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UNICODE UTF-8", "latin-1"),
        ("ASCII", "utf-8"),
        ("8859/1", "utf-8"),
        ("UNICODE UTF-16", "cp1252"),
        ("none", "latin-1"),
    ],
)
async def test_n40_a_lie_in_msh_18_costs_no_byte_and_is_flagged(house: House, declared: str, codec: str) -> None:
    message = adt("lie", family="Mül").replace(b"|P|2.5.1\r", f"|P|2.5.1||||||{declared}\r".encode())
    message = message.decode().encode(codec)
    (answer,) = await house.tell(wrap(message))
    assert b"MSA|AA|lie" in answer
    (row,) = await house.worked()
    stored = await messages.show(house.concord.db, house.tenant.id, row.id)
    assert stored is not None
    assert stored.raw == message
    flagged = [issue["diagnostics"] for issue in row.reason or () if issue["expression"] == ["MSH-18"]]
    assert flagged or declared == "8859/1"  # whose every byte is a character


async def test_n40_a_sender_that_is_not_known_here_is_refused_recorded_and_never_filed(house: House) -> None:
    answers = await house.tell(
        wrap(adt("1", app="LIAR")), wrap(adt("1").replace(b"|NORTH|", b"|SOUTH|")), wrap(b"no HL7")
    )
    assert [b"MSA|AR|" in answer for answer in answers] == [True] * 3
    assert [b"204" in answer for answer in answers[:2]] == [True] * 2
    assert await house.worked() == []
    assert [(row.state, row.sender_app) for row in await house.refused()] == [
        ("rejected", "LIAR"),
        ("rejected", "HIS"),
        ("rejected", None),
    ]


async def test_n40_a_control_id_that_comes_again_has_no_second_effect(house: House) -> None:
    first, again, other = await house.tell(wrap(adt("1")), wrap(adt("1")), wrap(adt("1", family="Other")))
    assert first == again
    assert b"MSA|AA|1" in other
    rows = await house.worked()
    assert [(row.control_id, row.reused_id) for row in rows] == [("1", False), ("1", True)]


@pytest.mark.parametrize(
    ("wants", "told"),
    [("|", b"AA"), ("AL|NE", b"CA"), ("NE|AL", b"AA"), ("SU|NE", b"CA"), ("NE|NE", None), ("ER|", None)],
)
async def test_n40_a_sender_is_answered_as_it_asks_and_is_never_left_waiting_by_what_it_writes(
    house: House, wants: str, told: bytes | None
) -> None:
    asking = adt("1").replace(b"|P|2.5.1\r", f"|P|2.5.1|||{wants}\r".encode())
    async with Wild.to(house.port) as wild:
        await wild.write(wrap(asking) + wrap(adt("2")))
        answers = [await wild.answer() for _ in range(1 if told is None else 2)]
    assert b"MSA|AA|2" in answers[-1]
    if told:
        assert b"MSA|" + told + b"|1" in answers[0]
    assert {row.state for row in await house.worked()} == {"done"}
