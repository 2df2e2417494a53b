"""A parameter comes into use while others write, in processes that do not know of it yet: no resource is missed.

Each installation opened here stands for a process: it has its own memory of the tenants' parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import httpx
import msgspec
import pytest

from adapters.contract import Peer
from fhir_server.app import jobs, messages, receiver
from fhir_server.context import Context, Grant, Scope
from fhir_server.interactions import bulk
from fhir_server.interactions.save import save
from fhir_server.store import passes
from tests.fhir import Client, running
from tests.http.parameters import color, defined, ids, parameter, patient, put, searchable, state, worked

COLORS = ("red", "green", "blue")


@pytest.fixture
async def beside(fhir: Client, server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of the same tenant at another process."""
    async with running(server_dsn, index_batch=3) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        yield Client(concord, clock, fhir._tenant, http)


async def test_a_process_that_does_not_know_of_it_indexes_by_it_all_the_same(fhir: Client, beside: Client) -> None:
    await put(beside, patient("before", color("blue")))
    await searchable(fhir, parameter())
    await put(beside, patient("after", color("blue")), patient("before", color("blue"), active=True))
    assert await ids(fhir, "/Patient?color=blue") == ["after", "before"]


async def test_a_process_that_does_not_know_of_it_searches_by_it_all_the_same(fhir: Client, beside: Client) -> None:
    await put(beside, patient("blue", color("blue")))
    assert (await beside.get("/Patient?color=blue")).status_code == 400
    await defined(fhir, parameter())
    assert (await beside.get("/Patient?color=blue")).status_code == 409
    await jobs(fhir.concord).drain()
    assert await ids(beside, "/Patient?color=blue") == ["blue"]
    await put(fhir, parameter(type="string", expression="Patient.name.text"))
    assert (await beside.get("/Patient?color=blue")).status_code == 409
    await jobs(fhir.concord).drain()
    assert await ids(beside, "/Patient?color=blue") == []
    await fhir.delete("/SearchParameter/color")
    assert (await beside.get("/Patient?color=blue")).status_code == 400


async def test_a_chain_to_several_types_and_leniency_know_of_it_too(fhir: Client, beside: Client) -> None:
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    await put(fhir, patient("p", color("f")), observation | {"subject": {"reference": "Patient/p"}})
    lenient = {"prefer": "handling=lenient"}
    assert await ids(beside, "/Observation?subject.kind=f&_id=o", headers=lenient) == ["o"]
    # Device has a `type`, Patient none until now: a process that knows no other would look at devices alone.
    kind = parameter("kind", code="type", expression=parameter()["expression"])
    assert await ids(beside, "/Observation?subject.type=f") == []
    await searchable(fhir, kind)
    assert await ids(beside, "/Observation?subject.type=f") == ["o"]


async def test_two_processes_define_at_once_and_one_code_stays_one(fhir: Client, beside: Client) -> None:
    await asyncio.gather(put(fhir, patient("a")), put(beside, patient("b")))
    answers = await asyncio.gather(
        fhir.put("/SearchParameter/one", json=parameter("one", code="color")),
        beside.put("/SearchParameter/two", json=parameter("two", code="color")),
        fhir.put("/SearchParameter/three", json=parameter("three")),
        beside.put("/SearchParameter/four", json=parameter("four")),
    )
    assert sorted(a.status_code for a in answers) == [201, 201, 201, 422]


async def test_every_resource_is_found_whoever_wrote_it_while_parameters_came_and_changed(
    fhir: Client, beside: Client
) -> None:
    random = Random(7)
    truth: dict[str, str | None] = {}
    writing = asyncio.Event()
    ended = asyncio.Event()

    async def writer(client: Client, name: str) -> None:
        for number in range(60):
            id_ = f"{name}{random.randrange(25)}"
            choice = random.choice([*COLORS, None])
            if choice is None and truth.get(id_) and random.random() < 0.5:
                assert (await client.delete(f"/Patient/{id_}")).status_code == 204
                truth.pop(id_)
            else:
                extensions = [color(choice)] if choice else []
                await put(client, patient(id_, *extensions, active=bool(number % 2)))
                truth[id_] = choice
            writing.set()

    async def worker(client: Client) -> None:
        while not ended.is_set():
            await jobs(client.concord).drain()
            await asyncio.sleep(0.01)

    workers = [asyncio.create_task(worker(client)) for client in (fhir, beside)]
    writers = [
        asyncio.create_task(writer(client, name)) for client, name in ((fhir, "a"), (beside, "b"), (beside, "c"))
    ]
    await writing.wait()
    await defined(fhir, parameter(type="string", expression="Patient.name.text"))
    await defined(beside, parameter("early", expression="Patient.active"))
    await defined(fhir, parameter())
    await asyncio.gather(*writers)
    ended.set()
    await asyncio.gather(*workers)
    await worked(fhir)
    for client in (fhir, beside):
        assert (await state(client))["state"] == "active"
        for wanted in COLORS:
            assert await ids(client, f"/Patient?color={wanted}&_count=100") == sorted(
                id_ for id_, had in truth.items() if had == wanted
            )
        assert await ids(client, "/Patient?early=true,false&_count=100") == sorted(truth)


