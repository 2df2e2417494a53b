"""Messages that are posted over HTTP, wired to an installation: they take the way of those over MLLP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from adapters.contract import Peer
from fhir_server.app.concord import Concord
from fhir_server.app.work import receiver_of
from fhir_server.context import Tenant
from fhir_server.engine.celery_app import publisher
from fhir_server.engine.directory import Directory
from fhir_server.engine.figures import Figures
from fhir_server.engine.intake import Large
from fhir_server.engine.receive import Receiver
from fhir_server.engine.waker import Waker


class Poster:
    """Takes the messages of one HTTP process."""

    def __init__(self, concord: Concord) -> None:
        given = concord.settings
        self._every, self._whole = given.poll_interval, given.message_whole_bytes
        self._directory = Directory(concord.db)
        self._figures = Figures(concord.db, concord.clock)
        waker = Waker(publisher(given.broker_url)) if given.broker_url else None
        wake = partial(waker.wake, "messages") if waker else None
        self._door = receiver_of(concord, self._directory, wake, self._figures)
        self._adding: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None

    async def take(self, tenant: Tenant, pieces: AsyncIterator[bytes], peer: Peer) -> bytes | None:
        """Make a message durable and return its acknowledgement, if its sender wants one."""
        await self._directory.fresh()
        door = self._door.through(partial(self._directory.posted, tenant))
        try:
            return await _taken(door, pieces, peer, self._whole)
        finally:
            if self._soon is None:
                self._soon = asyncio.get_running_loop().call_later(self._every, self._add)

    def _add(self) -> None:
        """Add what was counted: a process that takes nothing has nothing to do."""
        self._soon = None
        self._adding = asyncio.create_task(self._figures.quietly())


async def _taken(door: Receiver, pieces: AsyncIterator[bytes], peer: Peer, whole: int) -> bytes | None:
    """Hold a message of at most `whole` bytes; a larger one is taken as it arrives, as over MLLP."""
    held, large = bytearray(), None
    try:
        async for piece in pieces:
            held += piece
            if large is None and len(held) > whole:
                large = door.large(peer)
            if large is not None:
                await large.feed(bytes(held))
                held.clear()
        return await (large.end(b"") if large else door.message(bytes(held), peer))
    except BaseException:
        _dropped(large)
        raise


def _dropped(large: Large | None) -> None:
    if large is not None:
        large.drop()
