"""What every test shares: a test whose system component is missing is skipped, or fails in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import commands
from tests.needs import hold
from tests.postgres import (  # noqa: F401 - fixtures
    MASTER_KEY,
    RUNNING,
    admin_dsn,
    database,
    forget_channels,
    fresh_database,
    fresh_name,
    postgres,
    server_dsn,
    tenants,
)

# How long an example takes says how busy the machine is, not whether the rule holds.
settings.register_profile("concord", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("concord")


@pytest.fixture(autouse=True, scope="module")
def channels_of_this_file_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no channel to the tests of the next file."""
    yield
    if server := request.config.stash.get(RUNNING, None):
        forget_channels(server)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and have every server of the tests encrypt what it stores."""
    os.environ.setdefault("CONCORD_MASTER_KEY", MASTER_KEY)
    config.addinivalue_line("markers", "needs(component, ...): system components without which the test cannot run")


def pytest_unconfigure() -> None:
    """End what was started for all tests of the process."""
    commands.end()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Decide before fixtures are built, so that a missing server is not first started."""
    hold(item)
