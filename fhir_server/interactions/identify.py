"""Which resource a write is about: a new id, the id it names, or the one that carries an identifier."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec

from conformance.r4.types import CODE_TYPES
from fhir_server.context import Context
from fhir_server.errors import Gone, Invalid, NotFound, Precondition
from fhir_server.interactions.conditional import Resolved, asked_of, resolve, targets
from fhir_server.interactions.criteria import Found
from fhir_server.interactions.draft import Draft, Save
from fhir_server.interactions.guard import Guard
from fhir_server.interactions.link import Links, rewrite_relative, under_same_base
from fhir_server.interactions.locks import locks_of
from fhir_server.interactions.service import Service
from fhir_server.store import resources
from fhir_server.store.database import Tx
from fhir_server.store.parameters import hold
from fhir_server.store.resources import Current

# Decimals keep their digits through a merge.
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Identified(msgspec.Struct):
    """The drafts, and for each save the number of its draft: saves that meet the same resource share one.

    None where a conditional delete found nothing.
    """

    drafts: list[Draft]
    of: list[int | None]


Met = Current | Found | None


async def identify(
    service: Service, ctx: Context, tx: Tx, saves: Sequence[Save], guard: Guard | None = None
) -> Identified:
    """Settle the id of every save, link the saves to each other and merge those that meet an existing resource.

    `guard` is asked once the locks are held and before anything of a row is looked at. Raises Precondition where one
    identifier is carried by several resources, or criteria find several, and what `guard` raises.
    """
    asked = asked_of(service, ctx, saves)
    if service.registry.touched:
        # Criteria by a tenant's own parameter mean what it means now.
        hold(tx, service.generation)
    keys = [match_keys(service, ctx, save) for save in saves]
    resources.lock_keys(tx, locks_of(service.hasher, ctx.tenant.id, saves, asked.every(), service.limits.max_locks))
    if guard:
        await guard.before(tx, saves)
    rows = await _carriers(tx, keys)
    resolved = await resolve(ctx, tx, asked, saves)
    patched = await _patched(service, ctx, tx, saves)
    carriers = [patched.get(n) or _met(s, keys[n], rows) for n, s in enumerate(saves)]
    single, met, first = _spread(saves, carriers, resolved)
    single = _applied(service, ctx, tx, single, met)
    ids, of = _ids(single, [match_keys(service, ctx, save) for save in single], met)
    made = [(save, ids[n]) for save, n in zip(single, of, strict=True)]
    links = Links({save.full_url: f"{save.type}/{made_id}" for save, made_id in made if save.full_url})
    relative = targets(service, ctx, asked, resolved, made)
    drafts: dict[int, Draft] = {}
    for save, number, row in zip(single, of, met, strict=True):
        earlier = drafts.get(number)
        if earlier and (save.criteria is not None or save.patch):
            _refuse_other(save, earlier)
            continue
        body = _linked(save, links, relative)
        body = merged(save, earlier.body if earlier else row.body if row else None, body)
        drafts[number] = _draft(service, ctx, save, ids[number], body, row)
    return Identified([drafts[n] for n in sorted(drafts)], [None if n is None else of[n] for n in first])


async def _patched(service: Service, ctx: Context, tx: Tx, saves: Sequence[Save]) -> dict[int, Current]:
    """Return the rows that patches name, locked; raise NotFound or Gone where there is none."""
    hasher = service.hasher
    named = {
        n: hasher.self_key(ctx.tenant.id, s.type, s.id) for n, s in enumerate(saves) if s.action == "patch" and s.id
    }
    rows = await resources.current(tx, sorted(named.values())) if named else {}
    for number, key in named.items():
        if key not in rows:
            raise NotFound(f"{saves[number].type}/{saves[number].id} is not known", saves[number].path)
        if rows[key].body is None:
            raise Gone(f"{saves[number].type}/{saves[number].id} was deleted", saves[number].path)
    return {number: rows[key] for number, key in named.items()}


def _applied(service: Service, ctx: Context, tx: Tx, saves: Sequence[Save], met: Sequence[Met]) -> list[Save]:
    """Return the saves with patches applied to the rows that they meet.

    The identifiers that a patch adds are known only now, so they are locked late: a writer that waits for this one
    meanwhile is told so by the database, and one of the two is tried again.
    """
    done = [
        msgspec.structs.replace(save, resource=save.patch(row.body)) if save.patch and row and row.body else save
        for save, row in zip(saves, met, strict=True)
    ]
    patches = [save for save in done if save.patch]
    resources.lock_keys(tx, locks_of(service.hasher, ctx.tenant.id, patches, (), service.limits.max_locks))
    return done


def _spread(
    saves: Sequence[Save], met: Sequence[Met], resolved: Resolved
) -> tuple[list[Save], list[Met], list[int | None]]:
    """Return saves of one resource each with what they meet, and for each save given which is its first."""
    single: list[Save] = []
    rows: list[Met] = []
    first: list[int | None] = []
    for number, (save, row) in enumerate(zip(saves, met, strict=True)):
        found: Sequence[Met] = resolved.saves[number] if save.criteria is not None else [row]
        if not found and save.action != "delete":
            found = [None]
        first.append(len(single) if found else None)
        single += [save] * len(found)
        rows += found
    return single, rows, first


def _refuse_other(save: Save, earlier: Draft) -> None:
    """Refuse two entries about one resource, but for creates that ask for the same: they are one."""
    if not (save.action == earlier.action == "create"):
        raise Invalid(f"{earlier.type}/{earlier.id} stands more than once in the bundle", save.path)


def _linked(save: Save, links: Links, relative: Mapping[str, str]) -> bytes | None:
    if save.resource is None:
        return None
    body = links.rewrite(save.resource)
    return rewrite_relative(body, {**under_same_base(links.urls, save.full_url), **relative}) if save.linked else body


def _draft(service: Service, ctx: Context, save: Save, resource_id: str, body: bytes | None, row: Met) -> Draft:
    self_key = service.hasher.self_key(ctx.tenant.id, save.type, resource_id)
    # No row can have an id that was made here.
    fresh = row is None and (save.action == "match" or (save.criteria is not None and save.id is None))
    return Draft(save, resource_id, self_key, body, fresh=fresh, found=row if isinstance(row, Found) else None)


def match_keys(service: Service, ctx: Context, save: Save) -> list[int]:
    """Return the index keys of the identifiers that a save may meet its resource by, in order of preference."""
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


def _ids(saves: Sequence[Save], keys: Sequence[Sequence[int]], met: Sequence[Met]) -> tuple[list[str], list[int]]:
    """Return the distinct ids, and for each save which of them is its own."""
    ids: list[str] = []
    of: list[int] = []
    known: dict[int | str, int] = {}
    for save, own, row in zip(saves, keys, met, strict=True):
        names: list[int | str] = [f"{save.type}/{row.id}"] if row else [*own, *_asked_for(save)]
        number = next((known[name] for name in names if name in known), len(ids))
        if number == len(ids):
            ids.append(row.id if row else save.id or str(uuid.uuid4()))
        known.update(dict.fromkeys(names, number))
        of.append(number)
    return ids, of


def _asked_for(save: Save) -> list[str]:
    return [] if save.criteria is None else [f"{save.type}?{urlencode(save.criteria)}"]


def merged(save: Save, existing: bytes | None, incoming: bytes | None) -> bytes | None:
    """Return what the resource becomes: `existing` itself where the save says nothing new."""
    if existing is None or incoming is None or save.merge is None:
        return incoming
    before = _decoder.decode(existing)
    after = save.merge(before, _decoder.decode(incoming))
    # The stored text itself is returned where nothing changes, so that its formatting makes no new version.
    return existing if after == before else _encoder.encode(after)
