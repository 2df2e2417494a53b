"""Why an OAuth endpoint refuses, in OAuth's words.

https://www.rfc-editor.org/rfc/rfc6749#section-5.2
"""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
]  # fmt: skip


class Refusal(Exception):
    """A refused request; `status` is HTTP's: 401 where the client did not prove who it is, else 400."""

    def __init__(self, code: Code, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.status = 401 if code == "invalid_client" else 400
