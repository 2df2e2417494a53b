"""A running server and a new tenant of it, as the tests of HTTP have them, and a token for what is no test of ours."""

from __future__ import annotations

import pytest

from tests.clients.node import installed  # noqa: F401 - a fixture
from tests.fhir import Client
from tests.http.conftest import fhir  # noqa: F401 - a fixture


@pytest.fixture
async def token(fhir: Client) -> str:  # noqa: F811 - the fixture itself
    """Give a bearer token for everything."""
    return await fhir.token("system/*.cruds")
