"""What is wrong with a primitive value, in words. http://hl7.org/fhir/R4/datatypes.html#primitive"""

from __future__ import annotations

import math
import re

from conformance.checks import is_base64
from conformance.narrative import problem
from conformance.primitives import BOUNDS, MAX_STRING, PATTERNS
from conformance.source import Number, Object

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_PATTERNS = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_EXPECTED = {
    "base64Binary": "base64 text",
    "boolean": "true or false",
    "canonical": "a URI without blanks, with |version at most",
    "code": "a text of 1 to 1048576 characters without blanks at its ends or two together",
    "date": "YYYY, YYYY-MM or YYYY-MM-DD, a day that exists",
    "dateTime": "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a zone (Z or +hh:mm), a day that exists",
    "decimal": "a number between -1.8e308 and 1.8e308",
    "id": "1 to 64 characters of A-Z, a-z, 0-9, - and .",
    "instant": "YYYY-MM-DDThh:mm:ss with a zone (Z or +hh:mm), a day that exists",
    "integer": "a whole number from -2147483648 to 2147483647, without point or exponent",
    "markdown": "a text of 1 to 1048576 characters",
    "oid": "urn:oid: and numbers between points",
    "positiveInt": "a whole number from 1 to 2147483647, without point or exponent",
    "string": "a text of 1 to 1048576 characters",
    "time": "hh:mm:ss, without a zone",
    "unsignedInt": "a whole number from 0 to 2147483647, without point or exponent",
    "uri": "a URI without blanks",
    "url": "a URL without blanks",
    "uuid": "urn:uuid: and a UUID in lower case",
    "xhtml": "XHTML",
}


def fault(fhir_type: str, value: object) -> str | None:
    """Return the sentence that says what is wrong with a value as `source.read` gives it, or None."""
    if fhir_type == "boolean":
        return None if isinstance(value, bool) else _wrong_kind(fhir_type, value)
    if fhir_type == "decimal" or fhir_type in BOUNDS:
        return _number_fault(fhir_type, value) if isinstance(value, Number) else _wrong_kind(fhir_type, value)
    if isinstance(value, Number) or not isinstance(value, str):
        return _wrong_kind(fhir_type, value)
    control = _CONTROL.search(value)
    if control:
        return f"The text holds the control character U+{ord(control[0]):04X}, which FHIR does not allow."
    return _text_fault(fhir_type, value)


def _number_fault(fhir_type: str, text: Number) -> str | None:
    if fhir_type == "decimal":
        return None if math.isfinite(float(text)) else _unexpected(fhir_type, text)
    low, high = BOUNDS[fhir_type]
    fits = text.lstrip("-").isdigit() and len(text) <= 11 and low <= int(text) <= high
    return None if fits else _unexpected(fhir_type, text)


def _text_fault(fhir_type: str, text: str) -> str | None:
    if fhir_type in ("string", "markdown", "code") and not 1 <= len(text) <= MAX_STRING:
        return _unexpected(fhir_type, text)
    if fhir_type == "base64Binary":
        return None if is_base64(text) else _unexpected(fhir_type, text)
    if fhir_type == "xhtml":
        found = problem(text)
        return f"The narrative {found}." if found else None
    pattern = _PATTERNS.get(fhir_type)
    return _unexpected(fhir_type, text) if pattern and not pattern.search(text) else None


def _unexpected(fhir_type: str, text: str) -> str:
    return f"{shown(text)} is not a valid {fhir_type}: expected {_EXPECTED[fhir_type]}."


def _wrong_kind(fhir_type: str, value: object) -> str:
    return f"{json_kind(value)} stands where a {fhir_type} is expected: {_EXPECTED[fhir_type]}."


def json_kind(value: object) -> str:
    """Return what a JSON value is, with its article, to begin a sentence."""
    names = ((Number, "A number"), (str, "A string"), (bool, "A boolean"), (Object, "An object"), (list, "An array"))
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def shown(text: str) -> str:
    """Return a text in quotation marks, cut where it is long."""
    return repr(str(text) if len(text) <= 60 else f"{text[:60]}…")
