"""The smallest resource of each type that is valid: what R4 requires and nothing else."""

from __future__ import annotations

from typing import Any

from conformance.r4 import facts

_XHTML = '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'
_TIMES = {"date": "2020-01-01", "dateTime": "2020-01-01", "instant": "2020-01-01T00:00:00Z", "time": "12:00:00"}
_NUMBERS = {"decimal": 1.0, "integer": 1, "positiveInt": 1, "unsignedInt": 1}
_TEXTS = {"base64Binary": "eA==", "xhtml": _XHTML, "oid": "urn:oid:1.2.3", "code": "x", "id": "x", "string": "x"}
_URLS = dict.fromkeys(("uri", "url", "canonical"), "http://x.example")
_PLAIN: dict[str, Any] = _TIMES | _NUMBERS | _TEXTS | _URLS | {"boolean": True, "markdown": "x"}
_PLAIN |= {"uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}


def smallest(resource_type: str) -> dict[str, Any]:
    """Return a valid resource of a type, without an id."""
    return {"resourceType": resource_type} | _required(resource_type)


def _required(path: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, element in facts.groups()[path].elements.items():
        if element.min:
            json_name, kind = facts.spelled(name, element)[0]
            value = _value(kind, element)
            made[json_name] = [value] if element.repeats else value
    return made


def _value(kind: str, element: facts.Element) -> Any:
    if element.required in facts.value_sets():
        return next(code for codes in facts.value_sets()[element.required].values() for code in codes)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "Reference":
        return {"reference": f"{(element.targets or ('Patient',))[0]}/x"}
    if kind == "Resource":
        return smallest("Basic")
    return _required(element.content or kind) or {"extension": [{"url": "http://x.example", "valueString": "x"}]}
