"""What an operator does with cases and care on the command line, against a real database."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.store import tenants
from fhir_server.store.people import Person
from tests.fhir import Client, running
from tests.http.belonging import episode, patient, put
from tests.people import member


@pytest.fixture
def clinic(server_dsn: str) -> tuple[str, Person]:
    """Return the name of a clinic with a case and a practitioner, and an attorney of it."""

    async def made() -> tuple[str, Person]:
        async with running(server_dsn) as (concord, clock), httpx.AsyncClient() as http:
            tenant = await tenants.add(concord.db, f"c-{uuid.uuid4().hex[:12]}")
            client = Client(concord, clock, tenant, http)
            await patient(client)
            await episode(client, identifier=[{"value": "C-9"}])
            await put(client, "Practitioner", "dr")
            return tenant.name, await member(client, "attorney")

    return asyncio.run(made())


@pytest.fixture
def concord(server_dsn: str, clinic: tuple[str, Person], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs a command in the clinic and returns its output; fails where the command does."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", server_dsn)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--tenant", clinic[0]])
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_an_operator_names_an_attorney_and_records_what_the_patient_released(
    concord: Any, clinic: tuple[str, Person]
) -> None:
    lawyer = clinic[1].email
    assert "C-9" in concord("case", "list", "--patient", "Patient/p")
    attorney = concord("case", "attorney", "case", lawyer).split()[1].rstrip(":")
    release = concord("case", "authorize", "case", "--expires", "2099-01-01").split()[1].rstrip(":")
    assert lawyer in concord("case", "show", "case")
    assert "revoked" in concord("case", "revoke", "case", release)
    assert "ended" in concord("case", "end-attorney", "case", attorney)
    concord("case", "attorney", "case", "nobody@example.org", status=1)
    concord("case", "show", "other", status=1)


def test_an_operator_assigns_a_patient_and_ends_it(concord: Any) -> None:
    entry = concord("care", "assign", "Practitioner/dr", "Patient/p").split()[1].rstrip(":")
    assert "Practitioner/dr" in concord("care", "list", "Patient/p")
    assert "ended" in concord("care", "end", entry)
    assert "Practitioner/dr" not in concord("care", "list", "Patient/p")
