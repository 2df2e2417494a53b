"""Listener, workers, broker and PostgreSQL are killed while 32 connections send: `tests/loss` says how.

docs/reliability.md tells the counts of the long run: `python -m tests.loss --messages 20000`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from fhir_server.app import opened
from fhir_server.app.work import messages
from fhir_server.context import Tenant
from fhir_server.settings import Settings
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, code, receiver
from tests.flows.serve import clean_environ
from tests.house.tree import ROOT
from tests.loss.run import CONNECTIONS, Outcome
from tests.loss.senders import Letter, Senders
from tests.loss.verdict import verdict
from tests.needs import needs


@needs("redis")
def test_every_acknowledged_message_is_worked_once_and_in_order_whatever_is_killed() -> None:
    # Every run draws other moments; what is printed, also where it fails, holds the seed.
    seed = str(int.from_bytes(os.urandom(4)))
    argv = [sys.executable, "-m", "tests.loss", "--messages", "2000", "--kills", "2", "--broker", "redis"]
    done = subprocess.run([*argv, "--seed", seed], cwd=ROOT, capture_output=True, text=True, env=clean_environ())
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr[-3000:]}"
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    assert outcome.verdict.clean
    assert outcome.messages == outcome.answers["AA"] == 2000
    assert outcome.kills == dict.fromkeys(("listener", "worker", "broker", "postgres", "postgres backend"), 2)
    assert outcome.late <= 4, "the kills came too late to tell anything"
    assert outcome.answers.get("none", 0) > 0, "nobody noticed that a listener was killed"


def test_the_senders_cover_all_messages_and_each_patient_is_of_one_connection() -> None:
    senders = Senders(1, 2000, CONNECTIONS, 4)
    assert len({letter.control_id for letter in senders.letters}) == len(senders.letters) == 2000
    numbers: dict[str, list[int]] = {}
    for letter in senders.letters:
        numbers.setdefault(letter.patient, []).append(letter.number)
    assert len(numbers) == CONNECTIONS * 4
    assert all(found == list(range(len(found))) for found in numbers.values())
    assert b"ORU^R01" in Letter("K1x1", 3).text()


async def test_the_verdict_sees_what_is_lost_doubled_or_out_of_order(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    dsn, letters = postgres.server_dsn(fresh_name), [Letter("K1x1", n) for n in range(4)]
    ((id_,),) = await fresh_database.fetch(None, "insert into tenant (name) values ('loss') returning id")
    async with opened(Settings.load(env="test"), dsn) as concord:
        door = receiver(concord.db, Tenant(id_, "loss"))
        for letter in letters:
            assert code(await door.message(letter.text(), PEER)) == "AA"
        assert (await verdict(dsn, letters)).lost, "nothing is worked yet"
        await messages(concord).drain()
        assert (await verdict(dsn, letters)).clean
        again = letters[1].text().replace(b"Name00001", b"Name00009").replace(b"|20260301000001", b"|20260301230001")
        await door.message(again, PEER)
        await messages(concord).drain()
    found = await verdict(dsn, [*letters, Letter("K9x9", 0)])
    assert found.lost == ["K9x9-0: []"]
    assert found.doubled == ["K1x1-1: ['done', 'done']"]
    assert [one.partition(":")[0] for one in found.disordered] == ["K1x1", "K9x9"]
