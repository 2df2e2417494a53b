"""What looks at folders and FHIR servers of others, wired to an installation."""

from __future__ import annotations

import asyncio
from functools import partial

from fhir_server.app.concord import Concord
from fhir_server.app.work import new_control_id
from fhir_server.engine.celery_app import publisher
from fhir_server.engine.channel import Channel, always
from fhir_server.engine.directory import Directory
from fhir_server.engine.figures import Figures
from fhir_server.engine.folder import FolderPoller
from fhir_server.engine.polling import Poller, Polling, Trouble
from fhir_server.engine.receive import Receiver
from fhir_server.engine.waker import Waker
from fhir_server.operations import polled
from fhir_server.store.polls import Hold


async def poll(concord: Concord) -> None:
    """Look at what has to be looked at, until cancelled."""
    given = concord.settings
    waker = Waker(publisher(given.broker_url)) if given.broker_url else None
    figures = Figures(concord.db, concord.clock)
    counting = asyncio.create_task(figures.keep(given.poll_interval))

    async def make(channel: Channel, hold: Hold) -> Poller:
        if isinstance(channel.polls, polled.Folder):
            return _folder(concord, channel, channel.polls, figures, waker)
        raise Trouble("this kind of source cannot be looked at")

    polling = Polling(concord.db, Directory(concord.db), make, concord.clock, given.poll_hold_seconds)
    try:
        await polling.run(given.poll_interval)
    finally:
        counting.cancel()
        if waker:
            waker.close()


def _folder(
    concord: Concord, channel: Channel, source: polled.Folder, figures: Figures, waker: Waker | None
) -> FolderPoller:
    given = concord.settings
    if given.folders is None:
        raise Trouble("no folder may be watched: the operator sets CONCORD_FOLDERS")
    receiver = Receiver(
        concord.db,
        concord.service.hasher,
        always(channel),
        concord.clock,
        new_control_id,
        patience=given.ack_timeout,
        wake=partial(waker.wake, "messages") if waker else None,
        figures=figures,
    )
    most = given.mllp_max_message_bytes
    return FolderPoller(channel, source, given.folders, receiver, concord.clock, new_control_id, most)
