"""One run: senders at work, victims chosen by chance at moments chosen by chance, and what became of every message."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
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
    """What happened: kills by victim, answers by MSA-1 (`none` where none came), and the verdict."""

    messages: int
    seconds: float
    kills: dict[str, int]
    answers: dict[str, int]
    verdict: Verdict


class Killer:
    """Kills at moments spread by chance over the way of all messages: half of it is their acceptance."""

    def __init__(self, plan: Plan, world: World, listener: Part, workers: list[Part]) -> None:
        self._random = Random(plan.seed)
        self._world = world
        self._listener = listener
        self._workers = workers
        self.kills: Counter[str] = Counter()
        victims = ("listener", "worker", "broker", "postgres", "postgres backend")
        moments = [(self._moment(victim, plan.messages), victim) for victim in victims for _ in range(plan.kills)]
        self._moments = sorted(moments, reverse=True)

    def _moment(self, victim: str, messages: int) -> int:
        """Return after how many acceptances and ends of work together; a listener has no part in the second half."""
        return self._random.randrange(1, messages if victim == "listener" else 2 * messages - messages // 10)

    def look(self, progress: int) -> None:
        """Kill whose moment has come, and start again what has ended by itself."""
        for part in (self._listener, *self._workers):
            part.look()
        while self._moments and self._moments[-1][0] <= progress:
            self.kill(self._moments.pop()[1])

    def kill(self, victim: str) -> None:
        """Kill one and have it started again."""
        self.kills[victim] += 1
        if victim == "listener":
            self._listener.again()
        elif victim == "worker":
            self._random.choice(self._workers).kill_one(self._random)
        elif victim == "broker":
            self._world.broker.kill()
            self._world.broker.start()
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
            killer = Killer(plan, here, listener, workers)
            senders.start()
            until(lambda: _ended(here, senders, killer), 120 + plan.messages * 0.2)
            senders.join()
        found = asyncio.run(verdict(here.postgres.server_dsn(), senders.letters))
    return Outcome(len(senders.accepted), time.monotonic() - began, dict(killer.kills), dict(senders.answers), found)


def _ended(here: World, senders: Senders, killer: Killer) -> bool:
    """Look at how far all is, and kill accordingly."""
    done = here.count(_DONE)
    if done is None:
        return False
    killer.look(len(senders.accepted) + done)
    return not senders.alive and here.count(_WAITING) == 0
