"""Tells workers on other machines that there is work, off the path of the request that made it.

A wake-up is a hint: the job is in PostgreSQL already and workers also look there by themselves. So a publish may be
lost, and must never cost the request more than adding a word to a set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Waker:
    """Publishes wake-ups from a thread of its own; `close` it at the end."""

    def __init__(self, publish: Callable[[str], None], *, gap: float = 0.02, pause: float = 5.0) -> None:
        """`publish(queue)` may block or raise. Wake-ups within `gap` seconds become one; after a failure none is tried
        for `pause` seconds, for a broker that is down or mute would otherwise hold the thread all the time."""
        self._publish = publish
        self._gap = gap
        self._pause = pause
        self._asked: set[str] = set()
        self._event = threading.Event()
        self._closed = threading.Event()
        self.sent = 0
        self.failed = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="waker")
        self._thread.start()

    def wake(self, queue: str) -> None:
        """Ask for a wake-up. Never blocks, never raises."""
        if queue not in self._asked:
            self._asked.add(queue)
            self._event.set()

    def close(self) -> None:
        """Publish no more. A publish under way is not waited for: its thread dies with the process."""
        self._closed.set()
        self._event.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._event.wait()
            self._event.clear()
            while self._asked and not self._closed.is_set():
                self._one(self._asked.pop())

    def _one(self, queue: str) -> None:
        try:
            self._publish(queue)
        except Exception as failure:
            self.failed += 1
            log.warning("broker not reached; workers look for themselves", error=type(failure).__name__)
            self._closed.wait(self._pause)
            self._asked.discard(queue)  # what was asked meanwhile the workers have found by now
            return
        self.sent += 1
        self._closed.wait(self._gap)
