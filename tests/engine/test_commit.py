"""Group commit: few commits for many items, and each item its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from fhir_server.engine.commit import GroupCommit


class Disk:
    """Commits slowly and remembers its groups; refuses what it is told to."""

    def __init__(self, bad: Sequence[int] = (), failure: Exception | None = None) -> None:
        self.groups: list[tuple[int, list[int]]] = []
        self.bad, self.failure = bad, failure

    async def commit(self, tenant_id: int, items: Sequence[int]) -> list[str]:
        await asyncio.sleep(0.005)
        if self.failure:
            raise self.failure
        if set(items) & set(self.bad):
            raise psycopg.DataError("cannot be taken")
        self.groups.append((tenant_id, list(items)))
        return [f"{tenant_id}:{item}" for item in items]


async def test_a_lone_item_is_committed_at_once() -> None:
    disk = Disk()
    assert await GroupCommit(disk.commit).submit(1, 7) == "1:7"
    assert disk.groups == [(1, [7])]


async def test_what_comes_during_a_commit_goes_into_the_next_together() -> None:
    disk = Disk()
    group = GroupCommit(disk.commit)
    first = asyncio.create_task(group.submit(1, 0))
    await asyncio.sleep(0.001)
    rest = await asyncio.gather(*(group.submit(1, n) for n in range(1, 33)))
    assert await first == "1:0"
    assert rest == [f"1:{n}" for n in range(1, 33)]
    assert disk.groups == [(1, [0]), (1, list(range(1, 33)))]


async def test_a_group_has_a_bound() -> None:
    disk = Disk()
    group = GroupCommit(disk.commit, most=4)
    await asyncio.gather(*(group.submit(1, n) for n in range(10)))
    assert [len(items) for _, items in disk.groups] == [4, 4, 2]


async def test_tenants_never_share_a_group() -> None:
    disk = Disk()
    group = GroupCommit(disk.commit)
    results = await asyncio.gather(*(group.submit(n % 2, n) for n in range(6)))
    assert results == ["0:0", "1:1", "0:2", "1:3", "0:4", "1:5"]
    assert sorted(disk.groups) == [(0, [0, 2, 4]), (1, [1, 3, 5])]


async def test_an_item_that_cannot_be_stored_does_not_fail_its_neighbours() -> None:
    disk = Disk(bad=[2])
    group = GroupCommit(disk.commit)
    results = await asyncio.gather(*(group.submit(1, n) for n in range(4)), return_exceptions=True)
    assert [str(r) for r in results] == ["1:0", "1:1", "cannot be taken", "1:3"]


async def test_when_the_database_is_gone_every_item_is_told_once() -> None:
    group = GroupCommit(Disk(failure=psycopg.OperationalError("gone")).commit)
    results = await asyncio.gather(*(group.submit(1, n) for n in range(3)), return_exceptions=True)
    assert [type(r) for r in results] == [psycopg.OperationalError] * 3


async def test_after_a_failure_it_commits_again() -> None:
    disk = Disk(failure=psycopg.OperationalError("gone"))
    group = GroupCommit(disk.commit)
    with pytest.raises(psycopg.OperationalError):
        await group.submit(1, 1)
    disk.failure = None
    assert await group.submit(1, 2) == "1:2"


async def test_a_sender_that_goes_away_does_not_disturb_the_others() -> None:
    disk = Disk()
    group = GroupCommit(disk.commit)
    tasks = [asyncio.create_task(group.submit(1, n)) for n in range(3)]
    await asyncio.sleep(0.001)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [results[0], results[2]] == ["1:0", "1:2"]
    assert disk.groups == [(1, [0, 1, 2])]
