"""The pages by which people come in: sign in, second factor, set one up, invitation, sign out."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from fhir_server.console.desk import Desk, sentence
from fhir_server.console.qr import picture
from fhir_server.errors import FhirError
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.sessions import is_whole, own_path
from fhir_server.smart.signin import Entered, Refused, SignIn
from fhir_server.store.sessions import Session

_GONE = "This link is no longer good: it was used, or is too old. Ask for a new one."


def routes(desk: Desk, signin: SignIn, accounts: Accounts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    door = _Door(desk, signin, accounts)
    router.add_api_route("/login", door.ask, methods=["GET"])
    router.add_api_route("/login", door.password, methods=["POST"])
    router.add_api_route("/login/second", door.ask_second, methods=["GET"])
    router.add_api_route("/login/second", door.second, methods=["POST"])
    router.add_api_route("/login/enrol", door.enrol, methods=["POST"])
    router.add_api_route("/logout", door.leave, methods=["POST"])
    router.add_api_route("/invitation", door.invitation, methods=["GET"])
    router.add_api_route("/invitation", door.accept, methods=["POST"])
    return router


class _Door:
    """The handlers; each answers with a page or sends the browser on."""

    def __init__(self, desk: Desk, signin: SignIn, accounts: Accounts) -> None:
        self._desk, self._signin, self._accounts = desk, signin, accounts

    async def ask(self, request: Request) -> Response:
        """Show the form for address and password; who is signed in goes on."""
        target = own_path(request.query_params.get("next"))
        session = await self._desk.session(request)
        if is_whole(session) and request.query_params.get("again") is None:
            return RedirectResponse(target, 303)
        return await self._form(request, target)

    async def password(self, request: Request) -> Response:
        """Take address and password."""
        form = await self._desk.form(request, None)
        target = own_path(form.get("next"))
        old = await self._desk.session(request)
        try:
            entered = await self._signin.password(
                form.get("email", ""), form.get("password", ""), self._desk.source(request), self._desk.clock(), old
            )
        except Refused as refused:
            return await self._form(request, target, refused)
        return await self._entered(request, entered, target)

    async def ask_second(self, request: Request) -> Response:
        """Ask for the second factor, or to set one up where there is none yet."""
        target = own_path(request.query_params.get("next"))
        session = await self._half(request)
        return await self._second(request, session, target) if session else _to_login(target)

    async def second(self, request: Request) -> Response:
        """Take the answer of a second factor: a code of an app, what a key signed, or a recovery code."""
        session = await self._half(request)
        if session is None:
            return _to_login(own_path(request.query_params.get("next")))
        form = await self._desk.form(request, session)
        target = own_path(form.get("next"))
        by = {"code": self._signin.code, "answer": self._signin.key, "recovery": self._signin.recovery}
        field = next((name for name in by if form.get(name)), "code")
        try:
            entered = await by[field](session, form.get(field, ""), self._desk.source(request), self._desk.clock())
        except Refused as refused:
            return await self._second(request, session, target, str(refused))
        return await self._entered(request, entered, target)

    async def enrol(self, request: Request) -> Response:
        """Take the proof of a first second factor; then show the recovery codes, once."""
        session = await self._half(request)
        if session is None:
            return _to_login(own_path(request.query_params.get("next")))
        form = await self._desk.form(request, session)
        target = own_path(form.get("next"))
        try:
            codes, entered = await self._accounts.enrol(session, form, self._desk.source(request), self._desk.clock())
        except Refused as refused:
            return await self._second(request, session, target, str(refused))
        response = await self._desk.page(request, "codes.html", codes=codes, target=target)
        self._desk.enter(response, entered.token)
        return response

    async def leave(self, request: Request) -> Response:
        """End the session of this browser."""
        session = await self._desk.session(request)
        if session is not None:
            await self._desk.form(request, session)
            await self._accounts.end_session(session, session.hash, self._desk.source(request), self._desk.clock())
        response = RedirectResponse("/login", 303)
        self._desk.leave(response)
        return response

    async def invitation(self, request: Request) -> Response:
        """Show whom a link invites, and ask for a password."""
        return await self._invited(request, request.query_params.get("token", ""))

    async def accept(self, request: Request) -> Response:
        """Take the password that an invited person chose."""
        form = await self._desk.form(request, None)
        token = form.get("token", "")
        if form.get("password") != form.get("repeated"):
            return await self._invited(request, token, "The two passwords differ.")
        try:
            entered = await self._accounts.accept(
                token, form.get("password", ""), self._desk.source(request), self._desk.clock()
            )
        except FhirError as problem:
            return await self._invited(request, token, sentence(problem))
        return await self._entered(request, entered, own_path(None))

    async def _invited(self, request: Request, token: str, problem: str = "") -> Response:
        invitation = await self._accounts.invitation(token, self._desk.clock())
        if invitation is None:
            raise await self._desk.refused(request, _GONE, 404)
        values = {"invitation": invitation, "token": token, "problem": problem, "least": self._accounts.least}
        return await self._desk.page(request, "invitation.html", None, 400 if problem else 200, **values)

    async def _form(self, request: Request, target: str, refused: Refused | None = None) -> Response:
        status = 200 if refused is None else 429 if refused.wait else 401
        response = await self._desk.page(
            request, "login.html", None, status, target=target, problem=str(refused or ""), wait=_wait(refused)
        )
        if refused and refused.wait:
            response.headers["retry-after"] = str(_wait(refused))
        return response

    async def _second(self, request: Request, session: Session, target: str, problem: str = "") -> Response:
        status = 401 if problem else 200
        asked = await self._accounts.asked(session)
        if asked["owned"]:
            return await self._desk.page(
                request, "second.html", session, status, target=target, problem=problem, **asked
            )
        offered = await self._accounts.offered(session)
        return await self._desk.page(
            request, "enrol.html", session, status, target=target, problem=problem, action="/login/enrol",
            picture=picture(offered["address"]), **offered,
        )  # fmt: skip

    async def _half(self, request: Request) -> Session | None:
        session = await self._desk.session(request)
        return session if session and not is_whole(session) else None

    async def _entered(self, request: Request, entered: Entered, target: str) -> Response:
        response: Response
        if entered.whole:
            response = await self._desk.onward(request, target)
        else:
            response = RedirectResponse("/login/second?" + urlencode({"next": target}), 303)
        self._desk.enter(response, entered.token)
        return response


def _to_login(target: str) -> Response:
    return RedirectResponse("/login?" + urlencode({"next": target}), 303)


def _wait(refused: Refused | None) -> int:
    return int(refused.wait.total_seconds()) + 1 if refused and refused.wait else 0


def _sentence(problem: FhirError) -> str:
    text = problem.issues[0].diagnostics
    return f"{text[:1].upper()}{text[1:]}."
