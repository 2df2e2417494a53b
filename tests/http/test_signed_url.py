"""$signed-url: an address that opens one document for a while, as long as whoever asked for it may still see it."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import httpx
import pytest

from fhir_server.store import grants, people
from fhir_server.store.grants import OauthGrant
from tests.fhir import Client
from tests.http.test_standing import granted
from tests.people import member, token_of

SCAN = b"%PDF canary " + b"scan " * 50_000


async def made(fhir: Client, kind: str = "application/pdf", **attachment: Any) -> str:
    """Return the address of a document of a patient."""
    await fhir.put("/Patient/p", json={"resourceType": "Patient", "id": "p"})
    if not attachment:
        headers = {"content-type": kind, "x-security-context": "Patient/p"}
        await fhir.put("/Binary/scan", content=SCAN, headers=headers)
        attachment = {"url": "Binary/scan", "contentType": kind}
    body = {
        "resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/p"},
        "content": [{"attachment": attachment}],
    }  # fmt: skip
    answer = await fhir.put("/DocumentReference/d", json=body)
    assert answer.status_code in (200, 201), answer.text
    return "/DocumentReference/d"


async def address(fhir: Client, query: str = "", token: str | None = "all") -> str:
    """Return what $signed-url gives."""
    answer = await fhir.get(f"/DocumentReference/d/$signed-url{query}", token=token)
    assert answer.status_code == 200, answer.text
    told = {one["name"]: one for one in answer.json()["parameter"]}
    assert set(told) == {"url", "expires", "contentType"}
    return str(told["url"]["valueUrl"])


async def fetched(fhir: Client, url: str) -> httpx.Response:
    """Open an address as a browser does: without a token."""
    return await fhir.http.get(url)


async def test_the_address_opens_the_document_without_a_token_and_only_for_saving(fhir: Client) -> None:
    place = await made(fhir)
    url = await address(fhir)
    assert url.startswith(fhir.base.removesuffix("/fhir") + "/documents/")
    assert "scan" not in url
    answer = await fetched(fhir, url)
    assert (answer.status_code, answer.content) == (200, SCAN)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["cache-control"] == "no-store"
    assert (await fhir.post(f"{place}/$signed-url", json={"resourceType": "Parameters"})).status_code == 200


async def test_a_picture_is_offered_for_saving_too(fhir: Client) -> None:
    await made(fhir, kind="image/png")
    answer = await fetched(fhir, await address(fhir))
    assert (answer.content, answer.headers["content-disposition"][:10]) == (SCAN, "attachment")


async def test_a_document_that_the_reference_itself_holds_is_opened(fhir: Client) -> None:
    await made(fhir, data=base64.b64encode(b"<script>").decode(), contentType="text/html")
    answer = await fetched(fhir, await address(fhir))
    assert (answer.content, answer.headers["content-type"].partition(";")[0]) == (b"<script>", "text/html")
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_n08_an_address_is_refused_once_its_time_is_over(fhir: Client) -> None:
    await made(fhir)
    url, short = await address(fhir), await address(fhir, "?seconds=60")
    fhir.clock.move(timedelta(seconds=61))
    assert (await fetched(fhir, short)).status_code == 403
    assert (await fetched(fhir, url)).status_code == 200
    fhir.clock.move(timedelta(seconds=900))
    answer = await fetched(fhir, url)
    assert (answer.status_code, b"canary" in answer.content) == (403, False)


async def test_n08_an_address_opens_nothing_for_another_tenant_or_once_it_was_changed(
    fhir: Client, other: Client
) -> None:
    await made(fhir)
    await made(other)
    url = await address(fhir)
    sealed = url.rpartition("/")[2]
    assert (await fetched(fhir, url.replace(f"/{fhir.tenant}/", f"/{other.tenant}/"))).status_code == 404
    for changed in (sealed[:-2] + "AA", sealed[1:], "A" * 40, sealed + "A", "%00", sealed.lower()):
        assert (await fetched(fhir, url.replace(sealed, changed))).status_code == 404
    assert (await fetched(fhir, url.replace(fhir.tenant, "nobody"))).status_code == 404


async def test_n08_who_may_no_longer_see_the_document_cannot_open_it(fhir: Client) -> None:
    await made(fhir)
    token = await fhir.token("patient/*.rs", patient="p")
    url, whole = await address(fhir, token=token), await address(fhir)
    assert (await fetched(fhir, url)).status_code == 200
    body = {
        "resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/q"},
        "content": [{"attachment": {"url": "Binary/scan"}}],
    }  # fmt: skip
    await fhir.put("/Patient/q", json={"resourceType": "Patient", "id": "q"})
    assert (await fhir.put("/DocumentReference/d", json=body)).status_code == 200
    assert (await fetched(fhir, url)).status_code == 404
    assert (await fetched(fhir, whole)).status_code == 200
    await fhir.delete("/DocumentReference/d")
    assert (await fetched(fhir, whole)).status_code == 410


async def test_n08_an_address_falls_with_the_grant_and_the_person_it_was_made_for(fhir: Client) -> None:
    await made(fhir)
    db, now = fhir.concord.db, fhir.clock()
    async with db.transaction(fhir.tenant_id) as tx:
        grants.add(tx, OauthGrant(id="g", client_id="c", scope="system/*.rs", created=now))
    person = await member(fhir, "clinic-admin")
    tokens = [await granted(fhir, "g"), await token_of(fhir, person)]
    urls = [await address(fhir, token=token) for token in tokens]
    assert [(await fetched(fhir, url)).status_code for url in urls] == [200, 200]
    async with db.transaction(fhir.tenant_id) as tx:
        grants.revoke(tx, "g", "tried out", now)
    await people.disable(db, person.id, now)
    assert [(await fetched(fhir, url)).status_code for url in urls] == [401, 401]


async def test_who_may_not_see_a_document_gets_no_address_of_it(fhir: Client, other: Client) -> None:
    place = await made(fhir)
    stranger = await fhir.token("patient/*.rs", patient="q")
    assert (await fhir.get(f"{place}/$signed-url", token=stranger)).status_code == 404
    assert (await fhir.get(f"{place}/$signed-url", token=await fhir.token("system/Patient.rs"))).status_code == 403
    assert (await fhir.get(f"{place}/$signed-url", token=None)).status_code == 401
    assert (await other.get(f"{place}/$signed-url")).status_code == 404
    # Who sees the reference to a Binary that another guards gets no address either.
    await fhir.put(
        "/Binary/scan", content=SCAN, headers={"content-type": "image/png", "x-security-context": "Patient/q"}
    )
    assert (
        await fhir.get(f"{place}/$signed-url", token=await fhir.token("patient/*.rs", patient="p"))
    ).status_code == 404


@pytest.mark.parametrize("query", ["seconds=901", "seconds=0", "seconds=x", "attachment=0", "attachment=-1", "x=1"])
async def test_what_cannot_be_asked_for_is_refused(fhir: Client, query: str) -> None:
    place = await made(fhir)
    assert (await fhir.get(f"{place}/$signed-url?{query}")).status_code == 400
    assert (await fhir.get(f"{place}/$signed-url?attachment=2")).status_code == 404


async def test_an_attachment_that_is_elsewhere_is_told(fhir: Client) -> None:
    for url in ("https://elsewhere.example/fhir/Binary/1", "urn:uuid:5", "Patient/p"):
        place = await made(fhir, url=url)
        assert (await fhir.get(f"{place}/$signed-url")).status_code == 422


async def test_minting_and_each_use_are_audited_with_the_patient(fhir: Client) -> None:
    await made(fhir)
    url = await address(fhir)
    await fetched(fhir, url)
    fhir.clock.move(timedelta(seconds=901))
    await fetched(fhir, url)
    rows = await fhir.concord.db.fetch(
        fhir.tenant_id,
        "select action, outcome, resource_id, patient is not null from audit where tenant_id = %s"
        " and (action in ('$signed-url', 'document') or outcome = 403) order by at, id",
        (fhir.tenant_id,),
    )
    assert rows == [("$signed-url", 200, "d", True), ("document", 200, "d", True), ("GET", 403, "d", False)]
