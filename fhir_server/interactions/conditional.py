"""What the criteria of a write mean, once its locks are held: rows that saves are about, and targets of references.

http://hl7.org/fhir/R4/http.html#trules
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec

from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import NotFound, Precondition
from fhir_server.interactions.criteria import Criteria, Found, criteria_of, find, only, touchable
from fhir_server.interactions.draft import Save
from fhir_server.interactions.link import relative_references
from fhir_server.interactions.locks import identifiers
from fhir_server.interactions.service import Service
from fhir_server.search.tree import AllKeys
from fhir_server.store.database import Tx

_LETTER = {"create": "c", "update": "u", "patch": "u", "delete": "d"}
_TYPES = frozenset(STORABLE)


class Asked(msgspec.Struct):
    """The criteria of a write: of its saves by number, and of its references by their text."""

    saves: dict[int, Criteria]
    references: dict[str, Criteria]

    def every(self) -> list[Criteria]:
        """Return all of them, those of saves first."""
        return [*self.saves.values(), *self.references.values()]


class Resolved(msgspec.Struct):
    """Rows that the criteria of a save found, by its number; and ids of resources that references found."""

    saves: Mapping[int, Sequence[Found]]
    references: Mapping[str, Sequence[str]]


def asked_of(service: Service, ctx: Context, saves: Sequence[Save]) -> Asked:
    """Return the criteria in the saves; raise Invalid for one that cannot be searched, with its place."""
    found = Asked({}, {})
    # A row that is deleted in this very write must not hide another that is found.
    deleted = sum(save.most for save in saves if save.action == "delete")
    for number, save in enumerate(saves):
        if save.criteria is not None:
            letter = _LETTER[save.action]
            most = save.most + deleted if save.action == "create" else save.most
            found.saves[number] = criteria_of(
                service, ctx, save.type, save.criteria, letter, save.path or save.type, most
            )
        for text in _conditional_references(save):
            kind, _, query = text.partition("?")
            if kind in _TYPES and text not in found.references:
                pairs = parse_qsl(query, keep_blank_values=True)
                found.references[text] = criteria_of(service, ctx, kind, pairs, "s", save.path, 1 + deleted)
    return found


def _conditional_references(save: Save) -> Iterable[str]:
    return [t for t in relative_references(save.resource) if "?" in t] if save.linked and save.resource else ()


async def resolve(ctx: Context, tx: Tx, asked: Asked, saves: Sequence[Save]) -> Resolved:
    """Look up all criteria together; raise Precondition where one that must be single finds several, or none.

    Deletions come first (trules): what this write deletes is found neither by its conditional creates nor by its
    references. An update or patch of it stays a resource that stands twice.
    """
    every = asked.every()
    found = await find(tx, ctx.tenant.id, every) if every else []
    hits = dict(zip(asked.saves, found, strict=False))
    deletes = [n for n in hits if saves[n].action == "delete"]
    rows = {n: _chosen(saves[n], asked.saves[n], hits[n]) for n in deletes}
    gone = {f"{save.type}/{save.id}" for save in saves if save.action == "delete" and save.id}
    gone.update(f"{saves[n].type}/{row.id}" for n in deletes for row in rows[n])
    for number in hits.keys() - rows.keys():
        save = saves[number]
        kept = [row for row in hits[number] if save.action != "create" or f"{save.type}/{row.id}" not in gone]
        rows[number] = _chosen(save, asked.saves[number], kept)
    targets: dict[str, Sequence[str]] = {}
    for (text, one), those in zip(asked.references.items(), found[len(asked.saves) :], strict=True):
        targets[text] = [name for name in (f"{one.type}/{row.id}" for row in those) if name not in gone]
    return Resolved(rows, targets)


def _chosen(save: Save, one: Criteria, hits: Sequence[Found]) -> Sequence[Found]:
    if save.action == "create":
        # It only learns that there is one; whether it may change it does not matter.
        row = only(one, [msgspec.structs.replace(hit, may=True) for hit in hits])
        return [row] if row else ()
    if save.action == "patch" and not hits:
        raise NotFound(f"{one.text[:200]} finds nothing to patch", one.path)
    if save.action != "delete" or one.most == 1:
        row = only(one, hits)
        return [row] if row else ()
    if len(hits) > one.most and not _counted(save):
        raise Precondition(f"{one.text[:200]} finds more than the {one.most} that may be deleted at a time", one.path)
    return touchable(one, hits[: one.most])


def _counted(save: Save) -> bool:
    return any(name == "_count" for name, _ in save.criteria or ())


def targets(
    service: Service, ctx: Context, asked: Asked, resolved: Resolved, made: Sequence[tuple[Save, str]]
) -> dict[str, str]:
    """Return what each conditional reference becomes; `made` are the saves with the ids they were given.

    References are resolved last, so one may name what the same transaction makes (trules, step 5).
    """
    carried = _carried(service, ctx, made) if asked.references else {}
    links: dict[str, str] = {}
    for text, one in asked.references.items():
        own = carried.get(one.tree.keys[0], ()) if isinstance(one.tree, AllKeys) and len(one.tree.keys) == 1 else ()
        names = list(dict.fromkeys([*resolved.references[text], *own]))
        if len(names) != 1:
            told = "no resource" if not names else "several resources"
            raise Precondition(f"the reference {text[:200]} finds {told}: it must find one", one.path)
        links[text] = names[0]
    return links


def _carried(service: Service, ctx: Context, made: Sequence[tuple[Save, str]]) -> dict[int, list[str]]:
    """Return the resources of this write by the keys of their identifiers, with a system and without."""
    found: dict[int, list[str]] = {}
    for save, resource_id in made:
        for system, value in identifiers(save.resource):
            for of in (system, None):
                key = service.hasher.token(ctx.tenant.id, save.type, "identifier", of, value)
                found.setdefault(key, []).append(f"{save.type}/{resource_id}")
    return found
