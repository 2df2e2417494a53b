"""Passwords: what may be chosen; their hashes, made away from the event loop, and as much work for nobody's."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import Busy, Invalid
from fhir_server.smart.lockout import Lockout
from fhir_server.smart.passwords import Passwords, require_password

LIGHT = 1024


async def test_a_hash_is_argon2id_with_a_salt_of_its_own() -> None:
    passwords = Passwords(LIGHT, 2)
    one, other = await passwords.hash("three green bottles"), await passwords.hash("three green bottles")
    assert one != other
    assert one.startswith("$argon2id$v=19$m=1024,t=2,p=1$")
    assert (await passwords.check(one, "three green bottles")).right
    assert not (await passwords.check(one, "three green bottle")).right


async def test_a_hash_of_another_cost_is_made_anew_at_the_next_right_password() -> None:
    old = PasswordHasher(time_cost=1, memory_cost=512, parallelism=2).hash("three green bottles")
    passwords = Passwords(LIGHT, 2)
    checked = await passwords.check(old, "three green bottles")
    assert checked.right
    assert checked.better
    found = extract_parameters(checked.better)
    assert (found.memory_cost, found.time_cost, found.parallelism) == (LIGHT, 2, 1)
    assert (await passwords.check(checked.better, "three green bottles")).better is None
    assert (await passwords.check(old, "wrong")).better is None


@pytest.mark.parametrize("stored", ["", "no hash", "$argon2id$v=19$m=1024,t=2,p=1$xx$yy", "$2b$12$abcdef"])
async def test_what_is_no_hash_lets_nobody_in(stored: str) -> None:
    assert not (await Passwords(LIGHT, 2).check(stored, "anything at all")).right


class Counted(PasswordHasher):
    """Counts its work, and in which thread it is done."""

    def __init__(self, **cost: Any) -> None:
        super().__init__(**cost)
        self.work: list[int] = []

    def hash(self, password: Any, *, salt: bytes | None = None) -> str:
        """Count."""
        self.work.append(threading.get_ident())
        return super().hash(password, salt=salt)

    def verify(self, hash: Any, password: Any) -> Any:  # noqa: A002 - the library's name
        """Count."""
        self.work.append(threading.get_ident())
        return super().verify(hash, password)


async def test_nobodys_password_takes_the_work_of_a_wrong_one_and_none_of_it_on_the_loop() -> None:
    passwords = Passwords(LIGHT, 2)
    stored = await passwords.hash("three green bottles")
    counted = Counted(time_cost=2, memory_cost=LIGHT, parallelism=1)
    passwords._hasher = counted
    for hashed in (stored, None):
        counted.work.clear()
        assert not (await passwords.check(hashed, "wrong")).right
        assert len(counted.work) == 1
        assert threading.get_ident() not in counted.work


async def test_more_than_may_wait_are_turned_away() -> None:
    passwords = Passwords(LIGHT, 2, together=1, waiting=2)
    told = await asyncio.gather(*(passwords.hash("three green bottles") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in told) == 3
    assert sum(isinstance(one, Busy) for one in told) == 3
    assert await passwords.hash("three green bottles")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "a" * 13,
        "ab" * 6,
        "abcdefghijklm",
        "9876543210987",
        "a@b.example!!",
        "x\0yzvwxyz",
        "xyz" * 600,
    ],
)
def test_what_is_too_short_too_long_or_too_simple_may_not_be_chosen(password: str) -> None:
    with pytest.raises(Invalid):
        require_password(password, 12, "a@b.example", "Ada")


@pytest.mark.parametrize(
    "password", ["three green bottles", "tr0ub4dor&3&more", "Grüße aus Köln", "correct horse a@b.example"]
)
def test_a_sentence_may_be_chosen(password: str) -> None:
    assert require_password(password, 12, "a@b.example", "Ada") == password


@given(st.integers(0, 10_000))
def test_each_failure_waits_no_less_than_the_one_before_and_never_too_long(failures: int) -> None:
    rule = Lockout(5, timedelta(seconds=2), timedelta(seconds=900), timedelta(days=1))
    wait = rule.wait(failures)
    assert wait <= rule.wait(failures + 1) <= timedelta(seconds=900)
    assert (wait == timedelta()) is (failures < 5)
