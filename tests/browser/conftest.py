"""A running server with a new tenant, a browser to drive, and an origin with apps of other people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.driven import browser  # noqa: F401 - a fixture
from tests.browser.smart_apps import Apps, serving
from tests.clients.node import installed  # noqa: F401 - a fixture
from tests.http.conftest import fhir, other  # noqa: F401 - fixtures


@pytest.fixture
async def apps(installed: Path) -> AsyncIterator[Apps]:  # noqa: F811 - the fixture itself
    """Give the origin of the apps, without an app yet."""
    async with serving(installed) as running:
        yield running
