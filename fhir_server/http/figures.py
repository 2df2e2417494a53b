"""Figures of channels for Prometheus: of the whole installation, by tenant and channel, nothing of a patient.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fhir_server.errors import FhirError
from fhir_server.store import alerts, figures
from fhir_server.store.database import Database
from fhir_server.store.figures import BOUNDS, Counted, Waiting

_FRESH = timedelta(seconds=5)  # several monitors cost what one does
_BY = ("tenant", "channel")
Place = tuple[str, str]


class Snapshot(msgspec.Struct):
    """What is told: counts since ever, waiting messages and standing alerts by tenant and channel."""

    at: datetime
    counts: Mapping[Place, Sequence[Counted]]
    waiting: Mapping[Place, Waiting]
    standing: Mapping[tuple[str, str, str], int]
    connections: Mapping[str, int]


class ChannelFigures:
    """Reads figures where nobody did a moment ago, and writes them as text."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db, self._clock = db, clock
        self._lock = asyncio.Lock()
        self._at: datetime | None = None
        self._text = b""

    async def text(self) -> bytes:
        """Return the figures; where the database is away, only that it is."""
        async with self._lock:
            now = self._clock()
            if self._at is None or not timedelta() <= now - self._at < _FRESH:
                self._text, self._at = await self._read(now), now
            return self._text

    async def _read(self, now: datetime) -> bytes:
        try:
            found: Iterator[Metric] = _metrics(await snapshot(self._db, now))
        except (FhirError, psycopg.Error):
            found = iter([_up(0)])
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Given(list(found)))
        return generate_latest(registry)


class _Given(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """Return the metrics."""
        return self._metrics


async def snapshot(db: Database, now: datetime) -> Snapshot:
    """Read what is told. Raises errors.Busy."""
    counts: dict[Place, list[Counted]] = defaultdict(list)
    waiting: dict[Place, Waiting] = {}
    standing: dict[tuple[str, str, str], int] = {}
    for tenant in await figures.watched(db):
        for one in await figures.ever(db, tenant.id):
            counts[tenant.name, one.channel].append(one)
        for channel, found in (await figures.waiting(db, tenant.id)).items():
            waiting[tenant.name, channel] = found
        for alert in await alerts.standing(db, tenant.id):
            standing[tenant.name, alert.channel, alert.kind] = 0 if alert.acknowledged else 1
    return Snapshot(now, counts, waiting, standing, await figures.connections(db, now))


def _metrics(found: Snapshot) -> Iterator[Metric]:
    yield _up(1)
    yield from _counted(found)
    yield _times(found)
    waiting = GaugeMetricFamily("concord_messages_waiting", "Messages that wait to be processed.", labels=_BY)
    oldest = GaugeMetricFamily("concord_oldest_waiting_seconds", "How long the oldest of them waits.", labels=_BY)
    for place in sorted(found.counts.keys() | found.waiting.keys()):
        one = found.waiting.get(place)
        waiting.add_metric(place, one.count if one else 0)
        oldest.add_metric(place, (found.at - one.oldest).total_seconds() if one else 0)
    yield from (waiting, oldest)
    alerts_ = GaugeMetricFamily(
        "concord_alerts", "Standing alerts; 0 once somebody acknowledged it.", labels=(*_BY, "kind")
    )
    for labels, open_ in sorted(found.standing.items()):
        alerts_.add_metric(labels, open_)
    yield alerts_
    yield GaugeMetricFamily("concord_mllp_connections", "Open MLLP connections.", found.connections["open"])
    refused = found.connections["refused"]
    yield CounterMetricFamily("concord_mllp_refused_connections", "Connections refused: too many were open.", refused)


def _counted(found: Snapshot) -> Iterator[Metric]:
    messages = CounterMetricFamily("concord_messages", "What became of messages.", labels=(*_BY, "state"))
    errors = CounterMetricFamily("concord_message_errors", "What went wrong, by class.", labels=(*_BY, "class"))
    sent = CounterMetricFamily("concord_deliveries", "What became of what was sent on.", labels=(*_BY, "state"))
    last = GaugeMetricFamily("concord_last_message_timestamp_seconds", "When the last message came.", labels=_BY)
    for place, counts in sorted(found.counts.items()):
        for one in sorted(counts):
            kind, _, name = one.what.partition(":")
            if kind == "error":
                errors.add_metric((*place, name), one.number)
            elif kind == "delivery":
                sent.add_metric((*place, name), one.number)
            elif kind != "ack":
                messages.add_metric((*place, one.what), one.number)
        came = [one.last for one in counts if one.what in figures.CAME]
        if came:
            last.add_metric(place, max(came).timestamp())
    yield from (messages, errors, sent, last)


def _times(found: Snapshot) -> Metric:
    times = HistogramMetricFamily("concord_ack_seconds", "From the last byte to the acknowledgement.", labels=_BY)
    for place, counts in sorted(found.counts.items()):
        known = {one.what: one.number for one in counts if one.what.startswith("ack:")}
        if known:
            buckets, total = [], 0
            for bound in BOUNDS:
                total += known.get(f"ack:{bound:g}", 0)
                buckets.append(("+Inf" if bound == BOUNDS[-1] else f"{bound:g}", float(total)))
            times.add_metric(place, buckets, known.get("ack:us", 0) / 1e6)
    return times


def _up(value: int) -> Metric:
    return GaugeMetricFamily("concord_channel_figures_up", "Whether the figures of channels could be read.", value)
