"""A resource's current row, and how it is read by type and id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store.database import Database

COLUMNS = "rid, type, id, version, updated, self_key, keys, body, narrow_hash, patient"


class Current(msgspec.Struct, frozen=True):
    """The newest version of a resource; `body` None means that it was deleted.

    `narrow_hash` is `narrow.digest` of its entries, `patient` the self_key of the patient in whose compartment it is.
    """

    rid: int
    type: int
    id: str
    version: int
    updated: datetime
    self_key: int
    keys: list[int]
    body: bytes | None
    narrow_hash: int = 0
    patient: int | None = None


_READ = f"select {COLUMNS} from resource where tenant_id = %s and type = %s and id = %s"  # noqa: S608


def one(where: str = "") -> str:
    """Return the query of one row, which takes its tenant's id, type and id, then the parameters of `where`."""
    return f"{_READ} and ({where})" if where else _READ


async def read(
    db: Database, tenant_id: int, type_code: int, id_: str, where: str = "", params: Sequence[Any] = ()
) -> Current | None:
    """Return the row, deleted or not, that also meets `where`; None where there is none."""
    rows = await db.fetch(tenant_id, one(where), (tenant_id, type_code, id_, *params))
    return Current(*rows[0]) if rows else None
