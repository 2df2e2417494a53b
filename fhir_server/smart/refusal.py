"""Why an OAuth endpoint refuses, in OAuth's words.

https://www.rfc-editor.org/rfc/rfc6749#section-5.2 · https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1
https://openid.net/specs/openid-connect-core-1_0.html#AuthError
"""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope", "unsupported_response_type", "access_denied", "invalid_token", "interaction_required",
    "request_not_supported", "request_uri_not_supported", "insufficient_scope",
]  # fmt: skip

_STATUS = {"invalid_client": 401, "invalid_token": 401, "insufficient_scope": 403}


class Refusal(Exception):
    """A refused request; `status` is HTTP's: 401 where the client did not prove who it is, mostly 400 else."""

    def __init__(self, code: Code, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.status = _STATUS.get(code, 400)
