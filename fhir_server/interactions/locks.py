"""What a writer locks before it looks at anything: the identifiers and the ids that it is about, all at once.

One statement, sorted, for every writer: two that meet never wait for each other, and of two that would make a resource
with the same identifier one sees what the other made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fhir_server.errors import TooLarge
from fhir_server.interactions.criteria import Criteria, identifier_lock
from fhir_server.interactions.draft import Save
from fhir_server.search.hashing import Hasher


class _Identifier(msgspec.Struct):
    system: str = ""
    value: str | None = None


class _Several(msgspec.Struct):
    identifier: list[_Identifier] = []
    # Of documents; the search parameter `identifier` finds it too.
    masterIdentifier: _Identifier | None = None  # noqa: N815 - FHIR's name


class _Single(msgspec.Struct):
    identifier: _Identifier


_several = msgspec.json.Decoder(_Several)
_single = msgspec.json.Decoder(_Single)


def locks_of(
    hasher: Hasher, tenant_id: int, saves: Sequence[Save], criteria: Iterable[Criteria], most: int
) -> list[int]:
    """Return the keys to lock, sorted: of every identifier in the saves, of every resource they name, of criteria.

    Raises TooLarge for more than `most`: all tenants share PostgreSQL's table of locks.
    """
    keys = {key for one in criteria for key in one.locks}
    for save in saves:
        if save.action != "match" and save.id is not None:
            keys.add(hasher.self_key(tenant_id, save.type, save.id))
        values = {value for _, value in (*save.match, *identifiers(save.resource))}
        keys.update(identifier_lock(hasher, tenant_id, save.type, value) for value in values)
    if len(keys) > most:
        raise TooLarge(f"{len(keys)} identifiers and ids in one write; this server takes {most}")
    return sorted(keys)


def identifiers(body: bytes | None) -> Iterator[tuple[str, str]]:
    """Return (system, value) of a resource's own identifiers; a body that is not one is told so when it is checked."""
    for item in _read(body) if body else ():
        if item.value is not None:
            yield item.system, item.value


def _read(body: bytes) -> Sequence[_Identifier]:
    try:
        found = _several.decode(body)
        return [*found.identifier, found.masterIdentifier] if found.masterIdentifier else found.identifier
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return [_single.decode(body).identifier]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
