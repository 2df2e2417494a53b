"""The narrative in FHIR's XML: its div is cut out of the document as it stands, byte for byte. http://hl7.org/fhir/R4/xml.html

JSON holds it as text of its own, so a namespace that is declared further out is declared in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from conformance.xml_slots import XHTML

Names = dict[str | None, str]
# Quoted values may hold a greater-than sign.
_TAG = re.compile(rb"(<[^\s/>]++)(?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+>")


class Scope:
    """The namespaces that are declared where a parser stands, by prefix; None is the one of names without."""

    def __init__(self) -> None:
        self._declared: dict[str | None, list[str]] = {}
        self._new: Names = {}

    @property
    def size(self) -> int:
        """Return how many prefixes were declared so far."""
        return len(self._declared)

    def opened(self, prefix: str | None, uri: str | None) -> None:
        """Take a declaration, which a parser tells before the element that has it."""
        self._declared.setdefault(prefix, []).append(uri or "")
        self._new[prefix] = uri or ""

    def closed(self, prefix: str | None) -> None:
        """Forget the innermost declaration of a prefix."""
        self._declared[prefix].pop()

    def begun(self) -> Names:
        """Return what the element that now begins declares itself."""
        if not self._new:
            return {}
        own, self._new = self._new, {}
        return own

    def around(self, own: Mapping[str | None, str]) -> Names:
        """Return what holds in an element, and is not declared by itself."""
        return {prefix: uris[-1] for prefix, uris in self._declared.items() if uris and prefix not in own}


def cut(data: bytes, start: int, index: int, own: Mapping[str | None, str], scope: Scope) -> str:
    """Return the element that begins at `start`; `index` is where the parser stands at its end.

    `own` is what it declares itself.
    """
    tag = _TAG.match(data, start)
    if tag is None:
        raise ValueError("no tag begins here")
    # Of an element that closes itself the parser stands behind it, of any other before its end tag.
    end = index if tag.end() == index and data[index - 2 : index] == b"/>" else data.index(b">", index) + 1
    body = data[tag.end(1) : end]
    missing = "".join(
        f" xmlns:{prefix}={quoteattr(uri)}" if prefix else f' xmlns="{uri}"'
        for prefix, uri in scope.around(own).items()
        if (prefix is None and uri == XHTML) or (prefix and f"{prefix}:".encode() in data[start:end])
    )
    return (tag[1] + missing.encode() + body).decode("utf-8")
