"""Which web pages may call: what is published any, the API and the tokens those of registered apps, and no others.

https://hl7.org/fhir/smart-app-launch/conformance.html · https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from fhir_server.store import clients
from tests.apps import App, app
from tests.fhir import Client

OURS = "https://app.example.org"
WHO = "access-control-allow-origin"
EVIL = [
    "https://evil.example", "null", "https://app.example.org.evil", "https://app.example.org:8443",
    "http://app.example.org", "https://app.example.org/", "https://APP.example.org", "https://xapp.example.org", "*",
    "https://" + "a" * 400, "",
]  # fmt: skip


async def called(asking: App, method: str, path: str, origin: str, **more: str) -> httpx.Response:
    root = asking.fhir.base.removesuffix("/fhir")
    return await asking.fhir.http.request(method, root + path, headers={"origin": origin, **more})


async def preflight(asking: App, path: str, origin: str, method: str = "POST") -> httpx.Response:
    asked = {"access-control-request-method": method, "access-control-request-headers": "authorization"}
    return await called(asking, "OPTIONS", path, origin, **asked)


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect", "/fhir/Patient/1", "/fhir"])
async def test_a_page_of_a_registered_app_may_call(fhir: Client, path: str) -> None:
    asking = await app(fhir)
    answer = await preflight(asking, path, OURS)
    if path == "/fhir":
        assert WHO not in answer.headers
        return
    assert (answer.status_code, answer.headers[WHO]) == (204, OURS)
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "origin" in answer.headers["vary"].lower()
    assert "access-control-allow-credentials" not in answer.headers


async def test_it_may_read_the_answers_and_what_their_headers_say(fhir: Client) -> None:
    asking = await app(fhir)
    await fhir.put("/Patient/p1", json={"resourceType": "Patient", "id": "p1"})
    answer = await fhir.get("/Patient/p1", headers={"origin": OURS})
    assert (answer.status_code, answer.headers[WHO]) == (200, OURS)
    assert "etag" in answer.headers["access-control-expose-headers"]
    assert "origin" in answer.headers["vary"]
    refused = await called(asking, "GET", "/fhir/Patient/p1", OURS)
    assert (refused.status_code, refused.headers[WHO]) == (401, OURS)
    token = await fhir.http.post(f"{asking.oauth}/token", data={"grant_type": "x"}, headers={"origin": OURS})
    assert (token.status_code, token.headers[WHO]) == (400, OURS)


@pytest.mark.parametrize("origin", EVIL)
async def test_a_page_of_anybody_else_may_not(fhir: Client, origin: str) -> None:
    asking = await app(fhir)
    for path in ("/oauth/token", "/fhir/Patient", "/fhir/Binary/1"):
        answer = await preflight(asking, path, origin)
        assert (answer.status_code, WHO in answer.headers) == (403, False)
    answer = await fhir.get("/Patient", headers={"origin": origin})
    assert (answer.status_code, WHO in answer.headers) == (200, False)
    form = {"grant_type": "authorization_code", "code": "x", "client_id": asking.client_id}
    token = await fhir.http.post(f"{asking.oauth}/token", data=form, headers={"origin": origin})
    assert (token.status_code, WHO in token.headers) == (400, False)


@pytest.mark.parametrize(
    "path", ["/fhir/.well-known/smart-configuration", "/fhir/.well-known/openid-configuration", "/fhir/metadata",
             "/oauth/jwks", "/oauth/style.json"]
)  # fmt: skip
async def test_what_is_published_any_page_may_read_once(fhir: Client, path: str) -> None:
    asking = await app(fhir)
    for origin in (OURS, "https://any.example", "null"):
        answer = await called(asking, "GET", path, origin)
        assert (answer.status_code, answer.headers.get_list(WHO)) == (200, ["*"])
        assert (await preflight(asking, path, origin, "GET")).headers[WHO] == "*"


@pytest.mark.parametrize("path", ["/oauth/authorize", "/oauth/continue", "/api/launch", "/api/messages", "/x"])
async def test_pages_and_the_clinics_api_are_for_no_other_page(fhir: Client, path: str) -> None:
    asking = await app(fhir)
    assert WHO not in (await preflight(asking, path, OURS)).headers
    assert WHO not in (await called(asking, "GET", path, OURS)).headers


async def test_an_app_of_another_clinic_is_nobody_here(fhir: Client, other: Client) -> None:
    there = await app(other)
    assert (await preflight(there, "/oauth/token", OURS)).status_code == 204
    there.fhir = fhir
    assert (await preflight(there, "/oauth/token", OURS)).status_code == 403


async def test_the_pages_of_a_disabled_app_may_call_no_more(fhir: Client) -> None:
    asking = await app(fhir)
    assert (await preflight(asking, "/fhir/Patient", OURS)).status_code == 204
    await clients.disable(fhir.concord.db, fhir.tenant_id, asking.client_id, fhir.clock())
    fhir.clock.move(timedelta(seconds=6))
    assert (await preflight(asking, "/fhir/Patient", OURS)).status_code == 403


async def test_an_origin_beside_the_redirect_uris_can_be_registered(fhir: Client) -> None:
    asking = await app(fhir, origins=["https://www.example.org"])
    assert (await preflight(asking, "/fhir/Patient", "https://www.example.org")).status_code == 204
