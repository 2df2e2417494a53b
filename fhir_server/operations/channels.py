"""Changing channels: every change is checked, numbered, audited with before and after, and can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.errors import Conflict, Invalid, NotFound
from fhir_server.operations.claims import overlap
from fhir_server.operations.definition import Definition, read, write
from fhir_server.operations.part import wrong
from fhir_server.operations.sources import Mllp
from fhir_server.store import audit, channels
from fhir_server.store.audit import Audited
from fhir_server.store.channels import ChannelState
from fhir_server.store.database import Database, Tx


class Editor(msgspec.Struct, frozen=True):
    """Who changes channels of a tenant, when: `subject` by way of `client`.

    `ports` are those that channels may have for themselves; None: nobody knows here. `clinic`: who acts for
    their clinic alone and not for the installation: they claim no messages that another clinic's channel could take.
    """

    tenant_id: int
    subject: str
    client: str
    now: datetime
    ports: tuple[range, ...] | None = None
    clinic: bool = False


async def apply(
    db: Database, who: Editor, definitions: Sequence[bytes], note: str | None = None, *, work: bool = True
) -> list[tuple[str, int]]:
    """Save definitions in JSON, all or none, and return their names and version numbers.

    One that says what the newest version of its channel says gets no new number. `work` has them work at once; the
    first definition of a channel does so in any case. Raises Invalid naming each element that is wrong, Conflict where
    a clinic claims what another's channel could take.
    """
    found = [_read(who, data) for data in definitions]
    await _require_own(db, who, found)
    given = [msgspec.json.decode(write(one)) for one in found]
    async with db.transaction(who.tenant_id) as tx:
        return [await _apply(tx, who, one, note, work=work) for one in given]


def _read(who: Editor, data: bytes) -> Definition:
    found = read(data)
    port = found.source.port if isinstance(found.source, Mllp) else None
    if who.ports is not None and port is not None and not any(port in ports for ports in who.ports):
        raise Invalid([wrong("source.port", f"{port} is not among CONCORD_MLLP_CHANNEL_PORTS")])
    return found


async def _apply(tx: Tx, who: Editor, given: dict[str, Any], note: str | None, *, work: bool) -> tuple[str, int]:
    name = given["name"]
    newest = await channels.newest(tx, name)
    if newest is not None and newest.definition == given:
        if work:
            await _promoted(tx, who, name, newest.version)
        return name, newest.version
    version = await channels.save(tx, name, given, who.subject, note, who.now, work=work)
    before = newest.definition if newest else None
    _audit(tx, who, "channel-save", name, {"version": version, "before": before, "after": given})
    return name, version


async def promote(db: Database, who: Editor, name: str, version: int | None = None) -> int:
    """Have a version work from now on, the one before the working one where none is named, and return its number.

    Raises NotFound where there is no such version, Conflict as `apply` does.
    """
    if who.clinic:
        known = await channels.versions(db, who.tenant_id, name)
        await _require_own(db, who, [_stored(one.definition) for one in known if one.version == version])
    async with db.transaction(who.tenant_id) as tx:
        chosen = version if version is not None else await _former(tx, name)
        await _promoted(tx, who, name, chosen)
    return chosen


async def set_state(db: Database, who: Editor, name: str, state: ChannelState) -> ChannelState:
    """Have a channel run, pause, drain or stop, and return what it did before. Raises NotFound."""
    async with db.transaction(who.tenant_id) as tx:
        before = await channels.set_state(tx, name, state, who.now)
        if before != state:
            _audit(tx, who, "channel-state", name, {"before": before, "after": state})
    return before


async def _require_own(db: Database, who: Editor, wanted: Sequence[Definition]) -> None:
    """Raise Conflict where a clinic wants messages that a channel of another clinic could take."""
    if not who.clinic:
        return
    for tenant, _ in await channels.generations(db):
        if tenant.id == who.tenant_id:
            continue
        for stored in await channels.all_of(db, tenant.id):
            if any(overlap(one, _stored(stored.definition)) for one in wanted):
                raise Conflict(
                    "a channel of another clinic could take these messages too: name other senders, addresses or"
                    " certificates, or have the operator of the installation apply the channel (concord channel apply)"
                )


def _stored(definition: dict[str, Any]) -> Definition:
    return msgspec.convert(definition, Definition)


async def _promoted(tx: Tx, who: Editor, name: str, version: int) -> None:
    before = await channels.promote(tx, name, version, who.now)
    if before != version:
        _audit(tx, who, "channel-promote", name, {"before": before, "after": version})


async def _former(tx: Tx, name: str) -> int:
    found = await channels.former(tx, name)
    if found is None:
        raise NotFound(f"a channel {name[:80]!r} has no version before the working one")
    return found


def _audit(tx: Tx, who: Editor, action: str, name: str, detail: dict[str, Any]) -> None:
    row = Audited(
        at=who.now,
        action=action,
        subject=who.subject,
        client=who.client,
        outcome=200,
        detail={"channel": name, **detail},
    )
    audit.record(tx, [row])
