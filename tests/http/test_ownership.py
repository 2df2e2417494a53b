"""Whose a resource is, is judged by where its references lead, and on the row as it is when it is written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fhir_server.context import Context, Grant, Scope, Tenant
from fhir_server.interactions.draft import Save
from fhir_server.interactions.save import save
from tests.fhir import Client
from tests.http.trouble import blocked


def observation(patient: str, **more: Any) -> dict[str, Any]:
    return (
        {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
        | {"subject": {"reference": patient}}
        | more
    )


def spellings(base: str) -> list[str]:
    """Return ways to write the server's own address that all lead to it."""
    parts = urlsplit(base)
    return [
        f"HTTP://{parts.netloc}{parts.path}/Patient/theirs",
        f"http://x@{parts.netloc}{parts.path}/Patient/theirs",
        f"{base}/Patient/theirs/",
        f"{base}/./Patient/%74heirs",
        f"{base}/Patient/theirs?_format=json#x",
        f"//{parts.netloc}{parts.path}/Patient/theirs",
    ]


async def test_no_spelling_of_the_own_address_hides_whose_a_resource_is(fhir: Client) -> None:
    token = await fhir.token("patient/*.cruds", patient="mine")
    me = [{"reference": "Patient/mine"}]
    for subject in spellings(fhir.base):
        forged = observation(subject, performer=me)
        assert (await fhir.post("/Observation", json=forged, token=token)).status_code == 403, subject
        bundle = {"resourceType": "Bundle", "type": "transaction"} | {
            "entry": [{"resource": forged, "request": {"method": "POST", "url": "Observation"}}]
        }
        assert (await fhir.post("", json=bundle, token=token)).status_code == 403, subject
    assert (await fhir.post("/Observation", json=observation("Patient/mine"), token=token)).status_code == 201


async def test_every_spelling_of_the_own_address_is_found(fhir: Client) -> None:
    for subject in spellings(fhir.base):
        made = (await fhir.post("/Observation", json=observation(subject))).json()
        assert made["subject"]["reference"] == subject
    for sought in ("Patient/theirs", spellings(fhir.base)[0]):
        found = (await fhir.get("/Observation", params={"subject": sought, "_total": "accurate"})).json()
        assert found["total"] == len(spellings(fhir.base))


PATCH = {"content": b'[{"op":"test","path":"/status","value":"final"}]'}


@pytest.mark.parametrize(("method", "scope"), [("PUT", "cruds"), ("PATCH", "ru"), ("DELETE", "d")])
async def test_a_resource_that_became_anothers_meanwhile_is_unknown(
    fhir: Client, admin_dsn: str, method: str, scope: str
) -> None:
    place = "/Observation/moving"
    mine = observation("Patient/mine", id="moving")
    assert (await fhir.put(place, json=mine)).status_code == 201
    token = await fhir.token(f"patient/*.{scope}", patient="mine")
    more: dict[str, Any] = {"PUT": {"json": mine | {"status": "amended"}}, "DELETE": {}}.get(method, PATCH)
    if method == "PATCH":
        more = PATCH | {"headers": {"content-type": "application/json-patch+json"}}
    service, task = fhir.concord.service, None
    tenant = Tenant(fhir.tenant_id, fhir.tenant)
    grant = Grant(tenant, "corrector", "tests", (Scope("system", "*", "cruds"),))
    ctx = Context(grant, fhir.base, datetime.now(UTC), "correction")
    body = httpx.Request("PUT", "http://x", json=observation("Patient/theirs", id="moving")).content
    async with service.db.transaction(tenant.id) as tx:
        await save(service, ctx, tx, [Save(type="Observation", action="update", id="moving", resource=body)])
        await tx.flush()
        task = asyncio.create_task(fhir.request(method, place, token=token, **more))
        await blocked(admin_dsn)
    assert (await task).status_code == 404
    now = (await fhir.get(place)).json()
    assert (now["subject"]["reference"], now["status"], now["meta"]["versionId"]) == ("Patient/theirs", "final", "2")
