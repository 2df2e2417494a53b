"""What is written tells who cares for whom and which case things belong to: kept in the transaction of the write.

http://hl7.org/fhir/R4/encounter.html · http://hl7.org/fhir/R4/episodeofcare.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from conformance.r4.types import CODE_TYPES, TYPE_CODES
from conformance.structures import decode
from fhir_server.context import Context
from fhir_server.interactions.service import Service
from fhir_server.limits import Limits
from fhir_server.search import care as told
from fhir_server.search.kinds import Entries
from fhir_server.search.reference import Place
from fhir_server.store import care
from fhir_server.store.care import Linked
from fhir_server.store.database import Tx
from fhir_server.store.resources import Current, Write

_LINKED = frozenset(TYPE_CODES[name] for name in told.LINKED)
_CARRIERS = tuple(TYPE_CODES[name] for name in told.CARRIERS)
_EPISODE = TYPE_CODES[told.EPISODE]
_OF_CARE = frozenset(TYPE_CODES[name] for name in (told.ENCOUNTER, "Appointment"))
_Row: TypeAlias = Write | Current


def follow(service: Service, ctx: Context, tx: Tx, writes: Sequence[Write]) -> None:
    """Queue which cases the writes, which are queued, are or belong to; nothing for types that belong to none."""
    _cases(Place(service.hasher, ctx.tenant.id, ctx.base), tx, writes)
    rows = [Linked(write.rid, links) for write in writes if (links := _links(write)) is not None]
    if rows:
        care.settle(tx, told.salts(service.hasher, ctx.tenant.id), _CARRIERS, rows)


def relate(service: Service, ctx: Context, tx: Tx, writes: Sequence[Write]) -> None:
    """Queue what the writes, which are queued, tell of care; nothing for types that tell none."""
    place = Place(service.hasher, ctx.tenant.id, ctx.base)
    _care(place, tx, writes, [write.self_key for write in writes if write.previous], ctx.now, service.limits)


def anew(service: Service, tx: Tx, place: Place, rows: Sequence[Current], now: datetime) -> None:
    """Queue what rows tell that stand as they are, once their keys are made anew."""
    concerned = [row for row in rows if row.type in _LINKED or row.type in _OF_CARE]
    _care(place, tx, concerned, [row.self_key for row in concerned], now, service.limits)
    _cases(place, tx, concerned)
    settle(service, tx, place.tenant_id, [row.rid for row in concerned])


def settle(service: Service, tx: Tx, tenant_id: int, rids: Sequence[int]) -> None:
    """Queue that rows get the cases which their keys, and people, tell."""
    if rids:
        care.settle_again(tx, told.salts(service.hasher, tenant_id), _CARRIERS, rids)


def _links(write: Write) -> Sequence[told.Link] | None:
    """Return what a row links to; None for one that links to nothing, and never did."""
    if write.type not in _LINKED:
        return None
    links = write.entries.links if isinstance(write.entries, Entries) else []
    return links if links or write.previous or write.type == _EPISODE else None


def _care(place: Place, tx: Tx, rows: Sequence[_Row], known: Sequence[int], now: datetime, limits: Limits) -> None:
    """Queue the care relations that rows tell; those of `known` sources may have told something before."""
    rows = [row for row in rows if row.type in _OF_CARE]
    if not rows:
        return
    if before := {row.self_key for row in rows}.intersection(known):
        care.forget(tx, sorted(before))
    windows = _windows(limits)
    related = [
        (row.self_key, one)
        for row in rows
        if row.body is not None
        for one in told.relations(place, CODE_TYPES[row.type], decode(CODE_TYPES[row.type], row.body), now, windows)
    ]
    if related:
        care.relate(tx, related, place.hasher.salt(place.tenant_id, "PractitionerRole", "practitioner"))


def _cases(place: Place, tx: Tx, rows: Sequence[_Row]) -> None:
    """Queue the cases that rows are."""
    episodes = [row for row in rows if row.type == _EPISODE]
    cases = [
        (row.self_key, row.id, told.case_of(place, decode(told.EPISODE, row.body)))
        for row in episodes
        if row.body is not None
    ]
    if cases:
        care.put_cases(tx, cases)
    if gone := [row.self_key for row in episodes if row.body is None]:
        care.close_cases(tx, gone)


def _windows(limits: Limits) -> told.Windows:
    return told.Windows(
        timedelta(days=limits.care_before_appointment),
        timedelta(days=limits.care_after_appointment),
        timedelta(days=limits.care_after_encounter),
    )
