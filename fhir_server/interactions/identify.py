"""Which resource a write is about: a new id, the id it names, or the one that carries an identifier."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from conformance.r4.types import CODE_TYPES
from fhir_server.context import Context
from fhir_server.errors import Precondition
from fhir_server.interactions.draft import Draft, Save
from fhir_server.interactions.link import rewrite
from fhir_server.interactions.locks import locks_of
from fhir_server.interactions.service import Service
from fhir_server.store import resources
from fhir_server.store.database import Tx
from fhir_server.store.resources import Current

# Decimals keep their digits through a merge.
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Identified(msgspec.Struct):
    """The drafts, and for each save the number of its draft: saves that meet the same resource share one."""

    drafts: list[Draft]
    of: list[int]


async def identify(service: Service, ctx: Context, tx: Tx, saves: Sequence[Save]) -> Identified:
    """Settle the id of every save, link the saves to each other and merge those that meet an existing resource.

    Raises Precondition where one identifier is carried by several resources.
    """
    keys = [_keys(service, ctx, save) for save in saves]
    resources.lock_keys(tx, locks_of(service.hasher, ctx.tenant.id, saves))
    rows = await _carriers(tx, keys)
    met = [_met(save, own, rows) for save, own in zip(saves, keys, strict=True)]
    ids, of = _ids(saves, keys, met)
    links = {s.full_url: f"{s.type}/{ids[n]}" for s, n in zip(saves, of, strict=True) if s.full_url}
    drafts: dict[int, Draft] = {}
    for save, number, row in zip(saves, of, met, strict=True):
        body = rewrite(save.resource, links) if save.resource is not None else None
        earlier = drafts.get(number)
        body = _merged(save, earlier.body if earlier else row.body if row else None, body)
        self_key = service.hasher.self_key(ctx.tenant.id, save.type, ids[number])
        drafts[number] = Draft(save, ids[number], self_key, body, fresh=save.action == "match" and row is None)
    return Identified([drafts[n] for n in sorted(drafts)], of)


def _keys(service: Service, ctx: Context, save: Save) -> list[int]:
    return [service.hasher.token(ctx.tenant.id, save.type, "identifier", s, v) for s, v in save.match]


async def _carriers(tx: Tx, keys: Sequence[Sequence[int]]) -> Sequence[Current]:
    """Find and lock the rows that carry any of these identifiers."""
    wanted = sorted({key for own in keys for key in own})
    return await resources.find_by_keys(tx, wanted) if wanted else ()


def _met(save: Save, own: Sequence[int], rows: Sequence[Current]) -> Current | None:
    """Return the row that carries the first of the save's identifiers that any row carries."""
    for key, (system, value) in zip(own, save.match, strict=True):
        found = [row for row in rows if CODE_TYPES[row.type] == save.type and key in row.keys]
        if len(found) > 1:
            names = ", ".join(f"{save.type}/{row.id}" for row in found)
            raise Precondition(f"identifier {system}|{value} is carried by several: {names}", save.path)
        if found:
            return found[0]
    return None


def _ids(
    saves: Sequence[Save], keys: Sequence[Sequence[int]], met: Sequence[Current | None]
) -> tuple[list[str], list[int]]:
    """Return the distinct ids, and for each save which of them is its own."""
    ids: list[str] = []
    of: list[int] = []
    known: dict[int | str, int] = {}
    for save, own, row in zip(saves, keys, met, strict=True):
        names: list[int | str] = [f"{save.type}/{row.id}"] if row else list(own)
        number = next((known[name] for name in names if name in known), len(ids))
        if number == len(ids):
            ids.append(row.id if row else save.id or str(uuid.uuid4()))
        known.update(dict.fromkeys(names, number))
        of.append(number)
    return ids, of


def _merged(save: Save, existing: bytes | None, incoming: bytes | None) -> bytes | None:
    if existing is None or incoming is None or save.merge is None:
        return incoming
    before = _decoder.decode(existing)
    after = save.merge(before, _decoder.decode(incoming))
    # The stored text itself is returned where nothing changes, so that its formatting makes no new version.
    return existing if after == before else _encoder.encode(after)
