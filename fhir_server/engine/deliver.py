"""Sends what the outbox holds: in order per key, beside each other otherwise, and no receiver waits for another.

A delivery is claimed and leased in one transaction, sent outside of any, and its end recorded in another. A process
that dies in between has sent it perhaps; it is sent again, under the same ids, once the lease is over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from random import Random

import msgspec
import structlog

from fhir_server.clock import Clock
from fhir_server.engine.channel import Channel, Retry
from fhir_server.engine.crew import Crew
from fhir_server.engine.figures import Figures
from fhir_server.engine.packing import packed
from fhir_server.engine.parcel import Carrier, Outcome, Parcel, Unfit
from fhir_server.errors import Busy, FhirError
from fhir_server.interactions.service import Service
from fhir_server.operations.deliveries import place
from fhir_server.operations.destinations import AnyDestination
from fhir_server.store import deliveries, destinations, tickets
from fhir_server.store.bell import Bell
from fhir_server.store.database import Tx
from fhir_server.store.deliveries import PARKED, Claimed, Ended
from fhir_server.store.destinations import Patience, Place
from fhir_server.store.outbox import BELL

log = structlog.get_logger(__name__)
# Seconds between the end of a try, at the latest, and another's claim of what it left.
_MARGIN = 15.0
# A failed delivery comes after those that its breaker kept back, so that the next probe is another's.
_AFTER = timedelta(milliseconds=1)


class Sending(msgspec.Struct, frozen=True):
    """A delivery that is leased, and what is sent where."""

    claimed: Claimed
    parcel: Parcel
    place: Place
    until: datetime


class Deliverer:
    """Sends until it is stopped (`run`), or until nothing is due (`drain`)."""

    def __init__(
        self,
        service: Service,
        channel_of: Callable[[int, str], Awaitable[Channel]],
        base: Callable[[Channel], str],
        carriers: Mapping[type[AnyDestination], Carrier],
        clock: Clock,
        *,
        random: Random,
        concurrency: int = 16,
        kept: int = 1 << 16,
        poll: float = 5.0,
        figures: Figures | None = None,
    ) -> None:
        """`channel_of(tenant_id, name)` finds a channel, `base` its tenant's FHIR base. Of each request and answer
        `kept` bytes are kept. `concurrency` deliveries are sent at one time, to one destination as many as it takes.
        """
        self._service = service
        self._channel_of = channel_of
        self._base = base
        self._carriers = carriers
        self._clock = clock
        self._random = random
        self._kept = kept
        self._poll = poll
        self.figures = figures or Figures(service.db, clock)
        self._claiming = asyncio.Lock()
        self._busy: Counter[int] = Counter()
        self._most: dict[int, int] = {}
        self._crew = Crew(self._one, concurrency, Bell(service.db.dsn, BELL), poll, "deliveries")

    async def drain(self) -> int:
        """Send all that is due and return how many tries that took. Raises errors.Busy where the database is away."""
        return await self._crew.drain()

    async def run(self) -> None:
        """Send what comes, until stopped; what is under way then is finished first."""
        counting = asyncio.create_task(self.figures.keep(self._poll))
        try:
            await self._crew.run()
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await self.aclose()

    def stop(self) -> None:
        """Begin nothing new."""
        self._crew.stop()

    async def aclose(self) -> None:
        """Close the connections to receivers."""
        for carrier in self._carriers.values():
            await carrier.aclose()

    async def _one(self) -> int | None:
        """Send one delivery (1), or settle one that is not to be sent (0); None where there is none for us."""
        async with self._claiming:
            found = await self._claim()
            if isinstance(found, Sending):
                self._busy[found.claimed.lane] += 1
        if not isinstance(found, Sending):
            return 0 if found else None
        self._crew.call()  # where there was one there may be more
        try:
            outcome = await self._carried(found)
            await self._recorded(found, outcome)
        finally:
            self._busy[found.claimed.lane] -= 1
        return 1

    async def _claim(self) -> Sending | bool:
        now = self._clock()
        async with self._service.db.transaction(None) as tx:
            for one in await deliveries.lanes(tx, now):
                if self._busy[one.lane] < self._most.get(one.lane, 1):
                    claimed = await deliveries.claim(tx, one.lane, now)
                    if claimed is not None:
                        return await self._leased(tx, claimed, now) or True
        return False

    async def _leased(self, tx: Tx, claimed: Claimed, now: datetime) -> Sending | None:
        """Lease a delivery; None where it is kept back or settled otherwise."""
        channel = await self._channel_of(claimed.tenant_id, claimed.channel)
        there = place(self._service.hasher, claimed.tenant_id, claimed.channel, claimed.destination)
        destination = next((d for d in channel.destinations if d.name == claimed.destination), None)
        if claimed.state not in ("queued", "sending"):
            tickets.postpone(tx, claimed.ticket, PARKED)
            return None
        if destination is None:
            ended = Ended(state="held", reason="the channel has no destination of this name any more", due=None)
            deliveries.give_up(tx, claimed, ended, now)
            self._count(claimed, "held")
            return None
        self._most[claimed.lane] = destination.connections
        until = now + timedelta(seconds=destination.patience + _MARGIN)
        if not await self._open(tx, claimed, there, now, until):
            return None
        try:
            parcel = await packed(tx, self._service.objects, claimed, channel, destination, self._base(channel))
        except Busy:
            raise
        except (Unfit, FhirError) as problem:
            reason = str(problem) if isinstance(problem, Unfit) else f"it cannot be read: {type(problem).__name__}"
            _refused(tx, claimed, destination, there, reason, now)
            self._count(claimed, "held")
            return None
        deliveries.lease(tx, claimed, now, until, parcel.content, self._kept)
        return Sending(claimed, parcel, there, until)

    async def _open(self, tx: Tx, claimed: Claimed, there: Place, now: datetime, until: datetime) -> bool:
        """Tell whether the destination may be tried now; otherwise all that is due there waits."""
        standing = claimed.standing
        if standing.paused or standing.stopped_by not in (None, claimed.id):
            destinations.keep_back(tx, there, now, PARKED)
            return False
        if standing.closed_until is None:
            return True
        if standing.closed_until > now:
            destinations.keep_back(tx, there, now, standing.closed_until)
            self._crew.call_in((standing.closed_until - now).total_seconds())
            return False
        return await destinations.probe(tx, there, now, until)

    async def _carried(self, sending: Sending) -> Outcome:
        parcel = sending.parcel
        try:
            async with asyncio.timeout((sending.until - self._clock()).total_seconds() - _MARGIN / 2):
                return await self._carriers[type(parcel.destination)].carry(parcel)
        except TimeoutError:
            return Outcome(state="later", reason="it took longer than its time", down=True)
        except Exception as failure:
            log.exception("a delivery failed by a fault of ours", delivery_id=sending.claimed.id)
            return Outcome(state="later", reason=f"a fault of ours: {type(failure).__name__}")

    async def _recorded(self, sending: Sending, outcome: Outcome) -> None:
        """Record what came of a try, for as long as it is ours to do; then it is sent again."""
        while True:
            try:
                async with self._service.db.transaction(sending.claimed.tenant_id) as tx:
                    state = await self._end(tx, sending, outcome)
                self._count(sending.claimed, state)
                return
            except Busy:
                if self._clock() > sending.until:
                    raise
                await asyncio.sleep(0.5)

    def _count(self, claimed: Claimed, state: str) -> None:
        self.figures.count(claimed.tenant_id, claimed.channel, f"delivery:{state}")

    async def _end(self, tx: Tx, sending: Sending, outcome: Outcome) -> str:
        claimed, there, now = sending.claimed, sending.place, self._clock()
        destination = sending.parcel.destination
        closed_until = None
        if outcome.down:
            b = destination.breaker
            patience = Patience(b.failures, b.pause, b.most)
            closed_until = await destinations.failed(tx, there, patience, outcome.reason, now)
        ended = self._ended(claimed, destination, outcome, now, closed_until)
        ours = await deliveries.end(tx, claimed, ended, now, self._kept)
        if not outcome.down:
            destinations.worked(tx, there, now)
        if ours and destination.hold == "destination" and ended.state in ("held", "failed"):
            destinations.stop(tx, there, claimed.id, ended.reason or "", now)
        if ended.due is not None and ended.due != PARKED:
            self._crew.call_in((ended.due - now).total_seconds())
        log.info("delivery tried", delivery_id=claimed.id, attempt=claimed.attempts + 1, state=ended.state)
        return ended.state

    def _ended(
        self,
        claimed: Claimed,
        destination: AnyDestination,
        outcome: Outcome,
        now: datetime,
        closed_until: datetime | None,
    ) -> Ended:
        """Return what becomes of a delivery after a try."""
        if outcome.state == "done":
            return Ended(state="done", answer=outcome.answer)
        waits = None if destination.hold == "delivery" else PARKED
        if outcome.state != "later":
            return Ended(state=outcome.state, reason=outcome.reason, due=waits, answer=outcome.answer)
        # Tries at a receiver that is known to be away say nothing of this delivery.
        counts = outcome.counts and claimed.standing.closed_until is None
        tries = claimed.tries + counts
        if counts and tries >= destination.retry.attempts:
            reason = f"given up after {tries} tries: {outcome.reason}"
            return Ended(state="held", reason=reason, due=waits, answer=outcome.answer)
        given = Retry(destination.retry.attempts, destination.retry.base, destination.retry.most)
        wait = max(outcome.wait, given.delay(claimed.attempts + 1, self._random))
        due = now + timedelta(seconds=wait)
        if closed_until is not None:
            due = max(due, closed_until + _AFTER)
        return Ended(state="queued", reason=outcome.reason, due=due, counts=counts, answer=outcome.answer)


def _refused(tx: Tx, claimed: Claimed, destination: AnyDestination, there: Place, reason: str, now: datetime) -> None:
    """Queue that a delivery is held without a try."""
    ended = Ended(state="held", reason=reason, due=None if destination.hold == "delivery" else PARKED)
    deliveries.give_up(tx, claimed, ended, now)
    if destination.hold == "destination":
        destinations.stop(tx, there, claimed.id, reason, now)
