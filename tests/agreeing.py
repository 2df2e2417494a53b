"""A person who answers what apps ask, by the pages and without a browser: ticks stand as the page has them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx

from fhir_server.store.people import Person
from tests.fhir import NO_TLS, Client
from tests.signin import session_of, shown

Fields = list[tuple[str, str]]


class Forms(HTMLParser):
    """The forms of a page: what each would send if one of its buttons, `(name, value)`, were pressed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[Fields] = []
        self.buttons: list[Fields] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a form, a field that it would send, or a button."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append([])
            self.buttons.append([])
        kind = given.get("type", "text")
        if tag == "input" and "name" in given and (kind not in ("checkbox", "radio") or "checked" in given):
            self.forms[-1].append((given["name"], given.get("value", "on")))
        if tag == "button" and "name" in given:
            self.buttons[-1].append((given["name"], given["value"]))

    def with_button(self, value: str, *, last: bool = False) -> Fields:
        """Return what the first form with this button sends, or the last."""
        pressed = ("do", value)
        found = [form for form, buttons in zip(self.forms, self.buttons, strict=True) if pressed in buttons]
        assert found, f"no button {value} in {self.buttons}"
        return [*found[-1 if last else 0], pressed]


class Answering:
    """Somebody signed in who opens the address to which an app sends them, and answers."""

    def __init__(self, fhir: Client, http: httpx.AsyncClient, origin: str) -> None:
        self.fhir, self.http, self.origin = fhir, http, origin
        self.page = httpx.Response(200)

    @property
    def text(self) -> str:
        """Return the text of the page."""
        return shown(self.page)

    @property
    def arrived(self) -> str:
        """Return the address of the app that the browser was sent to."""
        location = self.page.headers.get("location", "")
        assert self.page.status_code == 303, self.text
        assert not location.startswith(self.origin), location
        return str(location)

    async def opens(self, url: str) -> Answering:
        """Open the address, and go on as far as pages of the server lead."""
        self.page = await self._followed(await self.http.get(url))
        return self

    async def presses(
        self, button: str, *more: tuple[str, str], without: tuple[str, ...] = (), last: bool = False
    ) -> Answering:
        """Press a button, with these fields instead of those of the same names; `without` are unticked."""
        named = {name for name, _ in more} | set(without)
        fields = [field for field in Forms(self.page.text).with_button(button, last=last) if field[0] not in named]
        path = urlsplit(str(self.page.request.url)).path
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = str(httpx.QueryParams([*fields, *more]))
        self.page = await self._followed(await self.http.post(path, content=body, headers=headers))
        return self

    async def agrees(self, url: str, patient: str | None = None) -> str:
        """Choose the patient where one is asked for, no visit, agree to all, and return where the app is called."""
        await self.opens(url)
        if "Choose a patient" in self.page.text:
            await self.presses("search")
            await self.presses("patient", ("patient", patient or ""))
        if "Choose a visit" in self.page.text:
            await self.presses("none")
        return (await self.presses("agree")).arrived

    async def _followed(self, answer: httpx.Response) -> httpx.Response:
        while answer.status_code == 303 and answer.headers["location"].startswith((self.origin, "/")):
            answer = await self.http.get(answer.headers["location"])
        return answer


async def answering(fhir: Client, person: Person, **more: Any) -> Answering:
    """Return this person, signed in; `http` of the result is to be closed."""
    origin = fhir.concord.base_url
    cookies = {"concord-session": await session_of(fhir, person)}
    return Answering(
        fhir, httpx.AsyncClient(base_url=origin, cookies=cookies, timeout=30, verify=NO_TLS, **more), origin
    )
