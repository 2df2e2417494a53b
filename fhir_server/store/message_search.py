"""Search of messages: each filter has an index that gives the newest first, so that a page costs what it holds.

Days are partitions: those that a page does not reach are not looked at. What several keys have in common is looked for
among so many of the first one's newest; a page may then end early, and `next` tells where it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any, get_args

import msgspec

from fhir_server.store.database import Database
from fhir_server.store.messages import COLUMNS, State, Summary, summary_of

_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NUMBERS = 2**63 - 1
# Days before the newest that are looked at one step after the other; a step costs planning of its partitions.
_STEPS = (1, 4, 13, 40, 121)
# Candidates that one statement takes, and statements full of them that one page takes at most.
_TOGETHER, _MOST = 500, 12
# More kinds than this are not looked up one by one.
_MOST_KINDS = 64
_STATES: tuple[str, ...] = get_args(State)


class Place(msgspec.Struct, frozen=True):
    """Where a page goes on: behind the message of this moment and number."""

    received: datetime
    id: int


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What messages are wanted; what is empty excludes none. `keys` are of patients, orders and words: all must be.

    `types` are like ORU or ORU^R01. `since` is within, `until` without. It holds nothing of a patient in clear.
    """

    keys: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    types: tuple[str, ...] = ()
    app: str | None = None
    facility: str | None = None
    control_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Page(msgspec.Struct, frozen=True):
    """Messages, the newest first; `next` is None where there are no more. A page with a next one may be short."""

    messages: list[Summary]
    next: Place | None


_WINDOW = "received >= %s and received < %s and (received, id) < (%s, %s)"
_ORDER = "order by received desc, id desc limit %s"
_BY_KEY = f"select received, id from message_key k where tenant_id = %s and key = %s and {_WINDOW} {{}} {_ORDER}"  # noqa: S608
_AND_KEY = """and exists (select 1 from message_key o where o.tenant_id = %s and o.key = %s
    and o.received = k.received and o.id = k.id)"""
_BY_CONTROL = f"select received, id from inbox where tenant_id = %s and control_id = %s and {_WINDOW} {_ORDER}"  # noqa: S608
_BY_STATE = f"""
select i.received, i.id from unnest(%s::text[]) w (state), lateral
    (select received, id from inbox where tenant_id = %s and state = w.state and {_WINDOW} {_ORDER}) i {_ORDER}
"""  # noqa: S608
_BY_KIND = f"""
select i.received, i.id from unnest(%s::bigint[], %s::text[]) w (kind, state), lateral
    (select received, id from inbox where tenant_id = %s and kind = w.kind and state = w.state and {_WINDOW} {_ORDER}) i
{_ORDER}
"""  # noqa: S608
_LOAD = f"""
select i.* from unnest(%s::timestamptz[], %s::bigint[]) with ordinality as c (received, id, n), lateral
    (select {COLUMNS} from inbox where tenant_id = %s and received >= %s and received <= %s
        and received = c.received and id = c.id limit 1) i
order by c.n
"""  # noqa: S608
_KINDS = """
select kind from message_kind where tenant_id = %s and (%s::text[] is null or channel = any(%s))
    and (%s::text[] is null or message_type = any(%s) or message_type || '^' || trigger = any(%s))
    and (%s::text is null or sender_app = %s) and (%s::text is null or sender_facility = %s) limit %s
"""
Statement = tuple[str, tuple[Any, ...]]


async def found(
    db: Database,
    tenant_id: int,
    wanted: Wanted,
    now: datetime,
    *,
    after: Place | None = None,
    limit: int = 50,
    oldest: bool = False,
) -> Page:
    """Return the next messages behind `after`, the newest first, or the `oldest`. Raises errors.Busy."""
    kinds = await _kinds(db, tenant_id, wanted)
    if kinds == ():
        return Page([], None)
    place = after or (Place(_FIRST, 0) if oldest else Place(_LAST, _NUMBERS))
    messages, looked = list[Summary](), 0
    for low, high in _forward(wanted, place, now) if oldest else _windows(wanted, place, now):
        more = True
        while more:
            if looked == _MOST:
                return Page(messages, place)
            at_once = limit + 1 - len(messages) if _exact(wanted, kinds) else _TOGETHER
            window = (low, high, place.received, place.id)
            sql, params = _candidates(tenant_id, wanted, kinds, window, at_once)
            sql = _turned(sql) if oldest else sql
            places = [Place(*row) for row in await db.fetch(tenant_id, sql, params, custom_plan=True)]
            for one in await _loaded(db, tenant_id, wanted, places):
                if len(messages) == limit:
                    return Page(messages, Place(messages[-1].received, messages[-1].id))
                messages.append(one)
            more, place = len(places) == at_once, places[-1] if places else place
            looked += more
    return Page(messages, None)


