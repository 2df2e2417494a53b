"""A database with 200,000 resources in two tenants: a few thousand written by the server, the rest copied from them.

A copy is what the server would have written for other patients: the key of a reference is its target's self_key XOR a
salt, so XOR with one number moves all keys of a copy, and its references still lead to the copy's own resources. Keys
that many resources share, such as those of codes, stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from conformance.r4.types import CODE_TYPES
from conformance.search_params import Registry
from fhir_server.app import Concord, opened
from fhir_server.context import Context, Grant, Scope, Tenant
from fhir_server.interactions import bulk
from fhir_server.search.hashing import Hasher
from fhir_server.search.include import references
from fhir_server.settings import Settings
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import create_database

# Patients that are written, and how often each of a tenant's resources is there in the end.
WRITTEN, COPIES = {"large": 250, "small": 83}, 50
LOINC, UCUM, MRN = "http://loinc.org", "http://unitsofmeasure.org", "urn:mrn"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_FAMILIES = ("Müller", "Muster", "Meier", "Smith", "Smythe", "O'Brien", "Zürcher", "Ångström", "山田", "Ferrari")
_CODES = ("718-7", "2345-7", "2160-0", "8867-4", "8310-5", "29463-7", "8302-2", "39156-5")
_START = datetime(2016, 1, 1, tzinfo=UTC)
Resource = dict[str, Any]


class Many(msgspec.Struct, frozen=True):
    """The database; every tenant has the written resources under the same ids."""

    dsn: str
    admin_dsn: str


def patient(number: int) -> Resource:
    """Return a Patient; one in twenty without a birth date."""
    birth = f"{1920 + number % 100}-{1 + number % 12:02}-{1 + number % 28:02}"
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"system": MRN, "value": f"M{number}"}],
        "active": number % 50 != 0,
        "name": [{"family": f"{_FAMILIES[number % 10]}{number % 37}", "given": [f"Given{number % 211}"]}],
        "gender": ("male", "female", "other")[number % 3],
        **({} if number % 20 == 0 else {"birthDate": birth}),
        "address": [{"city": f"City {number % 97}", "postalCode": f"{8000 + number % 300}"}],
        "generalPractitioner": [{"reference": f"Practitioner/d{number % 10}"}],
        "managingOrganization": {"reference": f"Organization/g{number % 3}"},
    }


def observation(number: int) -> Resource:
    """Return an Observation of patient `number // 8`: nine in ten are final, one in a thousand was an error."""
    moment = _START + timedelta(hours=number * 37)
    status = "entered-in-error" if number % 1000 == 7 else "preliminary" if number % 10 == 3 else "final"
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": status,
        "category": [{"coding": [{"system": CATEGORY, "code": ("laboratory", "vital-signs")[number % 8 > 2]}]}],
        "code": {"coding": [{"system": LOINC, "code": _CODES[number % 8]}], "text": f"Test {_CODES[number % 8]}"},
        "subject": {"reference": f"Patient/p{number // 8}"},
        "encounter": {"reference": f"Encounter/e{number // 8 * 2 + number % 2}"},
        "effectiveDateTime": moment.isoformat(),
        **(_parts(number) if number % 8 == 3 else {}),
        "valueQuantity": {"value": 5 + number * 7 % 90, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"},
    }


def _parts(number: int) -> Resource:
    """Return the components of a blood pressure."""
    pairs = (("8480-6", 100 + number % 60), ("8462-4", 60 + number % 30))
    return {
        "component": [
            {
                "code": {"coding": [{"system": LOINC, "code": code}]},
                "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
            }
            for code, value in pairs
        ]
    }


def others(number: int) -> Iterator[Resource]:
    """Yield what a patient has beside results: two encounters and a condition."""
    subject = {"reference": f"Patient/p{number}"}
    for n in (2 * number, 2 * number + 1):
        start = _START + timedelta(hours=n * 61)
        yield {
            "resourceType": "Encounter",
            "id": f"e{n}",
            "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": ("AMB", "EMER")[n % 2]},
            "subject": subject,
            "participant": [{"individual": {"reference": f"Practitioner/d{n % 10}"}}],
            "period": {"start": start.isoformat(), "end": (start + timedelta(hours=2)).isoformat()},
        }
    yield {
        "resourceType": "Condition",
        "id": f"c{number}",
        "subject": subject,
        "encounter": {"reference": f"Encounter/e{2 * number}"},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": str(number % 40)}]},
        "onsetDateTime": (_START + timedelta(days=number % 900)).isoformat(),
    }


def resources(patients: int) -> Iterator[Resource]:
    """Yield what is written in a tenant: twelve resources for each patient, and what they share."""
    for n in range(3):
        yield {"resourceType": "Organization", "id": f"g{n}", "name": f"Hospital {n}"}
    for n in range(10):
        yield {"resourceType": "Practitioner", "id": f"d{n}", "name": [{"family": f"Doctor{n}"}]}
    for number in range(patients):
        yield patient(number)
        yield from others(number)
        yield from map(observation, range(8 * number, 8 * number + 8))
    item = [{"item": {"reference": f"Patient/p{n}"}} for n in range(0, 60, 2)]
    yield {"resourceType": "List", "id": "l1", "status": "current", "mode": "working", "entry": item}


async def load(postgres: EmbeddedPostgres, name: str) -> Many:
    """Make the database, vacuumed and analyzed."""
    create_database(postgres, name)
    many = Many(postgres.server_dsn(name), postgres.admin_dsn(name))
    # Encrypted bodies open in their own place alone, so what is to be copied is written as it is.
    plain = Settings.load(env="test").evolve(master_key=None, database_url=many.dsn)
    async with opened(plain, many.dsn) as concord:
        moving = [await _written(concord, await tenants.add(concord.db, own)) for own in WRITTEN]
    with psycopg.connect(many.admin_dsn, autocommit=True) as admin:
        _multiply(admin, [row for rows in moving for row in rows])
        admin.execute("vacuum analyze")
    return many


async def _written(concord: Concord, tenant: Tenant) -> list[tuple[int, list[int], list[int]]]:
    """Write a tenant's own resources as the server does; return by row the keys that move with a copy, and the rest."""
    grant = Grant(tenant, "tests", "tests", (Scope("system", "*", "cruds"),))
    ctx = Context(grant, concord.base(tenant), concord.clock(), "load")
    made = [bulk.save_of(msgspec.json.encode(one), "") for one in resources(WRITTEN[tenant.name])]
    for unit in bulk.chunks(iter(made)):
        loaded = await bulk.load(concord.service, ctx, b"many", unit)
        assert not loaded.refused, loaded.refused
    rows = await concord.db.fetch(tenant.id, "select rid, type, self_key, keys from resource")
    selves = {self_key for _, _, self_key, _ in rows}
    seen = Counter(key for *_, keys in rows for key in keys)
    found = []
    for rid, code, _, keys in rows:
        salts = _salts(concord.service.registry, concord.service.hasher, tenant.id, CODE_TYPES[code])
        own = [k for k in keys if seen[k] == 1 or k in selves or any(k ^ salt in selves for salt in salts)]
        found.append((rid, own, [k for k in keys if k not in own]))
    return found


