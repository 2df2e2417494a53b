"""ndjson: one resource on each line, of answers and of a batch. https://hl7.org/fhir/R4/nd-json.html"""

from __future__ import annotations

import msgspec

from conformance.issue import Issue, outcome
from conformance.structures import Refused, members, resource_type_of
from fhir_server.errors import Invalid, TooLarge
from fhir_server.interactions.message import Response

# A line end between two tokens of JSON is a blank as good as any; inside of a text it cannot stand.
_BLANKS = bytes.maketrans(b"\r\n", b"  ")
_text = msgspec.json.Decoder(str)


class _Link(msgspec.Struct):
    relation: str
    url: str


class _Told(msgspec.Struct):
    status: str = ""
    location: str = ""
    outcome: msgspec.Raw = msgspec.Raw(b"")


class _Asked(msgspec.Struct):
    method: str = ""
    url: str = ""


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    request: _Asked | None = None
    response: _Told | None = None


class _Bundle(msgspec.Struct, tag_field="resourceType", tag="Bundle"):
    total: int | None = None
    link: list[_Link] = []
    entry: list[_Entry] = []


_answer = msgspec.json.Decoder(_Bundle)


def lines(response: Response) -> tuple[bytes, dict[str, str]]:
    """Return the body of an answer as ndjson, and the headers that say what stood around the resources.

    The bundles in which a server answers become a line for each entry; what is stored is one line, bundles too.
    """
    if "etag" in response.headers or not response.body.startswith(b'{"resourceType":"Bundle"'):
        return response.body.translate(_BLANKS) + b"\n", {}
    found = _answer.decode(response.body)
    headers = {"link": ", ".join(f'<{one.url}>; rel="{one.relation}"' for one in found.link)} if found.link else {}
    if found.total is not None:
        headers["x-total-count"] = str(found.total)
    return b"".join(_line(entry).translate(_BLANKS) + b"\n" for entry in found.entry), headers


def _line(entry: _Entry) -> bytes:
    """Return the resource of an entry; where there is none, a deletion say, an OperationOutcome tells what was."""
    if entry.resource:
        return bytes(entry.resource)
    told = entry.response or _Told()
    if told.outcome:
        return bytes(told.outcome)
    done = " ".join(part for part in (told.status, told.location) if part)
    if entry.request:
        done = f"{entry.request.method} {entry.request.url}: {done}"
    return outcome([Issue("information", "informational", done)])


def batch(body: bytes, most: int) -> bytes:
    """Return the batch that a body of lines asks for: each resource is updated under its id, or created.

    Raises Invalid naming the first line that is no resource, TooLarge for more than `most` lines.
    """
    told = [(number, line) for number, line in enumerate(body.splitlines(), 1) if line.strip()]
    if len(told) > most:
        raise TooLarge(f"{len(told)} lines; this server takes {most} at a time")
    entries = [_entry(number, line) for number, line in told]
    return b'{"resourceType":"Bundle","type":"batch"%b}' % (
        b',"entry":[' + b",".join(entries) + b"]" if entries else b""
    )


def _entry(number: int, line: bytes) -> bytes:
    try:
        name = resource_type_of(line)
        given = members(line).get("id")
        resource_id = _text.decode(given) if given is not None else None
    except Refused as refused:
        told = [msgspec.structs.replace(one, diagnostics=f"Line {number}: {one.diagnostics}") for one in refused.issues]
        raise Invalid(told) from refused
    except msgspec.DecodeError as problem:
        raise Invalid(f"Line {number}: the id is not a text") from problem
    request = (
        {"method": "POST", "url": name} if resource_id is None else {"method": "PUT", "url": f"{name}/{resource_id}"}
    )
    return b'{"resource":%b,"request":%b}' % (line.strip(), msgspec.json.encode(request))
