"""A row of the audit as an AuditEvent, by IHE's Basic Audit Log Patterns. https://profiles.ihe.net/ITI/BALP/

http://hl7.org/fhir/R4/auditevent.html
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from conformance.r4.types import CODE_TYPES
from fhir_server.store.audit_rows import Told

Json = dict[str, Any]
_BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_ENTITY_TYPES = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_RESTFUL = "http://hl7.org/fhir/restful-interaction"
_JTI = "urn:ietf:params:oauth:jti:"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# By what was done: AuditEvent.action, and the profile of a success.
ACTIONS: dict[str, tuple[str, str]] = {
    "create": ("C", "Create"),
    "read": ("R", "Read"),
    "vread": ("R", "Read"),
    "update": ("U", "Update"),
    "patch": ("U", "Update"),
    "delete": ("D", "Delete"),
    "history-instance": ("E", ""),
    "history-type": ("E", ""),
    "history-system": ("E", ""),
    "search-type": ("E", "Query"),
    "search-system": ("E", "Query"),
    "transaction": ("E", ""),
}
# Who sends and who receives what the profile is about: client, then server.
_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_APPLICATION = ("110150", "Application")
_PURPOSES = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_PURPOSE = {"BTG": "BTG", "SUPPORT": "HSYSADMIN"}


def id_of(at: datetime, number: int) -> str:
    """Return the id of the AuditEvent of a row: its moment, in microseconds since 1970, and its number."""
    return f"{(at - _EPOCH) // _MICROSECOND}-{number}"


def place_of(text: str) -> tuple[datetime, int] | None:
    """Return moment and number of a row by the id of its AuditEvent, None for what is no such id."""
    micros, _, number = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 18 for part in (micros, number)):
        return None
    at = _EPOCH + int(micros) * _MICROSECOND
    # One spelling alone is an id.
    return (at, int(number)) if id_of(at, int(number)) == text else None


def is_restful(action: str) -> bool:
    """Tell whether a row is of a request to the FHIR API."""
    return action in ACTIONS or action.startswith("$") or action.isupper()


def event(row: Told, base: str) -> bytes:
    """Return the AuditEvent of a row as JSON; `base` is the tenant's FHIR base."""
    moment = row.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    meta: Json = {"versionId": "1", "lastUpdated": moment}
    if profile := _profile(row):
        meta["profile"] = [profile]
    told: Json = {
        "resourceType": "AuditEvent",
        "id": id_of(row.at, row.id),
        "meta": meta,
        "type": _type(row.action),
        "subtype": _subtypes(row.action),
        "action": ACTIONS.get(row.action, ("E", ""))[0],
        "recorded": moment,
        "outcome": _outcome(row.outcome),
    }
    if said := (row.detail or {}).get("outcome"):
        told["outcomeDesc"] = said
    if row.purpose:
        told["purposeOfEvent"] = [_purpose(row.purpose)]
    told["agent"] = _agents(row, base)
    told["source"] = {
        "observer": {"display": base},
        "type": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                "code": "4",
                "display": "Application Server",
            }
        ],
    }
    if entities := [*_patient(row), *_data(row), *_query(row), *_request(row), *_change(row)]:
        told["entity"] = entities
    return msgspec.json.encode(told)


def _profile(row: Told) -> str:
    name = ACTIONS.get(row.action, ("", ""))[1]
    if not name or row.outcome >= 400:
        return ""
    return f"{_BALP}{'Patient' if row.patient_id else ''}{name}"


def _type(action: str) -> Json:
    if is_restful(action):
        system = "http://terminology.hl7.org/CodeSystem/audit-event-type"
        return {"system": system, "code": "rest", "display": "Restful Operation"}
    return {"system": _DCM, "code": "110100", "display": "Application Activity"}


def _subtypes(action: str) -> list[Json]:
    if action.startswith("search-"):
        return [{"system": _RESTFUL, "code": code, "display": code} for code in ("search", action)]
    if action in ACTIONS:
        return [{"system": _RESTFUL, "code": action, "display": action}]
    if action.startswith("$"):
        return [{"system": _RESTFUL, "code": "operation", "display": action}]
    return [{"code": action}]


