"""What a grant may write, asked inside the transaction: of the rows that are there, and of what becomes of them.

http://hl7.org/fhir/R4/http.html#transactional-integrity
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Forbidden, NotFound
from fhir_server.interactions.draft import Draft, Save
from fhir_server.interactions.service import Service
from fhir_server.search.named import told
from fhir_server.search.tell import tell
from fhir_server.search.tree import Everything, Nothing, Tree
from fhir_server.smart.policy import visible
from fhir_server.store.database import Tx

_LETTER = {"create": "c", "update": "u", "patch": "u", "delete": "d", "match": "u"}


class Guard(msgspec.Struct, frozen=True):
    """The permission of one client's write; a write without a guard is the installation's own."""

    service: Service
    ctx: Context

    def scopes(self, saves: Sequence[Save]) -> None:
        """Raise Forbidden where no scope covers the type and the interaction of a save."""
        for save in saves:
            self._tree(save.type, save.action)
            if save.action == "patch":
                # Its answer shows the resource, and a patch may ask what is in it.
                visible(self.ctx, self.service.rules, save.type, "r")

    async def before(self, tx: Tx, saves: Sequence[Save]) -> None:
        """Lock the rows that the saves name; refuse as unknown what the grant cannot see, and what it may only read.

        What does not exist may be made. Asked of the locked rows: what they are now is what they are until the end.
        """
        walls: dict[Tree, int] = {}
        asked: dict[int, list[tuple[int, int, Save]]] = {}
        for save in saves:
            tree = self._tree(save.type, save.action)
            if save.id is not None and not isinstance(tree, Everything):
                key = self.service.hasher.self_key(self.ctx.tenant.id, save.type, save.id)
                wall, seen = (walls.setdefault(one, len(walls)) for one in (tree, self._readable(save.type)))
                asked.setdefault(key, []).append((wall, seen, save))
        if asked:
            for key, *may in await tx.fetch(*told(self.ctx.tenant.id, sorted(asked), list(walls))):
                for wall, seen, save in asked[key]:
                    if not may[wall]:
                        raise self._refused(save, readable=may[seen])

    def after(self, draft: Draft) -> bool:
        """Raise Forbidden where the grant may not leave this behind; tell whether the database has to be asked too."""
        if draft.entries is None:
            return False
        may = tell(self._left(draft.type, draft.action), draft.id, draft.entries)
        if may is False:
            raise self._unwritable(draft)
        return may is None

    async def after_rows(self, tx: Tx, drafts: Sequence[Draft]) -> None:
        """Ask the same tree of the rows as they are written now; raise Forbidden, which takes them back."""
        walls: dict[Tree, int] = {}
        asked = {d.self_key: (walls.setdefault(self._left(d.type, d.action), len(walls)), d) for d in drafts}
        if asked:
            for key, *may in await tx.fetch(*told(self.ctx.tenant.id, sorted(asked), list(walls))):
                wall, draft = asked[key]
                if not may[wall]:
                    raise self._unwritable(draft)

    def _tree(self, resource_type: str, action: str) -> Tree:
        return visible(self.ctx, self.service.rules, resource_type, _LETTER[action])

    def _left(self, resource_type: str, action: str) -> Tree:
        """Return what may be left behind: a patient who denies to be seen does not deny that results are collected."""
        grant = msgspec.structs.replace(self.ctx.grant, consents=False)
        ctx = msgspec.structs.replace(self.ctx, grant=grant)
        return visible(ctx, self.service.rules, resource_type, _LETTER[action])

    def _readable(self, resource_type: str) -> Tree:
        try:
            return visible(self.ctx, self.service.rules, resource_type, "r")
        except Forbidden:
            return Nothing()

    def _refused(self, save: Save, *, readable: bool) -> Exception:
        path = filter(None, [save.path])
        if readable:
            return Forbidden(f"this token may read {save.type}/{save.id}, and not change it", *path)
        return NotFound(f"{save.type}/{save.id} is not known", *path)

    def _unwritable(self, draft: Draft) -> Forbidden:
        return Forbidden(f"this token may not leave such a {draft.type} behind", draft.path)
