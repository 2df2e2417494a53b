"""Requests that the server is made to send: N25 and N26. Key sets of clients are what it fetches by an address.

https://owasp.org/API-Security/editions/2023/en/0xa7-server-side-request-forgery/
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from adapters.web import Failed, Refused, Web, origin
from fhir_server.errors import Invalid
from fhir_server.interactions.table import TABLE
from fhir_server.smart.assertion import TYPE
from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients
from fhir_server.store.clients import Client as Registered
from tests.adapters.test_web import Place, moved, place
from tests.apps import KID, jwks, key
from tests.fhir import Client
from tests.http.trouble import served
from tests.security.records import put

INSIDE = [
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/keys",
    "https://[::ffff:127.0.0.1]:{port}/keys",
    "https://0x7f000001:{port}/keys",
    "https://2130706433:{port}/keys",
    "https://127.0.0.1:{port}/keys",
    "http://127.0.0.1:{port}/keys",
    "https://localhost:{port}/keys",
    "https://user@127.0.0.1:{port}/keys",
    "https://example.org@127.0.0.1:{port}/keys",
    "gopher://127.0.0.1:{port}/keys",
    "file:///etc/passwd",
]


@pytest.fixture
async def there() -> AsyncIterator[Place]:
    """Give a server inside, which answers with the keys."""
    async with place() as made:
        body = json.dumps(jwks()).encode()
        made.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        yield made


async def asks(client: Client, address: str) -> httpx.Response:
    """Ask for a token as a client whose keys stand at an address, whatever was registered before it was refused."""
    given = Registered(f"c-{uuid4()}", "Keys elsewhere", "system/*.rs", None, client.clock(), jwks_uri=address)
    await clients.add(client.concord.db, client.tenant_id, given)
    endpoint = client.base.removesuffix("/fhir") + "/oauth/token"
    claims = {"iss": given.client_id, "sub": given.client_id, "aud": endpoint, "jti": str(uuid4())}
    claims["exp"] = int(client.clock().timestamp()) + 240  # type: ignore[assignment]
    form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion_type": TYPE}
    form["client_assertion"] = jwt.encode(claims, key(), "ES384", {"kid": KID})
    return await client.http.post(endpoint, data=form)


@pytest.mark.parametrize("address", INSIDE)
async def test_n25_no_key_set_is_fetched_from_inside(fhir: Client, there: Place, address: str) -> None:
    answer = await asks(fhir, address.format(port=there.port))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert there.asked == []
    # What is inside is not told by what goes wrong.
    assert not {"127.0.0.1", "refused", "connect", "timed"} & set(answer.text.lower().split())


async def test_n25_a_redirect_inside_is_not_followed(server_dsn: str, there: Place) -> None:
    async with place() as outside, served(server_dsn, outgoing_allow=f"127.0.0.1:{outside.port}") as client:
        outside.answer = moved(302, f"http://127.0.0.1:{there.port}/keys")
        assert (await asks(client, f"http://127.0.0.1:{outside.port}/keys")).status_code == 401
        assert (len(outside.asked), there.asked) == (1, [])
        outside.answer = there.answer
        assert (await asks(client, f"http://127.0.0.1:{outside.port}/keys")).status_code == 200


async def test_n25_a_key_set_without_end_is_given_up(server_dsn: str) -> None:
    async with (
        place() as outside,
        served(server_dsn, outgoing_allow="127.0.0.1", outgoing_max_bytes=2048, outgoing_timeout=20) as client,
    ):
        outside.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nmore"
        assert (await asks(client, f"http://127.0.0.1:{outside.port}/keys")).status_code == 401


@pytest.mark.parametrize(
    "address",
    ["http://keys.example/jwks", "https://user@keys.example/", "ftp://keys.example/", "https://k.example/#x", "x"],
)
def test_n25_an_address_that_would_never_be_asked_is_not_registered(address: str) -> None:
    asked = Registration(name="x", kind="asymmetric", scope="system/*.rs", jwks_uri=address)
    with pytest.raises(Invalid):
        registered(asked, datetime(2026, 1, 1, tzinfo=UTC))


async def test_n25_what_a_record_points_at_is_fetched_by_nobody(fhir: Client, there: Place) -> None:
    """Attachments, profiles, subscriptions' endpoints, contained URLs: addresses in records are data."""
    url = f"http://127.0.0.1:{there.port}/x"
    attachment = [{"attachment": {"url": url, "contentType": "application/pdf"}}]
    await put(
        fhir,
        {"resourceType": "Patient", "id": "x", "meta": {"profile": [url]}, "photo": [{"url": url}]},
        {"resourceType": "DocumentReference", "id": "x", "status": "current", "content": attachment},
        {"resourceType": "Endpoint", "id": "x", "status": "active", "connectionType": {"code": "x"}, "address": url}
        | {"payloadType": [{"text": "x"}]},
        {"resourceType": "Library", "id": "x", "status": "draft", "type": {"text": "x"}, "content": [{"url": url}]},
    )
    for path in (
        "/DocumentReference/x",
        "/Patient?_profile=" + url,
        f"/Observation?code:in={url}",
        f"/Patient?_has={url}",
    ):
        await fhir.get(path)
    assert [row.shape for row in TABLE if {"$import", "$load", "$validate"} & set(row.shape)] == []
    assert there.asked == []


async def test_n26_a_trusted_host_is_compared_whole_and_no_credential_goes_elsewhere() -> None:
    """CVE-2026-34361: a trusted address by how it begins, and its credentials carried along by a redirect."""
    trusted = "http://tx.fhir.org"
    web = Web(frozenset(("tx.fhir.org",)))
    evil = ("http://tx.fhir.org.attacker.com/", "http://tx.fhir.org@attacker.com/", "http://tx.fhir.orgx/")
    evil += ("http://attacker.com/tx.fhir.org", "http://attacker.com?http://tx.fhir.org/", "http://xtx.fhir.org/")
    for address in evil:
        with pytest.raises(Refused):
            web.require(address)
        try:
            assert origin(address) != origin(trusted)
        except Refused:
            continue
    async with place() as first, place() as second:
        first.answer = moved(302, f"http://127.0.0.1:{second.port}/")
        secret = {"authorization": "Bearer secret", "cookie": "s=secret", "x-api-key": "secret"}
        await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{first.port}/", secret)
        assert "secret" in first.asked[0]
        assert "secret" not in second.asked[0]


async def test_n25_a_name_that_changes_its_address_is_asked_once(there: Place) -> None:
    calls: list[str] = []

    async def rebinding(host: str, _: int) -> Sequence[str]:
        calls.append(host)
        return ("127.0.0.1",) if len(calls) > 1 else ("93.184.216.34",)

    async def connect(address: str) -> Any:
        return await Web(resolve=rebinding, seconds=0.5).get(f"https://{address}:{there.port}/")

    with pytest.raises((Failed, Refused)):
        await connect("rebind.example")
    assert (calls, there.asked) == (["rebind.example"], [])
    with pytest.raises(Refused):
        await connect("rebind.example")
    assert there.asked == []
