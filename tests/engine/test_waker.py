"""A wake-up costs the request nothing, whatever the broker does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fhir_server.engine.waker import Waker

Make = Callable[..., Waker]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Waker] = []

    def waker(publish: Callable[[str], None], **times: float) -> Waker:
        made.append(Waker(publish, **times))
        return made[-1]

    yield waker
    for one in made:
        one.close()


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_wake_up_is_published(make: Make) -> None:
    sent: list[str] = []
    make(sent.append).wake("messages")
    eventually(lambda: sent == ["messages"])


def test_many_at_once_become_few(make: Make) -> None:
    asked = threading.Event()
    waker = make(lambda _: asked.wait(60) and None, gap=0)
    for _ in range(1000):
        waker.wake("messages")
    asked.set()
    # One that began before all were asked for, and one for all the others.
    eventually(lambda: waker.sent >= 1)
    time.sleep(0.1)
    assert waker.sent <= 2


def test_a_mute_broker_does_not_hold_the_request(make: Make) -> None:
    mute = threading.Event()
    waker = make(lambda _: mute.wait(60) and None, gap=0)
    begun = time.perf_counter()
    for number in range(1000):
        waker.wake(f"q{number % 7}")
    took = time.perf_counter() - begun
    mute.set()
    assert took < 30  # the broker holds its own caller for 60 s


def test_after_a_failure_the_broker_is_left_alone_for_a_while_and_then_tried_again(make: Make) -> None:
    tries: list[float] = []

    def refuse(_: str) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise ConnectionRefusedError

    waker = make(refuse, gap=0, pause=0.1)
    waker.wake("messages")
    eventually(lambda: waker.failed == 1)
    eventually(lambda: waker.wake("messages") or waker.sent == 1)
    assert tries[1] - tries[0] >= 0.1


def test_closed_it_publishes_no_more(make: Make) -> None:
    sent: list[str] = []
    waker = make(sent.append)
    waker.close()
    waker.wake("messages")
    time.sleep(0.05)
    assert sent == []
