"""concord client and concord tenant new-keys: what they register and print."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from fhir_server.store import clients, opaque, tenants
from fhir_server.store.database import Database
from tests import commands
from tests.apps import REDIRECT, jwks
from tests.postgres import MASTER_KEY

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def concord(server_dsn: str) -> Run:
    """Return what runs `concord` on the shared database."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD_")}
    env |= {"CONCORD_DATABASE_URL": server_dsn, "CONCORD_BASE_URL": "https://concord.example"}
    env |= {"CONCORD_MASTER_KEY": MASTER_KEY}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return commands.run([*arguments], env)

    return run


async def test_clients_of_all_kinds_are_registered_listed_and_disabled(
    database: Database, concord: Run, tmp_path: Path
) -> None:
    tenant = await tenants.add(database, f"c-{uuid.uuid4().hex[:12]}")
    where = ("--tenant", tenant.name)
    people = ("--scopes", "launch/patient patient/*.rs", "--redirect-uri", REDIRECT)
    public = concord("client", "add", "Public", *where, "--kind", "public", *people)
    assert public.returncode == 0, public.stderr
    symmetric = concord("client", "add", "Secret", *where, "--kind", "symmetric", *people, "--origin", "https://x.org")
    client_id, secret = symmetric.stdout.split()
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks()))
    service = concord("client", "add", "Service", *where, "--jwks", str(file), "--scopes", "system/*.rs")
    assert f"https://concord.example/{tenant.name}/oauth/token" in service.stderr
    found = {one.name: one for one in await clients.all_of(database, tenant.id)}
    assert found["Public"].client_id == public.stdout.strip()
    assert found["Service"].jwks == jwks()
    assert found["Secret"].secret_hash == opaque.hashed(secret)
    assert sorted(found["Secret"].origins) == ["https://app.example.org", "https://x.org"]
    another = concord("client", "new-secret", client_id, *where).stdout.strip()
    kept = await clients.by_id(database, tenant.id, client_id)
    assert kept
    assert kept.secret_hash == opaque.hashed(another)
    assert concord("client", "disable", client_id, *where).returncode == 0
    assert "disabled" in concord("client", "list", *where).stdout


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--kind", "public", "--scopes", "patient/*.rs"), "redirect"),
        (("--scopes", "system/*.rs"), "key set"),
        (("--kind", "public", "--scopes", "patient/*.rs?nonsense=1", "--redirect-uri", REDIRECT), "nonsense"),
        (("--kind", "public", "--scopes", "patient/Observation.rs?nonsense=1", "--redirect-uri", REDIRECT), "nonsense"),
    ],
)
async def test_what_is_not_in_order_is_refused_with_the_reason(
    database: Database, concord: Run, more: tuple[str, ...], word: str
) -> None:
    tenant = await tenants.add(database, f"c-{uuid.uuid4().hex[:12]}")
    refused = concord("client", "add", "Bad", "--tenant", tenant.name, *more)
    assert refused.returncode == 1
    assert word in refused.stderr
    assert await clients.all_of(database, tenant.id) == []


async def test_new_keys_sign_from_then_on(database: Database, concord: Run) -> None:
    tenant = await tenants.add(database, f"c-{uuid.uuid4().hex[:12]}")
    active = "select kid from signing_key where tenant_id = %s and retired is null"
    before: set[str] = set()
    for _ in range(2):
        made = concord("tenant", "new-keys", tenant.name)
        assert made.returncode == 0, made.stderr
        now = {kid for (kid,) in await database.fetch(None, active, (tenant.id,))}
        assert now
        assert not now & before
        assert all(kid in made.stdout for kid in now)
        before = now
    assert "6 older keys verify nothing any more" in concord("tenant", "new-keys", tenant.name, "--revoke").stdout
