"""No bytes do harm: they are decoded, or refused with issues, in bounded time, and nothing else happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.explain import explain, places
from conformance.primitives import MAX_DEPTH
from conformance.structures import Refused, decode, members, resource_type_of
from tests.conformance.examples import unhurried

HEAD = b'{"resourceType":"Patient",'
BOMBS: dict[str, bytes] = {
    "arrays without end": b"[" * 1_000_000,
    "objects without end": b'{"a":' * 1_000_000,
    "extensions without end": HEAD + b'"extension":[{"url":"u",' + b'"extension":[{"url":"u",' * 100_000,
    "closed extensions": HEAD + b'"extension":[{"url":"u",' * 50_000 + b'"id":"a"' + b"}]" * 50_000 + b"}",
    "a string of 10 MB": HEAD + b'"language":"' + b"x y" * 3_500_000 + b'"}',
    "a display of 10 MB": HEAD + b'"name":[{"text":"' + "é".encode() * 5_000_000 + b'"}]}',
    "a key of 10 MB": HEAD + b'"' + b"x" * 10_000_000 + b'":1}',
    "a number of 1 MB": HEAD + b'"multipleBirthInteger":' + b"1" * 1_000_000 + b"}",
    "blanks of 10 MB": b" " * 10_000_000,
    "a base64 of blanks": HEAD + b'"photo":[{"data":"' + b" " * 1_000_000 + b'"}]}',
    "a doubled key": HEAD + b'"id":"a","id":"a"}',
    "NaN": b'{"resourceType":"Observation","valueQuantity":{"value":NaN}}',
    "Infinity": b'{"resourceType":"Observation","valueQuantity":{"value":-Infinity}}',
    "a half surrogate pair": HEAD + b'"language":"\\udc00\\ud800"}',
    "a half surrogate pair in UTF-8": HEAD + b'"language":"\xed\xa0\x80"}',
    "a NUL": HEAD + b'"language":"a\\u0000b"}',
    "a raw NUL": HEAD + b'"language":"a\x00b"}',
    "a byte order mark": b"\xef\xbb\xbf" + HEAD + b'"id":"a"}',
    "UTF-16": '{"resourceType":"Patient"}'.encode("utf-16"),
    "Latin-1": HEAD + b'"language":"\xe9"}',
    "text after the end": HEAD + b'"id":"a"}{"resourceType":"Patient"}',
    "a comment": b'/* */{"resourceType":"Patient"}',
    "a trailing comma": HEAD + b'"id":"a",}',
    "single quotation marks": b"{'resourceType':'Patient'}",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_an_issue_in_short_time(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(Refused) as refusal:
        decode("Patient", BOMBS[name])
    assert refusal.value.issues
    assert sum(len(issue.diagnostics) for issue in refusal.value.issues) < 2_000
    assert time.process_time() - begun < 20


def nested(depth: int) -> bytes:
    """Return a patient whose deepest object stands this deep, itself counted."""
    levels = depth - 1
    return HEAD + b'"extension":[{"url":"u",' * levels + b'"valueString":"{}[]"' + b"}]" * levels + b"}"


def test_objects_may_nest_up_to_the_limit_and_no_deeper() -> None:
    assert decode("Patient", nested(MAX_DEPTH)) is not None
    with pytest.raises(Refused) as refusal:
        decode("Patient", nested(MAX_DEPTH + 1))
    assert "nested deeper than 100" in refusal.value.issues[0].diagnostics


def test_many_objects_side_by_side_are_not_deep() -> None:
    wide = {"resourceType": "Patient", "name": [{"family": "{{{[[["}] * 500}
    assert decode("Patient", json.dumps(wide).encode()) is not None


def told(refuser: Callable[[], object]) -> list[str] | None:
    """Return the sentences of a refusal, or None where the bytes were taken."""
    try:
        refuser()
    except Refused as refusal:
        return [issue.diagnostics for issue in refusal.issues]
    return None


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused_with_a_sentence(data: bytes) -> None:
    for door in (partial(decode, "Patient"), members, resource_type_of):
        sentences = told(partial(door, data))
        assert sentences is None or (sentences and all(s.endswith((".", "?")) for s in sentences))


PATIENT_KEYS = ["resourceType", "x", *places("Patient")]
VALUE_TYPES = ("HumanName", "Extension", "CodeableConcept", "Coding", "Narrative", "Patient.contact", "Attachment")
VALUE_KEYS = ["resourceType", "x", *sorted({key for name in VALUE_TYPES for key in places(name)})]
TEXTS = ["male", "final", "2021-02-30", "2020-02-29", "http://a", "Patient/a", "QUJD", "\x00", "{}", '":', "\ud800"]
SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
VALUES = st.recursive(
    SIMPLE | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(VALUE_KEYS), inner, max_size=4),
    max_leaves=8,
)


@unhurried
@given(
    st.dictionaries(st.sampled_from(PATIENT_KEYS), VALUES, max_size=5),
    st.booleans(),
    st.sampled_from([(",", ":"), (" , ", " : ")]),
)
def test_the_fast_path_and_the_slow_walk_agree(shape: dict[str, Any], plain: bool, separators: tuple[str, str]) -> None:
    text = json.dumps({"resourceType": "Patient"} | shape, ensure_ascii=plain, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    explained = [issue.diagnostics for issue in explain("Patient", data)]
    assert (told(partial(decode, "Patient", data)) or []) == explained
