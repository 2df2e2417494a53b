"""What a check of an installation finds: told by `concord check`, whoever looked."""

from __future__ import annotations

import msgspec


class Fact(msgspec.Struct, frozen=True):
    """One fact: whether it holds, what was found, and what to do if not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
