"""The watch: looks at every clinic's channels, keeps what is wrong as alerts, and has people told.

Every worker looks, and what one of them has looked at no other looks at again before its time: the clinic's mark is
locked meanwhile. What is found, and that somebody is to be told of it, is committed together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog

from fhir_server.clock import Clock
from fhir_server.context import Tenant
from fhir_server.errors import Busy, FhirError
from fhir_server.operations import notices, silence
from fhir_server.operations.definition import Definition, read
from fhir_server.operations.notices import Rhythm
from fhir_server.store import alert_targets, alerts, channels, destinations, figures
from fhir_server.store.alerts import Alert
from fhir_server.store.channels import ChannelState, StoredChannel
from fhir_server.store.database import Database, Tx
from fhir_server.store.figures import CAME, EVER, Counted, Waiting, slot

log = structlog.get_logger(__name__)
# How long counts of five minutes are kept: a little more than the longest that a rule may look back.
_KEPT = timedelta(days=8)
_FORGET_EVERY = timedelta(hours=1)


class Finding(NamedTuple):
    """What is wrong with a channel now."""

    kind: str
    number: int
    detail: Mapping[str, Any]


class Seen(msgspec.Struct, frozen=True):
    """What is known of a channel: when it was last heard, since when it is as it is, what waits, what happened.

    `counts` are those of its slots, as far back as a rule looks, `standing` the kinds of its alerts that stand;
    `down` and `stopped` are destinations that are spared after failures, or that wait for a person.
    """

    state: ChannelState
    changed: datetime
    last: datetime | None = None
    waiting: Waiting | None = None
    counts: Sequence[Counted] = ()
    standing: frozenset[str] = frozenset()
    down: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


def findings(given: Definition, seen: Seen, now: datetime) -> list[Finding]:
    """Return what is wrong with a channel by what its definition expects."""
    found = [_silent(given, seen, now), _late(given, seen, now), *_failing(given, seen, now), _held(given, seen, now)]
    if given.watch.destinations and (seen.down or seen.stopped):
        detail = {"down": list(seen.down), "stopped": list(seen.stopped)}
        found.append(Finding("destination", len(seen.down) + len(seen.stopped), detail))
    return [one for one in found if one is not None]


def _silent(given: Definition, seen: Seen, now: datetime) -> Finding | None:
    """A channel that takes nothing is not silent. One that just began to run, or was changed, begins anew."""
    if seen.state == "draining":
        return None
    since = seen.last or seen.changed
    if "silence" not in seen.standing:
        since = max(since, seen.changed)
    broken = silence.too_long(given.watch, given.profile.zone, since, now)
    return Finding("silence", 1, {"minutes": broken[0], "allowed": broken[1]}) if broken else None


def _late(given: Definition, seen: Seen, now: datetime) -> Finding | None:
    most, waiting = given.watch.queue_minutes, seen.waiting
    if most is None or waiting is None or now - waiting.oldest < timedelta(minutes=most):
        return None
    minutes = int((now - waiting.oldest) / timedelta(minutes=1))
    return Finding("queue-age", waiting.count, {"minutes": minutes, "allowed": most})


def _failing(given: Definition, seen: Seen, now: datetime) -> list[Finding]:
    watch, found = given.watch, list[Finding]()
    since = slot(now - timedelta(minutes=watch.within))
    counts = {"done": 0, "buried": 0, "rejected": 0}
    for one in seen.counts:
        if one.what in counts and one.slot >= since:
            counts[one.what] += one.number
    if watch.buried is not None and counts["buried"] >= watch.buried:
        found.append(Finding("buried", counts["buried"], {"within": watch.within, "allowed": watch.buried - 1}))
    failed, total = counts["buried"] + counts["rejected"], sum(counts.values())
    if watch.error_percent is not None and total >= watch.least and 100 * failed >= watch.error_percent * total:
        share = round(100 * failed / total, 1)
        detail = {"failed": failed, "of": total, "percent": share, "within": watch.within}
        found.append(Finding("errors", failed, detail))
    return found


def _held(given: Definition, seen: Seen, now: datetime) -> Finding | None:
    watch = given.watch
    since = slot(now - timedelta(minutes=watch.within))
    kinds = ("delivery:held", "delivery:failed")
    number = sum(one.number for one in seen.counts if one.what in kinds and one.slot >= since)
    if watch.held is None or number < watch.held:
        return None
    return Finding("held", number, {"within": watch.within, "allowed": watch.held - 1})


class Watch:
    """Looks at every tenant every so many seconds. Alerts of kinds that are not ours are told, and left standing."""

    def __init__(self, db: Database, clock: Clock, rhythm: Rhythm, every: float = 15.0) -> None:
        self._db, self._clock, self._rhythm, self._every = db, clock, rhythm, timedelta(seconds=every)
        self._forgot: dict[int, datetime] = {}

    async def keep(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except Busy:
                log.warning("channels were not looked at; the next look does it", database="busy")
            except Exception:
                log.exception("channels could not be looked at")
            await asyncio.sleep(self._every.total_seconds())

    async def look(self) -> int:
        """Look at all tenants that are due, and return how many there were."""
        await alerts.join(self._db)
        looked = 0
        while await self._one():
            looked += 1
        return looked

    async def _one(self) -> bool:
        now = self._clock()
        async with self._db.transaction(None) as tx:
            tenant = await alerts.take(tx, now - self._every, now)
            if tenant is None:
                return False
            await self._looked(tx, tenant, now)
        if now - self._forgot.get(tenant.id, EVER) >= _FORGET_EVERY:
            await figures.forget(self._db, tenant.id, now - _KEPT)
            self._forgot[tenant.id] = now
        return True

    async def _looked(self, tx: Tx, tenant: Tenant, now: datetime) -> None:
        standing = {(one.channel, one.kind): one for one in await alerts.to_tell(tx) if one.resolved is None}
        emails: dict[str, Sequence[str]] = {}
        found: dict[tuple[str, str], Finding] = {}
        for given, seen in await self._channels(tenant, standing.values(), now):
            if seen.waiting is not None:
                figures.waited(tx, given.name, seen.waiting, now)
            emails[given.name] = given.watch.emails
            found |= {(given.name, one.kind): one for one in findings(given, seen, now)}
        for (channel, _), one in found.items():
            await alerts.note(tx, channel, one.kind, one.number, one.detail, now, more=False)
        for key, alert in standing.items():
            if key not in found and alert.kind in OURS:
                alerts.resolve(tx, alert.id, now)
        await self._tell(tx, tenant, emails, now)

    async def _channels(
        self, tenant: Tenant, standing: Collection[Alert], now: datetime
    ) -> list[tuple[Definition, Seen]]:
        stored = [(one, given) for one in await channels.all_of(self._db, tenant.id) if (given := _read(one))]
        if not stored:
            return []
        longest = timedelta(minutes=max(given.watch.within for _, given in stored))
        counts = await figures.since(self._db, tenant.id, slot(now - longest))
        waiting = await figures.waiting(self._db, tenant.id)
        asked = any(given.watch.destinations for _, given in stored)
        trouble = await destinations.all_of(self._db, tenant.id) if asked else []
        found = []
        for one, given in stored:
            mine = [counted for counted in counts if counted.channel == one.name]
            last = max((c.last for c in mine if c.what in CAME and c.slot == EVER), default=None)
            kinds = frozenset(alert.kind for alert in standing if alert.channel == one.name)
            names = {target.name for target in given.destinations}
            ours = [place for place in trouble if place.channel == one.name and place.name in names]
            stopped = tuple(place.name for place in ours if place.stopped_by is not None)
            down = tuple(place.name for place in ours if place.closed_until and place.name not in stopped)
            seen = Seen(one.state, one.changed, last, waiting.get(one.name), mine, kinds, down, stopped)
            found.append((given, seen))
        return found

    async def _tell(self, tx: Tx, tenant: Tenant, emails: Mapping[str, Sequence[str]], now: datetime) -> None:
        for alert in await alerts.to_tell(tx):
            what = notices.due(alert, now, self._rhythm)
            if what is None:
                continue
            targets = await alert_targets.listed(self._db, tenant.id)
            log.warning(
                "alert", tenant=tenant.name, channel=alert.channel, kind=alert.kind, what=what, count=alert.count,
                alert=alert.id,
            )  # fmt: skip
            notice = notices.notice_of(alert, tenant.name, what)
            alerts.told(tx, alert, now)
            notices.queue(tx, notice, targets, emails.get(alert.channel, ()), now)


# What we find, and so what ends when we find it no more.
OURS = frozenset(("silence", "queue-age", "buried", "errors", "held", "destination"))


def _read(stored: StoredChannel) -> Definition | None:
    try:
        return read(msgspec.json.encode(stored.definition))
    except FhirError:
        log.error("a channel is not watched: its definition cannot be used", channel=stored.name)
        return None