def _outcome(status: int) -> str:
    """Return http://hl7.org/fhir/R4/valueset-audit-event-outcome.html: success, minor or serious failure."""
    return "0" if status < 400 else "4" if status < 500 else "8"


def _purpose(code: str) -> Json:
    return {"coding": [{"system": _PURPOSES, "code": _PURPOSE.get(code, code)}]}


def _agents(row: Told, base: str) -> list[Json]:
    client, server = _SOURCE, _DESTINATION
    if row.action in ("read", "vread"):
        client, server = server, client
    elif row.action == "delete":
        client, server = _APPLICATION, ("", "")
    is_user = row.subject is not None and row.subject != row.client
    asking: Json = {
        "type": _role(*client),
        "who": _who(row.client),
        **({"altId": row.client} if row.client else {}),
        "requestor": not is_user,
        "network": {"address": row.peer or "unknown", "type": "2" if row.peer else "5"},
    }
    if row.token:
        asking["policy"] = [f"{_JTI}{row.token}"]
    serving = {
        "type": _role(*server) if server[0] else _custodian(),
        "who": {"display": base},
        "requestor": False,
        "network": {"address": base, "type": "5"},
    }
    return [asking, serving, *([_user(row)] if is_user else [])]


def _role(code: str, display: str) -> Json:
    return {"coding": [{"system": _DCM, "code": code, "display": display}]}


def _custodian() -> Json:
    system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
    return {"coding": [{"system": system, "code": "custodian", "display": "Custodian"}]}


def _who(text: str | None) -> Json:
    return {"identifier": {"value": text}} if text else {"display": "unknown"}


def _user(row: Told) -> Json:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    user: Json = {
        "type": {"coding": [{"system": system, "code": "IRCP", "display": "information recipient"}]},
        "who": {**({"reference": row.reference} if row.reference else {}), **_who(row.subject)},
        "altId": row.subject,
        **({"name": row.name} if row.name else {}),
        "requestor": True,
    }
    if row.purpose:
        user["purposeOfUse"] = [_purpose(row.purpose)]
    return user


# ---- what it was about ------------------------------------------------------------------------------------------


def _entity(kind: str, kind_display: str, role: str, role_display: str) -> Json:
    types = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
    roles = "http://terminology.hl7.org/CodeSystem/object-role"
    return {
        "type": {"system": types, "code": kind, "display": kind_display},
        "role": {"system": roles, "code": role, "display": role_display},
    }


def _patient(row: Told) -> list[Json]:
    if row.patient_id is None:
        return []
    return [{"what": {"reference": f"Patient/{row.patient_id}"}, **_entity("1", "Person", "1", "Patient")}]


def _data(row: Told) -> list[Json]:
    if row.type is None or row.resource_id is None:
        return []
    place = f"{CODE_TYPES[row.type]}/{row.resource_id}"
    what = f"{place}/_history/{row.version}" if row.version else place
    return [{"what": {"reference": what}, **_entity("2", "System Object", "4", "Domain Resource")}]


def _query(row: Told) -> list[Json]:
    if row.query is None:
        return []
    text = row.query.partition(b"\r\n")[0].decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return [
        {
            **_entity("2", "System Object", "24", "Query"),
            "description": shown,
            "query": b64encode(row.query).decode(),
        }
    ]


def _request(row: Told) -> list[Json]:
    if row.request_id is None:
        return []
    return [
        {
            "what": {"identifier": {"value": row.request_id}},
            "type": {"system": _ENTITY_TYPES, "code": "XrequestId", "display": "X-Request-Id"},
        }
    ]


def _change(row: Told) -> list[Json]:
    """Return what else the row says, such as the scope of a token or what an administrator changed."""
    rest = {name: value for name, value in (row.detail or {}).items() if name != "outcome"}
    if not rest:
        return []
    said = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in rest.items()
    }
    details = [{"type": name, "valueString": value} for name, value in said.items() if value.strip()]
    return [{**_entity("2", "System Object", "13", "Security Resource"), "detail": details}] if details else []
