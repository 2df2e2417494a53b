"""Logs on standard error, as lines to read or as JSON; nothing of a patient gets into them.

An event is a fixed sentence with fields from the list below: ids, counts, times, names of the installation's own parts.
A field that is not on the list is withheld, and so is the text of an exception, for both may quote what a client sent.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from typing import TextIO
from uuid import uuid4

import psycopg
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

FIELDS = frozenset(
    (
        *("event", "level", "timestamp", "logger", "process", "pid", "component", "version", "error", "where"),
        *("tenant", "request_id", "message_id", "channel", "message_type", "code", "attempt", "attempts", "state"),
        *("method", "route", "interaction", "type", "status", "outcome", "duration_ms", "wait_ms", "bytes"),
        *("count", "entries", "connections", "depth", "host", "port", "path", "exit_code", "signal"),
        *("database", "broker", "setting", "plan", "left_out"),
    )
)
# The machine's words about itself; every other exception may quote a value that a client sent.
_ABOUT_THE_MACHINE = (OSError, psycopg.OperationalError)
# Libraries whose "info" is of no use to who runs Concord.
_CHATTY = ("alembic", "uvicorn", "asyncio", "celery", "kombu", "httpcore", "httpx")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def configure(level: str = "info", form: str = "console", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's events at `level` and above to `stream` (standard error)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper("iso", utc=True),
        tell_exception,
        withhold,
    ]
    last = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[drop, last]))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def tell_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put an exception as its type and the place it came from; its text only where it speaks of the machine."""
    told = event.pop("exc_info", None)
    failure = sys.exc_info()[1] if told is True else told[1] if isinstance(told, tuple) else told
    if not isinstance(failure, BaseException):
        return event
    frames = traceback.extract_tb(failure.__traceback__)[-3:]
    text = f": {failure}" if isinstance(failure, _ABOUT_THE_MACHINE) else ""
    event["error"] = type(failure).__name__ + text
    event["where"] = " < ".join(f"{frame.name} {frame.filename}:{frame.lineno}" for frame in reversed(frames))
    return event


def withhold(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep the fields of the list; of the others tell the names alone."""
    strange = sorted(name for name in event if name not in FIELDS and not name.startswith("_"))
    kept = {name: value for name, value in event.items() if name not in strange}
    return kept | {"withheld": strange} if strange else kept


def request_id(offered: str | None) -> str:
    """Return the id that the client offered if it is fit for a log and a header, else a new one."""
    return offered if offered is not None and _REQUEST_ID.match(offered) else uuid4().hex
