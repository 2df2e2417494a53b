"""Say what a test needs of the system: missing, it is skipped on a user's machine and fails in CI.

@needs("chromium")
def test_the_page_shows_the_message(): ...
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Mapping

import pytest

# What a component is found by: any one of these programs on the path.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "curl": ("curl",),
    "java": ("java",),
    "node": ("node", "nodejs"),
    "npm": ("npm",),
    "rabbitmq": ("rabbitmq-server",),
    "redis": ("redis-server",),
    "runuser": ("runuser",),
}


def program(component: str) -> str | None:
    """Return the path of the component's program, or None."""
    # Debian keeps servers in sbin, which an ordinary user's path leaves out.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    return next((found for name in PROGRAMS[component] if (found := shutil.which(name, path=path))), None)


def free_port() -> int:
    """Return a port for a program that cannot be given a socket, nor choose itself.

    It lies below those that the system gives out, so that nobody who asks for any port is given it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def missing(*components: str) -> list[str]:
    """Return those components that this machine lacks."""
    return [component for component in components if program(component) is None]


def needs(*components: str) -> pytest.MarkDecorator:
    """Return the mark for a test that cannot run without these components; an unknown name raises KeyError."""
    for component in components:
        PROGRAMS[component]
    return pytest.mark.needs(*components)


def verdict(absent: list[str], environ: Mapping[str, str]) -> str:
    """Return what becomes of a test with these components absent: `run`, `skip` or `fail`."""
    if not absent:
        return "run"
    return "fail" if environ.get("CI", "").lower() in ("1", "true", "yes") else "skip"


def hold(item: pytest.Item) -> None:
    """Skip or fail this test where a component that it needs is missing; called before its fixtures are built."""
    wanted = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    absent = missing(*wanted)
    said = f"needs {', '.join(absent)}, which this machine lacks"
    match verdict(absent, os.environ):
        case "skip":
            pytest.skip(said)
        case "fail":
            pytest.fail(f"{said}; CI must install it", pytrace=False)
