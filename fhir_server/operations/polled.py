"""Sources that are looked at from time to time: a folder in which others leave files, a FHIR server of others.

http://hl7.org/fhir/R4/search.html#lastUpdated
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from adapters.web import Refused, origin
from conformance.issue import Issue
from conformance.structures import STORABLE
from fhir_server.operations import sign_in
from fhir_server.operations.part import Part, wrong
from fhir_server.operations.sign_in import SignIn

_FOLDER = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}(?:/(?!\.)[A-Za-z0-9._-]{1,64}){0,7}\Z")
_OWN = frozenset(("work", "done", "failed"))
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))?\Z")
_LONGEST_WAIT = 86_400.0
_MOST_SEARCHES, _MOST_COUNT = 50, 1000
# The server makes them itself, or they would change how it works.
_NOT_POLLED = frozenset(("AuditEvent", "Binary", "Bundle", "SearchParameter", "Subscription"))
# We say these ourselves, or they would change what comes.
_OURS = frozenset(
    (
        *("_contained", "_containedType", "_count", "_elements", "_format", "_include", "_lastUpdated", "_pretty"),
        *("_revinclude", "_sort", "_summary", "_total", "_type"),
    )
)


class Folder(Part, frozen=True, tag="folder", tag_field="kind"):
    """Files in a folder: `path` lies below the tenant's own folder, `files` is a pattern of their names.

    A file is taken once it has been the same for `settle` seconds; 0 where senders rename files that are complete.
    `every` is the seconds between looks.
    """

    path: str
    files: str = "*"
    settle: float = 10.0
    every: float = 5.0


class Fhir(Part, frozen=True, tag="fhir", tag_field="kind"):
    """A FHIR server that is asked `every` so many seconds what has changed.

    `searches` are `Type` or `Type?parameters`, `count` the size of a page. `overlap` is the seconds before the newest
    change seen that are asked for again, for what becomes visible late. `since` is where to begin; nothing said: all.
    """

    url: str
    searches: tuple[str, ...]
    sign_in: SignIn | None = None
    every: float = 60.0
    count: int = 100
    overlap: float = 60.0
    since: str | None = None

    @property
    def base(self) -> str:
        """Return the address without a final slash."""
        return self.url.rstrip("/")

    @property
    def types(self) -> frozenset[str]:
        """Return the types of what is fetched."""
        return frozenset(search.partition("?")[0] for search in self.searches)


Polled = Folder | Fhir


def problems(source: Polled) -> list[Issue]:
    """Return what is wrong with a source that is polled."""
    found = _folder(source) if isinstance(source, Folder) else _fhir(source)
    if not 0 < source.every <= _LONGEST_WAIT:
        found.append(wrong("source.every", f"above 0 and at most {_LONGEST_WAIT:g} s"))
    return found


def _folder(source: Folder) -> list[Issue]:
    found = []
    if not _FOLDER.match(source.path) or _OWN & set(source.path.split("/")):
        text = f"{source.path[:80]!r}: names of A-Z a-z 0-9 . _ - with / between, not work, done or failed"
        found.append(wrong("source.path", text))
    if not source.files or "/" in source.files or len(source.files) > 255:
        found.append(wrong("source.files", "a pattern of file names, such as *.hl7"))
    if not 0 <= source.settle <= _LONGEST_WAIT:
        found.append(wrong("source.settle", f"0 to {_LONGEST_WAIT:g} s"))
    return found


def _fhir(source: Fhir) -> list[Issue]:
    found = sign_in.problems("source.sign_in", source.sign_in)
    try:
        origin(source.url)
        if "?" in source.url:
            found.append(wrong("source.url", "the base address of a FHIR server, without a query"))
    except Refused as problem:
        found.append(wrong("source.url", str(problem)))
    if not 0 < len(source.searches) <= _MOST_SEARCHES:
        found.append(
            wrong("source.searches", f"1 to {_MOST_SEARCHES}, such as Patient or Observation?category=laboratory")
        )
    for n, search in enumerate(source.searches):
        if problem_ := _search(search):
            found.append(wrong(f"source.searches[{n}]", problem_))
    if not 1 <= source.count <= _MOST_COUNT:
        found.append(wrong("source.count", f"1 to {_MOST_COUNT}"))
    if not 0 <= source.overlap <= _LONGEST_WAIT:
        found.append(wrong("source.overlap", f"0 to {_LONGEST_WAIT:g} s"))
    if source.since is not None and not _INSTANT.match(source.since):
        found.append(wrong("source.since", "a date, or an instant with its zone, such as 2026-03-01T00:00:00Z"))
    return found


def _search(text: str) -> str | None:
    type_, _, query = text.partition("?")
    if type_ not in STORABLE or type_ in _NOT_POLLED:
        return f"{type_[:64]!r} is no type that can be fetched so"
    names = [name.partition(":")[0] for name, _ in parse_qsl(query, keep_blank_values=True)]
    if ours := sorted(_OURS & set(names)):
        return f"{', '.join(ours)}: we say this ourselves"
    return None
