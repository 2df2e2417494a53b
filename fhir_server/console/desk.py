"""What every page behind sign-in needs: who is there, whether a form is ours, and how a page is shown."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from fhir_server.errors import FhirError
from fhir_server.limits import read_up_to
from fhir_server.smart.sessions import Sessions, SignInNeeded, is_whole, own_path, sign_in_address
from fhir_server.smart.told import Source
from fhir_server.store.sessions import Session

_FORM = "application/x-www-form-urlencoded"
_LARGEST = 128 * 1024
_MOST_FIELDS = 2000
# No form-action: browsers hold redirects after a form to it, and a sign-in may end at an app of another host.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Shown(Exception):
    """A page is the answer, whatever the handler was about to do."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class Desk(msgspec.Struct, frozen=True):
    """Where people come to: their sessions, the clock and the templates."""

    sessions: Sessions
    clock: Callable[[], datetime]
    templates: Environment
    address_of: Callable[[MutableMapping[str, Any]], str]

    def source(self, request: Request) -> Source:
        """Return where a request comes from."""
        return Source(self.address_of(request.scope) or None, request.headers.get("user-agent"))

    async def session(self, request: Request) -> Session | None:
        """Return the session of a request, also a half one, or None."""
        return await self.sessions.current(request.cookies, self.clock())

    async def signed_in(self, request: Request, *, fresh: bool = False, touch: bool = True) -> Session:
        """Return the whole session of a request, or send the browser to sign in and back.

        `fresh` asks who signed in long ago to do so again; without `touch` the request is no use of the session.
        """
        session = await self.sessions.current(request.cookies, self.clock(), touch=touch)
        if session is None or not is_whole(session):
            raise SignInNeeded(_here(request))
        if fresh and not self.sessions.is_fresh(session, self.clock()):
            raise SignInNeeded(_here(request), again=True)
        return session

    async def form(self, request: Request, session: Session | None) -> Mapping[str, str]:
        """Return the fields of a form of ours; of a field that stands there twice, the last."""
        return dict(await self.fields(request, session))

    async def fields(self, request: Request, session: Session | None) -> list[tuple[str, str]]:
        """Return the fields of a form of ours in order; any other form, or one too large, gets a page that says so."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise await self.refused(request, "A form was expected here.", 415)
        try:
            text = (await read_up_to(request.stream(), _LARGEST)).decode()
            fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise await self.refused(request, "This form cannot be read.", 400) from None
        proof = dict(fields).get("proof", "")
        cookie = request.cookies.get(self.sessions.form_cookie, "")
        ours = self.sessions.is_our_origin(request.headers.get("origin"))
        if not ours or not self.sessions.is_ours(proof, session, cookie):
            raise await self.refused(request, "This form is too old, or not from here. Go back, load it again.", 403)
        return fields

    async def page(
        self, request: Request, name: str, session: Session | None = None, status: int = 200, **values: Any
    ) -> Response:
        """Return a page; its forms carry what proves that they are ours, by `session` or by a cookie of their own."""
        cookie = request.cookies.get(self.sessions.form_cookie, "")
        made = "" if session or len(cookie) > 20 else secrets.token_urlsafe(24)
        proof = self.sessions.proof(session, made or cookie)
        text = await self.templates.get_template(name).render_async(session=session, proof=proof, **values)
        response = HTMLResponse(text, status, _HEADERS)
        if made:
            self._set(response, self.sessions.form_cookie, made)
        return response

    async def refused(self, request: Request, sentence: str, status: int) -> Shown:
        """Return what to raise so that the answer is a page with this sentence."""
        return Shown(await self.page(request, "problem.html", None, status, sentence=sentence))

    def enter(self, response: Response, token: str) -> None:
        """Let the browser keep a session's token, out of the reach of scripts."""
        self._set(response, self.sessions.cookie, token)

    def leave(self, response: Response) -> None:
        """Let the browser forget its session."""
        response.delete_cookie(self.sessions.cookie, path="/", secure=self.sessions.secure, httponly=True)

    async def onward(self, request: Request, target: str | None) -> Response:
        """Go on after signing in; to an app by a page, for browsers hold a redirect after a form to be the form's."""
        path = own_path(target)
        if "/oauth/" not in path:
            return RedirectResponse(path, 303, _HEADERS)
        return await self.page(request, "onward.html", target=path)

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path="/", secure=self.sessions.secure, httponly=True, samesite="lax")


def desk(
    sessions: Sessions, clock: Callable[[], datetime], address_of: Callable[[MutableMapping[str, Any]], str]
) -> Desk:
    """Return a desk with the templates of this package; `address_of` tells where a request comes from."""
    templates = Environment(
        loader=PackageLoader("fhir_server.console"), autoescape=True, undefined=StrictUndefined, enable_async=True
    )
    return Desk(sessions, clock, templates, address_of)


def sentence(problem: FhirError) -> str:
    """Return what went wrong as a sentence for a page."""
    text = problem.issues[0].diagnostics
    return f"{text[:1].upper()}{text[1:]}."


def answer_pages(app: FastAPI) -> None:
    """Turn what pages raise into answers."""

    async def shown(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Shown)
        return problem.response

    async def to_sign_in(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, SignInNeeded)
        return RedirectResponse(sign_in_address(problem), 303, {"cache-control": "no-store"})

    handlers: tuple[tuple[type[Exception], Callable[[Request, Exception], Awaitable[Response]]], ...] = (
        (Shown, shown), (SignInNeeded, to_sign_in)
    )  # fmt: skip
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def _here(request: Request) -> str:
    """Return the page to come back to: this one, or after a form the page that it was on."""
    if request.method not in ("GET", "HEAD"):
        return "/account"
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")
