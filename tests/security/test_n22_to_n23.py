"""Introspection by who may not know, and pages of other sites: N22 and N23.

https://www.rfc-editor.org/rfc/rfc7662#section-4 · https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import httpx
import pytest

from fhir_server.smart.authorize import Actor
from tests.apps import actor, app
from tests.fhir import Client
from tests.people import member

SCOPE = "launch/patient offline_access patient/Patient.rs"
# What a page of another site says it is.
EVIL = (
    "https://evil.example",
    "null",
    "https://app.example.org.evil.example",
    "https://evil.example?https://app.example.org",
    "http://app.example.org",
    "https://app.example.org:444",
    "https://app.example.org:443",
    "https://APP.EXAMPLE.ORG",
    "https://sub.app.example.org",
    "https://app.example.org/",
    "file://",
    "*",
)


@pytest.fixture
async def physician(fhir: Client) -> Actor:
    return actor(fhir, await member(fhir, "physician", "Practitioner/eva"), "physician", "Practitioner/eva")


async def test_n22_who_may_not_know_is_told_nothing_of_a_token(fhir: Client, other: Client, physician: Actor) -> None:
    holder = await app(fhir, "symmetric")
    given = await holder.granted(physician, SCOPE)
    here = await app(fhir, "symmetric", scope="introspection", redirect_uris=())
    there = await app(other, "symmetric", scope="introspection", redirect_uris=())
    stranger = await app(fhir, "symmetric")
    for token in (given["access_token"], given["refresh_token"]):
        assert (await here.post("introspect", token=token)).json()["active"] is True
        for asking in (there, stranger):
            answer = await asking.post("introspect", token=token)
            assert (answer.status_code, answer.json()) == (200, {"active": False})
        for data, headers in (({"token": token}, {}), ({"token": token, "client_id": here.client_id}, {}),
                              ({"token": token}, {"authorization": f"Bearer {given['access_token']}"})):  # fmt: skip
            answer = await fhir.http.post(f"{here.oauth}/introspect", data=data, headers=headers)
            assert answer.status_code in (401, 403), answer.text
            assert "active" not in answer.text
            assert "p1" not in answer.text
    for token in ("", "x", "a.b.c", "\0", "x" * 30_000):
        answer = await here.post("introspect", token=token)
        assert answer.status_code in (200, 400)
        assert answer.status_code == 400 or answer.json() == {"active": False}


async def test_n22_nobody_ends_a_token_that_is_anothers(fhir: Client, other: Client, physician: Actor) -> None:
    holder, stranger, elsewhere = await app(fhir), await app(fhir), await app(other)
    given = await holder.granted(physician, SCOPE)
    for asking in (stranger, elsewhere):
        for token in (given["refresh_token"], given["access_token"]):
            await asking.post("revoke", token=token)
    assert (await holder.refresh(given["refresh_token"])).status_code == 200


def shared(answer: httpx.Response) -> set[str]:
    """Return the names of headers by which a browser would let another site's page read an answer."""
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", EVIL)
async def test_n23_a_page_of_another_site_reads_nothing(fhir: Client, origin: str) -> None:
    await app(fhir)
    oauth = fhir.base.removesuffix("/fhir") + "/oauth"
    for method in ("GET", "POST", "PUT", "DELETE"):
        asks = {"origin": origin, "access-control-request-method": method}
        asks["access-control-request-headers"] = "authorization"
        for place in (f"{fhir.base}/Patient", f"{oauth}/token", f"{fhir.concord.base_url}/account"):
            answer = await fhir.http.options(place, headers=asks)
            assert "access-control-allow-origin" not in answer.headers, (origin, place)
    for answer in (
        await fhir.get("/Patient", headers={"origin": origin}),
        await fhir.get("/Patient/x", headers={"origin": origin}),
        await fhir.get("/Patient", token="bad", headers={"origin": origin}),
        await fhir.http.post(f"{oauth}/token", data={"grant_type": "x"}, headers={"origin": origin}),
        await fhir.http.get(f"{oauth}/authorize", headers={"origin": origin}),
        await fhir.http.get(f"{fhir.concord.base_url}/account", headers={"origin": origin}),
    ):
        assert "access-control-allow-origin" not in answer.headers, (origin, answer.url)
        assert "access-control-allow-credentials" not in answer.headers


async def test_n23_no_answer_goes_to_every_page_with_credentials(fhir: Client) -> None:
    await app(fhir)
    own = {"origin": "https://app.example.org"}
    for place in ("/metadata", "/.well-known/smart-configuration", "/Patient", "/Patient/x"):
        answer = await fhir.get(place, headers=own)
        assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example.org")
        assert "access-control-allow-credentials" not in answer.headers
        if answer.headers["access-control-allow-origin"] != "*":
            assert "origin" in answer.headers["vary"].lower()
    for place in ("/metadata", "/.well-known/smart-configuration"):
        open_to_all = await fhir.get(place, headers={"origin": "https://evil.example"})
        assert open_to_all.headers["access-control-allow-origin"] == "*"


async def test_n23_another_clinics_app_is_no_page_of_this_one(fhir: Client, other: Client) -> None:
    await app(other)
    answer = await fhir.get("/Patient", headers={"origin": "https://app.example.org"})
    assert not shared(answer)
