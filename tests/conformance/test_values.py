"""The primitive types take what the specification takes, fast path and slow walk alike.

http://hl7.org/fhir/R4/datatypes.html#primitive
"""

from __future__ import annotations

import calendar
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.explain import explain
from conformance.structures import Refused, decode
from tests.conformance.examples import unhurried

TAKEN: dict[str, list[str]] = {
    "Base64Binary": ['"QUJD"', '"QUI="', '"QU JD\\nQUJD"'],
    "Boolean": ["true", "false"],
    "Canonical": ['"http://a|1.0"', '"#contained"'],
    "Code": ['"a"', '"a b"', '"é"'],
    "Date": ['"2021"', '"2021-12"', '"2020-02-29"', '"2000-02-29"', '"0001-01-31"'],
    "DateTime": ['"2021"', '"2021-12-31"', '"2021-12-31T23:59:60Z"', '"2021-01-01T00:00:00.123456789+14:00"'],
    "Decimal": ["0", "-1.50", "1e3", "1E-3", "12345678901234567890.5"],
    "Id": ['"a"', '"A-1.b"', '"' + "x" * 64 + '"'],
    "Instant": ['"2021-12-31T23:59:59Z"', '"2021-12-31T23:59:59.1-05:00"'],
    "Integer": ["0", "-2147483648", "2147483647"],
    "Markdown": ['"# a\\n\\nb"', '" "'],
    "Oid": ['"urn:oid:1.2.840.0"', '"urn:oid:2.16"'],
    "PositiveInt": ["1", "2147483647"],
    "String": ['"a"', '" "', '"\\t\\r\\n"', '"\\ud83c\\udf89"', '"🎉"'],
    "Time": ['"00:00:00"', '"23:59:59.999"'],
    "UnsignedInt": ["0", "2147483647"],
    "Uri": ['"http://a/b?c#d"', '"urn:a:b"', '"é"'],
    "Url": ['"mailto:a@b"'],
    "Uuid": ['"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"'],
}
REFUSED: dict[str, list[str]] = {
    "Base64Binary": ['""', '" "', '"QUJ"', '"Q$JD"', '"é"', "1"],
    "Boolean": ['"true"', "1", "null"],
    "Canonical": ['""', '"a b"', '" a"'],
    "Code": ['""', '" a"', '"a "', '"a  b"', '"a\\tb"', '"a\\n"', "5"],
    "Date": ['"2021-02-30"', '"2021-02-29"', '"1900-02-29"', '"0000"', '"2021-1-1"', '"2021-13"', '"21"', '"2021\\n"'],
    "DateTime": ['"2021-12-31T23:59:59"', '"2021-12-31T24:00:00Z"', '"2021-12-31T10:00Z"', '"2021-04-31T10:00:00Z"'],
    "Decimal": ['"1.5"', "true", "1e400", "-1e400", "null"],
    "Id": ['""', '"a_b"', '"' + "x" * 65 + '"', '"a\\n"'],
    "Instant": ['"2021"', '"2021-12-31"', '"2021-02-30T00:00:00Z"', '"2021-12-31T23:59:59+14:30"'],
    "Integer": ["1.0", "1e3", "2147483648", "-2147483649", '"1"', "123456789012345678901234567890"],
    "Markdown": ['""', "1"],
    "Oid": ['"urn:oid:3.1"', '"1.2.3"', '"urn:oid:1.02"'],
    "PositiveInt": ["0", "-1"],
    "String": ['""', '"\\u0000"', '"a\\u001fb"', '"\\b"', '"\\f"', "1", "{}", "[]"],
    "Time": ['"24:00:00"', '"10:00"', '"10:00:00Z"'],
    "UnsignedInt": ["-1", "1.5"],
    "Uri": ['""', '"a b"', '"a\\n"'],
    "Url": ['"a b"'],
    "Uuid": ['"urn:uuid:C757873D-EC9A-4326-A141-556F43239520"', '"c757873d-ec9a-4326-a141-556f43239520"'],
}


def verdicts(fhir_type: str, value: str) -> tuple[bool, bool]:
    """Return whether the fast path and the slow walk take a value, given as JSON, in an extension."""
    data = f'{{"resourceType":"Patient","extension":[{{"url":"http://e","value{fhir_type}":{value}}}]}}'.encode()
    try:
        decode("Patient", data)
    except Refused:
        return False, not explain("Patient", data)
    return True, not explain("Patient", data)


@pytest.mark.parametrize(("fhir_type", "value"), [(t, v) for t, values in TAKEN.items() for v in values])
def test_a_value_of_the_type_is_taken(fhir_type: str, value: str) -> None:
    assert verdicts(fhir_type, value) == (True, True)


@pytest.mark.parametrize(("fhir_type", "value"), [(t, v) for t, values in REFUSED.items() for v in values])
def test_a_value_that_is_not_of_the_type_is_refused_and_explained(fhir_type: str, value: str) -> None:
    assert verdicts(fhir_type, value) == (False, False)


@unhurried
@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_a_date_is_taken_exactly_when_the_day_exists(year: int, month: int, day: int) -> None:
    exists = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
    text = f'"{year:04}-{month:02}-{day:02}"'
    assert verdicts("Date", text) == (exists, exists)
    assert verdicts("DateTime", text) == (exists, exists)


@unhurried
@given(st.integers(-(2**33), 2**33))
def test_integers_are_taken_exactly_within_32_bits(number: int) -> None:
    assert verdicts("Integer", str(number))[0] is (-(2**31) <= number < 2**31)
    assert verdicts("UnsignedInt", str(number))[0] is (0 <= number < 2**31)
    assert verdicts("PositiveInt", str(number))[0] is (1 <= number < 2**31)


@unhurried
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value="-1e300", max_value="1e300"))
def test_every_finite_decimal_is_taken(number: object) -> None:
    assert verdicts("Decimal", str(number).replace("E+", "e")) == (True, True)


@unhurried
@given(st.text(min_size=1, max_size=20))
def test_a_string_is_taken_unless_it_holds_a_control_character(text: str) -> None:
    allowed = not any(ord(c) < 32 and c not in "\t\r\n" for c in text)
    for ascii_only in (True, False):
        assert verdicts("String", json.dumps(text, ensure_ascii=ascii_only)) == (allowed, allowed)


def test_a_string_may_be_a_mebi_of_characters_long_and_no_longer() -> None:
    assert verdicts("String", '"' + "é" * 2**20 + '"') == (True, True)
    assert verdicts("String", '"' + "é" * (2**20 + 1) + '"') == (False, False)
