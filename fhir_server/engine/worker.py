"""The worker: takes messages in order per patient, works each in one transaction, tries again or gives it up.

Whatever a message does to its steps, the worker lives: what was done is taken back, and the try is counted with the
reason in the same transaction that holds the message, so that no other worker can meet it half way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random
from uuid import uuid4

import msgspec
import structlog

from conformance.issue import Issue, error
from fhir_server.clock import Clock
from fhir_server.context import Context, Grant, Tenant
from fhir_server.engine import steps
from fhir_server.engine.applied import answer
from fhir_server.engine.channel import Channel, Retry
from fhir_server.engine.figures import Figures
from fhir_server.engine.outbox import Sorter
from fhir_server.engine.reasons import storable
from fhir_server.engine.steps import STEPS, Step, Stop, Work
from fhir_server.engine.turns import Turns
from fhir_server.errors import Busy, Conflict, FhirError
from fhir_server.interactions.service import Service
from fhir_server.operations.messages import error_keys
from fhir_server.store import attempts, channels, inbox, outbox, tickets
from fhir_server.store.bell import Bell
from fhir_server.store.database import Stale, Tx
from fhir_server.store.inbox import Claimed, Closed
from fhir_server.store.outbox import NewDelivery
from mappings.header import header

log = structlog.get_logger(__name__)
_DEADLY = "{} processes ended while they worked on this message: memory or a fault of ours; it is not tried again"


class Apart(Exception):
    """What was worked together failed and was taken back: each of these must be worked alone, to learn which it is."""

    def __init__(self, messages: int) -> None:
        super().__init__(f"{messages} messages are to be worked one by one")
        self.messages = messages


class Worker:
    """Works messages until it is stopped (`run`), or until none is due (`drain`)."""

    def __init__(
        self,
        service: Service,
        channel_of: Callable[[int, str], Awaitable[Channel]],
        base: Callable[[Tenant], str],
        clock: Clock,
        *,
        random: Random,
        new_id: Callable[[], str],
        retry: Retry | None = None,
        concurrency: int = 4,
        together: int = 16,
        deaths: int = 3,
        poll: float = 5.0,
        way: Sequence[Step] = STEPS,
        figures: Figures | None = None,
    ) -> None:
        """`channel_of(tenant_id, name)` finds a message's channel, `base` a tenant's FHIR base; `poll` is in seconds.
        `new_id` makes control ids for acknowledgements.

        `concurrency` transactions are worked at one time, each on a database connection of its own and of up to
        `together` messages; where one of them fails, the rest does not suffer: they are worked again one by one.
        A message at which `deaths` processes died is given up.
        """
        self._service = service
        self._channel_of = channel_of
        self._base = base
        self._clock = clock
        self._random = random
        self._new_id = new_id
        self._retry = retry or Retry()
        self._concurrency = concurrency
        self._together = together
        self._deaths = deaths
        self._self = uuid4()
        self._turns = Turns(concurrency)
        self._poll = poll
        self._way = way
        self.figures = figures or Figures(service.db, clock)
        self._calls: asyncio.Queue[None] = asyncio.Queue(maxsize=concurrency)
        self._stopping = asyncio.Event()

    async def drain(self) -> int:
        """Work all that is due and return how many tries that took. Raises errors.Busy where the database is away."""
        return sum(await asyncio.gather(*(self._all() for _ in range(self._concurrency))))

    async def run(self) -> None:
        """Work what comes, until stopped; what is under way then is finished first."""
        bell = Bell(self._service.db.asked)
        listening = asyncio.create_task(self._listen(bell))
        counting = asyncio.create_task(self.figures.keep(self._poll))
        claimants = [asyncio.create_task(self._claim_for_ever()) for _ in range(self._concurrency)]
        try:
            await self._stopping.wait()
            await asyncio.gather(*claimants)
        finally:
            for task in (listening, counting, *claimants):
                task.cancel()
            await asyncio.gather(listening, counting, *claimants, return_exceptions=True)
            await bell.close()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is under way is done."""
        self._stopping.set()
        for _ in range(self._concurrency):
            self._call()

    def _call(self) -> None:
        """Have one idle claimant look; when all are called already, one of them will still look after this."""
        if not self._calls.full():
            self._calls.put_nowait(None)

    async def _listen(self, bell: Bell) -> None:
        while True:
            await bell.wait(self._poll)
            self._call()

    async def _claim_for_ever(self) -> None:
        while not self._stopping.is_set():
            await self._calls.get()
            try:
                await self._all()
            except Busy:
                log.warning("database away, messages wait", database="busy")
                self._call_in(self._poll)
            except Exception:
                log.exception("worker goes on after a failure of its own")
                self._call_in(self._poll)

    async def _all(self) -> int:
        """Work messages until none is due for us."""
        done = alone = 0
        while not self._stopping.is_set():
            try:
                worked = await self._some(1 if alone else self._together)
            except Apart as apart:
                alone = apart.messages
                continue
            if not worked:
                break
            done, alone = done + worked, max(0, alone - 1)
        return done

    async def _some(self, most: int) -> int:
        async with self._service.db.transaction(None) as tx:
            claimed = await inbox.claim(tx, self._clock(), most, held=self._call_in)
            if claimed:
                self._call()  # where there was one there may be more
                await self._watched(tx, claimed)
        return len(claimed)

    async def _watched(self, tx: Tx, claimed: Sequence[Claimed]) -> None:
        """Work messages, noting it elsewhere: of one at which process after process dies, nobody else would tell."""
        tickets_of = [one.ticket for one in claimed]
        async with self._turns.shared():
            if await attempts.begin(self._service.db, tickets_of, self._self):
                await self._noted(tx, claimed, 0)
                return
        if len(claimed) > 1:
            raise Apart(len(claimed))
        # Nothing else is worked beside it, so that it takes nothing else with it when it ends this process.
        async with self._turns.alone():
            await self._noted(tx, claimed, await attempts.again(self._service.db, tickets_of[0], self._self))

    async def _noted(self, tx: Tx, claimed: Sequence[Claimed], deaths: int) -> None:
        tickets_of = [one.ticket for one in claimed]
        try:
            if deaths >= self._deaths:
                await self._bury(tx, claimed[0], [error("exception", _DEADLY.format(deaths))])
            else:
                await self._work(tx, claimed)
        except Exception:
            await attempts.leave(self._service.db, tickets_of)
            raise
        attempts.end(tx, tickets_of)

    async def _work(self, tx: Tx, claimed: Sequence[Claimed]) -> None:
        try:
            claimed = await self._going(tx, claimed)
            works = [await self._prepared(tx, one) for one in claimed]
            results = await steps.run(self._way, works)
            closed = [_closed(one, result) for one, result in zip(claimed, results, strict=True)]
            await self._close(tx, closed)
        except Exception as failure:
            if isinstance(failure, Stale):
                # It is no try of the message's: it was indexed by search parameters that have changed.
                self._service.parameters.forget(claimed[0].tenant_id)
            if len(claimed) > 1 or isinstance(failure, Stale):
                raise Apart(len(claimed)) from failure
            await self._settle(tx, claimed[0], failure)

    async def _going(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Return the messages whose channel works; the others keep their place until it goes on."""
        going = []
        for one in claimed:
            if (await self._channel_of(one.tenant_id, one.channel)).state == "paused":
                channels.park(tx, one.ticket, one.channel)
            else:
                going.append(one)
        return going

    async def _sent_on(self, closed: Sequence[Closed]) -> list[NewDelivery]:
        """Return what is sent on of messages: what their channels send, and acknowledgements that were asked for."""
        found: list[NewDelivery] = []
        for one in closed:
            channel = await self._channel_of(one.message.tenant_id, one.message.channel)
            if channel.destinations:
                head = channel.heard(header(one.message.raw, channel.profile.charset))
                sorter = Sorter(self._service.hasher, channel, head, one)
                found += sorter.deliveries(self._new_id(), self._clock())
        return found

    async def _close(self, tx: Tx, closed: Sequence[Closed]) -> None:
        """Record the end of each. What one that stops has written is taken back, so it must be alone then."""
        if len(closed) == 1 and closed[0].state == "buried":
            tx.rollback_to(tickets.WORK)
        closed = [msgspec.structs.replace(one, ack=await self._answer(one), keys=self._keys(one)) for one in closed]
        inbox.close(tx, closed, self._clock())
        outbox.add(tx, await self._sent_on(closed), self._clock())
        await tx.flush()  # what was queued fails here, if it fails, where the try is still counted
        for one in closed:
            self._told(one)

    def _keys(self, closed: Closed) -> Sequence[int]:
        """Return by which words of its reason a buried message is found; of the others, nobody asks why."""
        if closed.state != "buried":
            return ()
        return error_keys(closed.reason, self._service.hasher, closed.message.tenant_id)

    async def _answer(self, closed: Closed) -> bytes | None:
        """Return the acknowledgement of a channel that answers once a message is processed, otherwise None."""
        message = closed.message
        channel = await self._channel_of(message.tenant_id, message.channel)
        if channel.applied is None:
            return None
        head = channel.heard(header(message.raw, channel.profile.charset))
        return answer(head, closed.reason, closed.state == "done", self._new_id(), self._clock())

    async def _prepared(self, tx: Tx, claimed: Claimed) -> Work:
        channel = await self._channel_of(claimed.tenant_id, claimed.channel)
        grant = Grant(channel.tenant, f"channel/{channel.name}", "hl7v2", channel.scopes)
        context = Context(grant, self._base(channel.tenant), self._clock(), f"message-{claimed.id}")
        service = await self._service.of(claimed.tenant_id)
        return Work(raw=claimed.raw, lifted=claimed.lifted, channel=channel, context=context, service=service, tx=tx)

    async def _settle(self, tx: Tx, claimed: Claimed, failure: Exception) -> None:
        """Record the failure. One that cannot be recorded as it is would come back for ever, ahead of all others."""
        try:
            await self._failed(tx, claimed, failure)
            await tx.flush()
        except Busy:
            raise
        except Exception:
            log.exception("failure of a message could not be recorded", message_id=claimed.id)
            kept = [error("exception", f"{type(failure).__name__}, of which no more can be kept")]
            await self._bury(tx, claimed, kept)

    async def _failed(self, tx: Tx, claimed: Claimed, failure: Exception) -> None:
        """Try again what may succeed another time; give up what will not, and what has been tried enough."""
        attempt = claimed.attempts + 1
        retry = (await self._channel_of(claimed.tenant_id, claimed.channel)).retry or self._retry
        unforeseen = None if isinstance(failure, FhirError) else failure
        log.warning(
            "message failed",
            message_id=claimed.id,
            attempt=attempt,
            error=type(failure).__name__,
            exc_info=unforeseen,
        )
        if not _may_pass(failure) or attempt >= retry.attempts:
            await self._bury(tx, claimed, _reason(failure))
            return
        delay = retry.delay(attempt, self._random)
        self.figures.failed(claimed.tenant_id, claimed.channel, "retried", _reason(failure))
        inbox.retry(tx, claimed, self._clock() + timedelta(seconds=delay), storable(_reason(failure)))
        self._call_in(delay)

    async def _bury(self, tx: Tx, claimed: Claimed, issues: Sequence[Issue]) -> None:
        buried = Closed(claimed, "buried", reason=storable(issues))
        inbox.bury(tx, claimed, self._clock(), buried.reason, await self._answer(buried), self._keys(buried))
        outbox.add(tx, await self._sent_on([buried]), self._clock())
        self._told(buried)

    def _told(self, closed: Closed) -> None:
        message = closed.message
        if closed.state == "buried":
            log.info("message buried", message_id=message.id, attempts=message.attempts + 1)
            self.figures.failed(message.tenant_id, message.channel, "buried", closed.reason)
        else:
            self.figures.count(message.tenant_id, message.channel, "done")

    def _call_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._call)


def _closed(claimed: Claimed, result: Work | Stop) -> Closed:
    if isinstance(result, Stop):
        return Closed(claimed, "buried", reason=storable(result.issues))
    return Closed(claimed, "done", _written(result), storable(result.issues))


def _may_pass(failure: Exception) -> bool:
    """A refusal stays one. Load and clashes pass, and a bug of ours may be mended before the tries are used up."""
    return isinstance(failure, Busy | Conflict) or not isinstance(failure, FhirError)


def _reason(failure: Exception) -> list[Issue]:
    if isinstance(failure, FhirError):
        return failure.issues
    where = "; ".join(getattr(failure, "__notes__", ()))
    return [error("exception", f"{type(failure).__name__}: {failure} ({where})"[:2000])]


def _written(work: Work) -> dict[str, list[str]]:
    """Name what the message wrote, each with its version, and what it left as it was."""
    names: dict[str, list[str]] = {"written": [], "unchanged": []}
    for saved in work.saved:
        names["written" if saved.changed else "unchanged"].append(f"{saved.type}/{saved.id}/_history/{saved.version}")
    return names
