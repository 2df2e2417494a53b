"""The address to which apps send browsers: by GET and POST, and what a browser gets where the app is not known.

https://www.rfc-editor.org/rfc/rfc6749#section-3.1
"""

from __future__ import annotations

import httpx
import pytest

from fhir_server.app.authorization import authorization_of
from tests.apps import App, actor, app, query
from tests.fhir import Client
from tests.people import member


async def sent(asking: App, method: str, **changes: object) -> httpx.Response:
    fields = asking.asks(**changes)  # type: ignore[arg-type]
    address = f"{asking.oauth}/authorize"
    if method == "GET":
        return await asking.fhir.http.get(address, params=fields)
    form = {"content-type": "application/x-www-form-urlencoded"}
    return await asking.fhir.http.post(address, content=str(httpx.QueryParams(fields)), headers=form)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_in_order_leads_to_the_person_and_on_to_a_code(fhir: Client, method: str) -> None:
    asking = await app(fhir)
    answer = await sent(asking, method)
    assert (answer.status_code, answer.headers["cache-control"]) == (303, "no-store")
    location = answer.headers["location"]
    assert location.startswith(f"{asking.oauth}/continue?")
    person = actor(fhir, await member(fhir, "physician"))
    step = await asking.answered(person, query(location)["request"], "p1", "patient/*.rs")
    assert (await asking.redeem(query(step.location)["code"])).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_error_goes_back_to_the_app_and_nowhere_else(fhir: Client, method: str) -> None:
    asking = await app(fhir)
    answer = await sent(asking, method, aud="https://inferno.healthit.gov/invalid_aud")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(asking.redirect + "?")
    assert query(answer.headers["location"])["state"] == "a state"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("address", ["https://evil.example/", "javascript:alert(1)", "https://app.example.org/after/x"])
async def test_an_address_that_is_not_registered_gets_a_page_and_no_redirect(
    fhir: Client, method: str, address: str
) -> None:
    answer = await sent(await app(fhir), method, redirect_uri=address)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert address not in answer.text


async def test_what_cannot_be_read_gets_a_page(fhir: Client) -> None:
    address = f"{(await app(fhir)).oauth}/authorize"
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await fhir.http.post(address, json={"client_id": "x"})).status_code == 400
    assert (await fhir.http.post(address, content=b"a=" + b"x" * 100_000, headers=form)).status_code == 400
    assert (await fhir.http.post(address, content=b"client_id=%ff\xff", headers=form)).status_code == 400
    assert (await fhir.http.get(f"{address}?client_id=%ff")).status_code == 400
    assert (await fhir.http.get(f"{address}?{'&'.join(f'a{n}=1' for n in range(100))}")).status_code == 400


async def test_an_unknown_clinic_is_not_found(fhir: Client) -> None:
    asking = await app(fhir)
    asking.oauth = asking.oauth.replace(fhir.tenant, "nowhere")
    assert (await sent(asking, "GET")).status_code == 404


async def test_every_request_that_is_refused_and_every_code_is_audited(fhir: Client) -> None:
    asking = await app(fhir)
    await sent(asking, "GET", aud="https://elsewhere.example/fhir")
    await sent(asking, "GET", redirect_uri="https://evil.example/")
    person = await member(fhir, "physician")
    await asking.granted(actor(fhir, person), "user/*.rs")
    await authorization_of(fhir.concord).refuse(
        fhir.tenant_as_named(), await asking.begins("user/*.rs"), actor(fhir, person)
    )
    sql = "select action, outcome, subject, detail from audit where client = %s order by id"
    rows = await fhir.concord.db.fetch(fhir.tenant_id, sql, (asking.client_id,))
    assert [(action, outcome) for action, outcome, *_ in rows] == [
        ("authorize", 400), ("authorize", 400), ("authorize", 200), ("token", 200), ("authorize", 403)
    ]  # fmt: skip
    assert [subject for _, outcome, subject, _ in rows if outcome != 400] == [person.sub] * 3
    assert rows[2][3]["grant"] == rows[3][3]["grant"]
