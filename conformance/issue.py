"""A problem as FHIR reports it, and the OperationOutcome that carries it.

https://hl7.org/fhir/R4/operationoutcome.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Severity = Literal["fatal", "error", "warning", "information"]


class Issue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One issue of an OperationOutcome; `code` is from http://hl7.org/fhir/issue-type."""

    severity: Severity
    code: str
    diagnostics: str
    expression: tuple[str, ...] = ()


class _Outcome(msgspec.Struct, frozen=True, tag_field="resourceType", tag="OperationOutcome"):
    issue: Sequence[Issue]


def error(code: str, diagnostics: str, *expression: str) -> Issue:
    """Return an issue of severity `error`."""
    return Issue("error", code, diagnostics, expression)


def warning(code: str, diagnostics: str, *expression: str) -> Issue:
    """Return an issue of severity `warning`."""
    return Issue("warning", code, diagnostics, expression)


def outcome(issues: Sequence[Issue]) -> bytes:
    """Return the OperationOutcome with these issues as JSON."""
    return msgspec.json.encode(_Outcome(issues))
