"""What is written tells who cares for whom and which case things belong to: kept in the transaction of the write.

http://hl7.org/fhir/R4/encounter.html · http://hl7.org/fhir/R4/episodeofcare.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def follow(service: Service, ctx: Context, tx: Tx, writes: Iterable[Write]) -> None:
    """Queue what the writes, which are queued, tell of care and of cases; nothing for types that tell none."""
    concerned = [write for write in writes if write.type in _LINKED or write.type in _OF_CARE]
    if not concerned:
        return
    place = Place(service.hasher, ctx.tenant.id, ctx.base)
    _tell(place, tx, concerned, [write.self_key for write in concerned if write.previous], ctx.now, service.limits)
    rows = [Linked(write.rid, links) for write in concerned if (links := _links(write)) is not None]
    if rows:
        care.settle(tx, told.salts(service.hasher, ctx.tenant.id), _CARRIERS, rows)


def anew(service: Service, tx: Tx, place: Place, rows: Sequence[Current], now: datetime) -> None:
    """Queue what rows tell that stand as they are, once their keys are made anew."""
    concerned = [row for row in rows if row.type in _LINKED or row.type in _OF_CARE]
    _tell(place, tx, concerned, [row.self_key for row in concerned], now, service.limits)
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


def _tell(place: Place, tx: Tx, rows: Sequence[_Row], known: Sequence[int], now: datetime, limits: Limits) -> None:
    """Queue the care relations and cases of rows; those of `known` sources may have told something before."""
    known = [row.self_key for row in rows if row.type in _OF_CARE and row.self_key in set(known)]
    if known:
        care.forget(tx, known)
    windows = _windows(limits)
    related: list[tuple[int, told.Relation]] = []
    cases: list[tuple[int, str, told.Case]] = []
    for row in rows:
        if row.body is None or row.type not in (*_OF_CARE, _EPISODE):
            continue
        name = CODE_TYPES[row.type]
        resource = decode(name, row.body)
        if row.type == _EPISODE:
            cases.append((row.self_key, row.id, told.case_of(place, resource)))
        related += [(row.self_key, one) for one in told.relations(place, name, resource, now, windows)]
    if related:
        care.relate(tx, related, place.hasher.salt(place.tenant_id, "PractitionerRole", "practitioner"))
    if cases:
        care.put_cases(tx, cases)
    if gone := [row.self_key for row in rows if row.body is None and row.type == _EPISODE]:
        care.close_cases(tx, gone)


def _windows(limits: Limits) -> told.Windows:
    return told.Windows(
        timedelta(days=limits.care_before_appointment),
        timedelta(days=limits.care_after_appointment),
        timedelta(days=limits.care_after_encounter),
    )
