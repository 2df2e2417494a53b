"""Takes the messages of files in a folder: the same way into the inbox as those over MLLP, an answer beside the file.

A process may end at any point: the file is read again then, and what of it was taken is known by number and content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from adapters.folder import DONE, FAILED, Folder, Reading, Report, Stamp, Unusable, Waiting
from fhir_server.clock import Clock
from fhir_server.engine.channel import Channel
from fhir_server.engine.folder_report import FileReport
from fhir_server.engine.polling import Trouble
from fhir_server.engine.receive import Receiver
from fhir_server.operations import polled
from mappings.ack import AckError
from mappings.batch import Closed, Event, Found, Odd, Opened, Splitter, TooLarge

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
# What programs that upload call a file while they write it.
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".writing", ".lock", ".swp", "~")
_PIECE = 1 << 18
# What is taken in one commit, at most: messages, and bytes.
_TOGETHER, _BYTES = 64, 4 << 20
_CUT = AckError("MSH", "100", "the file ends before its BTS or FTS: this message may be cut off; send it again")
_NOTHING = AckError("MSH", "100", "a file without a message")


class FolderPoller:
    """Looks at the folder of one channel."""

    def __init__(
        self,
        channel: Channel,
        source: polled.Folder,
        root: Path,
        receiver: Receiver,
        clock: Clock,
        new_id: Callable[[], str],
        most: int,
    ) -> None:
        """`root` is the folder of all tenants' folders, `most` the bytes of the longest message."""
        self._channel = channel
        self._source = source
        self._root = root
        self._parts = (channel.tenant.name, *source.path.split("/"))
        self._receiver = receiver
        self._clock = clock
        self._new_id = new_id
        self._most = most
        self._token = uuid4().hex
        self._seen: dict[str, tuple[Stamp, float]] = {}
        self._begun = False

    async def look(self, how_far: Any) -> int:
        """Take the files that are complete, and return how many messages they held."""
        try:
            folder = await whole(Folder.open, self._root, self._parts)
        except Unusable as problem:
            raise Trouble(f"the folder cannot be used: {problem}") from None
        try:
            return await self._all(folder)
        except Unusable as problem:
            raise Trouble(f"the folder cannot be used: {problem}") from None
        finally:
            folder.close()

    async def close(self) -> None:
        """There is nothing to let go of between looks."""

    async def _all(self, folder: Folder) -> int:
        if not self._begun:
            await whole(folder.clear)
            self._begun = True
        troubles: list[str] = []
        # What was begun comes first: it came first.
        taken = sum([await self._file(folder, name, troubles) for name in await whole(folder.taken)])
        waiting = await whole(folder.waiting, self._fits)
        for one in self._settled(waiting):
            if await whole(folder.take, one.name):
                taken += await self._file(folder, one.name, troubles)
        if troubles:
            raise Trouble(f"{len(troubles)} files cannot be read: {troubles[0]}")
        return taken

    def _fits(self, name: str) -> bool:
        hidden = name.startswith(".") or name.lower().endswith(_UNFINISHED)
        return not hidden and fnmatchcase(name, self._source.files)

    def _settled(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Return the files that have been as they are for long enough."""
        now = asyncio.get_running_loop().time()
        known = {w.name: self._seen.get(w.name, (None, now)) for w in waiting}
        self._seen = {w.name: (w.stamp, known[w.name][1] if known[w.name][0] == w.stamp else now) for w in waiting}
        return [w for w in waiting if now - self._seen[w.name][1] >= self._source.settle]

    async def _file(self, folder: Folder, name: str, troubles: list[str]) -> int:
        try:
            reading = await whole(folder.read, name)
        except Unusable as problem:
            # A link, a pipe, or a file that we may not read: it must not keep the others waiting.
            troubles.append(str(problem))
            await whole(folder.put_away, name, FAILED, self._token[:8], None)
            return 0
        if reading is None:
            return 0
        tag = _tag(name, reading.stamp)
        report = await whole(folder.report, self._token)
        try:
            told = await _Intake(self, reading, report, f"file {tag}").run()
            await whole(folder.put_away, name, DONE if told.good else FAILED, tag, report)
        finally:
            reading.close()
            report.close()
        log.info("file taken", channel=self._channel.name, count=told.total, outcome=DONE if told.good else FAILED)
        return told.total


class _Intake:
    """One file on its way."""

    def __init__(self, poller: FolderPoller, reading: Reading, report: Report, origin: str) -> None:
        self._poller = poller
        self._reading = reading
        self._report = report
        self._origin = origin
        self._splitter = Splitter(poller._most)
        self._told: FileReport | None = None
        self._group: list[tuple[bytes, AckError | None]] = []
        self._first = b""

    async def run(self) -> FileReport:
        while data := await whole(self._reading.piece, _PIECE):
            self._first = self._first or data
            await self._events(self._splitter.feed(data))
        await self._events(self._splitter.end())
        await self._flush()
        told = self._telling()
        if self._first and not told.total:
            # So that it is seen among the messages too.
            await self._poller._receiver.fetched(self._first, self._origin, _NOTHING)
        told.finish()
        return told

    def _telling(self) -> FileReport:
        """Return the report, begun once it is known how the file is written."""
        if self._told is None:
            p, s = self._poller, self._splitter
            self._told = FileReport(self._report.write, p._clock(), p._new_id, s.wide, s.line_end)
        return self._told

    async def _events(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Found(raw, whole):
                    self._group.append((raw, None if whole else _CUT))
                case TooLarge(raw, size):
                    text = f"the message is longer than the limit ({size} bytes); only its beginning is kept"
                    self._group.append((raw, AckError("MSH", "200", text)))
                case _:
                    await self._flush()
                    self._tell(event)
            if len(self._group) >= _TOGETHER or sum(len(raw) for raw, _ in self._group) > _BYTES:
                await self._flush()

    def _tell(self, event: Event) -> None:
        told = self._telling()
        match event:
            case Opened(header, line):
                told.opened(header, line)
            case Closed(trailer, _, _, problem):
                if problem:
                    told.wrong(problem)
                told.ended(trailer)
            case Odd(text):
                told.wrong(text)

    async def _flush(self) -> None:
        """Take what was read: in its order, in as few commits as can be."""
        group, self._group = self._group, []
        p = self._poller
        taking = (p._receiver.fetched(raw, self._origin, problem) for raw, problem in group)
        for kept in await asyncio.gather(*taking):
            refused = kept.state == "rejected"
            self._telling().acknowledged(kept.ack, refused=refused, known=kept.duplicate)


async def whole(work: Callable[..., Result], *given: Any) -> Result:
    """Do what waits for the disk in a thread, to its end also when we are cancelled: it uses what is closed then."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})


def _tag(name: str, stamp: Stamp) -> str:
    """Return what tells a file from another of the same name, the same however often it is read."""
    text = f"{name}\0{stamp.size}\0{stamp.modified}".encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=4).hexdigest()
