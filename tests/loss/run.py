"""One run: senders at work, victims chosen by chance at moments chosen by chance, and what became of every message."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random

import msgspec

from tests.loss.parts import Part, World, running, until, world
from tests.loss.senders import Senders
from tests.loss.verdict import Verdict, verdict

WORKERS = 2
CONNECTIONS = 32
_DONE = b"select count(*) from inbox where state = 'done'"
_WAITING = b"select (select count(*) from job_ticket) + (select count(*) from inbox where state = 'received')"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How large a run is; `kills` of each kind of victim."""

    messages: int = 2000
    connections: int = CONNECTIONS
    patients: int = 4  # of each connection
    kills: int = 3
    broker: str = "redis"
    seed: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """What happened: kills by victim, how many of them came when all was done already, answers by MSA-1 (`none` where
    none came), and the verdict."""

    messages: int
    seconds: float
    kills: dict[str, int]
    late: int
    answers: dict[str, int]
    verdict: Verdict


class Killer:
    """Kills at moments spread by chance over the way of all messages: half of it is their acceptance."""

    def __init__(self, plan: Plan, world: World, senders: Senders, listener: Part, workers: list[Part]) -> None:
        self._senders = senders
        self._random = Random(plan.seed)
        self._messages = plan.messages
        self._world = world
        self._listener = listener
        self._workers = workers
        # A broker takes its time to start, in which messages go on.
        self._starter = ThreadPoolExecutor(1)
        self._started: Future[None] | None = None
        self.kills: Counter[str] = Counter()
        self.late = 0
        victims = ("listener", "worker", "broker", "postgres", "postgres backend")
        moments = [(self._moment(victim), victim) for victim in victims for _ in range(plan.kills)]
        self._moments = sorted(moments, reverse=True)

    def _moment(self, victim: str) -> int:
        """Return after how many acceptances and ends of work together; a listener has no part in the second half."""
        whole = self._messages if victim == "listener" else 2 * self._messages - self._messages // 10
        return self._random.randrange(1, whole)

    def look(self, progress: int) -> None:
        """Kill the next one whose moment has come, and start again what has ended by itself.

        Where kills take longer than messages, the senders wait for them.
        """
        for part in (self._listener, *self._workers):
            part.look()
        overdue = sum(moment <= progress for moment, _ in self._moments)
        self._senders.hold = overdue > 1
        if overdue:
            self.late += progress >= 2 * self._messages
            self.kill(self._moments.pop()[1])

    @property
    def done(self) -> bool:
        """Say whether all have been killed that were to be."""
        return not self._moments

    def close(self) -> None:
        """Wait for a broker that starts. Raises what went wrong with it."""
        self._starter.shutdown()
        if self._started is not None:
            self._started.result()

    def kill(self, victim: str) -> None:
        """Kill one and have it started again."""
        self.kills[victim] += 1
        if victim == "listener":
            self._listener.again()
        elif victim == "worker":
            self._random.choice(self._workers).kill_one(self._random)
        elif victim == "broker":
            if self._started is not None:
                self._senders.hold = not self._started.done()
                self._started.result()
            self._world.broker.kill()
            self._started = self._starter.submit(self._world.broker.start)
        elif victim == "postgres":
            self._world.kill_postgres()
        else:
            self._world.kill_backend(self._random)


def run(plan: Plan, folder: Path) -> Outcome:
    """Send, kill, wait until all is worked, and judge."""
    began = time.monotonic()
    with world(folder, plan.broker) as here:
        senders = Senders(here.port, plan.messages, plan.connections, plan.patients)
        with running(here, WORKERS) as (listener, workers):
            killer = Killer(plan, here, senders, listener, workers)
            senders.start()
            until(lambda: _ended(here, senders, killer), 300 + plan.messages * 0.2)
            senders.join()
            killer.close()
        found = asyncio.run(verdict(here.postgres.server_dsn(), senders.letters))
    took = round(time.monotonic() - began, 1)
    return Outcome(len(senders.accepted), took, dict(killer.kills), killer.late, dict(senders.answers), found)


def _ended(here: World, senders: Senders, killer: Killer) -> bool:
    """Look at how far all is, and kill accordingly."""
    done = here.count(_DONE)
    if done is None:
        return False
    killer.look(len(senders.accepted) + done)
    return killer.done and not senders.alive and here.count(_WAITING) == 0
