"""A visitor of the pages: keeps cookies as a browser does, fills forms in, and has an authenticator app."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from ipaddress import IPv6Address
from typing import Any

import httpx
import pyotp
import pytest

from fhir_server.app.accounts import accounts_of
from fhir_server.context import Role
from fhir_server.smart.totp import step_of
from fhir_server.store import factors, people, sessions, tenants
from fhir_server.store.people import Person
from fhir_server.store.sessions import Start
from tests.fhir import NO_TLS, Client, running

PASSWORD = "a horse of seven colours"
# As little as the settings allow: what is hashed in tests guards nothing.
QUICK: dict[str, Any] = {"password_memory": 19_456, "password_passes": 2, "trusted_proxies": "127.0.0.0/8"}


class Form(HTMLParser):
    """The first form of a page that goes to `action`: its fields and their values."""

    def __init__(self, page: str, action: str) -> None:
        super().__init__()
        self.action, self.fields = action, dict[str, str]()
        self._inside = self._found = False
        self.feed(page)
        assert self._found, f"no form for {action} in {page}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a form or one of its fields."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = given.get("action") == self.action and not self._found
            self._found = self._found or self._inside
        elif self._inside and tag == "input" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave a form."""
        self._inside = self._inside and tag != "form"


class Visitor:
    """A browser's cookies and the page that it shows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.url = client.concord.base_url
        # Each from an address of its own: failures of one test make no other wait.
        self.address = str(IPv6Address(secrets.randbits(120) | 0x20 << 120))
        said = {"x-forwarded-for": self.address}
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30, headers=said, verify=NO_TLS)
        self.page = httpx.Response(200)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """Open a page and follow where it sends."""
        self.page = await self.http.get(path, follow_redirects=True, **more)
        return self.page

    async def send(self, action: str, follow: bool = True, **values: str) -> httpx.Response:
        """Fill in the form of the page that goes to `action`, and send it."""
        fields = Form(self.page.text, action).fields | values
        self.page = await self.http.post(action, data=fields, follow_redirects=follow)
        return self.page

    async def sign_in(self, person: Person, password: str = PASSWORD, to: str | None = None) -> httpx.Response:
        """Give address and password, whatever comes of it."""
        await self.get("/login", params={"next": to} if to else {})
        return await self.send("/login", email=person.email, password=password)

    async def enrol(self, **more: str) -> pyotp.TOTP:
        """Set up an authenticator app by the key that the page shows."""
        app = app_of(self.page.text)
        await self.send("/login/enrol", code=app.at(self.client.clock()), **more)
        return app

    def codes(self) -> list[str]:
        """Return the recovery codes that the page shows."""
        return re.findall(r"<li><code>([^<]+)</code>", self.page.text)

    @property
    def cookie(self) -> str | None:
        """Return the token of the session."""
        return self.http.cookies.get("concord-session")


def app_of(page: str) -> pyotp.TOTP:
    """Return an authenticator app that has read the key of a page."""
    found = re.search(r"<code>([A-Z2-7]{32})</code>", page)
    assert found, page
    return pyotp.TOTP(found[1])


@pytest.fixture
async def quick(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a new tenant of a server that hashes quickly."""
    async with running(server_dsn, **QUICK) as (concord, clock), httpx.AsyncClient(timeout=30, verify=NO_TLS) as http:
        yield Client(concord, clock, await tenants.add(concord.db, f"t-{uuid.uuid4().hex[:12]}"), http)


@pytest.fixture
async def ada(quick: Client) -> AsyncIterator[Visitor]:
    """Return a visitor of its pages."""
    async with visitor(quick) as made:
        yield made


@asynccontextmanager
async def visitor(client: Client) -> AsyncIterator[Visitor]:
    """Give a visitor without cookies."""
    made = Visitor(client)
    try:
        yield made
    finally:
        await made.http.aclose()


async def somebody(client: Client, role: Role | None = "physician", **more: Any) -> Person:
    """Return a new person with a password, and with a role in the client's clinic."""
    db, now = client.concord.db, client.clock()
    person = await people.add(db, f"p-{uuid.uuid4().hex[:12]}@example.org", "Ada Example", now, **more)
    hashed = await accounts_of(client.concord).passwords.hash(PASSWORD)
    async with db.transaction(None) as tx:
        people.set_password(tx, person.id, hashed)
    if role:
        await people.enrol(db, client.tenant_id, person.id, role, None, now)
    return person


async def app_for(client: Client, person: Person) -> pyotp.TOTP:
    """Return an authenticator app that a person has set up a while ago."""
    secret, now = pyotp.random_base32(), client.clock()
    app = pyotp.TOTP(secret)
    sealed = accounts_of(client.concord).signin.sealed(person.id, app.byte_secret())
    async with client.concord.db.transaction(None) as tx:
        factors.add_app(tx, person.id, "Phone", sealed, step_of(now) - 10, now)
    return app


async def session_of(client: Client, person: Person) -> str:
    """Return the token of a whole session of a person, begun now without the pages; the cookie is concord-session."""
    now = client.clock()
    start = Start(
        person=person.id, now=now, expires=now + timedelta(hours=12), verified=now, method="totp", address=None,
        agent=None,
    )  # fmt: skip
    async with client.concord.db.transaction(None) as tx:
        return sessions.begin(tx, start)


def shown(page: httpx.Response) -> str:
    """Return the text of a page without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


async def let_in(ada: Visitor, person: Person) -> pyotp.TOTP:
    """Sign a person in by password and app, and return the app; its next code is good half a minute later."""
    app = await app_for(ada.client, person)
    await ada.sign_in(person)
    page = await ada.send("/login/second", code=app.at(ada.client.clock()))
    assert page.url.path == "/account", page.text
    return app
