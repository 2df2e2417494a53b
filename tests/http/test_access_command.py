"""concord access review: who has access to a clinic, printed for people and for programs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

from tests import commands
from tests.fhir import Client
from tests.people import member
from tests.postgres import MASTER_KEY


async def test_the_review_is_printed_for_people_and_for_programs(fhir: Client) -> None:
    person = await member(fhir, "physician", "Practitioner/x")
    plain = await review(fhir, "--tenant", fhir.tenant)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "physician" in plain.stdout
    found = json.loads((await review(fhir, "--tenant", fhir.tenant, "--json")).stdout)
    assert [(one["email"], one["role"], one["patients"]) for one in found["members"]] == [
        (person.email, "physician", 0)
    ]
    assert (found["tenant"], found["special"], found["programs"]) == (fhir.tenant, [], [])
    nobody = await review(fhir, "--tenant", "nobody")
    assert nobody.returncode == 1
    assert "there is no tenant 'nobody'" in nobody.stderr


async def review(fhir: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the database of a server."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD_")}
    env |= {"CONCORD_DATABASE_URL": fhir.concord.db.dsn, "CONCORD_MASTER_KEY": MASTER_KEY, "COLUMNS": "200"}
    return await asyncio.to_thread(commands.run, ["access", "review", *arguments], env)