def _windows(wanted: Wanted, place: Place, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield spans of time from the newest to the oldest, each longer than the one before."""
    low, high = wanted.since or _FIRST, min(wanted.until or _LAST, place.received + timedelta(microseconds=1))
    start = min(high, now)
    for above, below in pairwise((high, *(start - timedelta(days=days) for days in _STEPS), _FIRST)):
        if max(below, low) < above:
            yield max(below, low), above


def _forward(wanted: Wanted, place: Place, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the same spans from the oldest to the newest, from a place on."""
    spans = [*_windows(wanted, Place(_LAST, _NUMBERS), now)]
    yield from ((max(low, place.received), high) for low, high in reversed(spans) if place.received < high)


def _turned(sql: str) -> str:
    """Return a statement that gives the oldest first."""
    return sql.replace(_ORDER, "order by received, id limit %s").replace("(received, id) < (", "(received, id) > (")


async def _kinds(db: Database, tenant_id: int, wanted: Wanted) -> tuple[int, ...] | None:
    """Return the kinds that are wanted; None where all are, or so many that each message must be looked at."""
    if not _of_kind(wanted):
        return None
    channels, types = list(wanted.channels) or None, list(wanted.types) or None
    asked = (channels, channels, types, types, types, wanted.app, wanted.app, wanted.facility, wanted.facility)
    rows = await db.fetch(tenant_id, _KINDS, (tenant_id, *asked, _MOST_KINDS + 1), custom_plan=True)
    return tuple(kind for (kind,) in rows) if len(rows) <= _MOST_KINDS else None


def _of_kind(wanted: Wanted) -> bool:
    return bool(wanted.channels or wanted.types or wanted.app or wanted.facility)


def _exact(wanted: Wanted, kinds: tuple[int, ...] | None) -> bool:
    """Tell whether the index gives what is wanted and nothing else."""
    return not (wanted.keys or wanted.control_id or (kinds is None and _of_kind(wanted)))


def _candidates(
    tenant_id: int, wanted: Wanted, kinds: tuple[int, ...] | None, window: tuple[Any, ...], most: int
) -> Statement:
    """Return the statement that gives the newest messages of the index which tells them best."""
    states = wanted.states or _STATES
    if wanted.keys:
        first, *others = wanted.keys
        also = [value for key in others for value in (tenant_id, key)]
        return _BY_KEY.format(_AND_KEY * len(others)), (tenant_id, first, *window, *also, most)
    if wanted.control_id:
        return _BY_CONTROL, (tenant_id, wanted.control_id, *window, most)
    if kinds is None:
        return _BY_STATE, (list(states), tenant_id, *window, most, most)
    pairs = list(product(kinds, states))
    return _BY_KIND, ([kind for kind, _ in pairs], [state for _, state in pairs], tenant_id, *window, most, most)


async def _loaded(db: Database, tenant_id: int, wanted: Wanted, places: Sequence[Place]) -> list[Summary]:
    """Return the messages of candidates that are wanted, in order."""
    if not places:
        return []
    moments = [place.received for place in places]
    params = (moments, [place.id for place in places], tenant_id, min(moments), max(moments))
    rows = await db.fetch(tenant_id, _LOAD, params, custom_plan=True)
    return [one for row in rows if _fits(one := await summary_of(db, tenant_id, row), wanted)]


def _fits(one: Summary, wanted: Wanted) -> bool:
    return (
        (not wanted.states or one.state in wanted.states)
        and (not wanted.channels or one.channel in wanted.channels)
        and (not wanted.types or bool({one.message_type, f"{one.message_type}^{one.trigger}"} & {*wanted.types}))
        and wanted.app in (None, one.sender_app)
        and wanted.facility in (None, one.sender_facility)
        and wanted.control_id in (None, one.control_id)
    )
