"""What became of every message: in the inbox once, processed once, in the order in which its patient's were sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.store.database import Database
from fhir_server.store.keyring import Keyring
from fhir_server.store.masterkey import MasterKey
from tests.loss.senders import Letter
from tests.postgres import MASTER_KEY

_INBOX = "select control_id, state, id from inbox where tenant_id = %s"
_VERSIONS = """
select r.rid, r.version, r.body, r.type, r.id from resource r where r.tenant_id = %s and r.type = %s
union all select h.rid, h.version, h.body, h.type, r.id from resource_history h
join resource r using (tenant_id, rid) where h.tenant_id = %s and h.type = %s order by 1, 2
"""
# Each commit of a message's work says so in the audit, one row for each resource it wrote.
_WRITES = """
select request_id, type, count(*) from audit where tenant_id = %s and request_id like 'message-%%' group by 1, 2
"""


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong, each as text; nothing where every list is empty."""

    lost: list[str]
    doubled: list[str]
    disordered: list[str]

    @property
    def clean(self) -> bool:
        """Say whether nothing is wrong."""
        return not (self.lost or self.doubled or self.disordered)


async def verdict(dsn: str, letters: Sequence[Letter]) -> Verdict:
    """Compare what is stored with what was acknowledged."""
    db = await Database.open(dsn)
    try:
        db.keyring = Keyring(MasterKey.of(MASTER_KEY))
        ((tenant,),) = await db.fetch(None, "select id from tenant where name = 'loss'")
        lost, doubled = await _inbox(db, tenant, letters)
        disordered = await _patients(db, tenant, letters)
        reports = await _reports(db, tenant, letters)
        return Verdict(lost + reports[0], doubled + reports[1], disordered)
    finally:
        await db.close()


async def _inbox(db: Database, tenant: int, letters: Sequence[Letter]) -> tuple[list[str], list[str]]:
    """Return what is not there once as done, and what was worked more often than once."""
    rows = await db.fetch(tenant, _INBOX, (tenant,))
    states: dict[str, list[str]] = defaultdict(list)
    for control_id, state, _ in rows:
        states[control_id].append(state)
    lost = [f"{one.control_id}: {states[one.control_id]}" for one in letters if "done" not in states[one.control_id]]
    doubled = [f"{id_}: {found}" for id_, found in states.items() if len(found) > 1]
    names = {f"message-{id_}": control_id for control_id, _, id_ in rows}
    for request, kind, count in await db.fetch(tenant, _WRITES, (tenant,)):
        if count > 1 and kind in (TYPE_CODES["Patient"], TYPE_CODES["DiagnosticReport"]):
            doubled.append(f"{names.get(request, request)}: its work was committed {count} times")
    return lost, doubled


async def _patients(db: Database, tenant: int, letters: Sequence[Letter]) -> list[str]:
    """Return the patients whose versions do not tell their messages one by one."""
    expected: dict[str, list[str]] = defaultdict(list)
    for letter in letters:
        expected[letter.patient].append(letter.family)
    found: dict[str, list[str]] = defaultdict(list)
    for patient in await _versions(db, tenant, "Patient"):
        found[patient["identifier"][0]["value"]].append(patient["name"][0]["family"])
    return [f"{name}: {found[name]}" for name in expected | found if found[name] != expected.get(name)]


async def _reports(db: Database, tenant: int, letters: Sequence[Letter]) -> tuple[list[str], list[str]]:
    """Return the reports that are missing, and those that are there more often than once."""
    expected = Counter(f"F{letter.control_id}" for letter in letters if letter.reports)
    found: Counter[str] = Counter()
    for report in await _versions(db, tenant, "DiagnosticReport"):
        # Beside its order's number it carries one that names its order, its test and its maker.
        found.update({one["value"] for one in report["identifier"]} & set(expected) or {report["id"]})
    return [f"report {one}" for one in expected - found], [f"report {one}" for one in found - expected]


async def _versions(db: Database, tenant: int, kind: str) -> list[Any]:
    """Return all versions of all resources of a type, those of one resource in their order."""
    code = TYPE_CODES[kind]
    rows = await db.fetch(tenant, _VERSIONS, (tenant, code, tenant, code))
    return [msgspec.json.decode(body) for _, _, body, *_ in rows]
