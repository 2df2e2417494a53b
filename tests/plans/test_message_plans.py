"""A page of messages touches what it holds, whatever is asked and however many there are: 200,000 over ten days.

What the search sent to PostgreSQL is run again with EXPLAIN, under row-level security as the server's role. Rows and
blocks are counted, never time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from fhir_server.app import Concord, opened
from fhir_server.operations.messages import Asked, wanted
from fhir_server.settings import Settings
from fhir_server.store import message_search
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.message_kinds import kind_of
from fhir_server.store.partitions import ensure_days
from tests.plans import watch
from tests.postgres import create_database, drop_database, new_tenants

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS, ROWS, PAGE = 10, 200_000, 50
NOW = START + timedelta(days=DAYS)
KINDS = [(channel, kind, event, f"APP{n % 4}", "NORTH") for n, channel in enumerate(("his", "lab", "ris", "old"))
         for kind, event in (("ADT", "A01"), ("ADT", "A08"), ("ORU", "R01"), ("ORM", "O01"))]  # fmt: skip
# One in ten is of a busy patient, one in 1,000 is buried, and those of `old` are all of the first day.
FILL = """
insert into inbox (tenant_id, received, id, channel, message_type, trigger, sender_app, sender_facility, order_key,
    state, raw, content_hash, control_id, kind)
select %(tenant)s, %(start)s + n * (interval '1 day' * %(days)s / %(rows)s), n, k.channel, k.type, k.event, k.app,
    'NORTH', n, case when n %% 1000 = 7 then 'buried' else 'done' end, 'x', 'x', 'c' || n, k.kind
from generate_series(1, %(rows)s) n, lateral (select * from unnest(%(kinds)s::bigint[], %(channels)s::text[],
    %(types)s::text[], %(events)s::text[], %(apps)s::text[]) with ordinality u (kind, channel, type, event, app, i)
    where i = 1 + case when n < %(rows)s / %(days)s then n %% 16 else n %% 12 end) k;
insert into message_kind select %(tenant)s, * from unnest(%(kinds)s::bigint[], %(channels)s::text[], %(types)s::text[],
    %(events)s::text[], %(apps)s::text[]) k, (select 'NORTH') f;
insert into message_key
select tenant_id, case when id %% 10 = 3 then %(busy)s else id / 20 end, received, id from inbox;
insert into message_key select tenant_id, -id / 4 - 1000000, received, id from inbox;
insert into message_key select tenant_id, %(word)s, received, id from inbox where state = 'buried';
analyze inbox; analyze message_key; analyze message_kind;
"""


@pytest.fixture(scope="module")
def many(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Give the name of the loaded database."""
    create_database(postgres, "letters")
    asyncio.run(_load(postgres))
    yield "letters"
    drop_database(postgres, "letters")


async def _load(postgres: EmbeddedPostgres) -> None:
    async with opened(Settings.load(env="test"), postgres.server_dsn("letters")) as concord:
        await ensure_days(concord.db, START.date(), DAYS + 1)
        (tenant,) = await new_tenants(concord.db, 1)
        hasher = concord.service.hasher
        keys = wanted(Asked(patient="busy", error="word"), hasher, tenant).keys
    names: dict[str, Any] = dict(zip(("channels", "types", "events", "apps"), zip(*KINDS, strict=True), strict=False))
    given = {name: list(column) for name, column in names.items()}
    given |= {"kinds": [kind_of(*kind) for kind in KINDS], "tenant": tenant, "start": START, "days": DAYS, "rows": ROWS}
    with psycopg.connect(postgres.admin_dsn("letters"), autocommit=True, cursor_factory=psycopg.ClientCursor) as admin:
        for statement in FILL.split(";\n"):
            if statement.strip():
                admin.execute(statement.encode(), given | {"busy": keys[0], "word": keys[1]})


@pytest.fixture
async def concord(many: str, postgres: EmbeddedPostgres) -> AsyncIterator[Concord]:
    async with opened(Settings.load(env="test"), postgres.server_dsn(many)) as found:
        yield found


SEARCHES: dict[str, tuple[dict[str, Any], int]] = {
    "all": ({}, PAGE),
    "a channel": ({"channels": ["lab"]}, PAGE),
    "a channel of long ago": ({"channels": ["old"]}, PAGE),
    "a type": ({"types": ["ORU"]}, PAGE),
    "a type in a channel and a state": ({"types": ["ADT^A08"], "channels": ["ris"], "states": ["done"]}, PAGE),
    "a sender": ({"sender": "APP2/NORTH"}, PAGE),
    "a state": ({"states": ["buried"]}, PAGE),
    "a state in a channel": ({"states": ["buried"], "channels": ["lab"]}, PAGE),
    "a state of which there are none": ({"states": ["quarantined"]}, 0),
    "a busy patient": ({"patient": "busy"}, PAGE),
    "a patient that is not there": ({"patient": "nobody"}, 0),
    "a word of a reason": ({"error": "word"}, PAGE),
    "a word and a patient": ({"error": "word", "patient": "nobody"}, 0),
    "a control id": ({"control_id": "c4711"}, 1),
    "some hours": ({"since": START + timedelta(days=4), "until": START + timedelta(days=4, hours=2)}, PAGE),
    "nothing that there is": ({"channels": ["lab"], "types": ["MDM"]}, 0),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_page_of_messages_touches_what_it_holds(
    concord: Concord, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked, least = SEARCHES[name]
    ((tenant,),) = await concord.db.fetch(None, "select max(id) from tenant")
    given = wanted(Asked(**asked), concord.service.hasher, tenant)
    with watch.statements(monkeypatch) as sent:
        page = await message_search.found(concord.db, tenant, given, NOW, limit=PAGE)
    assert len(page.messages) == least
    cost = await watch.custom(concord.db, sent)
    assert cost.rows < 3000, cost.plans
    assert cost.blocks < 6000, cost.plans
