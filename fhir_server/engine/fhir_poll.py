"""Asks a FHIR server of others what has changed, and takes it into the inbox, as messages are taken.

http://hl7.org/fhir/R4/search.html#lastUpdated

How far a search is, is the newest moment that the other server named, never a moment of ours. Each look begins a little
before it, for what became visible late; what was taken already is known by its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import structlog

from adapters.fhir_answers import Final, Found, Page, Retry
from adapters.fhir_client import FhirClient
from fhir_server.clock import Clock
from fhir_server.engine.channel import Channel
from fhir_server.engine.figures import Figures
from fhir_server.engine.polling import Trouble
from fhir_server.engine.reasons import plain
from fhir_server.operations import polled
from fhir_server.operations.messages import keys
from fhir_server.search.hashing import Hasher
from fhir_server.store import inbox, polls
from fhir_server.store.database import Database
from fhir_server.store.inbox import Accepted
from fhir_server.store.polls import Hold
from mappings.from_fhir import Server, fields, order_key
from mappings.mapped import Json, decode

log = structlog.get_logger(__name__)
_LONGEST = 250
_TOGETHER = 100
# After so many pages a look ends where it can go on from; and no server has so many that they never end.
_PAGES, _MOST_PAGES = 500, 100_000
_REMEMBERED = 2000


class Mark(msgspec.Struct):
    """How far a search is: `since` the newest change seen, `seen` the versions near it with their milliseconds."""

    since: str | None = None
    seen: dict[str, int] = {}


class HowFar(msgspec.Struct):
    """How far each search of a channel is."""

    searches: dict[str, Mark] = {}


class FhirPoller:
    """Looks at one server for one channel that this process holds."""

    def __init__(
        self,
        db: Database,
        hasher: Hasher,
        channel: Channel,
        source: polled.Fhir,
        hold: Hold,
        client: FhirClient,
        clock: Clock,
        figures: Figures,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self._db, self._hasher, self._channel, self._source, self._hold = db, hasher, channel, source, hold
        self._client, self._clock, self._figures, self._wake = client, clock, figures, wake
        self._server = Server(source.base, source.types)

    async def look(self, how_far: Any) -> int:
        """Take what has changed, and return how many versions came."""
        known = msgspec.convert(how_far, HowFar)
        taken, troubles = 0, []
        for search in self._source.searches:
            try:
                taken += await self._search(search, known)
            except _Settled as trouble:
                # What is refused once and for all keeps no other search waiting.
                troubles.append(str(trouble))
        if troubles:
            raise Trouble("; ".join(troubles))
        return taken

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _search(self, search: str, known: HowFar) -> int:
        """Go through the pages of a search. The mark moves with each page only where the server keeps them in order."""
        type_, _, query = search.partition("?")
        mark = known.searches.get(search, Mark())
        walk = _Walk(mark, timedelta(seconds=self._source.overlap))
        asked = [*parse_qsl(query, keep_blank_values=True), *walk.asked(self._source.since)]
        page = await self._client.search(type_, [*asked, ("_count", str(self._source.count))])
        taken, addresses = 0, set[str]()
        while True:
            if not isinstance(page, Page):
                raise _trouble(search, page)
            taken += await self._taken(walk.news(page))
            last = page.following is None or (len(addresses) >= _PAGES and walk.in_order)
            if last or walk.in_order:
                known.searches[search] = walk.mark()
                if not await polls.mark(self._db, self._hold, msgspec.to_builtins(known)):
                    raise Trouble("another process looks at this server now")
            if page.following is None or last:
                return taken
            if page.following in addresses or len(addresses) >= _MOST_PAGES:
                raise Trouble(f"{type_}: the links to next pages lead in a circle")
            addresses.add(page.following)
            page = await self._client.page(page.following)

    async def _taken(self, news: Sequence[tuple[Found, Json]]) -> int:
        """Make versions durable, in their order, and return how many of them were new."""
        fresh = 0
        for begin in range(0, len(news), _TOGETHER):
            items = [self._item(entry, resource) for entry, resource in news[begin : begin + _TOGETHER]]
            for kept in await inbox.accept(self._db, self._channel.tenant.id, items):
                fresh += not kept.duplicate
                what = "repeated" if kept.duplicate else "received"
                self._figures.count(self._channel.tenant.id, self._channel.name, what)
            if self._wake is not None:
                self._wake()
        return fresh

    def _item(self, entry: Found, resource: Json) -> Accepted:
        tenant_id, order = self._channel.tenant.id, plain(order_key(resource, self._server), _LONGEST)
        found = fields(resource, self._server)
        return Accepted(
            received=self._clock(),
            raw=entry.resource,
            channel=self._channel.name,
            order_key=self._hasher.token(tenant_id, "Message", "order", None, order),
            order_text=order,
            sender_app=plain(self._server.base, _LONGEST),
            control_id=plain(_version(resource), _LONGEST),
            message_type=plain(str(resource["resourceType"]), _LONGEST),
            peer=urlsplit(self._server.base).netloc[:_LONGEST],
            fields=found,
            keys=keys(found, self._hasher, tenant_id),
        )


class _Settled(Trouble):
    """A search that was refused, and would be again."""


class _Walk:
    """One way through the pages of a search."""

    def __init__(self, mark: Mark, overlap: timedelta) -> None:
        self._since = _moment(mark.since)
        self._newest = self._since
        self._seen = dict(mark.seen)
        self._overlap = overlap
        self._last: datetime | None = None
        self.in_order = False
        self._broken = False

    def asked(self, begin: str | None) -> list[tuple[str, str]]:
        """Return what is asked for: what changed since a little before the newest change that was seen."""
        since = _told(self._since - self._overlap) if self._since else begin
        return [*([("_lastUpdated", f"ge{since}")] if since else []), ("_sort", "_lastUpdated")]

    def news(self, page: Page) -> list[tuple[Found, Json]]:
        """Return what was not taken yet, and note all that is on the page."""
        news = []
        for entry, resource in _resources(page.entries):
            updated = _moment(resource.get("meta", {}).get("lastUpdated"))
            key = _key(entry, resource)
            if key not in self._seen:
                news.append((entry, resource))
            if updated is not None:
                self._broken = self._broken or (self._last is not None and updated < self._last)
                self._last = updated
                self._newest = max(self._newest or updated, updated)
            self._seen[key] = _milliseconds(updated or self._newest)
        # The server says of its own accord that it sorts, and has done so up to here.
        self.in_order = not self._broken and "_sort=_lastUpdated" in (page.asked or "")
        return news

    def mark(self) -> Mark:
        """Return how far we are: what is older than what will be asked for next need not be remembered."""
        if self._newest is None:
            return Mark()
        least = _milliseconds(self._newest - self._overlap)
        kept = sorted((moment, key) for key, moment in self._seen.items() if moment >= least)[-_REMEMBERED:]
        return Mark(_told(self._newest), {key: moment for moment, key in kept})


def _resources(entries: Iterable[Found]) -> Iterable[tuple[Found, Json]]:
    """Give the resources that were found, not what is said about the search; one without an id cannot be told again."""
    left = 0
    for entry in entries:
        if entry.mode != "match":
            continue
        try:
            resource = decode(entry.resource)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            resource = {}
        if isinstance(resource.get("id"), str) and isinstance(resource.get("meta", {}), dict):
            yield entry, resource
        else:
            left += 1
    if left:
        log.warning("resources without an id were left", count=left)


def _version(resource: Json) -> str:
    """Return what a version is called: it is the number of the message."""
    meta = resource.get("meta", {})
    version = meta.get("versionId") or meta.get("lastUpdated") or ""
    return f"{resource.get('resourceType')}/{resource.get('id')}/_history/{version}"


def _key(entry: Found, resource: Json) -> str:
    text = _version(resource)
    content = b"" if not text.endswith("/") else entry.resource
    return blake2b(text.encode("utf-8", "surrogatepass") + content, digest_size=8).hexdigest()


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return None if found is None else (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment else 0


def _trouble(search: str, answered: Retry | Final) -> Trouble:
    text = f"{search.partition('?')[0]}: {answered.reason}"
    return Trouble(text, answered.seconds) if isinstance(answered, Retry) else _Settled(text)
