"""What servers of others answer when they are busy, broken or wicked, and what our client makes of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters.fhir_answers import Done, Final, Page, Retry, retry_after
from adapters.fhir_client import FhirClient
from adapters.fhir_signin import BackendService, Basic
from adapters.web import Web

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ECKey.generate_key("P-384", {"kid": "k1"}, private=True)
PRIVATE = dict(KEY.as_dict(private=True))
Said = tuple[int, dict[str, str], bytes]


class Server:
    """Answers by a function of method, path, headers and body, over connections that it keeps, and counts those."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Said]) -> None:
        self.answer, self.connections, self.port = answer, 0, 0
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split("\r\n")[0].split(" ")
                lines = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, _, value in lines}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.asked.append((method, path, headers, body))
                status, more, content = self.answer(method, path, headers, body)
                lines_out = "".join(f"{n}: {v}\r\n" for n, v in {**more, "content-length": len(content)}.items())
                writer.write(f"HTTP/1.1 {status} x\r\n{lines_out}\r\n".encode() + content)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def server(answer: Callable[[str, str, dict[str, str], bytes], Said]) -> AsyncIterator[Server]:
    """Listen on a loopback port until the block ends."""
    made = Server(answer)
    listening = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


def client(at: Server, sign_in: Any = None, clock: Callable[[], datetime] = lambda: NOW, **more: Any) -> FhirClient:
    return FhirClient(at.base, Web(frozenset(("127.0.0.1",)), **more), clock, sign_in)


def always(status: int, body: bytes = b"", **headers: str) -> Callable[..., Said]:
    return lambda *_: (status, {n.replace("_", "-"): v for n, v in headers.items()}, body)


def bundle(*links: tuple[str, str], entry: Any = ()) -> bytes:
    link = [{"relation": relation, "url": url} for relation, url in links]
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": list(entry)}).encode()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_told_as_retry_with_the_seconds_that_were_asked_for(status: int) -> None:
    async with server(always(status, b'{"a":1}', retry_after="17")) as there, client(there) as ours:
        told = await ours.create("Patient", b"{}")
        assert told == Retry(f"the server answered {status}", status, 17.0, b'{"a":1}')


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 412, 413, 415, 422, 501, 505])
async def test_what_would_be_refused_again_is_final_with_the_outcome(status: int) -> None:
    async with server(always(status, b"outcome", retry_after="17")) as there, client(there) as ours:
        assert await ours.create("Patient", b"{}") == Final(f"the server answered {status}", status, b"outcome")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999", 86_400.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 13:00:00 -0000", 3600.0),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_never_more_than_a_day(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_for_a_write_would_become_a_read(status: int) -> None:
    async with server(always(status, location="/elsewhere")) as there, client(there, Basic("a", "b")) as ours:
        told = await ours.create("Patient", b"{}")
        assert isinstance(told, Final)
        assert told.status == status
        assert len(there.asked) == 1


async def test_requests_share_a_connection_and_say_what_they_send() -> None:
    async with server(always(201, location="x/Patient/5/_history/2")) as there, client(there) as ours:
        for _ in range(3):
            done = await ours.create("Patient", b'{"resourceType": "Patient"}')
            assert isinstance(done, Done)
            assert done.reference == "Patient/5"
        assert there.connections == 1
        method, path, headers, body = there.asked[0]
        assert (method, path, body) == ("POST", "/fhir/Patient", b'{"resourceType": "Patient"}')
        assert headers["content-type"] == headers["accept"] == "application/fhir+json"


async def test_conditions_are_encoded_so_that_a_value_cannot_become_a_parameter() -> None:
    async with server(always(200)) as there, client(there) as ours:
        await ours.create("Patient", b"{}", [("identifier", "urn:x|a&b=c d\r\nx: y")])
        await ours.conditional_update("Patient", [("identifier", "urn:x|a&b")], b"{}")
        assert there.asked[0][2]["if-none-exist"] == "identifier=urn%3Ax%7Ca%26b%3Dc+d%0D%0Ax%3A+y"
        assert there.asked[1][1] == "/fhir/Patient?identifier=urn%3Ax%7Ca%26b"


@pytest.mark.parametrize(("kind", "id_"), [("Patient", "../x"), ("Patient", "1?a=b"), ("patient", "1"), ("P/1", "1")])
async def test_a_type_or_id_that_is_none_is_not_sent(kind: str, id_: str) -> None:
    async with server(always(200)) as there, client(there) as ours:
        with pytest.raises(ValueError, match="no type or id"):
            await ours.read(kind, id_)
        with pytest.raises(ValueError, match="condition"):
            await ours.conditional_update("Patient", [], b"{}")
        assert there.asked == []


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:1/fhir?page=2", "https://127.0.0.1/fhir", "//evil.example/x", "http://u@127.0.0.1/", "ftp://x/"],
)
async def test_a_next_page_of_another_origin_is_not_asked_for(link: str) -> None:
    async with server(always(200, bundle(("next", link)))) as there, client(there, Basic("a", "b")) as ours:
        pages = [page async for page in ours.pages("Patient", [])]
        assert [type(page) for page in pages] == [Final]
        assert len(there.asked) == 1
        assert isinstance(await ours.page(link), Final)


