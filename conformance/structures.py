"""Whether bytes are a well-formed R4 resource, and which. http://hl7.org/fhir/R4/json.html

The fast path decodes into the generated model, which refuses almost everything that is wrong, in microseconds. What a
decoder cannot see, such as a key given twice, shows as a difference between the input and the decoded resource written
out again; any doubt goes to the slow walk of `explain`, whose verdict holds. So the fast path may suspect too much, but
never too little.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Union

import msgspec

from conformance.issue import Issue, error
from conformance.primitives import MAX_DEPTH
from conformance.r4.types import TYPE_CODES

STORABLE: tuple[str, ...] = tuple(name for name in TYPE_CODES if name != "Parameters")

_DECODE_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# A control character or a colon written as \uXXXX, \b or \f.
_ESCAPE = re.compile(rb"\\(?:u00(?:[01]|3[aA])|[bf])")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


class Refused(Exception):
    """The bytes are not a valid resource; `issues` holds every problem with its FHIRPath expression."""

    def __init__(self, issues: list[Issue]) -> None:
        self.issues = issues
        super().__init__("; ".join(issue.diagnostics for issue in issues))


class _Unnamed(msgspec.Struct, tag_field="resourceType", tag=""):
    """Makes each decoder one of a union, so that a missing resourceType is refused."""


class _Header(msgspec.Struct):
    resourceType: str  # noqa: N815


_HEADER = msgspec.json.Decoder(_Header)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def decode(resource_type: str, data: bytes) -> msgspec.Struct:
    """Return a resource of this type as a Struct of `conformance.r4.model`, fully checked.

    The decimals in it are floats, good for comparing; what is stored or sent is `data`, where they keep their digits.
    Raises Refused with every problem.
    """
    if resource_type not in TYPE_CODES:
        raise Refused([error("structure", f"{resource_type!r} is not a resource type of FHIR R4.")])
    try:
        resource: msgspec.Struct = _decoder(resource_type).decode(data)
        doubtful = _doubtful(data, _ENCODER.encode(resource))
    except _DECODE_FAULTS as fault:
        raise Refused(_explained(resource_type, data) or [_unexplained(fault)]) from None
    if doubtful and (issues := _explained(resource_type, data)):
        raise Refused(issues)
    return resource


def members(data: bytes) -> dict[str, msgspec.Raw]:
    """Return the top-level members with their original bytes, so that decimals keep their digits.

    Of a key given twice the last stays: `decode` first. Raises Refused when the bytes are not a JSON object.
    """
    try:
        return _MEMBERS.decode(data)
    except _DECODE_FAULTS:
        raise Refused(_syntax(data)) from None


def resource_type_of(data: bytes) -> str:
    """Return the resource type that the bytes name. Raises Refused when it is missing or not one of R4."""
    try:
        name = _HEADER.decode(data).resourceType
    except _DECODE_FAULTS:
        raise Refused(_syntax(data)) from None
    if name not in TYPE_CODES:
        raise Refused([error("structure", f"{name!r} is not a resource type of FHIR R4.", "resourceType")])
    return name


def warm() -> None:
    """Make the shared part of the decoders now (about 0.1 s) and not for the first request."""
    _decoder("Bundle")


@cache
def _decoder(resource_type: str) -> msgspec.json.Decoder[Any]:
    from conformance.r4 import model  # 0.05 s to import: only processes that decode pay

    # A union needs the tag, where a lone Struct would do without it.
    return msgspec.json.Decoder(Union[getattr(model, resource_type), _Unnamed])  # noqa: UP007


def _doubtful(data: bytes, written: bytes) -> bool:
    """Whether the input may say more, or otherwise, than what was decoded from it.

    A colon is never written in another way but by an escape, so a key given twice shows as a colon too many.
    """
    if data.count(b":") != written.count(b":") or b"{}" in written:
        return True
    if b"\\" in data and _ESCAPE.search(data):
        return True
    return data.count(b"{") > MAX_DEPTH and _deep(written)


def _deep(written: bytes) -> bool:
    """Whether objects may stand deeper than the limit: brackets inside of strings may raise a false doubt."""
    brackets = written.translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        inner = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(brackets):
            return True  # only brackets of a text are left
        brackets = inner
    return bool(brackets)


def _explained(resource_type: str, data: bytes) -> list[Issue]:
    from conformance.explain import explain  # only refusals pay for it

    return explain(resource_type, data)


def _syntax(data: bytes) -> list[Issue]:
    from conformance.explain import syntax

    return syntax(data)


def _unexplained(fault: Exception) -> Issue:
    return error("structure", f"The resource is not valid: {fault}.")
