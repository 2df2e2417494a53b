"""The matrix: everybody asks every route for every type, and what must stay unseen is looked for in all answers."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from fhir_server.interactions.table import TABLE
from fhir_server.interactions.table import Row as Interaction
from tests.security.probes import READS, WRITES
from tests.security.world import NOT_WRITTEN, Answer, Principal, Row, Sent, World, rows

_TOGETHER = 8
_OTHER = b'"Patient/two"'
_TOTAL = re.compile(rb'"total"\s*:\s*(\d+)')


class Finding(msgspec.Struct, frozen=True):
    """A rule that an answer broke."""

    principal: str
    kind: str
    sent: Sent
    told: str


class Result(msgspec.Struct):
    """What came of one principal's requests."""

    asked: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    seen: set[Row] = msgspec.field(default_factory=set)
    findings: list[Finding] = msgspec.field(default_factory=list)


def requests(world: World, principal: Principal) -> Iterator[tuple[Row, Interaction, Sent, bool]]:
    """Yield all that is asked: the row, the interaction, the request, and whether it is to be refused."""
    made_by_us = [Row("here", owner, kind) for kind in sorted(NOT_WRITTEN) for owner in ("one", "two")]
    for row in (*rows("here"), *made_by_us):
        # What the server makes itself nobody writes, not even who may see it.
        closed = row.type in NOT_WRITTEN
        hidden = closed or not principal.sees(row)
        made = world.resource(row, "written")
        for interaction in TABLE:
            if row.type not in interaction.types:
                continue
            place = (interaction.method, interaction.shape)
            if place in READS:
                yield from ((row, interaction, sent, False) for sent in READS[place](row, made))
            elif hidden and (closed or not principal.reads):
                yield from ((row, interaction, sent, _refused(sent)) for sent in WRITES[place](row, made))


def _refused(sent: Sent) -> bool:
    """Tell whether nothing may be done at all: an entry of a batch, and a deletion that finds nothing, are answered."""
    return not (sent.method == "DELETE" and sent.query) and b'"type": "batch"' not in sent.body


def _countable(principal: Principal, row: Row, sent: Sent) -> int:
    """Return how many resources a request may count at most."""
    if row.type in NOT_WRITTEN:
        return 1 << 40
    if row.mark in sent.query or "_id=" in sent.query:
        return int(principal.sees(row))
    same = "$" not in sent.path and sent.path != "/_history"
    return sum(principal.sees(other) for other in rows("here") if not same or other.type == row.type)


async def run(world: World, principal: Principal) -> Result:
    """Ask everything, and return what was answered."""
    result = Result()
    waiting = asyncio.Semaphore(_TOGETHER)
    asked: set[Sent] = set()

    async def one(row: Row, sent: Sent, refused: bool) -> None:
        async with waiting:
            judge(result, principal, row, sent, await world.ask(principal.token, sent), refused=refused)

    async with asyncio.TaskGroup() as tasks:
        for number, (row, _, sent, refused) in enumerate(requests(world, principal)):
            # What does not depend on whose resource is meant is asked once.
            if sent not in asked and number % principal.every == principal.first:
                asked.add(sent)
                tasks.create_task(one(row, sent, refused))
    return result


def judge(result: Result, principal: Principal, row: Row, sent: Sent, answer: Answer, *, refused: bool) -> None:
    """Hold one answer to the rules."""
    result.asked += 1
    result.statuses[answer.status] += 1
    words = answer.words()
    result.seen |= words
    told = f"{answer.status} {answer.headers} {answer.body[:600]!r}"

    def found(kind: str) -> None:
        result.findings.append(Finding(principal.name, kind, sent, told))

    if unseen := [other.word for other in words if not principal.sees(other)]:
        found(f"shows {unseen[0]} and {len(unseen) - 1} more")
    if row.type in NOT_WRITTEN and _OTHER in answer.body and not principal.sees(Row("here", "two", "Patient")):
        found("tells what was done with another's record")
    if answer.status >= 500:
        found("fails")
    if (total := _TOTAL.search(answer.body)) and int(total[1]) > _countable(principal, row, sent):
        found(f"counts {int(total[1])}")
    if refused and answer.status < 400:
        found("does what must be refused")
