"""Wake-ups across machines by Celery: publishing them, and a Celery worker whose only task is to drain the queue.

Used only where a broker URL is set. The work itself, its order and its retries stay in PostgreSQL; the broker carries
nothing but "look now". https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)
QUEUE = "concord"
TASK = "concord.drain"
# A mute broker may hold the publishing thread, or a worker's child that starts, for about this long.
_SECONDS = 0.5
_REDIS = {"socket_connect_timeout": _SECONDS, "socket_timeout": _SECONDS, "max_retries": 0}
_AMQP = {
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "write_timeout": _SECONDS,
    "confirm_publish": False,
    "max_retries": 0,
}
_TRANSPORT: dict[str, dict[str, Any]] = {"redis": _REDIS, "rediss": _REDIS, "amqp": _AMQP, "amqps": _AMQP}


class Drains(Protocol):
    """What a process does about the work that waits: see worker.Worker and jobs.Jobs."""

    async def drain(self) -> int:
        """Do all that is due; return how many tries that took."""

    async def run(self) -> None:
        """Drain whenever told to and from time to time, until stopped."""

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is under way is done."""


Open = Callable[[], AbstractAsyncContextManager[Drains]]


def publisher(broker_url: str) -> Callable[[str], None]:
    """Return what publishes one wake-up to the broker, for a Waker. It raises whatever the broker raises."""
    app = celery(broker_url, publishing=True)

    def publish(_: str) -> None:
        app.send_task(TASK, queue=QUEUE, retry=False, expires=60, ignore_result=True)

    return publish


def celery(broker_url: str, *, publishing: bool = False) -> Any:
    """Return a Celery application for this broker: no results, no events, one message fetched at a time.

    `publishing` bounds every wait on the broker, which a consumer that idles on its socket must not.
    """
    from celery import Celery  # a twentieth of a start: only processes with a broker pay

    app = Celery("concord", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,
        task_default_delivery_mode="transient",
        task_default_queue=QUEUE,
        task_queues={QUEUE: {"exchange": QUEUE, "durable": False, "queue_arguments": {"x-max-length": 1}}},
        broker_connection_timeout=1,
        broker_connection_retry_on_startup=True,
        broker_pool_limit=2,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if publishing:
        app.conf.broker_transport_options = _TRANSPORT.get(broker_url.split(":")[0], {})
    return app


class Child:
    """One child of a Celery worker: an event loop of its own in a thread, opened after the fork.

    The loop also looks for work by itself, as every worker does: a wake-up may be lost, and the broker may be down.
    """

    def __init__(self, open_worker: Open, pause: float = 1.0) -> None:
        """`pause` is how long (s) it waits before it tries again to open what could not be opened."""
        self._open = open_worker
        self._pause = pause
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Drains | None = None
        self._thread = threading.Thread(target=self._main, name="worker")

    def start(self) -> None:
        """Open the worker and begin to look for work; not waited for, since Celery kills a child that is slow to start.

        Where the database is away it is tried until it is there: Celery would let the child live, without a worker.
        """
        self._thread.start()

    def drain(self) -> int:
        """Do all that is due; the body of the task."""
        self._ready.wait()
        if self._loop is None or self._worker is None or self._ended.is_set():
            return 0
        return asyncio.run_coroutine_threadsafe(self._worker.drain(), self._loop).result()

    def stop(self) -> None:
        """Take nothing new and wait for what is under way."""
        self._stopping.set()
        if self._loop is not None and self._worker is not None and not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._worker.stop)
        # Not `join`: a thread begun in a forked child of Celery is counted as stopped long before it is.
        self._ended.wait()

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    asyncio.run(self._work())
                except Exception as failure:
                    log.warning("no worker yet; it is tried again", error=type(failure).__name__, why=str(failure))
                    self._stopping.wait(self._pause)
        finally:
            self._ended.set()
            self._ready.set()

    async def _work(self) -> None:
        async with self._open() as worker:
            self._loop, self._worker = asyncio.get_running_loop(), worker
            if self._stopping.is_set():
                return
            self._ready.set()
            await worker.run()


def serve(broker_url: str, open_worker: Open, processes: int) -> int:
    """Run a Celery worker in this process until it is told to stop by SIGTERM; return its exit code."""
    from celery.signals import worker_process_init, worker_process_shutdown

    app = celery(broker_url)
    child = Child(open_worker)

    def begin(**_: Any) -> None:
        child.start()

    def end(**_: Any) -> None:
        child.stop()

    app.task(name=TASK)(child.drain)
    worker_process_init.connect(begin, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    # Celery workers need know nothing of each other.
    alone = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
    worker = app.Worker(pool="prefork", concurrency=processes, loglevel="WARNING", quiet=True, **alone)
    worker.start()
    return int(worker.exitcode or 0)
