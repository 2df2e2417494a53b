"""A database with two tenants' resources, made once for the tests of a module, and what stands in it.

Patients and Observations of our own making, in numbers where a plan that walks a table shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from conformance.r4.types import TYPE_CODES
from conformance.structures import decode
from fhir_server.limits import Limits
from fhir_server.search import plan
from fhir_server.search.kinds import Entries
from fhir_server.search.request import SearchRequest
from fhir_server.search.tree import Everything, Tree
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.resources import Rids, Write, write
from tests.postgres import create_database, new_tenants
from tests.search.world import BASE, hasher, indexer, registry
from tests.search.world import NOW as ASKED

START = datetime(2024, 1, 1, tzinfo=UTC)
FAMILIES = ("Müller", "Muster", "Meier", "Smith", "Smythe", "O'Brien", "Zürcher", "Ångström", "山田", "Ferrari")
RECORD = {"system": "urn:t", "code": "MR"}
LOINC, CATEGORY = "http://loinc.org", "http://terminology.hl7.org/CodeSystem/observation-category"


class Row(msgspec.Struct):
    """A resource as it stands in the database."""

    type: str
    id: str
    updated: datetime
    entries: Entries


class Loaded(msgspec.Struct):
    """The database and, by tenant, its rows."""

    dsn: str
    admin_dsn: str
    rows: dict[int, list[Row]]

    @property
    def tenant(self) -> int:
        """Return the first tenant."""
        return min(self.rows)


def patient(number: int, dice: random.Random) -> dict[str, Any]:
    """Return a Patient; one in three with the precision of a year or a month for a birth date."""
    birth = f"{1920 + number % 100}-{1 + number % 12:02}-{1 + number % 28:02}"
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:mrn", "value": f"M{number}", "type": {"coding": [RECORD]}}],
        **({"meta": {"profile": [f"http://acme.example/p{number}/a"]}} if number % 200 == 0 else {}),
        "active": number % 50 != 0,
        "name": [{"family": f"{dice.choice(FAMILIES)}{number % 37}", "given": [f"Given{number % 211}"]}],
        "gender": dice.choice(["male", "female", "other"]),
        "birthDate": birth[: (4, 7, 10)[number % 3]] if number % 5 == 0 else birth,
        "address": [{"city": f"City {number % 97}", "postalCode": f"{8000 + number % 300}"}],
        "generalPractitioner": [
            {
                "reference": f"Practitioner/p{number % 40}",
                "identifier": {"system": "urn:npi", "value": f"{number % 400}"},
            }
        ],
    }


def observation(number: int, patients: int, dice: random.Random) -> dict[str, Any]:
    """Return an Observation: final as a rule, of a code that is rare or common, at a moment, a day or over a period."""
    moment = datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=number * 500)
    when: dict[str, Any] = {"effectiveDateTime": moment.isoformat()}
    if number % 10 == 0:
        end = moment + timedelta(days=(1, 20, 400)[number % 3])
        when = {
            "effectivePeriod": {"start": moment.isoformat(), **({} if number % 70 == 0 else {"end": end.isoformat()})}
        }
    return {
        "resourceType": "Observation",
        "status": "amended" if number % 500 == 0 else "final",
        "category": [{"coding": [{"system": CATEGORY, "code": "vital-signs" if number % 2 else "laboratory"}]}],
        "code": {
            "coding": [{"system": LOINC, "code": f"c{int(dice.expovariate(0.1))}"}],
            "text": f"Hemoglobin {number % 300}",
        },
        "valueQuantity": {
            "value": number / 8,
            "system": "http://unitsofmeasure.org",
            "code": "mg" if number % 3 else "mL",
            "unit": "milli",
        },
        "subject": {"reference": f"Patient/{dice.randrange(patients)}"},
        **when,
    }


async def _store(database: Database, tenant: int, resources: Sequence[tuple[str, dict[str, Any]]]) -> list[Row]:
    rows = []
    for number, (id_, resource) in enumerate(resources):
        kind = resource["resourceType"]
        entries = indexer().entries(tenant, BASE, kind, id_, decode(kind, msgspec.json.encode(resource)))
        # Three rows share a moment, as those of a transaction do.
        rows.append(Row(kind, id_, START + timedelta(seconds=number // 3), entries))
    rids = Rids(database)
    for start in range(0, len(rows), 500):
        chunk = rows[start : start + 500]
        numbers = await rids.take(len(chunk))
        made = [
            Write(rid, TYPE_CODES[r.type], r.id, 1, r.updated, r.id.encode(), r.entries, r.entries.self_key)
            for rid, r in zip(numbers, chunk, strict=True)
        ]
        async with database.transaction(tenant) as tx:
            write(tx, made)
    return rows


async def load(postgres: EmbeddedPostgres, name: str, patients: int, observations: int) -> Loaded:
    """Make the database, vacuumed and analyzed; a second tenant has the first tenth of the same resources."""
    create_database(postgres, name)
    loaded = Loaded(postgres.server_dsn(name), postgres.admin_dsn(name), {})
    database = await Database.open(loaded.dsn)
    for share, tenant in zip((1, 10), await new_tenants(database), strict=True):
        dice = random.Random(7)
        resources = [(str(number), patient(number, dice)) for number in range(patients // share)]
        resources += [(f"o{number}", observation(number, patients, dice)) for number in range(observations // share)]
        loaded.rows[tenant] = await _store(database, tenant, resources)
    await database.close()
    with psycopg.connect(loaded.admin_dsn, autocommit=True) as admin:
        admin.execute("vacuum analyze")
    return loaded


def asked(tenant: int, resource_type: str, *params: tuple[str, str]) -> SearchRequest:
    """Return the request that parameters make in a tenant."""
    from fhir_server.search.request import parse

    return parse(
        resource_type,
        params,
        tenant_id=tenant,
        base=BASE,
        registry=registry(),
        hasher=hasher(),
        limits=Limits(max_page=100_000),
        now=ASKED,
    )


async def found(
    database: Database,
    tenant: int,
    request: SearchRequest,
    restrict: Tree | None = None,
    *,
    set_tenant: int | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a page."""
    statement = plan.select(request, tenant, restrict or Everything())
    rows = await database.fetch(set_tenant or tenant, statement.sql, statement.params, custom_plan=True)
    return rows[: request.count]
