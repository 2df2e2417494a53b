"""concord user: people are added and administered by command, and the printed link lets them in."""

from __future__ import annotations

import os
import subprocess
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhir_server.store import people, tenants
from fhir_server.store.database import Database
from tests import commands
from tests.fhir import Client, running
from tests.postgres import MASTER_KEY
from tests.signin import QUICK, Visitor


@pytest.fixture
def concord(server_dsn: str) -> Any:
    """Return what runs `concord user` on the shared database."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD_")}
    env |= {"CONCORD_DATABASE_URL": server_dsn, "CONCORD_BASE_URL": "https://concord.example"}
    env |= {"CONCORD_MASTER_KEY": MASTER_KEY}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return commands.run(["user", *arguments], env)

    return run


@pytest.fixture
def email() -> str:
    """Return an address that nobody has."""
    return f"u-{uuid.uuid4().hex[:12]}@example.org"


async def test_the_first_super_admin_comes_by_the_link_that_the_command_prints(
    server_dsn: str, concord: Any, email: str
) -> None:
    made = concord("add", email, "--name", "Root", "--super-admin")
    assert made.returncode == 0, made.stderr
    [link] = made.stdout.split()
    assert link.startswith("https://concord.example/invitation?token=")
    async with running(server_dsn, **QUICK) as (server, clock), httpx.AsyncClient() as http:
        tenant = await tenants.add(server.db, f"t-{uuid.uuid4().hex[:12]}")
        ada = Visitor(Client(server, clock, tenant, http))
        token = parse_qs(urlsplit(link).query)["token"][0]
        await ada.get("/invitation", params={"token": token})
        await ada.send("/invitation", password="a long enough sentence", repeated="a long enough sentence")
        await ada.enrol()
        assert "super admin" in (await ada.get("/account")).text
        await ada.http.aclose()


async def test_a_person_is_given_roles_listed_and_disabled(database: Database, concord: Any, email: str) -> None:
    tenant = await tenants.add(database, f"t-{uuid.uuid4().hex[:12]}")
    added = concord("add", email, "--name", "Bea", "--tenant", tenant.name, "--role", "biller")
    assert added.returncode == 0, added.stderr
    person = await people.by_email(database, email)
    assert person
    assert await people.membership(database, tenant.id, person.id) == ("biller", None)
    changed = concord("role", email, "physician", "--tenant", tenant.name, "--reference", "Practitioner/7")
    assert changed.returncode == 0, changed.stderr
    assert await people.membership(database, tenant.id, person.id) == ("physician", "Practitioner/7")
    assert "invited" in concord("list", "--tenant", tenant.name).stdout
    assert concord("disable", email).returncode == 0
    assert "disabled" in concord("list", "--tenant", tenant.name).stdout
    assert concord("role", email, "none", "--tenant", tenant.name).returncode == 0
    assert await people.membership(database, tenant.id, person.id) is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "no-address", "--name", "N", "--super-admin"), "is no e-mail address"),
        (("add", "n@example.org", "--name", "N"), "--super-admin"),
        (("add", "n@example.org", "--name", "N", "--tenant", "t"), "both --tenant and --role"),
        (("add", "n@example.org", "--name", "N", "--tenant", "no-such", "--role", "biller"), "there is no tenant"),
        (("add", "n@example.org", "--name", "N", "--tenant", "t", "--role", "king"), "there is no role"),
        (
            ("add", "n@example.org", "--name", "N", "--tenant", "t", "--role", "super-admin"),
            "of the whole installation",
        ),
        (("disable", "nobody-at-all@example.org"), "there is nobody"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_reason_and_adds_nobody(
    database: Database, concord: Any, arguments: tuple[str, ...], reason: str
) -> None:
    told = concord(*arguments)
    assert told.returncode == 1
    assert reason in told.stderr
    assert await people.by_email(database, "n@example.org") is None
