"""Every test of interoperation with others' senders has a door of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fhir_server.store.embedded import EmbeddedPostgres
from tests.interop.door import Door, opened_door


@pytest.fixture
async def door(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[Door]:
    """Give a door that takes admissions and no results, and answers once a message is processed."""
    async with opened_door(postgres.server_dsn(fresh_name)) as found:
        yield found
