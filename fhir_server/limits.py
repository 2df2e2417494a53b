"""Bounds on what one request may ask for: passed down to whoever holds them, never looked up.

The defaults here are those of `settings.py`, which is where an installation sets them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import msgspec


async def read_up_to(parts: AsyncIterable[bytes], most: int) -> bytes:
    """Return what comes in parts; raise ValueError as soon as it is more than `most` bytes."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > most:
            raise ValueError(f"it has more than {most} bytes")
    return bytes(body)


class Limits(msgspec.Struct, frozen=True):
    """Bounds of an installation; each field is a setting."""

    # messages
    max_segments: int = 50_000

    # pages
    default_page: int = 20
    max_page: int = 1000
    max_included: int = 1000
    max_latest: int = 20_000
    max_sorted: int = 100_000
    signed_url_seconds: int = 900
    # search parameters of a tenant's own
    max_search_parameters: int = 500
    index_batch: int = 200
    # what a search asks
    max_parameters: int = 100
    max_filters: int = 20
    max_values: int = 2000
    max_sorts: int = 8
    exact_total: int = 1000
    max_includes: int = 50
    max_links: int = 64
    max_link_types: int = 20
    max_chain_targets: int = 5000
    max_expansion: int = 10_000
    # bodies
    max_form: int = 1 << 20
    max_entries: int = 10_000
    max_answers: int = 64 << 20
    max_locks: int = 10_000
    conditional_delete: int = 1
    max_inline: int = 16 << 20
    # days for which who treated, or will treat, a patient is one of the patient's physicians
    care_before_appointment: int = 7
    care_after_appointment: int = 30
    care_after_encounter: int = 180
    # seconds for which a process trusts what it knows of a token
    standing: float = 1.0
    # choices
    if_match_required: bool = False
    lenient: bool = False
