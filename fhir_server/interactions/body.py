"""The bytes of a resource as they are stored and sent: the client's own text with id and meta set by the server.

No value is decoded and encoded again, so decimals keep their digits. http://hl7.org/fhir/R4/resource.html#Meta
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

Members = Mapping[str, msgspec.Raw]

_SERVER_SET = frozenset(("versionId", "lastUpdated", "_versionId", "_lastUpdated"))
_FIRST = frozenset(("resourceType", "id", "meta"))
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
# A number with point or exponent is kept as its digits, and apart from a text of the same.
_values: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=tuple)
_encode = msgspec.json.encode


def members_of(body: bytes) -> Members:
    """Return the top-level members of a resource that conformance has accepted, each as its original bytes."""
    return _members.decode(body)


def text_member(members: Members, name: str) -> str | None:
    """Return a member that is a JSON string, or None where it is absent or something else."""
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return _text.decode(raw)
    except msgspec.DecodeError:
        return None


def instant(moment: datetime) -> str:
    """Return a FHIR instant in UTC with milliseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def stamped(members: Members, resource_type: str, resource_id: str, version: int, updated: datetime) -> bytes:
    """Return the body with resourceType, id and meta first and everything else as it came."""
    parts = [
        b'{"resourceType":"%b","id":%b,"meta":%b'
        % (resource_type.encode(), _encode(resource_id), _meta(members.get("meta"), version, updated))
    ]
    parts += [b'"%b":%b' % (name.encode(), bytes(raw)) for name, raw in members.items() if name not in _FIRST]
    return b",".join(parts) + b"}"


def says_the_same(one: bytes, other: bytes) -> bool:
    """Tell whether two bodies differ at most in the order of members, in blanks and in escapes: digits count."""
    return one == other or _values.decode(one) == _values.decode(other)


def _meta(given: msgspec.Raw | None, version: int, updated: datetime) -> bytes:
    head = b'{"versionId":"%d","lastUpdated":"%b"' % (version, instant(updated).encode())
    if given is None:
        return head + b"}"
    kept = [b'"%b":%b' % (k.encode(), bytes(v)) for k, v in _members.decode(given).items() if k not in _SERVER_SET]
    return b",".join([head, *kept]) + b"}"
