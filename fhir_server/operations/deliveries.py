"""What people do to deliveries and destinations, and to the secrets that these need: each act is audited."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from fhir_server.errors import Invalid, NotFound
from fhir_server.operations.channels import Editor
from fhir_server.search.hashing import Hasher
from fhir_server.store import audit, channels, delivery_log, destinations, secrets
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database, Tx
from fhir_server.store.delivery_log import Attempt, Moved, Row, Wanted
from fhir_server.store.destinations import Place, Seen

MOST = 10_000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_LONGEST = 65_536
Act = Literal["retry", "cancel"]
KIND = "Delivery"


class Fares(msgspec.Struct, frozen=True):
    """A destination of a working channel: whether anything is sent there, and how much is not done, by state.

    `sends`: yes; paused, by a person; stopped, by a delivery that a person must look at; waiting, for a receiver in
    trouble, until `closed_until`.
    """

    channel: str
    name: str
    kind: str
    sends: Literal["yes", "paused", "stopped", "waiting"]
    failures: int
    closed_until: datetime | None
    stopped_by: int | None
    reason: str | None
    open: dict[str, int]


def place(hasher: Hasher, tenant_id: int, channel: str, name: str) -> Place:
    """Return a destination with its lane, which tells nothing of it to who has not the installation's secret."""
    return Place(channel, name, hasher.token(tenant_id, KIND, "lane", channel, name))


async def fares(db: Database, tenant_id: int) -> list[Fares]:
    """Return how the destinations of the working channels fare, by channel and name."""
    seen = {(one.channel, one.name): one for one in await destinations.all_of(db, tenant_id)}
    counts = await delivery_log.counts(db, tenant_id)
    found = []
    for channel in await channels.all_of(db, tenant_id):
        for given in channel.definition.get("destinations", ()):
            name = given["name"]
            there: dict[str, int] = {
                state: n for (of, to, state), n in counts.items() if (of, to) == (channel.name, name)
            }
            found.append(_fares(channel.name, name, given["kind"], seen.get((channel.name, name)), there))
    return sorted(found, key=lambda one: (one.channel, one.name))


def _fares(channel: str, name: str, kind: str, seen: Seen | None, there: dict[str, int]) -> Fares:
    if seen is None:
        return Fares(channel, name, kind, "yes", 0, None, None, None, there)
    sends: Literal["yes", "paused", "stopped", "waiting"] = "waiting" if seen.closed_until else "yes"
    if seen.stopped_by is not None:
        sends = "stopped"
    if seen.paused:
        sends = "paused"
    return Fares(channel, name, kind, sends, seen.failures, seen.closed_until, seen.stopped_by, seen.reason, there)


async def act(db: Database, who: Editor, what: Act, wanted: Wanted) -> list[Moved]:
    """Retry or cancel deliveries, the oldest first and at most MOST of them, and return them.

    What is being sent at the moment is left alone.
    """
    do = delivery_log.retry if what == "retry" else delivery_log.cancel
    async with db.transaction(who.tenant_id) as tx:
        moved = await do(tx, wanted, who.now, MOST)
        for one in moved:
            if one.before in ("held", "failed"):
                destinations.go_on(tx, Place(one.channel, one.destination, one.lane), one.id, who.now)
        if moved:
            asked = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}
            _audit(tx, who, f"delivery-{what}", {"asked": asked, "deliveries": [one.id for one in moved]})
    return moved


async def shown(db: Database, who: Editor, id_: int) -> tuple[Row, list[Attempt]]:
    """Return a delivery with its tries, once it is audited that it was shown. Raises NotFound."""
    found = await delivery_log.show(db, who.tenant_id, id_)
    if found is None:
        raise NotFound(f"there is no delivery {id_}")
    async with db.transaction(who.tenant_id) as tx:
        _audit(tx, who, "delivery-show", {"delivery": id_, "message": found[0].message_id})
    return found


async def set_paused(db: Database, who: Editor, place: Place, *, paused: bool) -> None:
    """Have nothing sent to a destination until it is resumed, or have it go on. Raises NotFound."""
    working = {one.name: one.definition for one in await channels.all_of(db, who.tenant_id)}
    names = [one["name"] for one in working.get(place.channel, {}).get("destinations", ())]
    if place.name not in names:
        raise NotFound(f"a channel {place.channel[:80]!r} has no destination {place.name[:80]!r}")
    async with db.transaction(who.tenant_id) as tx:
        destinations.set_paused(tx, place, who.now, paused=paused)
        said = "destination-pause" if paused else "destination-resume"
        _audit(tx, who, said, {"channel": place.channel, "destination": place.name})


async def set_secret(db: Database, who: Editor, name: str, value: bytes) -> None:
    """Give a secret its value, which is shown to nobody again. Raises Invalid."""
    if not _NAME.match(name):
        raise Invalid(f"{name[:80]!r}: 1 to 63 of a-z 0-9 . _ -, a letter or digit first")
    if not 0 < len(value) <= _LONGEST:
        raise Invalid(f"a secret has 1 to {_LONGEST} bytes")
    await db.keyring.ready(db, who.tenant_id)
    async with db.transaction(who.tenant_id) as tx:
        secrets.put(tx, name, value, who.subject, who.now)
        _audit(tx, who, "secret-set", {"secret": name})


async def drop_secret(db: Database, who: Editor, name: str) -> None:
    """Take a secret away. Raises NotFound."""
    async with db.transaction(who.tenant_id) as tx:
        if not await secrets.drop(tx, name):
            raise NotFound(f"there is no secret {name[:80]!r}")
        _audit(tx, who, "secret-remove", {"secret": name})


def _audit(tx: Tx, who: Editor, action: str, detail: dict[str, Any]) -> None:
    row = Audited(at=who.now, action=action, subject=who.subject, client=who.client, outcome=200, detail=detail)
    audit.record(tx, [row])
