"""From bytes in the inbox to FHIR resources in the store, by the real steps on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest

from conformance.r4.types import TYPE_CODES
from fhir_server.app import opened
from fhir_server.engine.channel import Channel, catch_all
from fhir_server.engine.receive import Receiver
from fhir_server.engine.replay import replay
from fhir_server.engine.worker import Worker
from fhir_server.settings import Settings
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.messages import Summary
from tests.engine.world import NOW, PEER, adt, kept, receiver, tenant_of


class Lab:
    """A door and a worker of one tenant."""

    def __init__(self, db: Database, door: Receiver, worker: Worker, tenant: Any) -> None:
        self.db, self.door, self.worker, self.tenant = db, door, worker, tenant

    async def take(self, *contents: bytes) -> Summary:
        """Send messages, work them, and return what became of the last."""
        for content in contents:
            await self.door.message(content, PEER)
        await self.worker.drain()
        return (await kept(self.db, self.tenant))[-1]

    async def resources(self, kind: str) -> list[dict[str, Any]]:
        """Return the stored resources of a type, the oldest first."""
        sql = "select body, type, id from resource where tenant_id = %s and type = %s and body is not null order by rid"
        rows = await self.db.fetch(self.tenant.id, sql, (self.tenant.id, TYPE_CODES[kind]))
        return [msgspec.json.decode(body) for body, *_ in rows]


@pytest.fixture
async def lab(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[Lab]:
    async with opened(Settings.load(env="test", pool_max_size=8), postgres.server_dsn(fresh_name)) as concord:
        tenant = await tenant_of(concord.db)

        async def channel_of(tenant_id: int, name: str) -> Channel:
            return catch_all(tenant, name)

        worker = Worker(concord.service, channel_of, concord.base, lambda: NOW, random=Random(1), new_id=lambda: "C1")
        yield Lab(concord.db, receiver(concord.db, tenant), worker, tenant)


def oru(control_id: str, value: str = "5.5", status: str = "F", sent: str = "20260301110000+0000") -> bytes:
    lines = (
        f"MSH|^~\\&|LAB|NORTH|CONCORD|CLINIC|{sent}||ORU^R01^ORU_R01|{control_id}|P|2.5.1",
        "PID|1||100^^^NORTH^MR||Meier^Anna||19700101|F",
        f"OBR|1|P1^HIS|F1^LAB|24331-1^Lipid panel^LN|||20260301100000+0000|||||||||||||||{sent}||LAB|{status}",
        f"OBX|1|NM|2093-3^Cholesterol^LN||{value}|mmol/L|3-5|H|||{status}|||20260301100000+0000",
    )
    return "".join(line + "\r" for line in lines).encode()


async def test_an_admission_becomes_a_patient_and_an_encounter(lab: Lab) -> None:
    done = await lab.take(adt("A1"))
    assert (done.state, done.attempts) == ("done", 1)
    (patient,) = await lab.resources("Patient")
    assert patient["name"][0]["family"] == "Meier"
    (encounter,) = await lab.resources("Encounter")
    assert encounter["subject"]["reference"] == f"Patient/{patient['id']}"
    assert f"Patient/{patient['id']}/_history/1" in done.result["written"]


async def test_an_update_meets_the_same_patient(lab: Lab) -> None:
    await lab.take(adt("A1"))
    done = await lab.take(adt("A2", family="Schulz", event="A08", sent="20260301120000+0000"))
    (patient,) = await lab.resources("Patient")
    assert patient["name"][0]["family"] == "Schulz"
    assert patient["meta"]["versionId"] == "2"
    assert f"Patient/{patient['id']}/_history/2" in done.result["written"]


async def test_a_correction_is_a_new_version_of_the_same_observation(lab: Lab) -> None:
    await lab.take(oru("R1"))
    await lab.take(oru("R2", value="6.50", status="C", sent="20260301130000+0000"))
    (observation,) = await lab.resources("Observation")
    assert observation["meta"]["versionId"] == "2"
    assert observation["status"] == "corrected"
    assert observation["valueQuantity"]["value"] == 6.5
    assert len(await lab.resources("DiagnosticReport")) == 1


async def test_an_older_result_never_lowers_a_newer_one(lab: Lab) -> None:
    await lab.take(oru("R2", value="6.5", status="C", sent="20260301130000+0000"))
    await lab.take(oru("R1", value="5.5", sent="20260301110000+0000"))
    (observation,) = await lab.resources("Observation")
    assert (observation["valueQuantity"]["value"], observation["status"]) == (6.5, "corrected")


async def test_a_message_replayed_writes_nothing_that_has_not_changed(lab: Lab) -> None:
    first = await lab.take(oru("R1"))
    replayed = await replay(lab.db, lab.tenant.id, [first.id, 999_999])
    assert replayed.queued == [first.id]
    assert replayed.refused == {999_999: "there is no such message"}
    await lab.worker.drain()
    (again,) = await kept(lab.db, lab.tenant)
    assert again.state == "done"
    assert again.result["written"] == []
    assert len(again.result["unchanged"]) == len(first.result["written"])


async def test_what_still_waits_or_was_refused_is_not_replayed_and_says_why(lab: Lab) -> None:
    await lab.door.message(adt("A1"), PEER)
    await lab.door.message(b"no msh", PEER)
    waiting, refused = await kept(lab.db, lab.tenant)
    replayed = await replay(lab.db, lab.tenant.id, [waiting.id, refused.id])
    assert replayed.queued == []
    assert "still waits" in replayed.refused[waiting.id]
    assert "refused by its MSH" in replayed.refused[refused.id]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (adt("A1").replace(b"ADT^A01^ADT_A01", b"ZZZ^Z99"), "no map"),
        (b"MSH|^~\\&|A|B|C|D|20260301||ADT^A01|1|P|2.5.1\rEVN|A01\r", "PID"),
    ],
)
async def test_what_has_no_map_is_buried_with_a_reason_and_makes_nothing(lab: Lab, content: bytes, word: str) -> None:
    done = await lab.take(content)
    assert done.state == "buried"
    assert word in done.reason[-1]["diagnostics"]
    assert await lab.resources("Patient") == []


async def test_a_number_that_belongs_to_somebody_else_buries_the_message(lab: Lab) -> None:
    await lab.take(adt("A1"))
    stranger = adt("A2", family="Zorn").replace(b"19700101", b"19990909")
    done = await lab.take(stranger)
    assert done.state == "buried"
    assert done.reason[-1]["code"] == "conflict"
    (patient,) = await lab.resources("Patient")
    assert patient["name"][0]["family"] == "Meier"


async def test_bytes_that_are_not_the_declared_set_are_kept_read_and_told(lab: Lab) -> None:
    done = await lab.take(adt("A1", family="Müller").decode().encode("latin-1"))
    assert done.state == "done"
    (patient,) = await lab.resources("Patient")
    assert patient["name"][0]["family"] == "Müller"
    assert any("read as" in issue["diagnostics"] for issue in done.reason)


async def test_messages_worked_together_share_what_they_share_and_are_audited_each_by_its_own(lab: Lab) -> None:
    """Two patients, one physician whom nobody knew before."""
    for n in (1, 2):
        content = (
            oru(f"R{n}").replace(b"100^^^NORTH^MR", b"%d^^^NORTH^MR" % (100 + n)).replace(b"F1^LAB", b"F%d^LAB" % n)
        )
        await lab.door.message(
            content.replace(b"|||||||||||||||", b"|||||||||77^Okafor^Chidi^^^Dr^^^NPI||||||", 1), PEER
        )
    assert await lab.worker.drain() == 2
    messages = await kept(lab.db, lab.tenant)
    assert [m.state for m in messages] == ["done", "done"]
    assert len(await lab.resources("Practitioner")) == 1
    assert len(await lab.resources("Patient")) == 2
    sql = "select request_id, resource_id from audit where tenant_id = %s and type = %s order by id"
    rows = await lab.db.fetch(lab.tenant.id, sql, (lab.tenant.id, TYPE_CODES["Patient"]))
    told = {m.id: m.result["written"] for m in messages}
    assert [request for request, _ in rows] == [f"message-{m.id}" for m in messages]
    for message, (_, patient) in zip(messages, rows, strict=True):
        assert f"Patient/{patient}/_history/1" in told[message.id]
