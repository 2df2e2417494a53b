"""Bodies: resources good and bad, bundles, patches, forms, XML, and what is none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.fuzz import junk
from tests.fuzz.records import Json, records

_RECORDS = records("harmless")


def resource(random: Random, kind: str | None = None) -> Json:
    """Return a resource, most often a good one."""
    fitting = [record for record in _RECORDS if record["resourceType"] == kind] or _RECORDS
    made = random.choice(fitting)
    times = random.choice((0, 0, 0, 0, 0, 1, 1, 2, 5))
    found: Json = junk.changed(random, made, times)
    if random.random() < 0.3:
        found.pop("id", None)
    return found


def patch(random: Random) -> tuple[bytes, str]:
    """Return a patch and its media type."""
    kind = random.randrange(4)
    if kind == 0:
        merge = {random.choice(("active", "gender", "name", "id", "meta", "status")): junk.value(random)}
        return dumped(merge), "application/merge-patch+json"
    if kind == 1:
        return dumped(_fhirpath(random)), "application/fhir+json"
    return dumped([_operation(random) for _ in range(random.randrange(4))]), "application/json-patch+json"


_POINTERS = (
    "",
    "/",
    "/name/0/family",
    "/name/-",
    "/name/01",
    "/x",
    "/meta",
    "/id",
    "/note/0/text",
    "/~",
    "/~2",
    "/extension/0",
)


def _operation(random: Random) -> Json:
    made: Json = {
        "op": random.choice(("add", "remove", "replace", "move", "copy", "test", "spin")),
        "path": random.choice((*_POINTERS, junk.text(random))),
    }
    if random.random() < 0.8:
        made["value"] = junk.value(random)
    if random.random() < 0.4:
        made["from"] = random.choice(_POINTERS)
    return made


_PATHS = (
    "Patient.name[0]",
    "Patient",
    "Observation.status",
    "Patient.name.where(family = 'x')",
    "Patient.name.first()",
    "x..y",
    "(",
)


def _fhirpath(random: Random) -> Json:
    part = [
        {"name": "type", "valueCode": random.choice(("add", "insert", "delete", "replace", "move", "spin"))},
        {"name": "path", "valueString": random.choice((*_PATHS, junk.text(random)))},
        {"name": "name", "valueString": random.choice(("gender", "family", "status", junk.text(random)))},
        {"name": "value", random.choice(("valueString", "valueCode", "valueHumanName")): junk.value(random)},
        {"name": "index", "valueInteger": random.choice((0, -1, 99))},
    ]
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": "operation", "part": random.sample(part, random.randrange(6))}],
    }


def parameters(random: Random) -> Json:
    """Return Parameters as operations take them."""
    names = ("meta", "start", "end", "_since", "_count", "_type", "patient", "max", "return", junk.text(random))
    kinds = ("valueMeta", "valueDate", "valueInteger", "valueString", "valueCode", "valueId")
    tags = {"tag": [{"system": "http://s", "code": "t2"}]}
    made = [
        {"name": random.choice(names), random.choice(kinds): tags if random.random() < 0.4 else junk.value(random)}
        for _ in range(random.randrange(3))
    ]
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": "meta", "valueMeta": tags}] if random.random() < 0.3 else made,
    }


Address = Callable[[Random], tuple[str, str]]


def bundle(random: Random, address: Address) -> Json:
    """Return a batch or transaction; `address` gives a method and a relative address."""
    entries = [_entry(random, address) for _ in range(random.randrange(1, 6))]
    kind = random.choice((*("batch", "transaction") * 5, "searchset", "history"))
    made = {"resourceType": "Bundle", "type": kind, "entry": entries}
    return junk.changed(random, made, 1) if random.random() < 0.2 else made


def _entry(random: Random, address: Address) -> Json:
    method, url = address(random)
    made: Json = {"request": {"method": method, "url": url}}
    if method in ("POST", "PUT", "PATCH"):
        kind = url.partition("/")[0].partition("?")[0]
        made["resource"] = resource(random, kind) if method != "PATCH" else _fhirpath(random)
    if random.random() < 0.4:
        made["fullUrl"] = random.choice(
            ("urn:uuid:00000000-0000-0000-0000-000000000001", "http://x/Patient/1", junk.text(random))
        )
    for name in ("ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince"):
        if random.random() < 0.1:
            made["request"][name] = random.choice(('W/"1"', "identifier=http://s|1", "*", junk.text(random)))
    return made


def form(random: Random, query: list[tuple[str, str]]) -> bytes:
    """Return a form."""
    return (
        urlencode(query, errors="replace").encode()
        if random.random() < 0.9
        else junk.spoiled(random, b"name=a&b=%ff&c")
    )


def xml(random: Random) -> bytes:
    """Return a resource in XML."""
    head = random.choice(
        ("", '<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', "<!-- x -->")
    )
    value = random.choice(("1", "&b;", "&amp;", "&#0;", "", "true"))
    inner = f'<id value="1"/><active value="{value}"/><name><family value="a"/></name>'
    whole = f'{head}<Patient xmlns="http://hl7.org/fhir">{inner}</Patient>'
    if random.random() < 0.1:
        whole = "<a>" * random.choice((50, 5000))
    return whole.encode() if random.random() < 0.7 else junk.spoiled(random, whole.encode())


def dumped(value: Any) -> bytes:
    """Return JSON; lone surrogates stand escaped in it."""
    return json.dumps(value).encode()
