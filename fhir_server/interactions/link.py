"""References between entries of one bundle become references to the resources that they turn into.

http://hl7.org/fhir/R4/http.html#trules
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# A string with the member name before it, if there is one: an element named `value` is an Identifier's and never a
# link, although a document's masterIdentifier often equals the entry's fullUrl.
_STRING = re.compile(rb'(?:"(?P<name>[A-Za-z_]+)"\s*:\s*)?(?<!\\)"(?P<text>(?:urn:|https?:)[^"\\]+)"')
_HREF = re.compile(rb'((?:href|src)\s*=\s*(?:\\"|\'))((?:urn:|https?:)[^"\'\\]+)')
_KEPT = frozenset((b"value", b"valueString", b"display"))


def rewrite(body: bytes, links: Mapping[str, str]) -> bytes:
    """Return `body` with every reference to a key of `links` (a fullUrl) replaced by its value (`Type/id`)."""
    if not links or (b"urn:" not in body and b"http" not in body):
        return body
    table = {key.encode(): value.encode() for key, value in links.items()}

    def in_string(found: re.Match[bytes]) -> bytes:
        target = table.get(found["text"])
        # A fullUrl on the web often is the resource's own canonical url, which must stay what it is.
        kept = found["name"] in _KEPT if found["text"].startswith(b"urn:") else found["name"] != b"reference"
        if target is None or kept:
            return found[0]
        return found[0].replace(found["text"], target)

    def in_narrative(found: re.Match[bytes]) -> bytes:
        return found[1] + table.get(found[2], found[2])

    linked = _STRING.sub(in_string, body)
    return _HREF.sub(in_narrative, linked) if b"href" in linked or b"src" in linked else linked
