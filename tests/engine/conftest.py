"""The engine's events go to a list: unconfigured, they would be printed with every local variable of a failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def events() -> Iterator[list[structlog.typing.EventDict]]:
    """Give what was logged so far."""
    with structlog.testing.capture_logs() as found:
        yield found
