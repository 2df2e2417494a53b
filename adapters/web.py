"""The one client for outgoing requests: it connects only to addresses that it has checked.

https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import httpcore
import httpx

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Origin = tuple[str, str, int]

_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048
_SPOKEN = IPv6Network("2000::/3")  # all that is given out for use between networks (RFC 4291)
_MOVED = frozenset((301, 302, 303, 307, 308))
# What may go to another origin than the one that the caller meant.
_CARRIED = frozenset(("accept", "accept-language", "user-agent"))


class Refused(Exception):
    """An address that no request goes to; the message names the reason and is safe to show."""


class Failed(Exception):
    """A request that was sent and got no answer that can be used; the message is safe to show."""


class TooLarge(Failed):
    """An answer that is larger than what is taken; asked again, it would be no smaller."""


class Answer(NamedTuple):
    """What came back: `headers` in lower case, `url` where it came from after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def origin(url: str, longest: int = _LONGEST_URL) -> Origin:
    """Return scheme, host and port of an http(s) URL; two places are the same where these are equal.

    Raises Refused for another scheme, for userinfo, a fragment, for more than `longest` characters, and for what
    cannot be parsed.
    """
    return _origin(_parsed(url, longest))


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet: no loopback, private, link-local or embedded one."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if not found.is_global or found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback:
        return False
    return isinstance(found, IPv4Address) or _native(found)


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system knows them; raise Failed where it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise Failed(f"{host} has no address") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Web:
    """Sends requests; `allowed` names hosts (`HOST` or `HOST:PORT`) that may be private and may speak plain http.

    `most` bounds the bytes of an answer and `seconds` the time from the name's resolution to the last byte,
    redirects included. `authorities` is a PEM file of further certificate authorities. `longest` bounds the
    characters of a URL.
    """

    allowed: frozenset[str] = frozenset()
    most: int = 1 << 20
    seconds: float = 10.0
    redirects: int = 3
    authorities: Path | None = None
    resolve: Resolve = resolved
    longest: int = _LONGEST_URL

    def require(self, url: str) -> None:
        """Raise Refused for a URL that no request would go to, as far as its text tells."""
        scheme, host, port = origin(url, self.longest)
        if scheme != "https" and not self._trusts(host, port):
            raise Refused("plain http is sent to no host but those that the installation allows")

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to a GET; raise Refused or Failed."""
        return await self.send("GET", url, headers)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Answer:
        """Return the answer to a request, of any status; raise Refused or Failed."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._followed(method, url, dict(headers or {}), content)
        except TimeoutError:
            raise Failed(f"no answer came within {self.seconds:g} s") from None

    async def once(
        self, through: Guarded, method: str, url: str, headers: Mapping[str, str], content: bytes = b""
    ) -> Answer:
        """Return the answer to a request over the kept connections of `through`; a redirect is an answer.

        Raises Refused or Failed.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._asked(through, method, url, headers, content)
        except TimeoutError:
            raise Failed(f"no answer came within {self.seconds:g} s") from None

    async def _followed(self, method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        meant = origin(url, self.longest)
        for _ in range(self.redirects + 1):
            answer = await self._once(method, url, headers, content)
            place = answer.headers.get("location")
            if answer.status not in _MOVED or place is None:
                return answer
            url = _joined(url, place)
            if method not in ("GET", "HEAD") and answer.status not in (307, 308):
                method, content = "GET", b""
            if origin(url, self.longest) != meant:
                if content:
                    raise Refused("the answer sends the request's body on to another origin")
                headers = {name: value for name, value in headers.items() if name.lower() in _CARRIED}
        raise Failed(f"more than {self.redirects} redirects")

    async def _once(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        async with Guarded(self) as transport:
            return await self._asked(transport, method, url, {**headers, "connection": "close"}, content)

    async def _asked(
        self, transport: Guarded, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> Answer:
        self.require(url)
        # Nothing is unpacked here, so that a small answer cannot become a large one.
        plain = {**headers, "accept-encoding": "identity"}
        response = await transport.handle_async_request(httpx.Request(method, url, headers=plain, content=content))
        try:
            body = await self._body(response)
        finally:
            await response.aclose()
        return Answer(response.status_code, dict(response.headers), body, url)

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise Failed("the answer is packed though that was not asked for")
        body = bytearray()
        async for part in response.stream:  # type: ignore[union-attr]
            body += part
            if len(body) > self.most:
                raise TooLarge(f"the answer is larger than {self.most} bytes")
        return bytes(body)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The context of every connection: TLS 1.2 or newer, certificates verified against their host's name."""
        context = ssl.create_default_context(cafile=certifi.where())
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.authorities is not None:
            context.load_verify_locations(cafile=str(self.authorities))
        return context

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return where to connect to; raise Refused where one address is not public and the host not allowed."""
        found = await self.resolve(host, port)
        if not found:
            raise Failed(f"{host} has no address")
        if not self._trusts(host, port) and not all(map(is_public, found)):
            raise Refused(f"{host} is not a host of the public internet")
        return found

    def _trusts(self, host: str, port: int) -> bool:
        return host in self.allowed or f"{host}:{port}" in self.allowed


class Guarded(httpx.AsyncBaseTransport):
    """A transport for httpx whose every connection goes to an address that a `Web` has checked."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._pool = httpcore.AsyncConnectionPool(ssl_context=web.tls, network_backend=_Pinned(web), http2=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects are not followed. Raises Refused or Failed."""
        self._web.require(str(request.url))
        where = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        try:
            answered = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    where,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError) as problem:
            raise Failed(f"{request.url.host} did not answer as it should: {type(problem).__name__}") from problem
        return httpx.Response(answered.status, headers=answered.headers, stream=_Stream(answered))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answered: httpcore.Response) -> None:
        self._answered = answered

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answered.stream:  # type: ignore[union-attr]
                yield part
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as problem:
            raise Failed(f"the answer broke off: {type(problem).__name__}") from problem

    async def aclose(self) -> None:
        await self._answered.aclose()


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the very addresses that were checked: the name is not asked for a second time.

    The name stays what TLS verifies and what Host says.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception | None = None
        for address in await self._web.addresses(host, port):
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.NetworkError as problem:
                failure = problem
        raise httpcore.ConnectError("no address answers") from failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Refused("a request goes to a host, never to a file")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _native(address: IPv6Address) -> bool:
    """Tell whether an IPv6 address stands for itself: one that carries an IPv4 address leads to wherever that lies."""
    return address in _SPOKEN and address.sixtofour is None and address.teredo is None


def _parsed(url: str, longest: int) -> httpx.URL:
    if len(url) > longest or not url.isprintable() or "\\" in url or " " in url:
        raise Refused("this is not a URL")
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Refused("this is not a URL") from None
    if found.scheme not in _PORTS:
        raise Refused("requests go to https addresses")
    if found.userinfo or "@" in found.netloc.decode():
        raise Refused("an address carries no user and no password")
    if found.fragment or "#" in url:
        raise Refused("an address carries no fragment")
    if not found.host:
        raise Refused("the address names no host")
    return found


def _origin(url: httpx.URL) -> Origin:
    return url.scheme, url.raw_host.decode().lower().rstrip("."), url.port or _PORTS[url.scheme]


def _joined(url: str, place: str) -> str:
    """Return where a redirect leads; raise Refused where it leads from https to http."""
    try:
        target = httpx.URL(url).join(place)
    except (httpx.InvalidURL, ValueError):
        raise Refused("the redirect leads nowhere") from None
    if httpx.URL(url).scheme == "https" and target.scheme != "https":
        raise Refused("the redirect leads away from https")
    return str(target).partition("#")[0]
