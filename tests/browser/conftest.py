"""A running server with a new tenant, and a browser to drive."""

from __future__ import annotations

from tests.browser.driven import browser  # noqa: F401 - a fixture
from tests.http.conftest import fhir, other  # noqa: F401 - fixtures
