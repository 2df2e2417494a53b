"""The primitive types of FHIR R4: the form each value has in JSON. http://hl7.org/fhir/R4/datatypes.html#primitive

Each pattern is used twice: by the generated model, which refuses fast, and by the slow walk, which explains. They are
the specification's own with three mends: `\\Z` so that a trailing line break does not slip through, ASCII classes so
that other scripts' digits do not, and calendar days, so that 2021-02-30 does not.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from msgspec import Meta

T = TypeVar("T")

MAX_STRING = 1024 * 1024
MAX_DEPTH = 100
MAX_INTEGER = 2**31 - 1

_YEAR = r"(?!0000)[0-9]{4}"
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    rf"|(?!0000){_LEAP}-02-29)"
)
# One range of characters is the fastest class there is; all white space and control characters of ASCII lie below it.
_VISIBLE = "[!-\U0010ffff]++"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"

PATTERNS = {
    "canonical": rf"\A{_VISIBLE}\Z",
    "code": rf"\A{_VISIBLE}(?: {_VISIBLE})*+\Z",
    "date": rf"\A(?:{_DAY}|{_YEAR}(?:-(?:0[1-9]|1[0-2]))?)\Z",
    "dateTime": rf"\A(?:{_DAY}(?:T{_CLOCK}{_ZONE})?|{_YEAR}(?:-(?:0[1-9]|1[0-2]))?)\Z",
    "id": r"\A[A-Za-z0-9\-.]{1,64}+\Z",
    "instant": rf"\A{_DAY}T{_CLOCK}{_ZONE}\Z",
    "oid": r"\Aurn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+\Z",
    "time": rf"\A{_CLOCK}\Z",
    "uri": rf"\A{_VISIBLE}\Z",
    "url": rf"\A{_VISIBLE}\Z",
    "uuid": r"\Aurn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z",
}
BOUNDS = {"integer": (-MAX_INTEGER - 1, MAX_INTEGER), "unsignedInt": (0, MAX_INTEGER), "positiveInt": (1, MAX_INTEGER)}

Some: TypeAlias = Annotated[list[T], Meta(min_length=1)]

Base64Binary: TypeAlias = Annotated[str, Meta(min_length=1)]
Boolean: TypeAlias = bool
Canonical: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["canonical"])]
Code: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["code"], max_length=MAX_STRING)]
Date: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["date"])]
DateTime: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["dateTime"])]
Decimal: TypeAlias = float
Id: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["id"])]
Instant: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["instant"])]
Integer: TypeAlias = Annotated[int, Meta(ge=BOUNDS["integer"][0], le=MAX_INTEGER)]
Markdown: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_STRING)]
Oid: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["oid"])]
PositiveInt: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
String: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_STRING)]
Time: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["time"])]
UnsignedInt: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Uri: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["uri"])]
Url: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["url"])]
Uuid: TypeAlias = Annotated[str, Meta(pattern=PATTERNS["uuid"])]
Xhtml: TypeAlias = Annotated[str, Meta(min_length=1)]
