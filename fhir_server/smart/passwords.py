"""Passwords: which may be chosen, and their argon2id hashes, made and verified away from the event loop.

https://www.rfc-editor.org/rfc/rfc9106 · https://pages.nist.gov/800-63-4/sp800-63b.html
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fhir_server.errors import Busy, Invalid

_LONGEST = 1024
_LEAST_DIFFERENT = 5
T = TypeVar("T")


class Checked(msgspec.Struct, frozen=True):
    """Whether a password is the one; `better` is its hash with today's cost where the stored one has another."""

    right: bool
    better: str | None = None


class Passwords:
    """Hashes and verifies, at most `together` at one time: each takes `memory` KiB and a core for its while."""

    def __init__(self, memory: int, passes: int, *, together: int = 2, waiting: int = 64) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=1)
        self._free = asyncio.Semaphore(together)
        self._most, self._asked = together + waiting, 0

    async def hash(self, password: str) -> str:
        """Return the hash to store; raise Busy where too many wait."""
        text = normal(password)
        return await self._aside(lambda: self._hasher.hash(text))

    async def check(self, stored: str | None, password: str) -> Checked:
        """Tell whether it is the password of this hash; None, of nobody, takes as long as a wrong one. Raises Busy."""
        text = normal(password)[:_LONGEST]
        return await self._aside(lambda: self._checked(stored, text))

    def _checked(self, stored: str | None, password: str) -> Checked:
        if stored is None:
            self._hasher.hash(password)
            return Checked(False)
        try:
            self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return Checked(False)
        return Checked(True, self._hasher.hash(password) if self._hasher.check_needs_rehash(stored) else None)

    async def _aside(self, work: Callable[[], T]) -> T:
        if self._asked >= self._most:
            raise Busy("too many sign in at this moment: try again")
        self._asked += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._asked -= 1


def normal(password: str) -> str:
    """Return the form that is hashed: the same characters typed on another system give the same bytes."""
    return unicodedata.normalize("NFKC", password)


def require_password(password: str, least: int, *about: str) -> str:
    """Return a password that may be chosen; raise Invalid for one too short, too simple, or that `about` tells."""
    text = normal(password)
    if len(text) < least:
        raise Invalid(f"a password has {least} characters or more")
    if len(text) > _LONGEST or "\0" in text:
        raise Invalid(f"a password has {_LONGEST} characters at most")
    if len(set(text)) < _LEAST_DIFFERENT or _in_a_row(text):
        raise Invalid("a password is not one character or one row of the keyboard over and over")
    if any(word and word.casefold() in text.casefold() and len(text) < len(word) + least for word in about):
        raise Invalid("a password is not one's name or address")
    return text


def _in_a_row(text: str) -> bool:
    """Tell whether nearly every character follows its neighbour, as in 123456789012."""
    steps = [ord(b) - ord(a) for a, b in pairwise(text)]
    return max(map(steps.count, set(steps)), default=0) > len(steps) * 3 // 4