async def test_a_next_page_may_be_named_relative_and_long() -> None:
    cursor = "x" * 5000

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Said:
        entry = [{"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient"}}, {"search": {"mode": "match"}}]
        return 200, {}, bundle(*([] if cursor in path else [("next", f"?page={cursor}")]), entry=entry)

    async with server(answer) as there, client(there) as ours:
        pages = [page async for page in ours.pages("Patient", [("a", "b")])]
        assert [len(page.entries) for page in pages if isinstance(page, Page)] == [1, 1]
        assert [path for _, path, _, _ in there.asked] == ["/fhir/Patient?a=b", f"/fhir/Patient?page={cursor}"]


async def test_next_pages_in_a_circle_end() -> None:
    async with server(always(200, bundle(("next", "?page=1")))) as there, client(there) as ours:
        pages = [page async for page in ours.pages("Patient", [])]
        assert [type(page) for page in pages] == [Page, Page, Final]
        assert len(there.asked) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"resourceType":"Patient"}', b'{"resourceType":"Bundle","entry":5}']
)
async def test_an_answer_to_a_search_that_is_no_bundle_is_final(body: bytes) -> None:
    async with server(always(200, body)) as there, client(there) as ours:
        assert isinstance(await ours.search("Patient", []), Final)


async def test_an_answer_that_is_too_large_is_final_and_one_that_does_not_come_is_not() -> None:
    async with server(always(200, b"x" * 5000)) as there, client(there, most=4096) as ours:
        told = await ours.read("Patient", "1")
        assert told == Final("the answer is larger than 4096 bytes")
    async with server(always(200)) as there, client(there) as ours:
        ours._most_sent = 10
        assert isinstance(await ours.create("Patient", b"x" * 11), Final)
        assert there.asked == []
    async with FhirClient(there.base, Web(frozenset(("127.0.0.1",)), seconds=0.2), lambda: NOW) as ours:
        assert isinstance(await ours.read("Patient", "1"), Retry)


async def test_basic_sends_name_and_password_as_utf_8() -> None:
    async with server(always(200)) as there, client(there, Basic("ada", "pä:ss")) as ours:
        await ours.read("Patient", "1")
        sent = there.asked[0][2]["authorization"].removeprefix("Basic ")
        assert base64.b64decode(sent).decode() == "ada:pä:ss"
        assert "pä" not in repr(Basic("ada", "pä:ss"))


class Tokens:
    """A token endpoint and a FHIR server in one; `good` are the tokens that are taken."""

    def __init__(self) -> None:
        self.given = 0
        self.taken: set[str] = set()
        self.answer: dict[str, Any] = {"expires_in": 300}
        self.refusing: Said | None = None
        self.place = "/token"

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Said:
        if path.endswith("smart-configuration"):
            return 200, {}, json.dumps({"token_endpoint": self.place}).encode()
        if path == "/token":
            if self.refusing:
                return self.refusing
            self.given += 1
            self.taken.add(f"t{self.given}")
            return 200, {}, json.dumps({"access_token": f"t{self.given}", **self.answer}).encode()
        good = headers.get("authorization", "").removeprefix("Bearer ") in self.taken
        return (200 if good else 401), {}, b"{}"


def service(there: Server) -> BackendService:
    return BackendService("us", PRIVATE, "system/*.rs", f"http://127.0.0.1:{there.port}/token")


