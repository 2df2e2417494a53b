"""What is killed and started again: PostgreSQL, the broker, the listener and the workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.migrate import migrate
from tests.brokers import Broker
from tests.flows.serve import CONCORD, clean_environ
from tests.needs import free_port

TENANT = "loss"
_BACKENDS = b"select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"


class Part:
    """One `concord` process in a process group of its own."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self._argv = argv
        self._environ = environ
        self._log = log
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self._environ,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the number of the process that was started."""
        return self._process.pid

    def members(self) -> list[int]:
        """Return all processes of the group, such as the child in which a Celery worker works."""
        return [pid for pid in _numbers() if _group_of(pid) == self.pid]

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut of its machine would."""
        if self._process.poll() is None or self.members():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def kill_one(self, random: Random) -> None:
        """Kill one process of it, and start it again if that was the first."""
        victim = random.choice(self.members() or [self.pid])
        os.kill(victim, signal.SIGKILL)
        if victim == self.pid:
            self.again()

    def look(self) -> None:
        """Start it again if it has ended by itself, as what supervises it does: PostgreSQL was away when it started."""
        if self._process.poll() is not None:
            self.again()

    def again(self) -> None:
        """Kill what is left of it and start it again."""
        self.kill()
        self._process = self._started()

    def stop(self) -> int:
        """Stop it as an operator does, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        finally:
            if self.members():
                os.killpg(self.pid, signal.SIGKILL)


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _group_of(pid: int) -> int | None:
    """Return the process group of a live process; a zombie is of none."""
    try:
        state, _, group, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(group)


class World:
    """An installation of parts on one PostgreSQL and one broker, with a tenant that takes every message."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, broker: Broker) -> None:
        self.folder, self.postgres, self.broker = folder, postgres, broker
        self.port = free_port()
        self.environ = clean_environ(
            CONCORD_DATABASE_URL=postgres.server_dsn(),
            CONCORD_BROKER_URL=broker.url,
            CONCORD_DATA_DIR=str(folder),
            CONCORD_MLLP_TENANT=TENANT,
            CONCORD_LOG_LEVEL="warning",
            CONCORD_POLL_INTERVAL="1",
            # Who is killed for sport is not killed by the message it works on.
            CONCORD_WORKER_DEATHS="100",
        )
        with psycopg.connect(postgres.admin_dsn(), autocommit=True) as admin:
            admin.execute("insert into tenant (name) values (%s)", (TENANT,))

    def part(self, name: str, *argv: str) -> Part:
        """Start one part."""
        return Part([CONCORD, *argv], self.environ, self.folder / f"{name}.log")

    def kill_postgres(self) -> None:
        """Kill the postmaster, whose children end as they notice, and start it again."""
        os.kill(self.postgres.pid, signal.SIGKILL)
        self.postgres.stop()
        self.postgres.start()

    def kill_backend(self, random: Random) -> None:
        """Kill one server process of a connection, upon which PostgreSQL ends all of them and recovers."""
        backends = self.rows(_BACKENDS)
        while backends is None:  # it recovers from the kill before
            time.sleep(0.05)
            backends = self.rows(_BACKENDS)
        if backends:
            # One that has ended meanwhile is as good as killed.
            with suppress(ProcessLookupError):
                os.kill(int(random.choice(backends)[0]), signal.SIGKILL)

    def rows(self, sql: bytes) -> list[tuple[Any, ...]] | None:
        """Return the rows of a statement, None while the database is away."""
        try:
            with psycopg.connect(self.postgres.admin_dsn(), autocommit=True) as admin:
                return admin.execute(sql).fetchall()
        except psycopg.OperationalError:
            return None

    def count(self, sql: bytes) -> int | None:
        """Return what a count gives, None while the database is away."""
        rows = self.rows(sql)
        return None if rows is None else int(rows[0][0])


@contextmanager
def world(
    folder: Path, kind: str, address: str = "127.0.0.1", settings: Mapping[str, str] | None = None
) -> Iterator[World]:
    """Give an empty installation with PostgreSQL as it is by default, fsync included, and a broker of this kind.

    The broker listens on `address`; PostgreSQL gets more `settings`.
    """
    folder.chmod(0o711)
    broker = Broker(kind, folder / "broker", address)
    try:
        with EmbeddedPostgres(folder / "data", settings) as postgres:
            broker.start()
            migrate(postgres.admin_dsn(), postgres.server_dsn(), today=datetime.now(UTC).date())
            yield World(folder, postgres, broker)
    finally:
        broker.stop()


@contextmanager
def running(world: World, workers: int) -> Iterator[tuple[Part, list[Part]]]:
    """Give a listener and workers until the block ends; whatever is left of them is killed then."""
    parts: list[Part] = []
    try:
        parts.append(world.part("mllp", "mllp", "--mllp-port", str(world.port)))
        parts += [world.part(f"worker{n}", "worker") for n in range(workers)]
        yield parts[0], parts[1:]
    finally:
        for part in parts:
            part.kill()


def until(holds: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until `holds()` is true. Raises AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to its end"
        time.sleep(0.02)
