"""What looks at folders and FHIR servers of others, wired to an installation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from adapters.fhir_client import FhirClient
from adapters.web import Refused
from fhir_server.app.concord import Concord
from fhir_server.app.guards import web_of
from fhir_server.app.work import new_control_id
from fhir_server.engine.celery_app import publisher
from fhir_server.engine.channel import Channel, always
from fhir_server.engine.directory import Directory
from fhir_server.engine.fhir_poll import FhirPoller
from fhir_server.engine.figures import Figures
from fhir_server.engine.folder import FolderPoller
from fhir_server.engine.polling import Poller, Polling, Trouble
from fhir_server.engine.receive import Receiver
from fhir_server.engine.signing_in import sign_in
from fhir_server.engine.waker import Waker
from fhir_server.errors import NotFound
from fhir_server.operations import polled
from fhir_server.store import secrets
from fhir_server.store.inbox import DAY
from fhir_server.store.polls import Hold


async def poll(concord: Concord) -> None:
    """Look at what has to be looked at, until cancelled."""
    given = concord.settings
    waker = Waker(publisher(given.broker_url)) if given.broker_url else None
    figures = Figures(concord.db, concord.clock)
    counting = asyncio.create_task(figures.keep(given.poll_interval))

    async def make(channel: Channel, hold: Hold) -> Poller:
        return await poller_of(concord, channel, hold, figures, waker)

    polling = Polling(concord.db, Directory(concord.db), make, concord.clock, given.poll_hold_seconds)
    try:
        await polling.run(given.poll_interval)
    finally:
        counting.cancel()
        if waker:
            waker.close()


async def poller_of(concord: Concord, channel: Channel, hold: Hold, figures: Figures, waker: Waker | None) -> Poller:
    """Return what looks at the source of a channel; raise Trouble where the settings do not allow it."""
    if isinstance(channel.polls, polled.Folder):
        return _folder(concord, channel, channel.polls, figures, waker)
    assert channel.polls is not None
    return await _fhir(concord, channel, channel.polls, hold, figures, waker)


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
        control_id_window=int(given.control_id_days * DAY),
    )
    most = given.mllp_max_message_bytes
    return FolderPoller(channel, source, given.folders, receiver, concord.clock, new_control_id, most)


async def _fhir(
    concord: Concord, channel: Channel, source: polled.Fhir, hold: Hold, figures: Figures, waker: Waker | None
) -> FhirPoller:
    given = concord.settings

    async def secret(name: str) -> str:
        return (await secrets.value(concord.db, channel.tenant.id, name)).decode()

    web = replace(web_of(given), most=given.poll_max_bytes, seconds=given.poll_timeout)
    try:
        web.require(source.base)
        signing = await sign_in(concord.db, channel.tenant.id, source.sign_in, secret)
    except (Refused, NotFound) as problem:
        raise Trouble(str(problem)) from None
    return FhirPoller(
        concord.db,
        concord.service.hasher,
        channel,
        source,
        hold,
        FhirClient(source.base, web, concord.clock, signing),
        concord.clock,
        figures,
        partial(waker.wake, "messages") if waker else None,
    )
