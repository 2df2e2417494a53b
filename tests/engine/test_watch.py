"""The watch: what it finds of a channel, one alert while it stands, who is told when, and that it ends."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.engine.figures import Figures
from fhir_server.engine.watch import Seen, Watch, findings
from fhir_server.errors import Conflict, Invalid, NotFound
from fhir_server.operations import alerts as operations
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.operations.definition import read
from fhir_server.operations.notices import Order, Rhythm, says, subject, text
from fhir_server.store import alerts, figures
from fhir_server.store.alerts import Alert
from fhir_server.store.database import Database
from fhir_server.store.figures import Counted, Waiting
from tests.engine.world import NOW, PEER, adt, receiver, tenant_of

LAB: dict[str, Any] = {"name": "lab", "watch": {"silence": [{"minutes": 120}], "emails": ["lab@example.org"]}}


def found(watch: dict[str, Any], **seen: Any) -> dict[str, dict[str, Any]]:
    """Return what is wrong with a channel, by kind."""
    given = read(msgspec.json.encode({"name": "lab", "watch": watch}))
    known = {"state": "running", "changed": NOW - timedelta(days=1), **seen}
    return {one.kind: {"number": one.number, **one.detail} for one in findings(given, Seen(**known), NOW)}


def counted(minutes_ago: float, what: str, number: int) -> Counted:
    """Return a count of the slot of a moment."""
    moment = NOW - timedelta(minutes=minutes_ago)
    return Counted("lab", figures.slot(moment), what, number, moment)


def test_a_channel_that_nobody_watches_has_nothing_wrong() -> None:
    assert found({}, waiting=Waiting(5, NOW - timedelta(days=9)), counts=[counted(1, "buried", 99)]) == {}


def test_silence_is_counted_from_the_last_message_or_from_the_channels_beginning() -> None:
    watch = {"silence": [{"minutes": 120}]}
    silent = {"silence": {"number": 1, "minutes": 130, "allowed": 120}}
    assert found(watch, last=NOW - timedelta(minutes=130)) == silent
    assert found(watch, last=NOW - timedelta(minutes=110)) == {}
    assert found(watch, last=None, changed=NOW - timedelta(minutes=130)) == silent


def test_a_change_begins_anew_but_does_not_end_an_alert_that_stands() -> None:
    seen = {"last": NOW - timedelta(minutes=130), "changed": NOW - timedelta(minutes=5)}
    watch = {"silence": [{"minutes": 120}]}
    assert found(watch, **seen) == {}
    assert "silence" in found(watch, **seen, standing=frozenset(("silence",)))


def test_a_channel_that_takes_nothing_is_not_silent() -> None:
    assert found({"silence": [{"minutes": 1}]}, state="draining") == {}


def test_messages_that_wait_too_long_are_found_with_their_number() -> None:
    watch = {"queue_minutes": 15}
    assert found(watch, waiting=Waiting(7, NOW - timedelta(minutes=14))) == {}
    expected = {"queue-age": {"number": 7, "minutes": 15, "allowed": 15}}
    assert found(watch, waiting=Waiting(7, NOW - timedelta(minutes=15))) == expected


def test_buried_messages_count_as_far_back_as_the_watch_looks() -> None:
    counts = [counted(70, "buried", 5), counted(50, "buried", 2), counted(1, "buried", 1)]
    assert found({"buried": 4}, counts=counts) == {}
    assert found({"buried": 3}, counts=counts)["buried"]["number"] == 3
    assert found({"buried": 8, "within": 90}, counts=counts)["buried"]["number"] == 8


def test_the_share_of_errors_is_of_enough_messages() -> None:
    counts = [counted(5, "done", 17), counted(5, "buried", 1), counted(4, "rejected", 2), counted(4, "retried", 9)]
    wrong = {"number": 3, "failed": 3, "of": 20, "percent": 15.0, "within": 60}
    assert found({"error_percent": 15}, counts=counts) == {"errors": wrong}
    assert found({"error_percent": 16}, counts=counts) == {}
    assert found({"error_percent": 15, "least": 21}, counts=counts) == {}


def test_deliveries_that_are_held_and_destinations_in_trouble_are_found() -> None:
    counts = [counted(5, "delivery:held", 2), counted(4, "delivery:failed", 1), counted(4, "delivery:done", 9)]
    assert found({"held": 4}, counts=counts) == {}
    assert found({"held": 3}, counts=counts) == {"held": {"number": 3, "within": 60, "allowed": 2}}
    trouble = {"down": ("archive",), "stopped": ("billing",)}
    assert found({}, **trouble) == {}
    expected = {"destination": {"number": 2, "down": ["archive"], "stopped": ["billing"]}}
    assert found({"destinations": True}, **trouble) == expected
    said = says("destination", expected["destination"], 2)
    assert said == "archive cannot be reached; billing waits for a person"


class Clinic:
    """A clinic with a channel, and a watch whose clock is moved."""

    def __init__(self, db: Database, tenant: Tenant) -> None:
        self.db, self.tenant, self.now = db, tenant, NOW
        self.watch = Watch(db, self.clock, Rhythm())

    def clock(self) -> datetime:
        """Return the time as moved."""
        return self.now

    def who(self) -> Editor:
        """Return who changes things."""
        return Editor(self.tenant.id, "ada", "tests", self.now)

    async def apply(self, definition: dict[str, Any]) -> None:
        """Save a channel."""
        await channels.apply(self.db, self.who(), [msgspec.json.encode(definition)])

    async def looks(self, **later: float) -> list[Order]:
        """Let time pass, look, and return what people are told."""
        self.now += timedelta(**later)
        before = await self._jobs()
        await self.watch.look()
        return (await self._jobs())[len(before) :]

    async def alerts(self) -> list[Alert]:
        """Return all alerts, the oldest first."""
        return (await alerts.listed(self.db, self.tenant.id))[::-1]

    async def _jobs(self) -> list[Order]:
        sql = "select payload from job where tenant_id = %s and kind = 'notice' order by id"
        return [msgspec.convert(row[0], Order) for row in await self.db.fetch(self.tenant.id, sql, (self.tenant.id,))]


@pytest.fixture
async def clinic(fresh_database: Database) -> Clinic:
    """Give a clinic whose laboratory is expected every two hours."""
    made = Clinic(fresh_database, await tenant_of(fresh_database))
    await made.apply(LAB)
    return made


def told(orders: list[Order]) -> list[tuple[str, str, str | None]]:
    """Return what was told to whom."""
    return [(one.notice.kind, one.notice.what, one.email) for one in orders]


async def test_an_alert_is_told_once_reminded_of_and_resolved(clinic: Clinic) -> None:
    to = "lab@example.org"
    assert await clinic.looks(minutes=119) == []
    assert told(await clinic.looks(minutes=1)) == [("silence", "raised", to)]
    assert await clinic.looks(minutes=30) == []
    assert told(await clinic.looks(hours=4)) == [("silence", "reminder", to)]
    assert await clinic.looks(hours=1) == []
    door = receiver(clinic.db, Channel("lab", clinic.tenant), clock=clinic.clock)
    await door.message(adt("1"), PEER)
    await door.figures.flush()
    (notice,) = await clinic.looks(seconds=20)
    assert (notice.notice.what, notice.notice.count, notice.notice.first) == ("resolved", 1, NOW + timedelta(hours=2))
    (alert,) = await clinic.alerts()
    assert alert.resolved == clinic.now
    assert await clinic.looks(minutes=119) == []
    assert told(await clinic.looks(minutes=2)) == [("silence", "raised", to)]
    assert len(await clinic.alerts()) == 2


async def test_nobody_is_reminded_of_what_somebody_acknowledged(clinic: Clinic) -> None:
    await clinic.looks(hours=2)
    (alert,) = await clinic.alerts()
    await operations.acknowledge(clinic.db, clinic.who(), alert.id, "their line is down")
    assert await clinic.looks(hours=9) == []
    (alert,) = await clinic.alerts()
    assert (alert.acknowledged_by, alert.note, alert.resolved) == ("ada", "their line is down", None)
    with pytest.raises(NotFound):
        await operations.acknowledge(clinic.db, clinic.who(), alert.id)
    sql = "select detail from audit where tenant_id = %s and action = 'alert-acknowledge'"
    assert [row[0]["alert"] for row in await clinic.db.fetch(clinic.tenant.id, sql, (clinic.tenant.id,))] == [alert.id]


async def test_what_several_workers_look_at_is_found_and_told_once(clinic: Clinic) -> None:
    clinic.now += timedelta(hours=3)
    others = [Watch(clinic.db, clinic.clock, Rhythm()) for _ in range(4)]
    looked = await asyncio.gather(*(one.look() for one in others))
    assert sum(looked) == 1
    assert len(await clinic.alerts()) == 1
    assert len(await clinic._jobs()) == 1


async def test_a_channel_of_a_definition_that_cannot_be_used_leaves_the_others_watched(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    await clinic.apply({"name": "other", "watch": {"silence": [{"minutes": 60}]}})
    sql = "update channel set version = 9 where tenant_id = %s and name = 'other'"
    broken = (
        "insert into channel_version (tenant_id, name, version, definition, author, created)"
        " values (%s, 'other', 9, '{\"nothing\": 1}', 'x', now())"
    )
    for statement in (broken, sql):
        await clinic.db.fetch(clinic.tenant.id, statement, (clinic.tenant.id,))
    assert [one.notice.channel for one in await clinic.looks(hours=2)] == ["lab"]


async def test_what_happens_again_and_again_is_one_alert_told_at_most_every_five_minutes(clinic: Clinic) -> None:
    async def breaks(access: str) -> None:
        async with clinic.db.transaction(clinic.tenant.id) as tx:
            alerts.happened(tx, "", "break-glass", {"email": "eve@example.org", "access": access}, clinic.now)

    await operations.add_target(clinic.db, clinic.who(), "email", "admin@example.org")
    await clinic.looks()
    await breaks("a1")
    (first,) = await clinic.looks(seconds=1)
    assert told([first]) == [("break-glass", "raised", "admin@example.org")]
    for access in ("b2", "c3"):
        await breaks(access)
    assert await clinic.looks(seconds=20) == []
    (more,) = await clinic.looks(minutes=5)
    assert (more.notice.what, more.notice.count, more.notice.detail["access"]) == ("more", 3, "c3")
    (alert,) = await clinic.alerts()
    await operations.acknowledge(clinic.db, clinic.who(), alert.id)
    assert await clinic.looks(minutes=90) == []
    await breaks("d4")
    (again,) = await clinic.looks(seconds=1)
    assert (again.notice.what, again.notice.count) == ("raised", 1)


async def test_what_happened_is_looked_at_without_waiting_for_the_next_turn(clinic: Clinic) -> None:
    await clinic.looks()
    async with clinic.db.transaction(clinic.tenant.id) as tx:
        alerts.happened(tx, "", "break-glass", {}, clinic.now)
    assert await clinic.watch.look() == 1
    assert await clinic.watch.look() == 0


async def test_who_breaks_the_glass_waits_for_nobody_who_looks(clinic: Clinic) -> None:
    await clinic.looks()
    async with clinic.db.transaction(None) as looking:
        assert await alerts.take(looking, clinic.now + timedelta(days=1), clinic.now)
        async with asyncio.timeout(8), clinic.db.transaction(clinic.tenant.id) as tx:
            alerts.happened(tx, "", "break-glass", {}, clinic.now)
    assert [alert.kind for alert in await clinic.alerts()] == ["break-glass"]
    await operations.add_target(clinic.db, clinic.who(), "email", "it@example.org")
    assert told(await clinic.looks(seconds=16)) == [("break-glass", "raised", "it@example.org")]


async def test_recipients_are_the_clinics_and_the_channels_each_once(clinic: Clinic) -> None:
    for kind, address in (("email", "lab@example.org"), ("email", "it@example.org"), ("webhook", "https://x.example/")):
        await operations.add_target(clinic.db, clinic.who(), kind, address)  # type: ignore[arg-type]
    orders = await clinic.looks(hours=2)
    assert {one.email for one in orders} == {"lab@example.org", "it@example.org", None}
    assert len(orders) == 3
    with pytest.raises(Conflict):
        await operations.add_target(clinic.db, clinic.who(), "email", "it@example.org")
    with pytest.raises(Invalid):
        await operations.add_target(clinic.db, clinic.who(), "email", "it@example.org\nBcc: x@example.org")
    await operations.remove_target(clinic.db, clinic.who(), "it@example.org")
    with pytest.raises(NotFound):
        await operations.remove_target(clinic.db, clinic.who(), "it@example.org")


async def test_nothing_of_a_patient_stands_in_an_alert(clinic: Clinic) -> None:
    await clinic.apply({"name": "lab", "watch": {"buried": 1, "queue_minutes": 1, "error_percent": 1, "least": 1}})
    door = receiver(clinic.db, Channel("lab", clinic.tenant), clock=clinic.clock)
    await door.message(adt("1", patient="4711", family="Canaryname"), PEER)
    door.figures.failed(clinic.tenant.id, "lab", "buried", [])
    await door.figures.flush()
    orders = await clinic.looks(minutes=3)
    await operations.add_target(clinic.db, clinic.who(), "email", "it@example.org")
    orders += await clinic.looks(hours=5)
    assert {one.notice.kind for one in orders} == {"buried", "queue-age", "errors"}
    said = [subject(one.notice) + text(one.notice, "https://x.example") for one in orders]
    rows = await clinic.db.fetch(clinic.tenant.id, "select a::text from alert a union all select j::text from job j")
    assert said
    assert not any(word in part for word in ("4711", "Canaryname") for part in (*said, *(row[0] for row in rows)))


async def test_old_counts_are_forgotten_while_looking(clinic: Clinic) -> None:
    counting = Figures(clinic.db, clinic.clock)
    counting.count(clinic.tenant.id, "lab", "done")
    await counting.flush()
    await clinic.looks(days=9)
    slots = [one.slot for one in await figures.since(clinic.db, clinic.tenant.id, NOW - timedelta(days=1))]
    assert slots == [figures.EVER]
