"""Resources that many messages share and none of them changes: recognised without a lock.

A laboratory's every message names the same physicians and organisations. Were they locked by each, its messages would
go one after another. What is found here is read in the same transaction; where nothing is to be written, it does not
matter that another writer may be changing it meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context
from fhir_server.interactions.draft import Save, Saved
from fhir_server.interactions.identify import match_keys, merged
from fhir_server.interactions.service import Service
from fhir_server.store import resources
from fhir_server.store.database import Tx
from fhir_server.store.resources import Current

SHARED = frozenset(("Organization", "Practitioner", "PractitionerRole", "Location"))


async def known(service: Service, ctx: Context, tx: Tx, saves: Sequence[Save]) -> Mapping[int, Saved]:
    """Return, by number, the saves of shared types that meet a resource which says all of it already."""
    asked = {n: match_keys(service, ctx, save) for n, save in enumerate(saves) if _may_be_known(save)}
    wanted = sorted({key for keys in asked.values() for key in keys})
    rows = await resources.find_by_keys(tx, wanted, lock=False) if wanted else []
    met = {n: row for n, keys in asked.items() if (row := _carrier(saves[n].type, keys, rows))}
    return {n: _saved(saves[n].type, row) for n, row in met.items() if _says_all(saves[n], row)}


def _may_be_known(save: Save) -> bool:
    """One that refers to others of its message cannot be compared before those have their ids."""
    return save.type in SHARED and save.action == "match" and b'"urn:uuid:' not in (save.resource or b"")


def _carrier(resource_type: str, keys: Sequence[int], rows: Sequence[Current]) -> Current | None:
    """Return the one row that carries any of the keys; where there are several, the locked way decides."""
    found = [row for row in rows if row.type == TYPE_CODES[resource_type] and not set(keys).isdisjoint(row.keys)]
    return found[0] if len(found) == 1 else None


def _says_all(save: Save, row: Current) -> bool:
    return save.merge is not None and row.body is not None and merged(save, row.body, save.resource) is row.body


def _saved(resource_type: str, row: Current) -> Saved:
    return Saved(resource_type, row.id, row.version, row.updated, 200, row.body, False)
