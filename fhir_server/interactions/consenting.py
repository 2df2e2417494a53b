"""Consents on their way to the store: what they deny counts from the transaction that stores them.

http://hl7.org/fhir/R4/consent.html

Who asks in a tenant where nobody denies anything is spared the question, as every process has looked up lately. So the
first denials of a tenant are answered only once every process has had to look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from conformance.r4.types import TYPE_CODES
from conformance.structures import decode
from fhir_server.context import Context
from fhir_server.errors import Unprocessable
from fhir_server.interactions.draft import Saved
from fhir_server.interactions.service import Service
from fhir_server.search import consent
from fhir_server.search.reference import Place
from fhir_server.store import consents
from fhir_server.store.database import Tx
from fhir_server.store.resources import Current, Write

_CODE = TYPE_CODES[consent.TYPE]
_MOST = 500
# Longer than a request may take: a rule that was made then is committed, or never will be.
_SURELY = timedelta(minutes=5)


def follow(service: Service, ctx: Context, tx: Tx, writes: Iterable[Write]) -> None:
    """Queue what the Consents among the writes deny. Raises Unprocessable for one with too many provisions."""
    found = [write for write in writes if write.type == _CODE]
    if found:
        known = [write.self_key for write in found if write.previous]
        _put(Place(service.hasher, ctx.tenant.id, ctx.base), tx, found, known, ctx.now)


def anew(tx: Tx, place: Place, rows: Sequence[Current], now: datetime) -> None:
    """Queue what Consents deny that stand as they are."""
    found = [row for row in rows if row.type == _CODE]
    if found:
        _put(place, tx, found, [row.self_key for row in found], now)


def _put(place: Place, tx: Tx, rows: Sequence[Write | Current], known: Sequence[int], now: datetime) -> None:
    if known:
        consents.forget(tx, known)
    for row in rows:
        if row.body is None:
            continue
        resource = decode(consent.TYPE, row.body)
        patient, rules = consent.patient_of(place, resource), consent.rules(place, resource)
        if len(rules) > _MOST:
            raise Unprocessable(f"a Consent has at most {_MOST} provisions", f"{consent.TYPE}.provision")
        if patient is not None and rules:
            consents.put(tx, row.self_key, patient, rules, now)


async def spread(service: Service, ctx: Context, done: Iterable[Saved]) -> None:
    """Return once the next request, in whichever process, is asked what these writes deny."""
    if not any(saved.type == consent.TYPE and saved.changed for saved in done):
        return
    async with service.db.transaction(ctx.tenant.id) as tx:
        known = await consents.settled(tx, ctx.now - _SURELY)
    if not known:
        await asyncio.sleep(service.limits.standing)