async def test_the_assertion_is_signed_for_the_token_endpoint_and_used_once() -> None:
    async with server(Tokens()) as there:
        for _ in range(2):
            async with client(there, service(there)) as ours:
                assert isinstance(await ours.read("Patient", "1"), Done)
    forms = [parse_qs(body.decode()) for method, path, _, body in there.asked if path == "/token"]
    tokens = [jwt.decode(form["client_assertion"][0], KEY, algorithms=["ES384"]) for form in forms]
    claims = tokens[0].claims
    assert tokens[0].header == {"alg": "ES384", "kid": "k1", "typ": "JWT"}
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("us", "us", f"http://127.0.0.1:{there.port}/token")
    assert NOW.timestamp() < claims["exp"] <= NOW.timestamp() + 300
    assert claims["jti"] != tokens[1].claims["jti"]
    assert (forms[0]["grant_type"], forms[0]["scope"]) == (["client_credentials"], ["system/*.rs"])


async def test_one_token_serves_many_requests_at_once_until_shortly_before_it_expires() -> None:
    clock = [NOW]
    tokens = Tokens()
    async with server(tokens) as there, client(there, service(there), lambda: clock[0]) as ours:
        await asyncio.gather(*(ours.read("Patient", "1") for _ in range(8)))
        clock[0] += timedelta(seconds=269)
        await ours.read("Patient", "1")
        assert tokens.given == 1
        clock[0] += timedelta(seconds=2)
        await ours.read("Patient", "1")
        assert tokens.given == 2


async def test_after_a_401_a_token_is_got_anew_once_and_no_more() -> None:
    tokens = Tokens()
    async with server(tokens) as there, client(there, service(there)) as ours:
        await ours.read("Patient", "1")
        tokens.taken.clear()
        assert isinstance(await ours.read("Patient", "1"), Done)
        assert tokens.given == 2
        tokens.taken = {"none"}
        there.answer = lambda m, p, h, b: tokens(m, p, h, b) if p == "/token" else (401, {}, b"")
        told = await ours.read("Patient", "1")
        assert isinstance(told, Final)
        assert (told.status, tokens.given) == (401, 3)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((400, {}, b'{"error": "invalid_client"}'), Final("no token: invalid_client", 400)),
        ((400, {}, b'{"error": "Eva Doe is unknown"}'), Final("no token: the server answered 400", 400)),
        ((200, {}, b"{}"), Final("no token: the token endpoint's answer holds none", 200)),
        ((200, {}, b'{"access_token": "a\\r\\nb"}'), Final("no token: the token endpoint's answer holds none", 200)),
        ((200, {}, b"secret"), Final("no token: the token endpoint's answer holds none", 200)),
        ((503, {"retry-after": "9"}, b"secret"), Retry("no token: the server answered 503", 503, 9.0)),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), None),
    ],
)
async def test_a_token_endpoint_that_gives_none_is_told_without_its_words(said: Said, told: Any) -> None:
    tokens = Tokens()
    tokens.refusing = said
    async with server(tokens) as there, client(there, service(there)) as ours:
        found = await ours.read("Patient", "1")
        assert isinstance(found, Final) if told is None else found == told
        assert all(path == "/token" for _, path, _, _ in there.asked)


async def test_a_token_endpoint_is_discovered_at_the_servers_own_origin_alone() -> None:
    tokens = Tokens()
    async with server(tokens) as there, server(Tokens()) as evil:
        tokens.place = f"http://127.0.0.1:{there.port}/token"
        discovering = BackendService("us", PRIVATE, "system/*.rs")
        async with client(there, discovering) as ours:
            assert isinstance(await ours.read("Patient", "1"), Done)
        tokens.place = f"http://127.0.0.1:{evil.port}/token"
        async with client(there, BackendService("us", PRIVATE, "system/*.rs")) as ours:
            assert isinstance(await ours.read("Patient", "1"), Final)
        assert evil.asked == []


@pytest.mark.parametrize(
    "key",
    [
        dict(KEY.as_dict(private=False)),
        dict(ECKey.generate_key("P-256", {"kid": "k"}, private=True).as_dict(private=True)),
        {name: value for name, value in PRIVATE.items() if name != "kid"},
        {"kty": "oct", "k": "c2VjcmV0", "d": "x", "kid": "k"},
        {"kty": "EC", "crv": "P-384", "d": "x", "kid": "k"},
        {},
    ],
)
def test_a_key_that_cannot_sign_is_refused_at_once_and_not_shown(key: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as told:
        BackendService("us", key, "system/*.rs")
    assert str(key.get("d", "no d")) not in str(told.value).split()
