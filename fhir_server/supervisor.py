"""Keeps the processes of one installation running: starts them, restarts them with back-off, stops them in order.

Each child holds the reading end of a pipe whose writing end only the supervisor has (see life.py), so that nothing
outlives it. Children have sessions of their own: Ctrl-C reaches the supervisor alone, and the order of stopping is its.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog

log = structlog.get_logger(__name__)
LIFE = "{life}"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process: the word `{life}` in `argv` becomes the number of its life pipe.

    `fds` are inherited under their own numbers. `env` is its whole environment, or None for the supervisor's own. Lower
    stages stop first, all of one stage at once: doors 0, workers 1.
    """

    name: str
    argv: Sequence[str]
    fds: Sequence[int] = ()
    env: Mapping[str, str] | None = None
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds. A child that ends `crashes` times within `window` is given up, and everything stops."""

    first: float = 0.2  # wait before the first restart; doubles with each further one within `window`
    most: float = 5.0
    crashes: int = 6
    window: float = 60.0
    grace: float = 15.0  # from SIGTERM to SIGKILL
    look: float = 0.5  # between two looks at what is watched


class Supervisor:
    """Runs the children until it is told to stop, one of them will not stay up, or what it watches fails."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        patience: Patience | None = None,
        watch: Callable[[], str | None] | None = None,
        on_stopping: Callable[[], None] | None = None,
    ) -> None:
        """`watch` returns why nothing can go on, or None; `on_stopping` is called once, before any child is stopped."""
        self._patience = patience or Patience()
        self._watch = watch
        self._on_stopping = on_stopping
        self._specs = sorted(children, key=lambda spec: spec.stage)
        self._children: list[_Child] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failed = False

    @property
    def pids(self) -> dict[str, int]:
        """The process of each child that is running now."""
        return {c.spec.name: c.process.pid for c in self._children if c.process and c.process.returncode is None}

    def stop(self) -> None:
        """Stop all, in order; called again, kill what is left."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> int:
        """Return the exit code: 0 when it was told to stop by a signal or `stop`, 1 when it could not go on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        life, held = os.pipe()
        try:
            self._children = [_Child(spec, self._patience, life, self._hurry) for spec in self._specs]
            await self._supervise()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            os.close(held)
            os.close(life)
        return 1 if self._failed else 0

    async def _supervise(self) -> None:
        tasks = {child: asyncio.create_task(child.run()) for child in self._children}
        ends = {*tasks.values(), asyncio.create_task(self._look())}
        told = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({*ends, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._failed = any(end.done() for end in ends)
            self._stopping.set()
            await self._shut_down(tasks)
            for task in {*ends, told}:
                task.cancel()
            await asyncio.gather(*ends, told, return_exceptions=True)

    async def _shut_down(self, tasks: Mapping[_Child, asyncio.Task[None]]) -> None:
        if self._on_stopping is not None:
            self._on_stopping()
        for _, stage in groupby(self._children, key=lambda child: child.spec.stage):
            children = list(stage)
            for child in children:
                child.stop.set()
            await asyncio.gather(*(tasks[child] for child in children), return_exceptions=True)

    async def _look(self) -> None:
        """Return when what is watched has failed."""
        while (reason := self._watch() if self._watch else None) is None:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(self._patience.look)
        log.error("cannot go on", error=reason)


@dataclass(eq=False, slots=True)
class _Child:
    spec: ChildSpec
    patience: Patience
    life: int
    hurry: asyncio.Event
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    ends: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Return when it was stopped on demand, or when it ended too often."""
        clock = asyncio.get_running_loop().time
        while not self.stop.is_set():
            await self._once()
            if self.stop.is_set():
                return
            self.ends = [t for t in self.ends if t > clock() - self.patience.window] + [clock()]
            if len(self.ends) >= self.patience.crashes:
                log.error("process will not stay up", process=self.spec.name, count=len(self.ends))
                return
            await self._pause(min(self.patience.first * 2 ** (len(self.ends) - 1), self.patience.most))

    async def _once(self) -> None:
        """Run the process to its end, or end it when told to."""
        try:
            self.process = process = await self._start()
        except OSError as error:
            log.error("process did not start", process=self.spec.name, error=str(error))
            return
        exited, told = asyncio.create_task(process.wait()), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({exited, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            if not exited.done():
                await self._end(process, exited)
        if not self.stop.is_set():
            log.warning("process ended", process=self.spec.name, pid=process.pid, exit_code=process.returncode)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(word.replace(LIFE, str(self.life)) for word in self.spec.argv),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(self.life, *self.spec.fds),
            env=self.spec.env,
            start_new_session=True,
        )

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> None:
        process.terminate()
        hurry = asyncio.create_task(self.hurry.wait())
        await asyncio.wait({exited, hurry}, timeout=self.patience.grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not exited.done():
            log.warning("process killed", process=self.spec.name, pid=process.pid)
            process.kill()
        await exited

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return
