"""Requests: addresses, parameters and headers of the table of interactions, each now and then something else."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple
from urllib.parse import quote, urlencode

from conformance.search_params import Registry
from conformance.structures import STORABLE
from fhir_server.interactions.table import TABLE
from tests.fuzz import bodies, junk
from tests.fuzz.records import TYPES

Query = list[tuple[str, str]]


class Sent(NamedTuple):
    """A request as it goes to the server: path and query below the base, escaped."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


_OPERATIONS = tuple(sorted({row.shape[-1] for row in TABLE if row.shape and row.shape[-1].startswith("$")}))
_IDS = ("1", "2", "3", "none", "1", "2")
# Of these there is the most to go wrong.
_OFTEN = tuple(row for row in TABLE if row.code in ("search-type", "create", "update", "patch", "transaction")) * 3
_MODIFIERS = (
    "exact", "contains", "text", "not", "above", "below", "in", "not-in", "of-type", "identifier", "missing", "Patient",
    "iterate", "Observation", "x", "", "exact:missing",
)  # fmt: skip
_CONTROLS: dict[str, tuple[str, ...]] = {
    "_count": ("0", "1", "2", "1000", "-1", "x", "99999999999"),
    "_sort": (
        "_lastUpdated",
        "-_lastUpdated",
        "name,-birthdate",
        "-date",
        "_id",
        "x",
        "",
        "code-value-quantity",
        "_id,_id",
    ),
    "_total": ("none", "estimate", "accurate", "x"),
    "_summary": ("true", "text", "data", "count", "false", "x"),
    "_elements": ("name", "id", "Patient.name", "x", "code,status", ""),
    "_include": (
        "Patient:organization",
        "*",
        "Observation:*",
        "Observation:subject:Patient",
        "x",
        "Patient:x",
        "List:item",
    ),
    "_revinclude": ("Observation:subject", "*", "Observation:*", "x:y", "List:item"),
    "_include:iterate": ("Observation:subject", "*", "Patient:general-practitioner"),
    "_format": ("json", "xml", "application/fhir+json", "application/fhir+xml", "ndjson", "text/html", "x", ""),
    "_pretty": ("true", "false", "x"),
    "_since": ("2020-01-01T00:00:00Z", "2020", "x", "9999-12-31T23:59:59Z"),
    "_at": ("2020", "9999", "x", "2020-01-01T00:00:00Z"),
    "_type": ("Patient", "Patient,Observation", "x", "", "Parameters"),
    "_cursor": ("x", "AAAA", "", "eyJ9"),
    "_list": ("1", "2", "$current", "x/y"),
    "_text": ("harmless", "a b", "-", '"', "a & | !"),
    "_content": ("harmless", "a b", "-", "'"),
    "_filter": ("name eq a",),
    "_id": ("1", "1,2", "none", "a b"),
    "_lastUpdated": ("gt2020", "lt2020-01-01", "x", "ap2024"),
    "_has:Observation:subject:code": ("8480-6", "x"),
    "_has:Observation:subject:_has:List:item:status": ("current",),
    "_has:x": ("1",),
    "start": ("2020", "x"),
    "end": ("2020", "x"),
    "max": ("1", "x", "0"),
    "mode": ("full", "terminology", "x"),
}
_LINKED = ("subject:Patient.name", "subject.name", "patient.organization.name", "encounter.subject:Patient.birthdate",
           "item.code", "organization.partof.partof.name", "subject.", ".name", "subject:x.name",
           "link.link.name")  # fmt: skip