async def test_a_row_that_changes_while_it_is_indexed_keeps_what_its_writer_said(
    fhir: Client, beside: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(fhir, *(patient(f"p{n}", color("blue")) for n in range(3)))
    await defined(fhir, parameter())
    plain = passes.index

    async def late(*given: object) -> None:
        """Let others write between the look at the rows and their entries."""
        await put(beside, patient("p0", color("red")))
        assert (await beside.delete("/Patient/p1")).status_code == 204
        await plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "index", late)
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=blue") == ["p2"]
    assert await ids(fhir, "/Patient?color=red") == ["p0"]


async def test_what_fails_on_the_way_goes_on_where_it_was(fhir: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(fhir, *(patient(f"p{n}", color("blue")) for n in range(3)))
    await defined(fhir, parameter())
    plain = passes.index

    async def fails(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(passes, "index", fails)
    await jobs(fhir.concord).drain()
    assert (await fhir.get("/Patient?color=blue")).status_code == 409
    monkeypatch.setattr(passes, "index", plain)
    fhir.clock.move(fhir.clock.ahead.__class__(minutes=10))
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=blue") == ["p0", "p1", "p2"]


ADT = (
    "MSH|^~\\&|HIS|NORTH|CONCORD|CLINIC|20260301110000+0000||ADT^A28^ADT_A05|{n}|P|2.5.1\r"
    "EVN|A28|20260301110000+0000\r"
    "PID|1||{n}^^^NORTH^MR||Meier{n}^Anna||19700101|F\r"
)


async def test_a_worker_of_messages_that_does_not_know_of_it_indexes_by_it_and_counts_no_try(
    fhir: Client, server_dsn: str
) -> None:
    async with running(server_dsn, mllp_tenant=fhir.tenant) as (concord, _), receiver(concord) as door:
        worker = messages(concord)

        async def sent(*numbers: int) -> None:
            for number in numbers:
                answer = await door.message(ADT.format(n=number).encode(), Peer("127.0.0.1", 1))
                assert b"MSA|AA" in (answer or b"")
            await worker.drain()

        await sent(1)
        await searchable(fhir, parameter("born", type="date", expression="Patient.birthDate"))
        await sent(2, 3)
        sql = "select control_id, state, attempts from inbox where tenant_id = %s order by control_id"
        rows = await fhir.concord.db.fetch(fhir.tenant_id, sql, (fhir.tenant_id,))
        assert [(id_, state) for id_, state, _ in rows] == [("1", "done"), ("2", "done"), ("3", "done")]
        assert len({attempts for _, _, attempts in rows}) == 1
    assert len(await ids(fhir, "/Patient?born=1970-01-01")) == 3


def loading(client: Client) -> Context:
    """Return the context of a load into the client's tenant."""
    grant = Grant(client._tenant, "loader", "load", (Scope("system", "*", "cruds"),))
    return Context(grant, client.base, client.clock(), "load")


async def test_who_is_writing_when_it_is_defined_is_waited_for(fhir: Client, beside: Client) -> None:
    service = await beside.concord.service.of(fhir.tenant_id)
    body = msgspec.json.encode(patient("unseen", color("blue")))
    async with service.db.transaction(fhir.tenant_id) as tx:
        await save(service, loading(beside), tx, [bulk.save_of(body, "")])
        await tx.flush()
        defining = asyncio.create_task(fhir.put("/SearchParameter/color", json=parameter()))
        sql = "select 1 from pg_locks where locktype = 'advisory' and classid = %s and objid = %s and not granted"
        while not await service.db.fetch(None, sql, (1397051971, fhir.tenant_id)):
            assert not defining.done()
            await asyncio.sleep(0.01)
        # Nor does it hold up who only reads.
        assert await ids(fhir, "/Patient?_id=unseen") == []
    assert (await defining).status_code == 201
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=blue") == ["unseen"]


async def test_a_load_that_began_before_indexes_by_it_too(fhir: Client, beside: Client) -> None:
    service, ctx = beside.concord.service, loading(beside)

    async def loaded(*names: str) -> None:
        saves = [bulk.save_of(msgspec.json.encode(patient(id_, color("blue"))), id_) for id_ in names]
        for unit in bulk.chunks(iter(saves)):
            assert (await bulk.load(service, ctx, "".join(names).encode(), unit)).written == len(names)

    await loaded("one", "two")
    await searchable(fhir, parameter())
    await loaded("three", "four")
    assert await ids(fhir, "/Patient?color=blue") == ["four", "one", "three", "two"]
