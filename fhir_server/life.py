"""The child's side of supervision: stop when told, and when the supervisor is gone, however it went.

The supervisor holds the writing end of a pipe and never writes; its end of file says that the supervisor is dead, also
after kill -9. See supervisor.py.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable

# So many new objects wait for the collector, instead of 700: most of a request's go by themselves when it ends.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50


def settle() -> None:
    """Let the garbage collector pass over what is there when a process has started, which lives as long as it does.

    Looking at the tables, the compiled paths and the structures again and again was a sixth of a message's cost.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


def watch(on_stop: Callable[[], None], pipe: int | None = None, grace: float = 15.0) -> None:
    """Call `on_stop` in this event loop on SIGTERM, on SIGINT, and when `pipe` ends.

    After the pipe's end the process has `grace` seconds, then it is ended without ceremony: nobody else is left to do
    that. A thread reads the pipe, so that even an event loop that hangs cannot outlive the supervisor.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    if pipe is not None:
        threading.Thread(target=_until_its_end, args=(loop, pipe, on_stop, grace), daemon=True, name="life").start()


def end_with(pipe: int, grace: float = 15.0) -> None:
    """Send this process SIGTERM when `pipe` ends, and end it `grace` seconds later: for one without a loop of ours."""

    def wait() -> None:
        while os.read(pipe, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="life").start()


def _until_its_end(loop: asyncio.AbstractEventLoop, pipe: int, on_stop: Callable[[], None], grace: float) -> None:
    while os.read(pipe, 1):
        continue
    try:
        loop.call_soon_threadsafe(on_stop)
    except RuntimeError:  # the loop is closed: this process is ending already
        return
    time.sleep(grace)
    os._exit(1)
