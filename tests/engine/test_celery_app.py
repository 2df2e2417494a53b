"""Wake-ups across processes by a real broker; and work that goes on without one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fhir_server.engine.celery_app import publisher
from fhir_server.engine.waker import Waker
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.brokers import Broker
from tests.engine.world import PEER, adt, kept, receiver, tenant_of
from tests.needs import needs

pytest.importorskip("redis")

WORKER = """
import contextlib, sys
from random import Random
from fhir_server.app import opened
from fhir_server.context import Tenant
from fhir_server.engine import celery_app
from fhir_server.engine.channel import catch_all
from fhir_server.engine.worker import Worker
from fhir_server.settings import Settings
dsn, broker, poll, deaf = sys.argv[1:5]
if deaf == "deaf":  # hears no NOTIFY: only the broker, and the clock
    from fhir_server.store import bell
    bell.CHANNEL = "nobody"
@contextlib.asynccontextmanager
async def open_worker():
    async with opened(Settings.load(env="test"), dsn) as concord:
        async def channel_of(tenant_id, name):
            return catch_all(Tenant(tenant_id, "t"), name)
        more = {"random": Random(1), "new_id": lambda: "C1", "poll": float(poll)}
        yield Worker(concord.service, channel_of, concord.base, concord.clock, **more)
sys.exit(celery_app.serve(broker, open_worker, 1))
"""


@contextlib.contextmanager
def process(*argv: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | dict(env or {})
    running = subprocess.Popen(
        argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def started(kind: str, folder: Path) -> Iterator[str]:
    broker = Broker(kind, folder / kind)
    try:
        broker.start()
        yield broker.url
    finally:
        broker.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    yield from started("redis", tmp_path)


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[str]:
    yield from started("rabbitmq", tmp_path)


def worker(
    dsn: str, broker: str, poll: float, *, deaf: bool
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return process(sys.executable, "-c", WORKER, dsn, broker, str(poll), "deaf" if deaf else "")


@contextlib.contextmanager
def waker(broker: str) -> Iterator[Waker]:
    made = Waker(publisher(broker), pause=0.2)
    yield made
    made.close()


async def until_done(db: Database, tenant: object, count: int) -> None:
    async with asyncio.timeout(180):
        while sum(m.state == "done" for m in await kept(db, tenant)) < count:  # type: ignore[arg-type]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "kind", [pytest.param("redis", marks=needs("redis")), pytest.param("rabbitmq", marks=needs("rabbitmq"))]
)
async def test_a_wake_up_through_the_broker_has_a_message_worked_in_another_process(
    kind: str, request: pytest.FixtureRequest, postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    tenant, broker = await tenant_of(fresh_database), request.getfixturevalue(kind)
    with waker(broker) as wakes, worker(postgres.server_dsn(fresh_name), broker, 600, deaf=True) as running:
        door = receiver(fresh_database, tenant, wake=lambda: wakes.wake("messages"))
        await door.message(adt("A1"), PEER)  # found when the worker opens, or by its wake-up
        await until_done(fresh_database, tenant, 1)
        for n in range(2, 5):
            await door.message(adt(f"A{n}"), PEER)
            await until_done(fresh_database, tenant, n)
        assert wakes.sent >= 3
    assert running.returncode == 0, "told to stop it ends by itself"


@needs("redis")
async def test_a_lost_wake_up_delays_a_message_by_one_look_at_the_database(
    redis: str, postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    tenant = await tenant_of(fresh_database)
    with worker(postgres.server_dsn(fresh_name), redis, 0.3, deaf=True):
        for n in range(1, 3):
            await receiver(fresh_database, tenant).message(adt(f"A{n}"), PEER)
            await until_done(fresh_database, tenant, n)
    assert [m.attempts for m in await kept(fresh_database, tenant)] == [1, 1]


def test_a_broker_that_refuses_or_is_mute_costs_the_request_nothing() -> None:
    # The first is bound and refuses, the second takes connections and says nothing.
    with socket.socket() as deaf, socket.create_server(("127.0.0.1", 0)) as mute:
        deaf.bind(("127.0.0.1", 0))
        for sock in (deaf, mute):
            with waker(f"redis://127.0.0.1:{sock.getsockname()[1]}/0") as wakes:
                begun = time.perf_counter()
                for _ in range(200):
                    wakes.wake("messages")
                assert time.perf_counter() - begun < 10
                end = time.monotonic() + 60
                while not wakes.failed and time.monotonic() < end:
                    time.sleep(0.01)
                assert wakes.failed >= 1
