"""A resource on its way to the store: what was asked (Save), what is being made (Draft), what became of it (Saved)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from conformance.issue import Issue, error
from conformance.r4.types import TYPE_CODES
from conformance.structures import Refused, decode
from fhir_server.context import Context
from fhir_server.interactions.body import Members, members_of, text_member
from fhir_server.interactions.criteria import Found
from fhir_server.interactions.labels import labelled, protective
from fhir_server.search.kinds import Entries, Indexer
from fhir_server.store.resources import Current, Write

Action = Literal["create", "update", "patch", "delete", "match"]
Merge = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
Query = Sequence[tuple[str, str]]


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """One write that is asked for.

    `create` gets a new id, `update` and `delete` name one, `match` meets the resource that carries one of the
    identifiers in `match` (system, value; the first that finds one counts) or creates it; `merge(existing, incoming)`
    then says what the resource becomes. `resource` is JSON, `path` locates it for error messages.

    `criteria`, a query, makes it conditional: a create does nothing where one resource is found, an update or delete is
    of the one that is found, and a delete takes up to `most`. `linked` looks up references that are
    criteria. A `patch` says what the stored resource becomes. `asked` names the request that the audit tells of, where
    a transaction serves several.
    """

    type: str
    action: Action
    resource: bytes | None = None
    id: str | None = None
    path: str = ""
    full_url: str | None = None
    if_match: int | None = None
    match: Sequence[tuple[str, str]] = ()
    merge: Merge | None = None
    criteria: Query | None = None
    most: int = 1
    linked: bool = False
    patch: Callable[[bytes], bytes] | None = None
    asked: Context | None = None
    unlabel: bool = False


class Saved(msgspec.Struct, frozen=True):
    """What became of a Save; `status` is HTTP's, `changed` is False where nothing had to be written.

    `patient` is the self_key of the patient whose data it is.
    """

    type: str
    id: str
    version: int
    updated: datetime
    status: int
    body: bytes | None
    changed: bool
    patient: int | None = None


class Draft:
    """A Save whose id is settled; `fresh` where no row can exist yet; `check` adds members and index entries.

    `found` is what its criteria found: the row must still be that version. `kept` where the save leaves it so. `absent`
    where criteria found nothing and the id is the client's: no row may have it.
    """

    __slots__ = (
        "absent", "action", "asked", "body", "entries", "found", "fresh", "id", "if_match", "kept", "labels", "members",
        "path", "self_key", "type", "unlabel",
    )  # fmt: skip

    def __init__(
        self,
        save: Save,
        resource_id: str,
        self_key: int,
        body: bytes | None,
        *,
        fresh: bool = False,
        found: Found | None = None,
    ) -> None:
        self.action, self.type, self.id = save.action, save.type, resource_id
        self.fresh = fresh or save.action == "create"
        self.found, self.kept = found, found is not None and save.action == "create"
        self.absent = save.criteria is not None and found is None and not self.fresh
        self.self_key, self.body = self_key, body
        self.path, self.if_match, self.asked = save.path or save.type, save.if_match, save.asked
        self.members: Members | None = None
        self.labels: set[str] = set()
        self.unlabel = save.unlabel
        self.entries: Entries | None = None

    def check(self, indexer: Indexer, tenant_id: int, base: str) -> list[Issue]:
        """Validate and index the body; return its problems, located by `path`."""
        if self.body is None or self.kept:
            return []
        try:
            resource = decode(self.type, self.body)
        except Refused as refused:
            return [self._located(issue) for issue in refused.issues]
        self.members = members_of(self.body)
        given = text_member(self.members, "id")
        named = self.action == "update" and (given or not self._conditional)
        if given != self.id and (named or self.action == "patch"):
            where = "found by the criteria" if self.found else "in the address"
            told = f"id is {given!r} in the body" if given else "the body has no id"
            return [error("invalid", f"{told} but {self.id!r} {where}", f"{self.path}.id")]
        self.members = labelled(self.type, resource, self.members, self.labels)
        self.entries = indexer.entries(tenant_id, base, self.type, self.id, resource)
        return []

    def keep(self, row: Current | None) -> bool:
        """Keep the protective labels that the row has; tell whether they are to be added, by another `check`."""
        if self.unlabel or self.members is None or row is None or row.body is None:
            return False
        self.labels = protective(row.body)
        return bool(self.labels - protective(b'{"meta":%b}' % self.members.get("meta", b"{}")))

    @property
    def _conditional(self) -> bool:
        """Whether the id is not in the address, so that the body may leave it out."""
        return self.found is not None or self.fresh

    def _located(self, issue: Issue) -> Issue:
        if self.path == self.type:
            return issue
        moved = tuple(self.path + e.removeprefix(self.type) for e in issue.expression)
        return msgspec.structs.replace(issue, expression=moved or (self.path,))

    def write(self, version: int, updated: datetime, body: bytes | None, row: Current | None) -> Write:
        """Return the row to be written; its number is the existing row's, or 0 until one is taken."""
        return Write(
            rid=row.rid if row else 0,
            type=TYPE_CODES[self.type],
            id=self.id,
            version=version,
            updated=updated,
            body=body,
            entries=self.entries,
            self_key=self.self_key,
            previous=row,
        )
