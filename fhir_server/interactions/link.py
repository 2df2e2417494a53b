"""References between entries of one bundle become references to the resources that they turn into.

http://hl7.org/fhir/R4/http.html#trules
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from conformance.references import literal

# Patterns that begin with fixed text are searched for it fast; a quote that is escaped is sorted out afterwards.
_STRING = re.compile(rb'"((?:urn:|https?:)[^"\\]+)"')
# Most links are UUIDs, and most other strings that begin with `urn:` are systems of identifiers and codes.
_UUID = re.compile(rb'"(urn:uuid:[^"\\]+)"')
_NAME = re.compile(rb'"([A-Za-z_]+)"\s*:\s*\Z')
_LONGEST_NAME = 80
_BACKSLASH = ord("\\")
_HREF = re.compile(rb'((?:href|src)\s*=\s*(?:\\"|\'))((?:urn:|https?:)[^"\'\\]+)')
# `Type/id` or `Type?criteria` in a Reference.
_RELATIVE = re.compile(rb'("reference"\s*:\s*)("[A-Z][A-Za-z]{1,63}[/?](?:[^"\\]|\\.)*")')
_text = msgspec.json.Decoder(str)
# The name of the array whose element a string is.
_LIST = re.compile(rb'"([A-Za-z_]+)"\s*:\s*\[\s*(?:"[^"\\]*"\s*,\s*)*\Z')
_LONGEST_LIST = 2000
# Members whose type in R4 is canonical wherever it is one text: such links are not replaced (trules).
_CANONICAL = (
    "answerValueSet base baseDefinition capabilities compartment defaultValueCanonical definitionCanonical derivedFrom"
    " derivedFromCanonical exampleCanonical fixedCanonical graph implementationGuide import imports inputProfile"
    " instantiatesCanonical library measure message moduleCanonical outputProfile parent partOf patternCanonical"
    " profile questionnaire replaces resource sourceCanonical supplements supportedProfile targetCanonical"
    " targetProfile transform valueCanonical valueSet workflow"
)
# A UUID or an OID that became `Type/id` would be none.
_KEPT = frozenset(f"value valueString valueUuid valueOid display {_CANONICAL}".encode().split())


class Links:
    """What the fullUrls of a bundle turn into (`Type/id`), made ready once for all of its resources."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self.urls = links
        self._table = {key.encode(): value.encode() for key, value in links.items()}
        self._strings = _UUID if all(key.startswith("urn:uuid:") for key in links) else _STRING

    def rewrite(self, body: bytes) -> bytes:
        """Return `body` with every reference to one of the fullUrls replaced by what it turns into."""
        if not self._table or (b"urn:" not in body and b"http" not in body):
            return body
        linked = self._strings.sub(self._in_string, body)
        return _HREF.sub(self._in_narrative, linked) if b"href" in linked or b"src" in linked else linked

    def _in_string(self, found: re.Match[bytes]) -> bytes:
        target = self._table.get(found[1])
        return found[0] if target is None or _stays(found) else b'"' + target + b'"'

    def _in_narrative(self, found: re.Match[bytes]) -> bytes:
        return found[1] + self._table.get(found[2], found[2])


def _stays(found: re.Match[bytes]) -> bool:
    """Tell whether a string is no link although it equals one: by the name of the member whose value it is.

    An element named `value` is an Identifier's: a document's masterIdentifier often equals the entry's fullUrl. A
    fullUrl on the web often is the resource's own canonical url, which must stay what it is.
    """
    if found.string[found.start() - 1] == _BACKSLASH:
        return True
    start = found.start()
    before = _NAME.search(found.string, max(0, start - _LONGEST_NAME), start)
    if before is None:
        before = _LIST.search(found.string, max(0, start - _LONGEST_LIST), start)
    name = before[1] if before else None
    return name in _KEPT if found[1].startswith(b"urn:") else name != b"reference"


def relative_references(body: bytes) -> Iterator[str]:
    """Return the references of the body that are relative: `Type/id` or `Type?criteria`."""
    for found in _RELATIVE.finditer(body):
        text = _unquoted(found[2])
        if text is not None:
            yield text


def rewrite_relative(body: bytes, links: Mapping[str, str]) -> bytes:
    """Return `body` with every relative reference that is a key of `links` replaced by its value."""
    if not links:
        return body

    def linked(found: re.Match[bytes]) -> bytes:
        target = links.get(_unquoted(found[2]) or "")
        return found[1] + b'"%b"' % target.encode() if target else found[0]

    return _RELATIVE.sub(linked, body)


def under_same_base(links: Mapping[str, str], full_url: str | None) -> dict[str, str]:
    """Return what relative references mean in the entry of this fullUrl: entries whose fullUrl has the same base.

    http://hl7.org/fhir/R4/bundle.html#references
    """
    own = literal(full_url) if full_url else None
    if own is None or not own.base:
        return {}
    start = f"{own.base}/"
    return {url.removeprefix(start): to for url, to in links.items() if url.startswith(start)}


def _unquoted(text: bytes) -> str | None:
    try:
        return _text.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
