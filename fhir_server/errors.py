"""Categories of failure. Code below the doors raises one; the door turns it into a status once (http/wire.py).

FhirError
├── Invalid          400  malformed or structurally wrong
├── Unauthorized     401  no usable token
├── Forbidden        403  wrong tenant, or the scope lacks the type or interaction
├── NotFound         404  no such row, or not visible to this grant
├── NotAllowed       405  the interaction is not supported here
├── NotAcceptable    406  no representation the client accepts
├── Conflict         409  state of the resource forbids it
├── Gone             410  deleted
├── Precondition     412  If-Match, If-None-Exist or a criteria that matches several
├── TooLarge         413  body, entries or depth over a limit
├── LongAddress      414  path and query over a limit
├── UnsupportedMedia 415  a content type that is not taken
├── Unprocessable    422  profile or business rule
├── TooMany          429  more requests than one may send
├── Unreadable       500  what is stored does not open: a wrong key, or somebody changed it
└── Busy             503  try again later
    └── TimedOut          the time for it was over
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from conformance.issue import Issue, error


class FhirError(Exception):
    """A failure with its HTTP status and the issues for the OperationOutcome."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "exception"

    def __init__(self, problem: str | list[Issue], *expression: str) -> None:
        # No place is no expression: FHIR knows no empty text.
        places = filter(None, expression)
        self.issues = [error(self.code, problem, *places)] if isinstance(problem, str) else problem
        super().__init__("; ".join(i.diagnostics for i in self.issues))


class Invalid(FhirError):
    """Malformed or structurally wrong."""

    status = 400
    code = "invalid"


class Unauthorized(FhirError):
    """No usable token."""

    status = 401
    code = "login"


class Forbidden(FhirError):
    """Wrong tenant, or the scope lacks the type or interaction."""

    status = 403
    code = "forbidden"


class NotFound(FhirError):
    """No such row, or not visible to this grant: the two must look alike."""

    status = 404
    code = "not-found"


class NotAllowed(FhirError):
    """The interaction is not supported at this address; `allowed` are the methods that are."""

    status = 405
    code = "not-supported"

    def __init__(self, problem: str | list[Issue], *expression: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(problem, *expression)
        self.allowed = allowed


class NotAcceptable(FhirError):
    """No representation that the client accepts."""

    status = 406
    code = "not-supported"


class Conflict(FhirError):
    """The state of the resource forbids it."""

    status = 409
    code = "conflict"


class Gone(FhirError):
    """The resource was deleted."""

    status = 410
    code = "deleted"


class Precondition(FhirError):
    """If-Match failed, or a criteria matches several resources."""

    status = 412
    code = "conflict"


class TooLarge(FhirError):
    """Over a limit of size, depth or count."""

    status = 413
    code = "too-long"


class LongAddress(FhirError):
    """Path and query are longer than is taken."""

    status = 414
    code = "too-long"


class UnsupportedMedia(FhirError):
    """A content type that is not taken."""

    status = 415
    code = "not-supported"


class Unprocessable(FhirError):
    """A profile or business rule refuses it."""

    status = 422
    code = "business-rule"


class TooMany(FhirError):
    """More requests than a client, a user or an address may send; `retry_after` seconds later one is welcome again."""

    status = 429
    code = "throttled"

    def __init__(self, whose: str, wait: float) -> None:
        self.retry_after = math.ceil(wait)
        super().__init__(f"too many requests of {whose}: try again in {self.retry_after} s")


class Unreadable(FhirError):
    """What is stored encrypted does not open: by a wrong key, or because somebody changed or moved it."""


class Busy(FhirError):
    """A limit of load was met; the same request may succeed later. `retry_after` is what HTTP calls so, in seconds."""

    status = 503
    code = "transient"
    retry_after: ClassVar[int] = 1


class TimedOut(Busy):
    """A limit of time was met; asked again at once, it would most likely be met again."""

    code = "timeout"
    retry_after = 10
