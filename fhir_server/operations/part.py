"""What the parts of a channel's definition have in common."""

from __future__ import annotations

import msgspec

from conformance.issue import Issue, error


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A part of a definition: a member that it does not know is refused, not ignored."""


def wrong(path: str, text: str) -> Issue:
    """Return what is wrong with an element of a definition: `path` is below the channel."""
    return error("value", text, f"Channel.{path}")
