"""Large messages: their documents go to the object store while they arrive, and nothing of them is lost or changed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import psycopg
import pytest

from adapters.frames import wrap
from adapters.mllp import Limits, Listener, Sender
from fhir_server.app import Concord, opened, worker
from fhir_server.app import sweep as swept
from fhir_server.app.work import receiver
from fhir_server.context import Tenant
from fhir_server.errors import Invalid
from fhir_server.interactions.content import content_of
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.settings import Settings
from fhir_server.store import lifted, messages, tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, code, kept

PDF = b"%PDF-1.7\n" + Random(1).randbytes(200_000)
TEXT = base64.b64encode(PDF)


def oru(*values: bytes, control_id: str = "1", order: str = "F1") -> bytes:
    """Return a result whose documents have these values of ED."""
    lines = [
        f"MSH|^~\\&|LAB|NORTH|CONCORD|CLINIC|20260301110000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1".encode(),
        b"PID|1||100^^^NORTH^MR||Meier^Anna||19700101|F",
        f"OBR|1|P1|{order}|18748-4^Report^LN|||20260301100000+0000|||||||||||||||20260301110000+0000||RAD|F".encode(),
        *(b"OBX|%d|ED|PDF%d^Document %d^L||%b||||||F" % (n, n, n, value) for n, value in enumerate(values)),
        b"NTE|1||the end",
    ]
    return b"".join(line + b"\r" for line in lines)


ED = b"LAB^AP^PDF^Base64^"


class House:
    """An installation whose MLLP door is open; `send` to it, `work` what came."""

    def __init__(self, concord: Concord, tenant: Tenant, sender: Sender) -> None:
        self.concord, self.tenant, self.sender = concord, tenant, sender

    async def send(self, message: bytes) -> str:
        return code(await self.sender.send(message))

    async def work(self) -> None:
        await worker(self.concord).drain()

    async def again(self, id_: int) -> bytes:
        """Return a message as it is exported."""
        stored = await messages.show(self.concord.db, self.tenant.id, id_)
        assert stored is not None
        parts = (self.concord.service.objects, self.tenant.id, stored.raw, stored.lifted, stored.content_hash)
        return b"".join([piece async for piece in lifted.whole(*parts)])

    async def all(self, kind: str) -> list[dict[str, object]]:
        """Return the current resources of a type."""
        sql = "select body, type, id from resource where tenant_id = %s and body is not null"
        rows = await self.concord.db.fetch(self.tenant.id, sql, (self.tenant.id,))
        found = [msgspec.json.decode(body) for body, _, _ in rows]
        return [one for one in found if one["resourceType"] == kind]

    async def content(self, binary: dict[str, object]) -> bytes:
        found = content_of(msgspec.json.encode(binary))
        assert found is not None
        pieces = self.concord.service.objects.stream(self.tenant.id, found, 0, found.size)
        return b"".join([piece async for piece in pieces])


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[House]:
    given = Settings.load(env="test", object_store=tmp_path.as_uri(), mllp_tenant="north", documents_max=3)
    async with opened(given, postgres.server_dsn(fresh_name)) as concord:
        tenant = await tenants.add(concord.db, "north")
        async with receiver(concord) as door:
            limits = Limits(frame=2 << 20, whole=64 << 10)
            listener = await Listener.start(door.message, limits=limits, faults=door.fault, intake=door.large)
            sender = Sender("127.0.0.1", listener.port)
            yield House(concord, tenant, sender)
            await sender.close()
            await listener.stop()


LINES = b"\r\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76))
# How a sender may write the same document, and what of it stands in the object store once it came.
WRITTEN = {
    "as it is": ED + TEXT,
    "in lines": ED + LINES,
    "in lines that are escaped": ED + LINES.replace(b"\r\n", b"\\.br\\"),
    "with hexadecimal line ends": ED + LINES.replace(b"\r\n", b"\\X0D0A\\"),
    "without padding": ED + TEXT.rstrip(b"="),
    "broken off and on again": ED + TEXT[:100_000] + b"\n" + TEXT[100_000:],
    "in hexadecimal": b"LAB^AP^PDF^Hex^" + PDF.hex().encode(),
}


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_document_becomes_a_binary_and_the_message_comes_out_as_it_came(house: House, name: str) -> None:
    message = oru(WRITTEN[name])
    assert await house.send(message) == "AA"
    (row,) = await kept(house.concord.db, house.tenant)
    stored = await messages.show(house.concord.db, house.tenant.id, row.id)
    assert stored is not None
    assert len(stored.raw) < 1000
    await house.work()
    (row,) = await kept(house.concord.db, house.tenant)
    assert (row.state, row.order_text) == ("done", "patient|NORTH|100")
    assert await house.again(row.id) == message
    (report,), (binary,) = await house.all("DiagnosticReport"), await house.all("Binary")
    assert report["presentedForm"] == [
        {
            "contentType": "application/pdf",
            "url": f"Binary/{binary['id']}",
            "size": len(PDF),
            "hash": base64.b64encode(hashlib.sha1(PDF).digest()).decode(),
            "title": "Document 0",
        }
    ]
    assert binary["contentType"] == "application/pdf"
    assert binary["securityContext"] == {"reference": f"DiagnosticReport/{report['id']}"}
    assert await house.content(binary) == PDF


async def test_what_is_not_what_it_says_is_kept_as_text_and_told(house: House) -> None:
    text = b"not base64: " + b"\xc3\xa4! " * 30_000
    assert await house.send(oru(ED + text)) == "AA"
    await house.work()
    (row,) = await kept(house.concord.db, house.tenant)
    assert any("kept as text" in issue["diagnostics"] for issue in row.reason)
    (binary,) = await house.all("Binary")
    assert binary["contentType"] == "text/plain"
    assert (await house.content(binary)).strip() == b"not base64: " + "ä! ".encode() * 29_999 + "ä!".encode()
    assert await house.again(row.id) == oru(ED + text)


async def test_several_documents_and_a_small_one_each_have_their_place(house: House) -> None:
    small = base64.b64encode(b"%PDF small")
    message = oru(ED + TEXT, ED + small, ED + TEXT[::-1].lstrip(b"=") + b"^more", ED + TEXT)
    assert await house.send(message) == "AA"
    await house.work()
    (row,) = await kept(house.concord.db, house.tenant)
    assert await house.again(row.id) == message
    (report,) = await house.all("DiagnosticReport")
    forms = report["presentedForm"]
    assert isinstance(forms, list)
    assert ["url" in form for form in forms] == [True, False, True, True]
    assert forms[1]["data"] == small.decode()


async def test_the_same_large_message_is_told_by_its_content(house: House) -> None:
    message = oru(ED + TEXT)
    first, again = await house.sender.send(message), await house.sender.send(message)
    assert first == again
    assert await house.send(oru(ED + TEXT[4:])) == "AA"
    rows = await kept(house.concord.db, house.tenant)
    assert [row.reused_id for row in rows] == [False, True]


async def test_a_replay_makes_no_other_binary(house: House) -> None:
    await house.send(oru(ED + TEXT))
    await house.work()
    (row,) = await kept(house.concord.db, house.tenant)
    assert await messages.replay(house.concord.db, house.tenant.id, [row.id]) == [row.id]
    await house.work()
    assert [one["meta"]["versionId"] for one in await house.all("Binary")] == ["1"]  # type: ignore[index]
    assert [one["meta"]["versionId"] for one in await house.all("DiagnosticReport")] == ["1"]  # type: ignore[index]


async def test_the_same_document_of_two_reports_is_two_binaries_and_one_content(house: House) -> None:
    await house.send(oru(ED + TEXT))
    await house.send(oru(ED + TEXT, control_id="2", order="F2"))
    await house.work()
    found = await house.all("Binary")
    assert len({str(one["id"]) for one in found}) == 2
    assert len({str(one["_data"]) for one in found}) == 1


async def test_documents_of_messages_that_are_worked_together_are_all_in_use(house: House) -> None:
    for number in range(3):
        other = oru(ED + TEXT[4 * number :], control_id=str(number), order=f"F{number}")
        await house.send(other.replace(b"|100^", b"|%d^" % number))
    await house.work()
    sql = "select used from binary_object where tenant_id = %s"
    assert await house.concord.db.fetch(house.tenant.id, sql, (house.tenant.id,)) == [(True,)] * 3


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (oru(*[ED + TEXT[:40_000]] * 4), "more documents"),
        (oru(b"x" * (3 << 20)), "longer than the limit"),
    ],
)
async def test_what_is_too_much_is_refused_with_its_beginning_kept(house: House, message: bytes, why: str) -> None:
    assert await house.send(message) == "AR"
    (row,) = await kept(house.concord.db, house.tenant)
    assert (row.state, row.control_id) == ("rejected", "1")
    assert why in row.reason[0]["diagnostics"]
    assert await house.send(oru(ED + TEXT)) == "AA"


async def test_a_message_that_breaks_off_leaves_its_beginning_and_no_object(house: House, tmp_path: Path) -> None:
    _, writer = await asyncio.open_connection(*house.sender._address)
    writer.write(wrap(oru(ED + TEXT))[:200_000])
    await writer.drain()
    writer.close()
    async with asyncio.timeout(60):
        while not (rows := await kept(house.concord.db, house.tenant)):
            await asyncio.sleep(0.02)
    assert (rows[0].state, rows[0].control_id) == ("rejected", "1")
    async with asyncio.timeout(60):
        while any(path.is_file() for path in tmp_path.rglob("*")):
            await asyncio.sleep(0.02)


async def test_a_store_that_fails_has_the_sender_come_again(house: House, tmp_path: Path) -> None:
    tmp_path.joinpath("incoming").write_text("in the way of a folder")
    tmp_path.joinpath(str(house.tenant.id)).write_text("in the way of a folder")
    answer = await house.sender.send(oru(ED + TEXT))
    assert (code(answer), b"207" in answer) == ("AR", True)
    assert await kept(house.concord.db, house.tenant) == []
    tmp_path.joinpath("incoming").unlink()
    tmp_path.joinpath(str(house.tenant.id)).unlink()
    assert await house.send(oru(ED + TEXT)) == "AA"


async def test_a_sweep_leaves_what_a_message_holds_and_takes_what_none_does(
    house: House, tmp_path: Path, postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    await house.send(oru(ED + TEXT))
    later = msgspec.structs.replace(house.concord, clock=lambda: house.concord.clock() + timedelta(days=3))
    assert await swept(later) == 0
    (row,) = await kept(house.concord.db, house.tenant)
    assert await house.again(row.id) == oru(ED + TEXT)
    with psycopg.connect(postgres.admin_dsn(fresh_name)) as admin:
        admin.execute("truncate inbox")  # as when its days are dropped
    assert await swept(later) == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


async def test_what_lies_in_the_store_is_encrypted_and_damage_is_told(house: House, tmp_path: Path) -> None:
    await house.send(oru(ED + TEXT))
    (row,) = await kept(house.concord.db, house.tenant)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    data = bytearray(file.read_bytes())
    assert PDF[:20] not in data
    assert TEXT[:20] not in data
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Exception, match="changed"):
        await house.again(row.id)


async def test_a_word_that_a_sender_writes_stands_for_no_document(house: House) -> None:
    """Only what the receiver cut out is a document, and nobody can name the content of another."""
    await house.send(oru(ED + TEXT))
    stored = await messages.show(house.concord.db, house.tenant.id, (await kept(house.concord.db, house.tenant))[0].id)
    assert stored is not None
    key = stored.lifted[0].pieces[0].key.hex()
    await house.send(oru(ED + key.encode(), control_id="2", order="F2"))
    await house.work()
    assert len(await house.all("Binary")) == 1


async def test_a_channel_says_in_which_characters_its_sender_really_writes(house: House) -> None:
    who = Editor(house.tenant.id, "engineer", "tests", house.concord.clock())
    lab = {"name": "lab", "accepts": {"senders": [["LAB", "NORTH"]]}, "profile": {"charset": "WINDOWS-1250"}}
    await channels.apply(house.concord.db, who, [msgspec.json.encode(lab)])
    message = oru(b"^AP^PDF^Base64^QUJD").replace(b"|CONCORD|", "|ŁÓDŹ|".encode("cp1250"))
    message = message.replace(b"2.5.1\r", b"2.5.1||||||8859/1\r").replace(b"Meier", "Żółć".encode("cp1250"))
    async with receiver(house.concord) as door:
        answer = await door.message(message, PEER)
    assert "|ŁÓDŹ|".encode("cp1250") in (answer or b"")
    await house.work()
    (patient,) = await house.all("Patient")
    assert patient["name"] == [{"family": "Żółć", "given": ["Anna"]}]
    with pytest.raises(Invalid, match="8859/1"):
        await channels.apply(house.concord.db, who, [b'{"name": "x", "profile": {"charset": "klingon"}}'])
