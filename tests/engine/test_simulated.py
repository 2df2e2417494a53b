"""What the simulator sends goes through the engine: each message has its fate, results and visits become resources."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

from fhir_server.app import opened
from fhir_server.app.work import messages
from fhir_server.engine.channel import Channel
from fhir_server.settings import Settings
from fhir_server.simulator.habits import Habits, carelessly
from fhir_server.simulator.stream import stream
from fhir_server.store import figures
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import NOW, PEER, kept, receiver, tenant_of


async def test_a_simulated_hospital_is_worked_and_counted(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    sent = list(islice(stream(NOW, seed=5, patients=4), 60))
    async with opened(Settings.load(env="test"), postgres.server_dsn(fresh_name)) as concord:
        tenant = await tenant_of(concord.db)
        door = receiver(concord.db, Channel("mllp", tenant))
        for message in carelessly(iter(sent), Habits(duplicates=0.2), Random(1)):
            await door.message(message.data, PEER)
        worker = messages(concord)
        await worker.drain()
        for one in (door.figures, worker.figures):
            await one.flush()
        found = await kept(concord.db, tenant)
        states = Counter((row.message_type, row.state) for row in found)
        counted = {one.what: one.number for one in await figures.ever(concord.db, tenant.id)}
        waiting = await figures.waiting(concord.db, tenant.id)
    assert len(found) == len(sent)
    # Visits and results are mapped; for the others there may be no map, which is told.
    for kind in ("ADT", "ORU"):
        assert states[kind, "done"] == sum(message.type.startswith(kind) for message in sent) > 5
    assert {state for _, state in states} <= {"done", "buried"}
    assert counted["received"] == len(sent) == counted["done"] + counted.get("buried", 0)
    assert counted["repeated"] > 5
    assert waiting == {}
