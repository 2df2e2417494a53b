"""Patients and visits to choose from: what a search under the person's own permissions finds, as rows of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from fhir_server.context import Context
from fhir_server.errors import FhirError
from fhir_server.interactions.message import Request
from fhir_server.interactions.service import Service
from fhir_server.interactions.table import dispatch

_PAGE = "20"
# By what a patient is looked for: the field of the form and the parameter that it stands for.
CRITERIA = {"name": "name", "born": "birthdate", "number": "identifier"}
# Numbers that say more than is needed to tell two patients apart.
_HIDDEN = ("SS", "TAX", "DL", "PPN")


class Row(msgspec.Struct, frozen=True):
    """Something to choose: `name` of a patient or what a visit was, and what tells it from others."""

    id: str
    name: str
    facts: tuple[str, ...]


class Found(msgspec.Struct, frozen=True):
    """A page of rows; `more` is the token of the next page, "" on the last."""

    rows: tuple[Row, ...]
    more: str = ""


async def patients(service: Service, ctx: Context, wanted: Mapping[str, str], page: str) -> Found:
    """Return the patients that match all of the criteria. Raises Invalid for a criterion that cannot be read."""
    query = [(CRITERIA[name], value.strip()) for name, value in wanted.items() if value.strip()]
    return await _found(service, ctx, "Patient", query, page)


async def encounters(service: Service, ctx: Context, patient: str, page: str) -> Found:
    """Return the visits of a patient, the latest first."""
    return await _found(service, ctx, "Encounter", [("patient", patient), ("_sort", "-date")], page)


async def one(service: Service, ctx: Context, resource_type: str, resource_id: str) -> Row | None:
    """Return the patient or visit of this id, None where there is none that the person may see."""
    found = await _read(service, ctx, resource_type, resource_id)
    return _ROWS[resource_type](found) if found else None


async def is_of(service: Service, ctx: Context, encounter: str, patient: str) -> bool:
    """Tell whether a visit, which the person may see, is this patient's."""
    found = await _read(service, ctx, "Encounter", encounter)
    return found is not None and found.get("subject", {}).get("reference") == f"Patient/{patient}"


async def _read(service: Service, ctx: Context, resource_type: str, resource_id: str) -> dict[str, Any] | None:
    try:
        answer = await dispatch(service, ctx, Request("GET", (resource_type, resource_id)))
    except FhirError:
        return None
    found: dict[str, Any] = json.loads(answer.body)
    # What stands where an id was expected may be a question of another kind, such as _history.
    return found if found.get("resourceType") == resource_type else None


async def _found(
    service: Service, ctx: Context, resource_type: str, query: Sequence[tuple[str, str]], page: str
) -> Found:
    whole = [*query, ("_count", _PAGE), *((("_cursor", page),) if page else ())]
    bundle = json.loads((await dispatch(service, ctx, Request("GET", (resource_type,), whole))).body)
    matches = [entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"]
    return Found(tuple(map(_ROWS[resource_type], matches)), _more(bundle))


def _more(bundle: Mapping[str, Any]) -> str:
    following = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), "")
    return dict(parse_qsl(urlsplit(following).query)).get("_cursor", "")


def _patient(found: Mapping[str, Any]) -> Row:
    numbers = [_number(one) for one in found.get("identifier", ()) if _is_shown(one)]
    return Row(found["id"], _name(found), tuple(filter(None, (found.get("birthDate"), found.get("gender"), *numbers))))


def _name(found: Mapping[str, Any]) -> str:
    names = sorted(found.get("name", ()), key=lambda name: name.get("use") not in ("official", None))
    for name in names:
        words = [*name.get("given", ()), name.get("family", "")]
        if text := name.get("text") or " ".join(filter(None, words)):
            return str(text)
    return "Without a name"


def _is_shown(identifier: Mapping[str, Any]) -> bool:
    return bool(identifier.get("value")) and not any(code in _HIDDEN for code in _codes(identifier.get("type", {})))


def _number(identifier: Mapping[str, Any]) -> str:
    kind = next(iter(_codes(identifier.get("type", {}))), "")
    return f"{kind} {identifier['value']}".strip()


def _codes(concept: Mapping[str, Any]) -> list[str]:
    return [coding["code"] for coding in concept.get("coding", ()) if coding.get("code")]


def _encounter(found: Mapping[str, Any]) -> Row:
    kinds = [concept.get("text") or _display(concept) for concept in found.get("type", ())]
    kind = found.get("class", {})
    name = next(filter(None, (*kinds, kind.get("display"), kind.get("code"))), "Visit")
    period = found.get("period", {})
    when = " to ".join(filter(None, (period.get("start", "")[:10], period.get("end", "")[:10])))
    return Row(found["id"], str(name), tuple(filter(None, (when, found.get("status")))))


def _display(concept: Mapping[str, Any]) -> str:
    return next((coding["display"] for coding in concept.get("coding", ()) if coding.get("display")), "")


_ROWS = {"Patient": _patient, "Encounter": _encounter}
