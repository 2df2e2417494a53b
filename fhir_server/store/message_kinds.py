"""What messages have in common: channel, type, event and sender. Few kinds stand for all messages of a clinic."""

from __future__ import annotations

from hashlib import blake2b

OF_KIND = ("channel", "message_type", "trigger", "sender_app", "sender_facility")
KIND = ", ".join(OF_KIND)


def kind_of(*parts: str | None) -> int:
    """Return the number of a kind by its parts, in the order of OF_KIND: the same in every process, for ever."""
    text = "\0".join("\1" if part is None else part for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
