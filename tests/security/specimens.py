"""One resource of each type, of a patient wherever the type can be, with a word in it that must stay unseen."""

from __future__ import annotations

import base64
from typing import Any

from conformance.r4 import facts
from conformance.search_params import Registry
from tests.smallest import smallest

SYSTEM = "http://canary.example"
SEAL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}
SSN = "http://hl7.org/fhir/sid/us-ssn"
# What rules look at beside the type: signed, as far as the smallest resource is not.
_STATUS = {"Observation": "final", "DiagnosticReport": "final"}
Json = dict[str, Any]


def of_patients() -> frozenset[str]:
    """Return the types that can be a patient's: the members of the Patient compartment, and Patient."""
    return frozenset(facts.compartments()["Patient"]) | {"Patient"}


def specimen(
    registry: Registry, resource_type: str, patient: str, word: str, mark: str, *, sealed: bool = False
) -> Json:
    """Return a resource of a patient (an id), or of nobody where no resource of its type can be a patient's.

    It is found by its tag `mark`, which whoever asks for it names; `word` stands wherever it can be shown, and a
    variant of it where not all who see the resource see it. `sealed` gives it a label that closes it.
    """
    made = smallest(resource_type)
    if resource_type in of_patients() - {"Patient"}:
        made = _renamed(_linked(registry, made), "Patient/x", f"Patient/{patient}")
    made["meta"] = {"tag": [{"system": SYSTEM, "code": mark, "display": word}]}
    if sealed:
        made["meta"]["security"] = [SEAL]
    if resource_type in _STATUS:
        made["status"] = _STATUS[resource_type]
    elements = facts.groups()[resource_type].elements
    if "identifier" in elements and elements["identifier"].types == ("Identifier",):
        identifier = {"system": SYSTEM, "value": word}
        made["identifier"] = [identifier] if elements["identifier"].repeats else identifier
    if resource_type == "Binary":
        made["data"] = base64.b64encode(f"<{word}>".encode()).decode()
    elif resource_type not in ("Bundle", "Parameters"):
        made["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{word}</div>'}
        made["extension"] = [{"url": "http://canary.example/word", "valueString": word}]
    if resource_type == "Patient":
        made |= {"name": [{"family": word, "given": [word]}], "birthDate": "1970-01-01", "gender": "other"}
        made["identifier"] = [{"system": SSN, "value": f"{word}Ssn"}]
    return made


def _linked(registry: Registry, made: Json) -> Json:
    """Return a resource whose first path into the Patient compartment leads to Patient/x."""
    kind = made["resourceType"]
    params = registry.for_type(kind)
    code = facts.compartments()["Patient"][kind][0]
    steps = params[code].branches[0].path.partition("[")[0].strip(".").split(".")
    return _with(made, kind, steps)


def _with(made: Json, group: str, steps: list[str]) -> Json:
    name, rest = steps[0], steps[1:]
    element = facts.groups()[group].elements[name]
    if not rest:
        value: Any = {"reference": "Patient/x"}
    else:
        given = made.get(name, [{}] if element.repeats else {})
        inner = given[0] if element.repeats else given
        value = _with(smallest_part(element.content or element.types[0]) | inner, element.content or "", rest)
    return made | {name: [value] if element.repeats else value}


def smallest_part(group: str) -> Json:
    """Return what R4 requires of a backbone element."""
    made = smallest(group)
    del made["resourceType"]
    return made


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {name: _renamed(item, old, new) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value
