"""Recovery codes: ten words on paper for the day when the second factor is lost; each is good once."""

from __future__ import annotations

import hashlib
import secrets

MANY = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another
_LENGTH = 16


def new_codes() -> list[str]:
    """Return new codes of 79 bits each, in groups of four."""
    return [_grouped("".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))) for _ in range(MANY)]


def hashed(person_id: int, code: str) -> bytes:
    """Return what is stored of a code: as random as it is, a plain hash keeps it."""
    plain = "".join(letter for letter in code.lower() if letter.isalnum())
    return hashlib.sha256(f"{person_id}:{plain}".encode()).digest()


def _grouped(text: str) -> str:
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))
