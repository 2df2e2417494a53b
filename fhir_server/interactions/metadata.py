"""capabilities: which statement a client asks for. http://hl7.org/fhir/R4/http.html#capabilities"""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import Given
from fhir_server.interactions.subset import asked, cut

Mode: TypeAlias = Literal["full", "normative", "terminology"]


def _read(text: str) -> Mode:
    if text not in ("full", "normative", "terminology"):
        raise ValueError("full, normative or terminology is expected")
    return cast(Mode, text)


def metadata_mode(request: Request) -> Mode:
    """Return the mode of a request for metadata; raise Invalid for one that there is not."""
    return Given(request, ("mode", "_summary", "_elements")).one("mode", _read) or "full"


def told(request: Request, resource_type: str, statement: bytes) -> Response:
    """Return a statement, cut down by `_summary` and `_elements` as any resource is."""
    return Response(200, cut(resource_type, statement, asked(request.query, (resource_type,))))
