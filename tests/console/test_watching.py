"""What the page of channels shows: each quarter of an hour in its place, the right words, nothing for no channel."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from fhir_server.console.watching import BARS, ChannelCard, cards
from fhir_server.operations.definition import read
from fhir_server.store.figures import EVER, Counted, Waiting, slot

NOW = datetime(2026, 3, 1, 12, 7, tzinfo=UTC)


def counted(minutes_ago: float, what: str, number: int, channel: str = "lab") -> Counted:
    moment = NOW - timedelta(minutes=minutes_ago)
    return Counted(channel, slot(moment), what, number, moment)


def card(*counts: Counted, waiting: Waiting | None = None) -> ChannelCard:
    (found,) = cards(NOW, {}, counts, {"lab": waiting} if waiting else {})
    return found


def test_a_bar_stands_where_its_quarter_of_an_hour_is() -> None:
    rects = card(counted(1, "done", 4), counted(8, "done", 2), counted(23 * 60 + 50, "done", 1)).rate.rects
    assert [(r.x, r.height) for r in rects] == [(0, 10.0), (BARS - 2, 20.0), (BARS - 1, 40.0)]


def test_what_failed_stands_on_what_was_done() -> None:
    failed, done = card(counted(1, "done", 3), counted(1, "buried", 1)).rate.rects
    assert (failed.kind, failed.y, failed.height) == ("buried", 0.0, 10.0)
    assert (done.kind, done.y, done.height) == ("done", 10.0, 30.0)


def test_what_is_older_than_a_day_is_not_shown() -> None:
    shown = card(counted(25 * 60, "done", 9), Counted("lab", EVER, "done", 9, NOW))
    assert (shown.rate.rects, shown.done) == ([], 0)


def test_the_oldest_that_waits_is_the_longest_of_each_quarter() -> None:
    shown = card(counted(1, "oldest", 60), counted(8, "oldest", 120), waiting=Waiting(3, NOW - timedelta(minutes=9)))
    assert [(r.x, r.height) for r in shown.queue.rects] == [(BARS - 2, 40.0), (BARS - 1, 20.0)]
    assert (shown.waiting, shown.oldest, shown.queue.most) == (3, "9 min", "2 min")


def test_last_heard_is_the_last_message_whatever_became_of_it() -> None:
    heard = Counted("lab", EVER, "rejected", 1, NOW - timedelta(hours=3))
    earlier = Counted("lab", EVER, "received", 1, NOW - timedelta(hours=5))
    assert card(heard, earlier).last == "3 h ago"
    assert card(Counted("lab", EVER, "done", 1, NOW)).last == "never"


def test_errors_are_told_by_class_the_most_common_first() -> None:
    shown = card(counted(1, "error:required", 2), counted(9, "error:invalid", 3), counted(9, "error:required", 2))
    assert shown.errors == [("required", 4), ("invalid", 3)]


def test_a_channel_says_when_its_sender_is_expected_even_if_it_did_nothing() -> None:
    rules = [{"minutes": 60}, {"minutes": 5, "days": ["sat", "mon"], "from": "08:00", "to": "12:00"}]
    given = read(json.dumps({"name": "lab", "watch": {"silence": rules}}).encode())
    (shown,) = cards(NOW, {"lab": ("paused", given)}, [], {})
    assert (shown.state, shown.last, shown.done) == ("paused", "never", 0)
    assert shown.expected == "every 60 min, every day; every 5 min, mon sat 08:00–12:00"
    assert cards(NOW, {}, [], {}) == []
