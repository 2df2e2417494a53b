"""Bounds on a request before anything of it is understood: its address, the depth of its JSON, and its time.

https://www.rfc-editor.org/rfc/rfc9110#name-414-uri-too-long
"""

from __future__ import annotations

import asyncio
from itertools import accumulate
from types import TracebackType

import msgspec

from fhir_server.errors import LongAddress, TimedOut, TooLarge
from fhir_server.http.wire import Disconnected, Receive, Scope

# Most requests are answered before anybody could leave: only after so long it is looked whether the client waits.
_LOOK_AFTER = 0.05
_STRUCTURE = b'[]{}"\\'
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))
_ROUNDS = 8
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Bounds(msgspec.Struct, frozen=True):
    """Most bytes of a body and of an address, levels of a JSON body, and seconds of a request."""

    body: int
    address: int
    depth: int
    seconds: float


def require_address(scope: Scope, most: int) -> None:
    """Raise LongAddress for a path and query of more than `most` bytes."""
    size = len(scope["raw_path"]) + len(scope.get("query_string", b""))
    if size > most:
        raise LongAddress(f"the address has {size} bytes; this server takes {most}: POST [type]/_search takes more")


def require_depth(body: bytes, most: int) -> None:
    """Raise TooLarge for JSON that is nested deeper than `most` levels; other bodies are not looked at."""
    if body.count(b"{") + body.count(b"[") > most and body.lstrip()[:1] in (b"{", b"[") and deeper(body, most):
        raise TooLarge(f"the body is nested deeper than the {most} levels that this server takes", "http")


def deeper(body: bytes, most: int) -> bool:
    """Tell whether the lists and objects of a JSON text are nested deeper than `most` levels."""
    structure = body.translate(None, _NOT_STRUCTURE)
    if b"\\" in structure:
        structure = _unescaped(body).translate(None, _NOT_STRUCTURE)
    brackets = b"".join(structure.split(b'"')[::2])
    for _ in range(min(most // 2, _ROUNDS)):
        # Takes at most two levels away; what is left of all but hostile bodies is nothing.
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    if not brackets:
        return False
    depths = accumulate(map(_STEPS.__getitem__, b"".join(structure.split(b'"')[::2])))
    return any(depth > most for depth in depths)


def _unescaped(body: bytes) -> bytes:
    """Return the text with escaped characters taken out, so that every quote left begins or ends a string."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"").replace(b"\\", b"")


class Patience:
    """Ends the work of a request whose client left, or that takes too long, by cancelling the task it runs in.

    As `with Patience(receive, seconds):` around the work, once the body was read. Raises Disconnected or TimedOut then.
    """

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self._seconds = receive, seconds
        self._reason: Exception | None = None
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(min(_LOOK_AFTER, self._seconds), self._look, loop)

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, _: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch:
            self._watch.cancel()
        if kind is asyncio.CancelledError and self._reason and self._task and not self._task.uncancel():
            raise self._reason from failure

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = loop.create_task(self._watching())

    async def _watching(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
                self._reason = Disconnected()
        except TimeoutError:
            self._reason = TimedOut(
                f"the request took longer than {self._seconds:g} s; whether a write was done is for a read to tell"
            )
        if self._task:
            self._task.cancel()