def _salts(registry: Registry, hasher: Hasher, tenant_id: int, resource_type: str) -> list[int]:
    return [hasher.salt(tenant_id, resource_type, param.code) for param in references(registry, resource_type)]


# What a column of a copy holds, by its name; others are as in the original. `n` counts the copies, `moved` is theirs
# alone. Moments spread over years, texts and numbers get an ending of their own.
_CUT = "chr(31)"
_COPIED = {
    "rid": "o.rid + n * 1000000",
    "id": "o.id || '-' || n",
    "updated": "o.updated + (n - 25) * interval '1 day'",
    "self_key": "o.self_key # moved",
    "patient": "o.patient # moved",
    "keys": "m.rest || array(select key # moved from unnest(m.own) key)",
    "value": f"case when strpos(o.value, {_CUT}) = 0 then o.value || n"
    f" else replace(o.value, {_CUT}, n || {_CUT}) || n end",
}
_SHIFTED = {"timestamp with time zone": "o.{} + n * interval '31 days 5 hours'"}
_TABLES = ("resource", "idx_date", "idx_string", "idx_number", "idx_composite", "idx_text")
# What elements hold, many have.
_PLAIN = {name: f"o.{name}" for name in ("keys", "value", "lo", "hi", "lo2", "hi2")}


def _multiply(admin: psycopg.Connection, moving: list[tuple[int, list[int], list[int]]]) -> None:
    """Copy every row and its entries; indexes that are not unique are made anew afterwards, in a fifth of the time."""
    admin.execute("set maintenance_work_mem = '256MB'")
    admin.execute("create temp table moving (rid bigint primary key, own bigint[], rest bigint[])")
    with admin.cursor().copy("copy moving from stdin") as copy:
        for row in moving:
            copy.write_row(row)
    wanted = "select indexname, indexdef from pg_indexes where tablename = any(%s) and indexdef not like '%% UNIQUE %%'"
    indexes = admin.execute(wanted, (list(_TABLES),)).fetchall()
    for index, _ in indexes:
        admin.execute(f"drop index {index}".encode())
    admin.execute("insert into resource_history select tenant_id, rid, 0, type, updated, body, codec from resource")
    for table in _TABLES:
        admin.execute(_copying(admin, table).encode())
    for _, definition in indexes:
        admin.execute(definition.encode())


def _copying(admin: psycopg.Connection, table: str) -> str:
    columns = admin.execute(
        "select column_name, data_type from information_schema.columns where table_name = %s"
        " and is_generated = 'NEVER'", (table,)
    ).fetchall()  # fmt: skip
    copied = _COPIED | _PLAIN if table == "idx_composite" else _COPIED
    filled = [copied.get(name) or _SHIFTED.get(kind, "o.{}").format(name) for name, kind in columns]
    return (
        f"insert into {table} ({', '.join(name for name, _ in columns)}) select {', '.join(filled)}"
        f" from generate_series(1, {COPIES - 1}) n, lateral (select hashint8extended(n, 7) as moved offset 0) by_n,"
        f" {table} o join moving m on m.rid = o.rid where o.rid < 1000000 order by n"
    )