_PREFIXES = ("", "", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_GOOD = {
    "string": ("harmless", "a", "Änn", "aard"),
    "token": ("final", "8480-6", "http://s|1", "|1", "http://s|", "true", "female", "http://s|t", "MR"),
    "reference": ("Patient/1", "1", "Patient/2", "Organization/1", "Encounter/1", "http://x/fhir/Patient/1"),
    "date": ("2020", "2020-01-01", "1970-01-02", "2020-01-01T10:00:00Z", "2019-12"),
    "quantity": ("1.2", "1.2|http://unitsofmeasure.org|g", "1200||mg", "80||mm[Hg]", "5e3"),
    "number": ("1", "0.5", "1e2", "-3"),
    "uri": ("http://example.org/1", "http://example.org/sp1", "urn:oid:1.2"),
    "composite": ("8480-6$gt70", "http://loinc.org|8480-6$1.2|http://unitsofmeasure.org|g", "8480-6$x"),
}
_ACCEPT = ("*/*", "application/fhir+json", "application/fhir+xml", "application/fhir+ndjson", "application/json",
           "text/html", "application/fhir+json;fhirVersion=4.0", "application/fhir+json;fhirVersion=3.0", "x", "",
           "application/xml;q=0.5, application/json;q=x", "text/plain", "application/octet-stream")  # fmt: skip
_CONTENT = ("application/fhir+json", "application/fhir+json; charset=utf-8", "application/fhir+json; charset=utf-16",
            "application/fhir+xml", "text/plain", "application/x-www-form-urlencoded", "x", "", "multipart/form-data",
            "application/fhir+ndjson", "application/json")  # fmt: skip
_HEADERS: dict[str, tuple[str, ...]] = {
    "if-match": ('W/"1"', '"1"', "1", "*", 'W/"x"', 'W/"99999999999999999999"', "", 'W/"1", W/"2"'),
    "if-none-match": ('W/"1"', "*", "x"),
    "if-modified-since": ("Sat, 29 Oct 1994 19:43:31 GMT", "x", "Mon, 01 Jan 9999 00:00:00 GMT"),
    "if-none-exist": ("identifier=http://s|1", "Patient?identifier=1", "x=1", "", "_id=1", "name=a&name=b", "%"),
    "prefer": ("return=minimal", "return=representation", "return=OperationOutcome", "handling=lenient",
               "handling=strict",
               "respond-async", "x", "return=", "handling=lenient; return=minimal"),
    "accept-encoding": ("gzip", "br", "gzip;q=0", "*", "identity;q=0", "x"),
    "content-encoding": ("gzip", "x", "identity", "deflate"),
    "x-request-id": ("a", "\xff", "x" * 200, ""),
    "x-security-context": ("Patient/1", "Patient/2", "x"),
    "host": ("evil.example", ""),
    "range": ("bytes=0-1", "bytes=x"),
    "accept-charset": ("utf-8", "x"),
}  # fmt: skip


class Maker:
    """Makes requests from a source of chance; `cursors` are page tokens that answers gave."""

    def __init__(self, random: Random, registry: Registry, tokens: dict[str, str]) -> None:
        self.random = random
        self.cursors: list[str] = []
        self._registry = registry
        self._tokens = list(tokens.values())

    def request(self) -> Sent:
        """Return a request."""
        random = self.random
        method, path = self._place()
        query = [self._pair(path) for _ in range(random.choice((0, 1, 1, 2, 6)))] if self._asks(method, path) else []
        if "_history" in path or path == ["metadata"]:
            names = ("_count", "_since", "_at", "_sort", "_summary", "mode", "_cursor")
            query = [self._control(random.choice(names)) for _ in range(random.randrange(3))]
        body, kind = self._body(method, path)
        headers = self._headers(kind)
        if random.random() < 0.04:
            body = junk.spoiled(random, body)
        return Sent(method, "".join(f"/{_escaped(random, part)}" for part in path), self._written(query), headers, body)

    def _asks(self, method: str, path: list[str]) -> bool:
        """Tell whether a request shall have parameters; a write of one resource seldom has."""
        return (method in ("GET", "HEAD") or len(path) < 2) != (self.random.random() < 0.1)

    def _place(self) -> tuple[str, list[str]]:
        random = self.random
        row = random.choice((*TABLE, *_OFTEN))
        kind = self._type()
        fill: dict[str, Callable[[], str]] = {
            "{type}": lambda: kind,
            "{id}": self._id,
            "{version}": lambda: random.choice(("1", "2", "99", "x", "99999999999999999999")),
            "{compartment}": lambda: random.choice(("Patient", "Encounter", "Practitioner", "Device", "x")),
            "{member}": lambda: random.choice(("*", kind, "Observation", "x")),
        }
        path = [fill[part]() if part in fill else part for part in row.shape]
        method = "GET" if row.method == "DELETE" and random.random() < 0.7 else row.method
        if random.random() < 0.05:
            method = random.choice(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))
        if random.random() < 0.05:
            path.insert(
                random.randrange(len(path) + 1), random.choice((junk.text(random), *_OPERATIONS, "..", "_history"))
            )
        return method, (["metadata"] if random.random() < 0.01 else path)

    def _type(self) -> str:
        random = self.random
        return (
            random.choice(TYPES)
            if random.random() < 0.85
            else random.choice((*STORABLE, "Parameters", junk.text(random)))
        )

    def _id(self) -> str:
        random = self.random
        return random.choice(_IDS) if random.random() < 0.93 else junk.text(random)

    def _pair(self, path: list[str]) -> tuple[str, str]:
        random = self.random
        if random.random() < 0.4:
            return self._control()
        kind = next((part for part in reversed(path) if part in STORABLE), "Patient")
        params = self._registry.for_type(kind)
        name = random.choice((*params, *_LINKED))
        if random.random() < 0.25:
            name += f":{random.choice(_MODIFIERS)}"
        if random.random() < 0.03:
            name = junk.text(random)
        kind_of = params[name].kind if name in params else ""
        value = ",".join(self._value(kind_of) for _ in range(random.choice((1, 1, 1, 1, 2, 4))))
        return name, value

    def _value(self, kind: str) -> str:
        """Return a value, most often one of the kind that is asked for."""
        random = self.random
        if random.random() < 0.2:
            return junk.text(random)
        prefix = random.choice(_PREFIXES) if kind in ("date", "number", "quantity") else ""
        return prefix + random.choice(_GOOD.get(kind, junk.TEXTS))

    def _control(self, name: str = "") -> tuple[str, str]:
        random = self.random
        name = name or random.choice(tuple(_CONTROLS))
        if name == "_cursor" and self.cursors and random.random() < 0.7:
            return name, random.choice(self.cursors)
        return name, random.choice(_CONTROLS[name]) if random.random() < 0.9 else junk.text(random)

    def _body(self, method: str, path: list[str]) -> tuple[bytes, str]:
        """Return a body and the type that it should be called."""
        random = self.random
        if method in ("GET", "HEAD", "DELETE") and random.random() < 0.95:
            return b"", ""
        if path[-1:] == ["_search"]:
            return bodies.form(random, [self._pair(path) for _ in range(random.randrange(4))]), _CONTENT[5]
        if method == "PATCH":
            return bodies.patch(random)
        if path[-1:] and path[-1].startswith("$"):
            return bodies.dumped(bodies.parameters(random)), _CONTENT[0]
        if not path:
            return bodies.dumped(bodies.bundle(random, self._address)), _CONTENT[0]
        if random.random() < 0.1:
            return bodies.xml(random), "application/fhir+xml"
        made = bodies.resource(random, path[0])
        if len(path) > 1 and random.random() < 0.8:
            made["id"] = path[1]
        return bodies.dumped(made), _CONTENT[0]

    def _address(self, random: Random) -> tuple[str, str]:
        method, path = self._place()
        query = [self._pair(path) for _ in range(random.choice((0, 0, 0, 1, 2)))]
        return method, "/".join(path) + (f"?{urlencode(query, errors='replace')}" if query else "")

    def _headers(self, kind: str) -> tuple[tuple[bytes, bytes], ...]:
        random = self.random
        found = {
            "authorization": f"Bearer {random.choice(self._tokens)}",
            "accept": random.choice((_ACCEPT[1],) * 90 + _ACCEPT),
        }
        if kind or random.random() < 0.1:
            found["content-type"] = kind if random.random() < 0.93 else random.choice(_CONTENT)
        for name, values in _HEADERS.items():
            if random.random() < 0.06:
                found[name] = random.choice(values)
        if random.random() < 0.02:
            found["authorization"] = random.choice(
                ("", "Bearer", "Basic YTpi", "Bearer a.b.c", "Bearer \xff", "bearer  x")
            )
        return tuple((name.encode(), value.encode("latin-1", "replace")) for name, value in found.items())

    def _written(self, query: Query) -> str:
        if self.random.random() < 0.02:
            return self.random.choice(("&&&=", "=%ff", "a=%zz", "%", "name", "name=a;b=c", "?a=b", "_count=1&_count=2"))
        return urlencode([(name, value) for name, value in query], errors="replace")


def _escaped(random: Random, part: str) -> str:
    written = quote(part, safe="$*._-:,|" if random.random() < 0.9 else "", errors="replace")
    return written or random.choice(("", "%20"))
