"""What of a request may stand in a log: its shape, and names of parameters that are the specification's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from conformance.search_params import Registry
from conformance.structures import STORABLE
from fhir_server.interactions.message import Request

_CONTROLS = frozenset(
    ("_has", "_include", "_revinclude", "_sort", "_count", "_total", "_summary", "_elements", "_type", "_list",
     "_since",
     "_at", "_cursor", "_text", "_content", "_format", "_pretty", "iterate", "missing", "exact", "contains", "not",
     "text",
     "above", "below", "in", "not-in", "of-type", "identifier")
)  # fmt: skip
_UNSAID = "…"


def shown(request: Request, registry: Registry) -> str:
    """Return method, address and parameter names; ids, values and whatever else a client made up are left out."""
    address = "/".join(part if _is_ours(part) else _UNSAID for part in request.path)
    names = [name for name, _ in request.query]
    if request.path[-1:] == ("_search",):
        names += [name for name, _ in parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)]
    return f"{request.method} {address}?{'&'.join(_known(names, registry))}"


def _is_ours(part: str) -> bool:
    return part in STORABLE or part == "*" or part in ("_search", "_history") or bool(re.match(r"\$[a-z-]+\Z", part))


def _known(names: Iterable[str], registry: Registry) -> list[str]:
    codes = {code for kind in STORABLE for code in registry.for_type(kind)}
    words = codes | _CONTROLS | set(STORABLE)
    return [name if words.issuperset(re.split("[.:]", name)) else _UNSAID for name in names]
