"""Bodies that a statement gives out are opened here, at the store's edge, and nowhere else.

A result with a column `body` must have the row's `type` and `id` too: to them an encrypted body is bound, so that one
that was put into another row does not open. No statement can forget it, and none can look into a body.
"""

from __future__ import annotations

from typing import Any

from psycopg import pq

from fhir_server.store.keyring import SEALED, Fetches, Keyring

Rows = list[tuple[Any, ...]]
_Places = tuple[int, int, int]


def place(type_code: int, id_: str) -> bytes:
    """Return to what the body of a resource is bound beside its tenant, whose key it is."""
    return b"resource/%d/%s" % (type_code, id_.encode())


def places(result: pq.abc.PGresult) -> _Places | None:
    """Return where body, type and id stand in the rows of a result; None where it gives no bodies.

    Raises RuntimeError for a statement that gives bodies without saying whose they are.
    """
    names = [result.fname(number) for number in range(result.nfields)]
    if b"body" not in names:
        return None
    if b"type" not in names or b"id" not in names:
        raise RuntimeError("a statement that gives bodies must give the type and the id of each")
    return names.index(b"body"), names.index(b"type"), names.index(b"id")


async def opened(keyring: Keyring, db: Fetches, tenant_id: int | None, rows: Rows, found: _Places) -> Rows:
    """Return the rows with their bodies as they were written. Raises errors.Unreadable."""
    body_at, type_at, id_at = found
    ready: Rows = []
    for row in rows:
        body = row[body_at]
        if body is None or body[0] != SEALED:
            ready.append(row)
            continue
        assert tenant_id is not None
        await keyring.known(db, tenant_id, body)
        plain = keyring.opened(tenant_id, place(row[type_at], row[id_at]), body)
        ready.append((*row[:body_at], plain, *row[body_at + 1 :]))
    return ready
