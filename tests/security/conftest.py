"""The running server and the clients of two tenants that the tests of HTTP use too."""

from __future__ import annotations

from tests.http.conftest import fhir, other

__all__ = ["fhir", "other"]
