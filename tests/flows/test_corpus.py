"""Real messages, as the world sends them: each is acknowledged, and each is mapped or buried with a reason."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from adapters.contract import Peer
from fhir_server.app import receiver, worker
from fhir_server.commands.send import messages
from fhir_server.store import messages as stored
from fhir_server.store import tenants
from tests.fhir import running

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "hl7v2"
# Of the 624 distinct messages of the corpus; more is welcome.
MAPPED = 330


async def test_every_message_of_the_corpus_is_answered_and_mapped_or_buried_with_a_reason(server_dsn: str) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the real messages are not beside this checkout")
    files = sorted(f for f in CORPUS.rglob("*") if f.suffix.lower() in (".hl7", ".txt") and f.is_file())
    found = [message for file in files for _, message in messages(file)]
    name = f"corpus-{uuid.uuid4().hex[:8]}"
    async with running(server_dsn, mllp_tenant=name) as (concord, _):
        tenant = await tenants.add(concord.db, name)
        async with receiver(concord) as door:
            answers = [await door.message(message, Peer("127.0.0.1", 1)) for message in found]
        await worker(concord).drain()
        counts = await stored.counts(concord.db, tenant.id)
        given_up = await stored.listed(concord.db, tenant.id, states=["buried", "rejected"], limit=1000)
    assert len(found) > 600
    assert all(answer and b"MSA" in answer.replace(b"\0", b"") for answer in answers)
    assert counts.get("received", 0) == 0
    assert counts["done"] >= MAPPED
    assert [row.id for row in given_up if not row.reason] == []
