"""What a grant may write, asked inside the transaction: of the rows that are there, and of what becomes of them.

http://hl7.org/fhir/R4/http.html#transactional-integrity
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Forbidden, NotFound
from fhir_server.interactions.draft import Save
from fhir_server.interactions.service import Service
from fhir_server.search.kinds import Entries
from fhir_server.search.named import told
from fhir_server.search.tree import Everything, Tree
from fhir_server.smart.policy import may_hold, visible
from fhir_server.store.database import Tx

_LETTER = {"create": "c", "update": "u", "patch": "u", "delete": "d", "match": "u"}


class Guard(msgspec.Struct, frozen=True):
    """The permission of one client's write; a write without a guard is the installation's own."""

    service: Service
    ctx: Context

    def scopes(self, saves: Sequence[Save]) -> None:
        """Raise Forbidden where no scope covers the type and the interaction of a save."""
        for save in saves:
            self._tree(save)
            if save.action == "patch":
                # Its answer shows the resource, and a patch may ask what is in it.
                visible(self.ctx, self.service.rules, save.type, "r")

    async def before(self, tx: Tx, saves: Sequence[Save]) -> None:
        """Lock the rows that the saves name; refuse as unknown what the grant cannot see.

        What does not exist may be made. Asked of the locked rows: what they are now is what they are until the end.
        """
        hasher, tenant_id = self.service.hasher, self.ctx.tenant.id
        walls: dict[Tree, int] = {}
        asked: dict[int, list[tuple[int, Save]]] = {}
        for save in saves:
            tree = self._tree(save)
            if save.id is not None and not isinstance(tree, Everything):
                key = hasher.self_key(tenant_id, save.type, save.id)
                asked.setdefault(key, []).append((walls.setdefault(tree, len(walls)), save))
        if asked:
            for key, *may in await tx.fetch(*told(tenant_id, sorted(asked), list(walls))):
                for wall, save in asked[key]:
                    if not may[wall]:
                        raise NotFound(f"{save.type}/{save.id} is not known", *filter(None, [save.path]))

    def after(self, resource_type: str, action: str, entries: Entries) -> None:
        """Raise Forbidden where the grant may not leave this behind."""
        if not may_hold(self.ctx, self.service.rules, resource_type, entries.patient, _LETTER[action]):
            raise Forbidden(f"this token may not write a {resource_type} of another patient")

    def _tree(self, save: Save) -> Tree:
        return visible(self.ctx, self.service.rules, save.type, _LETTER[save.action])
