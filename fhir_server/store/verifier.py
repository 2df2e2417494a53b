"""Whether the audit is as it was written: every block follows from the one before it, and every row from its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from fhir_server.store.audit_leaves import Span, block_hash, leaf, rows, unpacked
from fhir_server.store.database import Database
from fhir_server.store.sealer import GENESIS

_PAGE = 100
_START = "select number, hash, before from audit_start where tenant_id = %s"
_BLOCKS = (
    "select b.number, b.day, b.era, b.since, b.until, b.rows, b.leaves, b.previous, b.hash, e.after,"
    " (select min(n.after) from audit_era n where n.number > b.era)"
    " from audit_block b left join audit_era e on e.number = b.era"
    " where b.tenant_id = %s and b.number > %s order by b.number limit %s"
)
_EARLIER = "select 1 from audit_block where tenant_id = %s and number <= %s limit 1"
_RETAINED = (
    "select 1 from audit where tenant_id = %s and action = 'retain' and detail ->> 'before' = %s"
    " and (detail ->> 'number')::bigint = %s and detail ->> 'hash' = %s"
)


class Anchor(msgspec.Struct, frozen=True):
    """A block as it was exported: the chain must still hold it."""

    tenant: str
    number: int
    hash: str


class Verified(msgspec.Struct, frozen=True):
    """How far the chain is whole; `broken` names the first link that is not."""

    blocks: int
    rows: int
    number: int
    hash: str
    broken: str | None = None


class Block(msgspec.Struct, frozen=True):
    """A block with the bounds of its era."""

    number: int
    day: date
    era: int
    since: int
    until: int
    rows: int
    leaves: bytes
    previous: bytes
    hash: bytes
    after: int | None
    last: int | None

    @property
    def span(self) -> Span:
        """Return which rows it is of."""
        return Span(self.era, self.after or 0, self.last, self.since, self.until)


class _Broken(Exception):
    """The first broken link."""


async def verify(db: Database, tenant_id: int, anchors: Sequence[Anchor] = ()) -> Verified:
    """Follow a tenant's chain from its start; `anchors` are blocks of it that were exported."""
    found = await db.fetch(tenant_id, _START, (tenant_id,))
    number, hash_, before = found[0] if found else (0, GENESIS, date.min)
    chain = _Chain(db, tenant_id, number, hash_, before, {one.number: one.hash for one in anchors})
    broken = None
    try:
        if found:
            await chain.require_start()
        await chain.follow()
    except _Broken as problem:
        broken = str(problem)
    return Verified(chain.blocks, chain.rows, chain.number, chain.hash.hex(), broken)


class _Chain:
    def __init__(
        self, db: Database, tenant_id: int, number: int, hash_: bytes, before: date, anchors: Mapping[int, str]
    ) -> None:
        self._db, self._tenant_id, self._before, self._anchors = db, tenant_id, before, anchors
        self.number, self.hash = number, hash_
        self.blocks = self.rows = 0
        self._reached = (0, 0)

    async def require_start(self) -> None:
        """Raise where the chain starts at a block that no row of it tells of."""
        told = (self._tenant_id, self._before.isoformat(), self.number, self.hash.hex())
        if await self._db.fetch(self._tenant_id, _EARLIER, (self._tenant_id, self.number)):
            raise _Broken(f"the chain is said to start after block {self.number}, and earlier blocks are there")
        if not await self._db.fetch(self._tenant_id, _RETAINED, told):
            raise _Broken(f"the chain starts after block {self.number}, and no row tells that days were dropped there")

    async def follow(self) -> None:
        """Go through all blocks, those of one span together."""
        group: list[Block] = []
        while page := await self._page():
            for block in page:
                self._link(block)
                if group and (group[-1].era, group[-1].until) != (block.era, block.until):
                    await self._compare(group)
                    group = []
                group.append(block)
        if group:
            await self._compare(group)
        if missing := [number for number in self._anchors if number > self.number]:
            raise _Broken(f"block {self.number + 1} is missing: an anchor tells of block {max(missing)}")

    async def _page(self) -> list[Block]:
        rows = await self._db.fetch(self._tenant_id, _BLOCKS, (self._tenant_id, self.number, _PAGE))
        return [Block(*row) for row in rows]

    def _link(self, block: Block) -> None:
        """Raise where a block does not follow from the one before it."""
        name = f"block {block.number}"
        if block.number != self.number + 1:
            raise _Broken(f"block {self.number + 1} is missing")
        if block.previous != self.hash:
            raise _Broken(f"{name} was changed: it does not follow from block {self.number}")
        made = block_hash(block.previous, self._tenant_id, block.number, block.day, block.span, block.leaves)
        if made != block.hash or block.rows * 24 != len(block.leaves):
            raise _Broken(f"{name} was changed: its hash is not its own")
        if self._anchors.get(block.number, block.hash.hex()) != block.hash.hex():
            raise _Broken(f"{name} was changed: an anchor tells another hash")
        self.number, self.hash = block.number, block.hash
        self.blocks += 1

    async def _compare(self, group: Sequence[Block]) -> None:
        """Raise for the first row that is not what its block says; days that were dropped are left out."""
        expected = {
            id_: (block, hash_)
            for block in group
            if block.day >= self._before
            for id_, hash_ in unpacked(block.leaves).items()
        }
        span = group[0].span
        if self._reached[0] == span.era and span.since != self._reached[1] and self._reached[1]:
            raise _Broken(f"block {group[0].number} was changed: it does not begin where the one before it ended")
        self._reached = (span.era, span.until or 0)
        async for _, values in rows(self._db, self._tenant_id, span):
            self._row(group, expected, values)
        for id_, (block, _) in sorted(expected.items()):
            raise _Broken(f"row {id_} of {block.day} in block {block.number} was removed")

    def _row(self, group: Sequence[Block], expected: dict[int, tuple[Block, bytes]], values: Sequence[object]) -> None:
        one = leaf(values)
        if one.day < self._before:
            return
        known = expected.pop(one.id, None)
        if known is None:
            raise _Broken(f"row {one.id} of {one.day} was inserted into the span of block {group[0].number}")
        block, hash_ = known
        if hash_ != one.hash or block.day != one.day:
            raise _Broken(f"row {one.id} of {one.day} in block {block.number} was changed")
        self.rows += 1
