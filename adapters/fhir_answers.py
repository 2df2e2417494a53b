"""What a FHIR server of others said, as values: it is done, it may be tried again, or it is settled.

https://hl7.org/fhir/R4/http.html · https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urljoin

import msgspec

from adapters.web import Answer, Failed, Refused, TooLarge, origin

# A conflict is met where two write at once; the rest are servers that are busy, starting, or behind a broken door.
_PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_LONGEST_WAIT = 24 * 3600.0
_LOCATION = re.compile(
    r"(?:^|/)(?P<type>[A-Z][A-Za-z]{0,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?/?$"
)


class Done(NamedTuple):
    """The server did it: its status, the answer's bytes, and where Location and ETag say that the resource stands."""

    status: int
    body: bytes
    location: str | None = None
    etag: str | None = None

    @property
    def reference(self) -> str | None:
        """`Type/id` of what was written, as Location has it."""
        found = _LOCATION.search(self.location or "")
        return f"{found['type']}/{found['id']}" if found else None


class Retry(NamedTuple):
    """It may go well later: after `seconds`, where the server named them. `reason` is safe to show and to log.

    `outcome` is the body, an OperationOutcome if the server keeps to FHIR: it may speak of a patient.
    """

    reason: str
    status: int | None = None
    seconds: float | None = None
    outcome: bytes = b""


class Final(NamedTuple):
    """It was refused and would be again. `reason` is safe to show and to log; `outcome` as with Retry."""

    reason: str
    status: int | None = None
    outcome: bytes = b""


class Found(NamedTuple):
    """An entry of a searchset with its resource's bytes as they came; `mode` is match, include or outcome."""

    full_url: str | None
    mode: str
    resource: bytes


class Page(NamedTuple):
    """A page of a search; `following` is the address of the next one, of the same origin, `asked` what the server says
    that it was asked.
    """

    entries: tuple[Found, ...]
    following: str | None
    total: int | None
    asked: str | None = None


Result = Done | Retry | Final


def told(answer: Answer, now: datetime) -> Result:
    """Return what an answer means to who asked."""
    if 200 <= answer.status < 300:
        return Done(answer.status, answer.body, answer.headers.get("location"), answer.headers.get("etag"))
    reason = f"the server answered {answer.status}"
    if answer.status in _PASSING:
        return Retry(reason, answer.status, retry_after(answer.headers.get("retry-after"), now), answer.body)
    if 300 <= answer.status < 400:
        reason += ": it sends on to another address, which is to be named instead"
    return Final(reason, answer.status, answer.body)


def failure(problem: Refused | Failed) -> Retry | Final:
    """Return what it means that no answer came."""
    passing = isinstance(problem, Failed) and not isinstance(problem, TooLarge)
    return Retry(str(problem)) if passing else Final(str(problem))


def retry_after(text: str | None, now: datetime) -> float | None:
    """Return the seconds that Retry-After asks for, a number or a date, at most a day; None where it says nothing."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), _LONGEST_WAIT)


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class _Search(msgspec.Struct):
    mode: str = "match"


class _Entry(msgspec.Struct, rename={"full_url": "fullUrl"}):
    resource: msgspec.Raw = msgspec.Raw(b"")
    full_url: str | None = None
    search: _Search = msgspec.field(default_factory=_Search)


class _Bundle(msgspec.Struct, rename={"type_": "resourceType"}):
    type_: str
    entry: list[_Entry] = []
    link: list[_Link] = []
    total: int | None = None


def page(done: Done, url: str, longest: int) -> Page | Final:
    """Return a Bundle of a search; `url` is where it came from, `longest` the most characters of an address."""
    try:
        bundle = msgspec.json.decode(done.body, type=_Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Final("the answer to a search is no Bundle that can be read", done.status)
    if bundle.type_ != "Bundle":
        return Final("the answer to a search is no Bundle", done.status, done.body)
    entries = tuple(Found(e.full_url, e.search.mode, bytes(e.resource)) for e in bundle.entry if bytes(e.resource))
    links = {link.relation: link.url for link in reversed(bundle.link) if link.url}
    following = _following(url, links["next"], longest) if "next" in links else None
    if isinstance(following, Final):
        return following
    return Page(entries, following, bundle.total, links.get("self"))


def _following(url: str, link: str, longest: int) -> str | Final:
    """Return where the next page stands; with our token we follow to no other origin."""
    try:
        joined = urljoin(url, link)
        if origin(joined, longest) != origin(url, longest):
            return Final("the link to the next page leads to another scheme, host or port")
    except (Refused, ValueError):
        return Final("the link to the next page cannot be followed")
    return joined


def member(body: bytes, name: str) -> Any:
    """Return a member of a JSON object, None where there is no such."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.get(name) if isinstance(found, dict) else None
