"""Reasons quote what senders wrote; this makes them fit for a JSON column.

https://www.postgresql.org/docs/18/datatype-json.html (jsonb holds no \\u0000)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from conformance.issue import Issue

_LONGEST = 2000


def plain(text: str, longest: int = _LONGEST) -> str:
    """Return text as PostgreSQL can hold it: without NUL and lone surrogates, cut to `longest` characters."""
    return text.replace("\0", "")[:longest].encode("utf-8", "replace").decode()


def storable(issues: Sequence[Issue]) -> list[Issue]:
    """Return the issues with texts that can be stored."""
    return [
        msgspec.structs.replace(
            issue, diagnostics=plain(issue.diagnostics), expression=tuple(plain(e) for e in issue.expression)
        )
        for issue in issues
    ]
