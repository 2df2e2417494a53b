"""What is asked of each row of the table of interactions, to make it tell of a resource that must stay unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.security.specimens import SYSTEM
from tests.security.world import JSON, Row, Sent

Probe = Callable[[Row, dict[str, Any]], list[Sent]]
_FORM = (b"content-type", b"application/x-www-form-urlencoded")
_PATCH = (b"content-type", b"application/json-patch+json")
_MERGE = json.dumps([{"op": "add", "path": "/language", "value": "en"}]).encode()
_EVERY = "_total=accurate&_count=1000"
_META = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "mark"}]}}]}


def _id(row: Row) -> str:
    return f"/{row.type}/{row.owner}"


def _tag(row: Row) -> str:
    return urlencode({"_tag": f"{SYSTEM}|{row.mark}"})


def _get(*places: str) -> list[Sent]:
    return [Sent("GET", *place.split("?", 1)) for place in places]


def _read(row: Row, _: dict[str, Any]) -> list[Sent]:
    return [*_get(_id(row), f"{_id(row)}?_summary=true"), Sent("HEAD", _id(row))]


def _search(row: Row, _: dict[str, Any]) -> list[Sent]:
    whole = f"/{row.type}?{_EVERY}&_include=*&_revinclude=*"
    return _get(whole, f"/{row.type}?_total=accurate&{_tag(row)}", f"/{row.type}?_summary=count&_id={row.owner}")


def _write(method: str, place: str, body: Any, *headers: tuple[bytes, bytes]) -> Sent:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = place.partition("?")
    return Sent(method, path, query, content, headers or (JSON,))


def _create(row: Row, made: dict[str, Any]) -> list[Sent]:
    exists = (b"if-none-exist", _tag(row).encode())
    return [_write("POST", f"/{row.type}", made, JSON, exists)]


def _batch(row: Row, made: dict[str, Any]) -> list[Sent]:
    asked = [("GET", f"{row.type}/{row.owner}"), ("GET", f"{row.type}?{_tag(row)}")]
    asked += [("GET", f"{row.type}/{row.owner}/_history")]
    entries: list[dict[str, Any]] = [{"request": {"method": method, "url": url}} for method, url in asked]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    moving = {"request": {"method": "PUT", "url": f"{row.type}/{row.owner}"}, "resource": made | {"id": row.owner}}
    return [_write("POST", "", bundle), _write("POST", "", bundle | {"type": "transaction", "entry": [moving]})]


def _compartment(row: Row, _: dict[str, Any]) -> list[Sent]:
    places = (
        "Patient/one",
        "Patient/two",
        "Encounter/two",
        "RelatedPerson/two",
        "Practitioner/nobody",
        "Device/nobody",
    )
    return _get(*(f"/{place}/{row.type}?{_EVERY}" for place in places))


def _form(place: str, *pairs: tuple[str, str]) -> Sent:
    return Sent("POST", place, "", urlencode(pairs).encode(), (_FORM,))


READS: dict[tuple[str, tuple[str, ...]], Probe] = {
    ("GET", ("{type}", "{id}")): _read,
    ("GET", ("{type}", "{id}", "_history", "{version}")): lambda row, _: _get(f"{_id(row)}/_history/1"),
    ("GET", ("{type}", "{id}", "_history")): lambda row, _: _get(f"{_id(row)}/_history"),
    ("GET", ("{type}", "_history")): lambda row, _: _get(f"/{row.type}/_history?_count=1000"),
    ("GET", ("_history",)): lambda row, _: _get("/_history?_count=1000"),
    ("GET", ("{type}",)): _search,
    ("POST", ("{type}", "_search")): lambda row, _: [_form(f"/{row.type}/_search", ("_total", "accurate"))],
    ("GET", ("{compartment}", "{id}", "{member}")): _compartment,
    ("POST", ("{compartment}", "{id}", "{member}", "_search")): lambda row, _: [
        _form(f"/Patient/two/{row.type}/_search", ("_total", "accurate"))
    ],
    ("GET", ()): lambda row, _: _get(f"?_type={row.type}&{_EVERY}"),
    ("POST", ("_search",)): lambda row, _: [_form("/_search", ("_type", row.type))],
    ("GET", ("{type}", "{id}", "$meta")): lambda row, _: _get(f"{_id(row)}/$meta"),
    ("GET", ("{type}", "$meta")): lambda row, _: _get(f"/{row.type}/$meta"),
    ("GET", ("$meta",)): lambda row, _: _get("/$meta"),
    ("POST", ("{type}", "{id}", "$meta")): lambda row, _: [_write("POST", f"{_id(row)}/$meta", b"")],
    ("POST", ("{type}", "$meta")): lambda row, _: [_write("POST", f"/{row.type}/$meta", b"")],
    ("POST", ("$meta",)): lambda row, _: [_write("POST", "/$meta", b"")],
    ("GET", ("{type}", "{id}", "$everything")): lambda row, _: _get(f"{_id(row)}/$everything?_count=1000"),
    ("POST", ("{type}", "{id}", "$everything")): lambda row, _: [_write("POST", f"{_id(row)}/$everything", b"")],
    ("GET", ("{type}", "$everything")): lambda row, _: _get(f"/{row.type}/$everything?_count=1000"),
    ("POST", ("{type}", "$everything")): lambda row, _: [_write("POST", f"/{row.type}/$everything", b"")],
    ("GET", ("{type}", "$lastn")): lambda row, _: _get(*(f"/{row.type}/$lastn?patient=Patient/{p}" for p in _BOTH)),
    ("POST", ("{type}", "$lastn")): lambda row, _: [_write("POST", f"/{row.type}/$lastn", _asked("two"))],
    ("GET", ("{type}", "$docref")): lambda row, _: _get(*(f"/{row.type}/$docref?patient={p}" for p in _BOTH)),
    ("POST", ("{type}", "$docref")): lambda row, _: [_write("POST", f"/{row.type}/$docref", _asked("two"))],
    ("GET", ("{type}", "{id}", "$signed-url")): lambda row, _: _get(f"{_id(row)}/$signed-url"),
    ("POST", ("{type}", "{id}", "$signed-url")): lambda row, _: [_write("POST", f"{_id(row)}/$signed-url", b"")],
    ("GET", ("{type}", "{id}", "$explain-access")): lambda row, _: _get(f"{_id(row)}/$explain-access"),
    ("GET", ("{type}", "{id}", "$progress")): lambda row, _: _get(f"{_id(row)}/$progress"),
}
_BOTH = ("one", "two")
# Asked of resources alone that must stay unseen: nothing of it may be done.
WRITES: dict[tuple[str, tuple[str, ...]], Probe] = {
    ("POST", ("{type}",)): _create,
    ("PUT", ("{type}", "{id}")): lambda row, made: [_write("PUT", _id(row), made | {"id": row.owner})],
    ("PUT", ("{type}",)): lambda row, made: [_write("PUT", f"/{row.type}?{_tag(row)}", made)],
    ("PATCH", ("{type}", "{id}")): lambda row, _: [_write("PATCH", _id(row), _MERGE, _PATCH)],
    ("PATCH", ("{type}",)): lambda row, _: [_write("PATCH", f"/{row.type}?{_tag(row)}", _MERGE, _PATCH)],
    ("DELETE", ("{type}", "{id}")): lambda row, _: [Sent("DELETE", _id(row))],
    ("DELETE", ("{type}",)): lambda row, _: [Sent("DELETE", f"/{row.type}", _tag(row))],
    ("POST", ("{type}", "{id}", "$meta-add")): lambda row, _: [_write("POST", f"{_id(row)}/$meta-add", _META)],
    ("POST", ("{type}", "{id}", "$meta-delete")): lambda row, _: [_write("POST", f"{_id(row)}/$meta-delete", _META)],
    ("POST", ()): _batch,
}


def _asked(patient: str) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [{"name": "patient", "valueString": f"Patient/{patient}"}]}
