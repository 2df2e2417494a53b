"""Whether a grant may see a version that was replaced, which may have been another patient's, or closed by a label.

http://hl7.org/fhir/R4/http.html#history

The database is asked of the current row, and who may not see that sees no version of it. Of the version itself, its own
entries tell. What they cannot tell is no: whoever sees by a release or by a case sees what is current alone, for
nobody released a draft, and nobody knows which case it was of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from conformance.r4.types import CODE_TYPES
from conformance.structures import decode
from fhir_server.context import Context
from fhir_server.interactions.service import Service
from fhir_server.search.named import held_by
from fhir_server.search.ownership import label_codes
from fhir_server.search.tell import tell
from fhir_server.search.tree import And, Consented, Everything, InCare, Not, Or, Tree
from fhir_server.smart.policy import visible
from fhir_server.store.history import Version

# Which care relations hold with the patients of rows, as of now.
_Care = dict[tuple[int, InCare], bool]


async def seen(service: Service, ctx: Context, versions: Sequence[Version], letter: str) -> list[Version]:
    """Return those of the versions that the grant may see, which may see the current rows."""
    names = {CODE_TYPES[version.type] for version in versions}
    trees = {name: visible(ctx, service.rules, name, letter) for name in names}
    old = [v for v in versions if not v.current and not isinstance(trees[CODE_TYPES[v.type]], Everything)]
    care = await _care(service, ctx, old, trees.values()) if old else {}
    hidden = {id(v) for v in old if v.body is not None and not _told(service, ctx, v, trees[CODE_TYPES[v.type]], care)}
    return [version for version in versions if id(version) not in hidden]


async def _care(service: Service, ctx: Context, versions: Sequence[Version], trees: Iterable[Tree]) -> _Care:
    leaves = list(dict.fromkeys(leaf for tree in trees for leaf in _leaves(tree)))
    if not leaves:
        return {}
    asked = held_by(ctx.tenant.id, list({version.rid for version in versions}), leaves)
    rows = await service.db.fetch(ctx.tenant.id, *asked)
    return {(rid, leaf): bool(may) for rid, *told in rows for leaf, may in zip(leaves, told, strict=True)}


def _leaves(tree: Tree) -> Iterator[InCare]:
    match tree:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case InCare():
            yield tree


def _told(service: Service, ctx: Context, version: Version, tree: Tree, care: _Care) -> bool:
    name = CODE_TYPES[version.type]
    body = b"" if version.body is None else version.body
    resource = decode(name, body)
    entries = service.indexer.entries(ctx.tenant.id, ctx.base, name, version.id, resource)

    def other(leaf: Tree) -> bool | None:
        if isinstance(leaf, Consented):
            # The current row was asked; a label may close the version alone.
            return entries.patient in (None, version.patient) and not label_codes(name, resource)
        if not isinstance(leaf, InCare):
            return None
        # Asked of the patient it is of now.
        return entries.patient is not None and entries.patient == version.patient and care[version.rid, leaf]

    return tell(tree, version.id, entries, other) is True
