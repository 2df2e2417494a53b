"""Ports of MLLP: they open and close as channels are applied, and one that cannot be had stops no other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from adapters.contract import Peer
from fhir_server.store.embedded import EmbeddedPostgres
from tests.adapters.test_mllp import eventually
from tests.engine.mllp import LAB, hospital
from tests.engine.world import adt, kept
from tests.needs import free_port

RANGE = {"mllp_channel_ports": "20000-32000"}


def takes(port: int) -> Callable[[], bool]:
    """Return a question whether somebody listens on a port."""

    def asked() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    return asked


def own(port: int, **more: Any) -> dict[str, Any]:
    """Return a source with a port of its own."""
    return {"kind": "mllp", "port": port, **more}


async def test_a_port_opens_and_closes_with_its_channel_while_others_go_on(
    fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    first, second = free_port(), free_port()
    async with hospital(postgres.server_dsn(fresh_name), tmp_path, tls=False, **RANGE) as house, house.listening():
        await house.apply(house.north, "adt", source=own(first))
        await eventually(takes(first))
        assert await house.told(adt("1"), port=first) == "AA"
        await house.apply(house.south, "adt", source=own(second))
        await eventually(takes(second))
        await house.apply(house.north, "adt")
        await eventually(lambda: not takes(first)())
        assert await house.told(adt("2"), port=second) == "AA"
        assert await house.told(adt("3")) == "AA"
        db = house.concord.db
        assert [m.control_id for m in await kept(db, house.north)] == ["1", "3"]
        assert [m.control_id for m in await kept(db, house.south)] == ["2"]


async def test_who_comes_to_a_channels_port_is_not_taken_by_another_channel_nor_by_the_demo(
    fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    port = free_port()
    given = {**RANGE, "mllp_tenant": "south"}
    async with hospital(postgres.server_dsn(fresh_name), tmp_path, tls=False, **given) as house:
        await house.apply(house.north, "lab", source=own(port), accepts={"senders": [["LAB", "NORTH"]]})
        async with house.listening():
            await eventually(takes(port))
            assert await house.told(adt("1"), port=port) == "AR"
            assert await house.told(adt("2", app="LAB"), port=port) == "AA"
            assert await house.told(adt("3", app="LAB")) == "AA", "the shared port is the demo's"
        db = house.concord.db
        assert [m.control_id for m in await kept(db, house.north)] == ["2"]
        assert [m.control_id for m in await kept(db, house.south)] == ["3"]
        assert [m.control_id for m in await kept(db, await house.quarantine())] == ["1"]


async def test_a_port_that_cannot_be_had_is_told_once_and_had_once_it_is_free(
    fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    taken, free = free_port(), free_port()
    with socket.create_server(("127.0.0.1", taken)) as other, capture_logs() as lines:
        async with hospital(postgres.server_dsn(fresh_name), tmp_path, tls=False, **RANGE) as house:
            await house.apply(house.north, "a", source=own(taken))
            await house.apply(house.north, "b", source=own(free))
            await house.apply(house.north, "c", source=own(19_999))
            await house.apply(house.north, "d", source=own(free_port(), tls=True))
            async with house.listening() as ports:
                await eventually(lambda: takes(free)() and len(ports.problems) == 3)
                assert await house.told(adt("1"), port=free) == "AA"
                told = {str(problem) for problem in ports.problems.values()}
                assert any(f"127.0.0.1:{taken}: address already in use" in text for text in told)
                assert any("CONCORD_MLLP_CHANNEL_PORTS does not have 19999" in text for text in told)
                assert any("CONCORD_MLLP_TLS_CERT is not set" in text for text in told)
                await house.apply(house.north, "e")
                other.close()
                await house.apply(house.north, "e", accepts={"types": ["ADT"]})
                await eventually(lambda: taken not in ports.problems)
                assert await house.told(adt("2"), port=taken) == "AA"
    assert len([line for line in lines if line.get("port") == taken and line["log_level"] == "error"]) == 1


async def test_a_port_of_a_channel_with_certificates_speaks_tls_alone(
    fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    port = free_port()
    async with hospital(postgres.server_dsn(fresh_name), tmp_path, **RANGE) as house:
        await house.apply(house.north, "lab", source=own(port, certificates=[f"dns:{LAB}"]))
        async with house.listening():
            await eventually(takes(port))
            assert await house.told(adt("1"), port=port, name=LAB) == "AA"
            (message,) = await kept(house.concord.db, house.north)
            assert message.peer
            assert " sha256:" in message.peer
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x0b" + adt("2") + b"\x1c\r")
            assert b"MSA" not in await reader.read()
            writer.close()


def test_a_peer_reads_as_address_and_what_it_has_proven() -> None:
    assert str(Peer("10.0.0.1", 0, client="lab-client")) == "10.0.0.1 client lab-client"
