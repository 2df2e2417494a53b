"""The TerminologyCapabilities: what a server does with codes, which is to store and search what defines them.

http://hl7.org/fhir/R4/terminologycapabilities.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

_DESCRIPTION = (
    "CodeSystem, ValueSet and ConceptMap resources are stored and searched as all resources are. There are no "
    "terminology operations: nothing is expanded, validated, looked up, translated or subsumed."
)


def terminology_capabilities(*, base: str, software: str, published: datetime) -> bytes:
    """Return the statement of a server at `base` as JSON."""
    statement: dict[str, Any] = {
        "resourceType": "TerminologyCapabilities",
        "name": "Concord",
        "status": "active",
        "date": published.isoformat(),
        "kind": "instance",
        "description": _DESCRIPTION,
        "software": {"name": "Concord", "version": software},
        "implementation": {"description": "Concord FHIR R4 server", "url": base},
        "lockedDate": False,
    }
    return msgspec.json.encode(statement)
