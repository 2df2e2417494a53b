"""Outgoing requests: only to the public internet, only over TLS, and with nothing that a redirect could carry away."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.web import Failed, Refused, Web, is_public, origin
from tests.certificates import Authority

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Place:
    """A server that keeps what it is asked and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: bytes | Callable[[str], bytes] = OK
        self.port = 0
        self.sent = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            answer = self.answer(head.split(" ")[1]) if callable(self.answer) else self.answer
            writer.write(answer)
            await writer.drain()
            while answer.endswith(b"more"):
                writer.write(b"x" * 65536)
                self.sent += 65536
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def place(context: ssl.SSLContext | None = None) -> AsyncIterator[Place]:
    """Listen on a loopback port until the block ends."""
    made = Place()
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def names(**known: Sequence[str]) -> Callable[[str, int], object]:
    """Return a resolver that knows these hosts (`_` stands for a point) and gives their addresses one list a time."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return known[host.replace(".", "_")]

    return resolve


async def test_an_allowed_host_may_be_private_and_speak_plain_http() -> None:
    async with place() as there:
        answer = await Web(frozenset((f"127.0.0.1:{there.port}",))).get(f"http://127.0.0.1:{there.port}/keys?a=b")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"{}", "application/json")
        assert there.asked[0].startswith("GET /keys?a=b HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
async def test_no_request_goes_to_an_address_that_is_not_public(host: str) -> None:
    async with place() as there:
        with pytest.raises((Refused, Failed)):
            await Web().get(f"https://{host}:{there.port}/")
        assert there.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:93.184.216.34", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("x", False),
    ],
)
def test_what_counts_as_public(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    async with place() as there:
        web = Web(resolve=names(mixed_example=("93.184.216.34", "127.0.0.1")))
        with pytest.raises(Refused, match="not a host of the public internet"):
            await web.get(f"https://mixed.example:{there.port}/")
        assert there.asked == []


async def test_a_name_is_asked_once_and_the_address_that_was_checked_is_the_one_connected_to(tmp_path: Path) -> None:
    """DNS rebinding: a second answer would lead elsewhere."""
    authority = Authority(tmp_path)
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("203.0.113.1",)

    async with place(authority.server("keys.example")) as there:
        web = Web(frozenset(("keys.example",)), authorities=authority.file, resolve=rebinding)
        assert (await web.get(f"https://keys.example:{there.port}/")).status == 200
        # Connected by address, and still the name that TLS verified and that the server was told.
        assert f"\r\nhost: keys.example:{there.port}\r\n" in there.asked[0].lower()
        assert asked == ["keys.example"]


async def test_a_certificate_of_another_host_or_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    resolve = names(keys_example=("127.0.0.1",))
    async with place(authority.server("other.example")) as there:
        known = Web(frozenset(("keys.example",)), authorities=authority.file, resolve=resolve)
        for web in (known, Web(frozenset(("keys.example",)), resolve=resolve)):
            with pytest.raises(Failed):
                await web.get(f"https://keys.example:{there.port}/")
        assert there.asked == []


async def test_an_old_tls_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.server("keys.example")
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with place(old) as there:
        resolve = names(keys_example=("127.0.0.1",))
        web = Web(frozenset(("keys.example",)), authorities=authority.file, resolve=resolve)
        assert web.tls.minimum_version == ssl.TLSVersion.TLSv1_2
        with pytest.raises(Failed):
            await web.get(f"https://keys.example:{there.port}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/#part",
        "https:///path",
        "https://",
        "//example.org/",
        "https://exa mple.org/",
        "https://example.org/\r\nx: y",
        "https://example.org/" + "x" * 4000,
        "",
    ],
)
async def test_addresses_that_are_refused_by_their_text(url: str) -> None:
    with pytest.raises(Refused):
        Web().require(url)
    with pytest.raises(Refused):
        await Web().get(url)


@pytest.mark.parametrize("allowed", ["tx.example", "tx.example:443"])
def test_a_host_is_compared_whole_and_never_by_how_it_begins(allowed: str) -> None:
    web = Web(frozenset((allowed,)))
    for evil in (
        "http://tx.example.attacker.example/",
        "http://tx.example:80@attacker.example/",
        "http://xtx.example/",
    ):
        with pytest.raises(Refused):
            web.require(evil)
    assert origin("https://tx.example/a") == origin("https://TX.example.:443/b") == ("https", "tx.example", 443)
    assert origin("https://tx.example/") != origin("https://tx.example.attacker.example/")
    assert origin("https://tx.example/") != origin("https://tx.example:444/")


async def test_a_redirect_into_the_network_is_refused() -> None:
    async with place() as inside, place() as there:
        there.answer = (
            f"HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:{inside.port}/\r\ncontent-length: 0\r\n\r\n".encode()
        )
        with pytest.raises(Refused):
            await Web(frozenset((f"127.0.0.1:{there.port}",))).get(f"http://127.0.0.1:{there.port}/")
        assert (len(there.asked), inside.asked) == (1, [])


async def test_credentials_stay_with_the_origin_they_were_meant_for() -> None:
    secret = {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "application/json"}
    async with place() as first, place() as second:
        web = Web(frozenset(("127.0.0.1",)))
        back = f"http://127.0.0.1:{first.port}/back"
        first.answer = lambda path: OK if path != "/" else moved(302, f"http://127.0.0.1:{second.port}/x")
        second.answer = lambda path: moved(302, back)
        assert (await web.get(f"http://127.0.0.1:{first.port}/", secret)).url == back
        assert "Bearer secret" in first.asked[0]
        for head in (second.asked[0], first.asked[1]):
            assert "accept: application/json" in head.lower()
            assert not any(word in head for word in ("secret", "a=b", "k\r\n", "Api"))


async def test_a_redirect_within_the_origin_keeps_the_credentials() -> None:
    async with place() as there:
        there.answer = lambda path: OK if path == "/there" else moved(307, "/there#part")
        answer = await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{there.port}/", {"authorization": "x"})
        assert answer.url.endswith("/there")
        assert "authorization: x" in there.asked[1].lower()


async def test_a_body_goes_to_no_other_origin() -> None:
    async with place() as first, place() as second:
        first.answer = moved(308, f"http://127.0.0.1:{second.port}/")
        with pytest.raises(Refused, match="body"):
            await Web(frozenset(("127.0.0.1",))).send("POST", f"http://127.0.0.1:{first.port}/", content=b"secret")
        assert second.asked == []


async def test_a_redirect_never_leads_from_https_to_http(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with place(authority.server("127.0.0.1")) as there, place() as plain:
        there.answer = moved(302, f"http://127.0.0.1:{plain.port}/")
        with pytest.raises(Refused, match="https"):
            await Web(frozenset(("127.0.0.1",)), authorities=authority.file).get(f"https://127.0.0.1:{there.port}/")
        assert plain.asked == []


async def test_redirects_in_a_circle_end() -> None:
    async with place() as there:
        there.answer = moved(302, "/")
        with pytest.raises(Failed, match="more than 3 redirects"):
            await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{there.port}/")
        assert len(there.asked) == 4


async def test_an_answer_that_is_too_large_is_given_up(tmp_path: Path) -> None:
    async with place() as there:
        there.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nmore"
        with pytest.raises(Failed, match="larger than 1024 bytes"):
            await Web(frozenset(("127.0.0.1",)), most=1024).get(f"http://127.0.0.1:{there.port}/")


async def test_a_packed_answer_is_refused_unpacked() -> None:
    async with place() as there:
        there.answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
        with pytest.raises(Failed, match="packed"):
            await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{there.port}/")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"])
async def test_an_answer_that_does_not_come_is_not_waited_for(begun: bytes) -> None:
    held = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await held.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        web = replace(Web(frozenset(("127.0.0.1",))), seconds=0.2)
        with pytest.raises(Failed, match="within"):
            await web.get(f"http://127.0.0.1:{port}/")
        held.set()


async def test_what_is_no_http_fails_and_tells_nothing_of_it() -> None:
    async with place() as there:
        there.answer = b"-ERR unknown command, secret\r\n"
        with pytest.raises(Failed) as told:
            await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{there.port}/")
        assert "secret" not in str(told.value)


async def test_a_host_that_nobody_answers_at_fails() -> None:
    async with place() as there:
        port = there.port
    with pytest.raises(Failed):
        await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{port}/")


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with place() as proxy, place() as there:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await Web(frozenset(("127.0.0.1",))).get(f"http://127.0.0.1:{there.port}/")
        assert (len(there.asked), proxy.asked) == (1, [])


def moved(status: int, place: str) -> bytes:
    """Return a redirect."""
    return f"HTTP/1.1 {status} x\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode()
