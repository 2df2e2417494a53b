"""A running server with new tenants, and people who answer what apps ask."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.agreeing import Answering, answering
from tests.fhir import Client
from tests.http.conftest import fhir, other  # noqa: F401 - fixtures
from tests.signin import somebody


@pytest.fixture
async def ada(fhir: Client) -> AsyncIterator[Answering]:  # noqa: F811 - the fixture itself
    """Give an administrator of the clinic, signed in."""
    made = await answering(fhir, await somebody(fhir, "clinic-admin"))
    yield made
    await made.http.aclose()
