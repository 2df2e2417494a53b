"""The XHTML of a narrative: well formed, of the allowed elements, nothing that runs. http://hl7.org/fhir/R4/narrative.html

The form is XML, but viewers often paste it into an HTML page. So what HTML reads in another way than XML is refused
too: processing instructions, CDATA sections, and comments that HTML would end at once.
"""

from __future__ import annotations

import re
from functools import cache
from xml.parsers import expat

from conformance.r4 import facts

_NAMESPACE = "http://www.w3.org/1999/xhtml"
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_LINKS = frozenset({"href", "src", "cite", "longdesc"})
# Blanks and control characters inside a scheme are dropped by browsers before they read it.
_IGNORED = re.compile(r"[\x00-\x20\x7f]+")
_ACTIVE_LINK = re.compile(r"(?:javascript|vbscript|data:(?!image/(?:png|gif|jpe?g|webp)[;,]))", re.IGNORECASE)
_ACTIVE_STYLE = re.compile(r"javascript:|vbscript:|expression\(|-moz-binding|behavior:|@import|\\", re.IGNORECASE)


class _Refused(Exception):
    """What the narrative may not hold."""


@cache
def _allowed() -> tuple[frozenset[str], frozenset[str]]:
    rule = facts.narrative()
    return frozenset(f"{_NAMESPACE} {name}" for name in rule.elements), rule.attributes | {_LANGUAGE}


def problem(div: str) -> str | None:
    """Return what is wrong with a narrative's `div`, as a clause, or None."""
    reader = _Reader()
    try:
        reader.parser.Parse(div, True)
    except _Refused as refused:
        return str(refused)
    except (expat.ExpatError, ValueError) as fault:
        return f"is not well-formed XML ({fault})"
    return None


class _Reader:
    """One pass over a narrative; refuses on the first thing that may not stand there."""

    def __init__(self) -> None:
        self.root = True
        self.elements, self.attributes = _allowed()
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler = self.start
        parser.CommentHandler = _comment
        parser.ProcessingInstructionHandler = _refuse_instruction
        parser.StartCdataSectionHandler = _refuse_cdata
        parser.StartDoctypeDeclHandler = _refuse_doctype

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in self.elements:
            _refuse_element(name)
        if self.root:
            _check_root(name)
            self.root = False
        if attributes:
            self.check_attributes(attributes)

    def check_attributes(self, attributes: dict[str, str]) -> None:
        for attribute, value in attributes.items():
            if attribute not in self.attributes:
                raise _Refused(f"holds the attribute {attribute!r}, which a narrative may not hold")
            if attribute in _LINKS and _ACTIVE_LINK.match(_IGNORED.sub("", value)):
                raise _Refused(f"holds a link in {attribute!r} that runs a program or carries a page")
            if attribute == "style" and _ACTIVE_STYLE.search(value):
                raise _Refused("holds a style that can run a program")


def _check_root(name: str) -> None:
    if name != f"{_NAMESPACE} div":
        raise _Refused(f"must be a div element, not {name.rpartition(' ')[2]!r}")


def _refuse_element(name: str) -> None:
    namespace, _, local = name.rpartition(" ")
    if namespace != _NAMESPACE:
        raise _Refused(f"holds {local!r} outside the namespace {_NAMESPACE}")
    raise _Refused(f"holds the element {local!r}, which a narrative may not hold")


def _comment(data: str) -> None:
    if data.startswith((">", "->")):
        raise _Refused("holds a comment that HTML ends at once")


def _refuse_instruction(target: str, data: str) -> None:
    raise _Refused(f"holds the processing instruction {target!r}")


def _refuse_cdata() -> None:
    raise _Refused("holds a CDATA section")


def _refuse_doctype(*_: object) -> None:
    raise _Refused("holds a document type")
