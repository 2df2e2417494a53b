"""Clients that publish their keys at an address: fetched when needed, kept as long as the address says, no longer.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from fhir_server.store import tenants
from tests.apps import App, app, jwks
from tests.fhir import Client, running

GOOD, REFUSED = (400, "invalid_grant"), (401, "invalid_client")


class Publisher:
    """A small HTTP server with a key set; counts who comes."""

    def __init__(self) -> None:
        self.content: Any = jwks()
        self.control = "max-age=60"
        self.status = "200 OK"
        self.asked = 0
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        head = f"HTTP/1.1 {self.status}\r\ncontent-length: {len(body)}\r\ncache-control: {self.control}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def published() -> AsyncIterator[Publisher]:
    found = Publisher()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    await server.wait_closed()


@pytest.fixture
async def fhir(server_dsn: str, published: Publisher) -> AsyncIterator[Client]:
    """Return a client of a server that may fetch from the publisher."""
    allowed = f"127.0.0.1:{published.port}"
    async with running(server_dsn, outgoing_allow=allowed) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        tenant = await tenants.add(concord.db, f"j-{published.port}-{id(http)}")
        yield Client(concord, clock, tenant, http)


@pytest.fixture
async def asking(fhir: Client, published: Publisher) -> App:
    return await app(fhir, "asymmetric", jwks=None, jwks_uri=published.address)


async def proven(asking: App) -> tuple[int, str]:
    """Return how an assertion fares: who is let in gets no further than an unknown code."""
    answer = await asking.redeem("unknown")
    return answer.status_code, answer.json()["error"]


async def test_keys_are_fetched_once_and_again_when_their_time_is_over(
    fhir: Client, asking: App, published: Publisher
) -> None:
    for _ in range(3):
        assert await proven(asking) == GOOD
    assert published.asked == 1
    fhir.clock.move(timedelta(seconds=61))
    assert await proven(asking) == GOOD
    assert published.asked == 2


@pytest.mark.parametrize("control", ["no-store", "no-cache", "max-age=0", "private, max-age=0, must-revalidate"])
async def test_keys_that_may_not_be_kept_are_not(asking: App, published: Publisher, control: str) -> None:
    published.control = control
    for _ in range(2):
        assert await proven(asking) == GOOD
    assert published.asked == 2


@pytest.mark.parametrize("control", ["", "max-age=99999999"])
async def test_no_key_is_kept_for_longer_than_an_hour(
    fhir: Client, asking: App, published: Publisher, control: str
) -> None:
    published.control = control
    assert await proven(asking) == GOOD
    published.content = {"keys": []}
    fhir.clock.move(timedelta(hours=1, seconds=1))
    assert await proven(asking) == REFUSED


async def test_a_key_that_was_taken_away_is_good_no_more_once_the_kept_set_is_over(
    fhir: Client, asking: App, published: Publisher
) -> None:
    assert await proven(asking) == GOOD
    published.content = {"keys": [{**jwks()["keys"][0], "kid": "another"}]}
    fhir.clock.move(timedelta(seconds=61))
    assert await proven(asking) == REFUSED


async def test_a_new_key_is_found_before_the_kept_set_is_over(fhir: Client, asking: App, published: Publisher) -> None:
    published.content = {"keys": [{**jwks()["keys"][0], "kid": "old"}]}
    assert await proven(asking) == REFUSED
    published.content = jwks()
    # Who names keys that are not there does not make the server ask again and again.
    assert await proven(asking) == REFUSED
    assert published.asked == 1
    fhir.clock.move(timedelta(seconds=11))
    assert await proven(asking) == GOOD
    assert published.asked == 2


async def test_keys_of_other_kinds_beside_the_good_one_do_no_harm(asking: App, published: Publisher) -> None:
    odd = [{"kty": "oct", "k": "x", "kid": "1"}, {"kty": "EC", "crv": "P-256", "kid": "2"}, {}, "x", None]
    published.content = {"keys": [*odd, *jwks()["keys"]]}
    assert await proven(asking) == GOOD


@pytest.mark.parametrize("content", [b"", b"x", b"[" * 5000, {}, [], {"keys": []}, {"keys": [{}]}, {"keys": "x"}])
async def test_what_is_no_key_set_lets_nobody_in(asking: App, published: Publisher, content: Any) -> None:
    published.content = content
    assert await proven(asking) == REFUSED


async def test_an_address_that_fails_lets_nobody_in(asking: App, published: Publisher) -> None:
    published.status = "500 Broken"
    assert await proven(asking) == REFUSED
    published.status = "200 OK"
    assert await proven(asking) == GOOD


async def test_an_address_that_is_not_allowed_is_not_asked(fhir: Client, published: Publisher) -> None:
    elsewhere = published.address.replace("127.0.0.1", "localhost")
    asking = await app(fhir, "asymmetric", jwks=None, jwks_uri=elsewhere)
    assert await proven(asking) == REFUSED
    assert published.asked == 0
