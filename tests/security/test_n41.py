"""N41: what a lab says cannot be changed on its way, nor said by somebody else; an ACK promises what is durable."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.certificates import sending
from adapters.mllp import NoAnswer, Sender
from fhir_server.store.embedded import EmbeddedPostgres
from tests.certificates import Authority
from tests.engine.mllp import LAB, STRANGER, Hospital, hospital
from tests.engine.world import code, kept, raw, segments, shut

RESULT = (
    b"MSH|^~\\&|LABSYS|NORTHLAB|CONCORD|NORTH|20260302161500+0000||ORU^R01^ORU_R01|ID|P|2.5.1\r"
    b"PID|1||8812034^^^NORTH^MR||Marsh^Elinor||19840317|F\r"
    b"OBR|1|DC-1001^NORTH|NL-9001^NORTHLAB|718-7^Hemoglobin^LN|||20260302093000+0000|||||||||||||||"
    b"20260302161200+0000||HM|F\r"
    b"OBX|1|NM|718-7^Hemoglobin^LN||11.2|g/dL|12.0-15.5|L|||F|||20260302093000+0000\r"
)
TAMPERED = RESULT.replace(b"||11.2|", b"||14.2|").replace(b"|L|||F|", b"|N|||F|")


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Hospital]:
    """Give an installation with a channel for one lab, bound to its certificate, beside one that takes everything."""
    async with hospital(postgres.server_dsn(fresh_name), tmp_path) as found:
        bound = {"kind": "mllp", "certificates": [f"dns:{LAB}"]}
        await found.apply(found.north, "lab", source=bound, accepts={"senders": [["LABSYS", "NORTHLAB"]]})
        await found.apply(found.north, "everything")
        async with found.listening():
            yield found


async def test_n41_a_tampered_result_from_a_peer_that_is_not_the_bound_one_is_refused(house: Hospital) -> None:
    """The framing is valid and the MSH is the lab's: the certificate is not, and nothing reaches the clinic."""
    assert await house.told(RESULT, name=LAB) == "AA"
    for name in (STRANGER, None):
        answer = await house.send(TAMPERED, name=name)
        assert (code(answer), segments(answer)["ERR"][3].split("^")[0]) == ("AR", "204")
    db = house.concord.db
    (stored,) = await kept(db, house.north)
    assert await raw(db, house.north, stored.id) == RESULT
    apart = await house.quarantine()
    refused = await kept(db, apart)
    assert [(m.state, m.sender_app) for m in refused] == [("rejected", "LABSYS")] * 2
    assert [await raw(db, apart, m.id) for m in refused] == [TAMPERED] * 2
    assert ["sha256:" in (m.peer or "") for m in refused] == [True, False]


async def test_n41_the_bound_peer_speaks_in_no_other_name(house: Hospital) -> None:
    assert await house.told(RESULT.replace(b"|LABSYS|", b"|OTHERLAB|"), name=LAB) == "AR"
    assert await kept(house.concord.db, house.north) == []


async def test_n41_a_certificate_that_nobody_vouches_for_does_not_come_to_speak(
    house: Hospital, tmp_path: Path
) -> None:
    (tmp_path / "forger").mkdir()
    forged = sending(house.authority.file, *Authority(tmp_path / "forger").issue(LAB))
    sender = Sender("127.0.0.1", house.secured.port, tls=forged)
    with pytest.raises((OSError, NoAnswer)):
        await sender.send(TAMPERED)
    await sender.close()
    async with asyncio.timeout(30):
        while not house.secured.failed:
            await asyncio.sleep(0.01)
    assert await kept(house.concord.db, house.north) == []


async def test_n41_who_stands_between_cannot_pass_for_the_receiver(house: Hospital, tmp_path: Path) -> None:
    """A lab that trusts the clinic's authority hands no result to somebody else's certificate."""
    (tmp_path / "forger").mkdir()
    between = await asyncio.start_server(
        lambda reader, writer: None, "127.0.0.1", 0, ssl=Authority(tmp_path / "forger").server("127.0.0.1")
    )
    trusting = sending(house.authority.file, *house.authority.issue(LAB))
    with pytest.raises(ssl.SSLCertVerificationError):
        await Sender("127.0.0.1", between.sockets[0].getsockname()[1], tls=trusting).send(RESULT)
    between.close()


async def test_n41_nothing_is_acknowledged_that_is_not_durable(
    house: Hospital, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    """While the database takes nothing no AA leaves; what is answered with AA afterwards is there."""
    shut(postgres, fresh_name)
    answer = await house.send(RESULT, name=LAB)
    assert (code(answer), segments(answer)["ERR"][3].split("^")[0]) == ("AR", "207")
    shut(postgres, fresh_name, shut=False)
    assert await house.told(RESULT, name=LAB) == "AA"
    assert [m.state for m in await kept(house.concord.db, house.north)] == ["received"]
