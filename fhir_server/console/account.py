"""A person's own account: clinics, password, second factors, recovery codes, and where they are signed in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from fhir_server.console.desk import Desk, sentence
from fhir_server.console.qr import picture
from fhir_server.errors import FhirError
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.signin import Refused
from fhir_server.store.sessions import Session

HOME = "/account"


def routes(desk: Desk, accounts: Accounts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix=HOME, include_in_schema=False)
    room = _Room(desk, accounts)
    router.add_api_route("", room.show, methods=["GET"])
    router.add_api_route("/password", room.ask_password, methods=["GET"])
    router.add_api_route("/password", room.password, methods=["POST"])
    router.add_api_route("/factor", room.ask_factor, methods=["GET"])
    router.add_api_route("/factor", room.factor, methods=["POST"])
    router.add_api_route("/factor/remove", room.remove, methods=["POST"])
    router.add_api_route("/codes", room.codes, methods=["POST"])
    router.add_api_route("/sessions/end", room.end, methods=["POST"])
    return router


class _Room:
    """The handlers. What changes how somebody gets in asks who signed in long ago to do so again."""

    def __init__(self, desk: Desk, accounts: Accounts) -> None:
        self._desk, self._accounts = desk, accounts

    async def show(self, request: Request) -> Response:
        """Show the account."""
        session = await self._desk.signed_in(request)
        values = await self._accounts.overview(session, self._desk.clock())
        return await self._desk.page(request, "account.html", session, **values)

    async def ask_password(self, request: Request) -> Response:
        """Show the form for another password."""
        return await self._password(request, await self._desk.signed_in(request, fresh=True))

    async def password(self, request: Request) -> Response:
        """Take another password; all other sessions end."""
        session = await self._desk.signed_in(request, fresh=True)
        form = await self._desk.form(request, session)
        if form.get("password") != form.get("repeated"):
            return await self._password(request, session, "The two passwords differ.")
        try:
            await self._accounts.change_password(
                session, form.get("password", ""), self._desk.source(request), self._desk.clock()
            )
        except FhirError as problem:
            return await self._password(request, session, sentence(problem))
        return _home()

    async def ask_factor(self, request: Request) -> Response:
        """Show how another second factor is set up."""
        return await self._factor(request, await self._desk.signed_in(request, fresh=True))

    async def factor(self, request: Request) -> Response:
        """Take the proof of another second factor; with the first one, show the recovery codes."""
        session = await self._desk.signed_in(request, fresh=True)
        form = await self._desk.form(request, session)
        try:
            codes, entered = await self._accounts.enrol(session, form, self._desk.source(request), self._desk.clock())
        except Refused as refused:
            return await self._factor(request, session, str(refused))
        response = await self._codes(request, codes) if codes else _home()
        self._desk.enter(response, entered.token)
        return response

    async def remove(self, request: Request) -> Response:
        """Take a second factor away."""
        session = await self._desk.signed_in(request, fresh=True)
        form = await self._desk.form(request, session)
        number = form.get("factor", "")
        try:
            await self._accounts.remove_factor(
                session, int(number) if number.isdecimal() and len(number) < 19 else 0, self._desk.source(request),
                self._desk.clock(),
            )  # fmt: skip
        except FhirError as problem:
            raise await self._desk.refused(request, sentence(problem), problem.status) from problem
        return _home()

    async def codes(self, request: Request) -> Response:
        """Show new recovery codes; the old ones are no longer good."""
        session = await self._desk.signed_in(request, fresh=True)
        await self._desk.form(request, session)
        try:
            codes = await self._accounts.new_codes(session, self._desk.source(request), self._desk.clock())
        except FhirError as problem:
            raise await self._desk.refused(request, sentence(problem), problem.status) from problem
        return await self._codes(request, codes)

    async def end(self, request: Request) -> Response:
        """End one session, by the hash that the page names, or all of them."""
        session = await self._desk.signed_in(request)
        form = await self._desk.form(request, session)
        now = self._desk.clock()
        if form.get("session"):
            await self._accounts.end_session(session, _hash(form["session"]), self._desk.source(request), now)
            return _home()
        await self._accounts.end_sessions(session, self._desk.source(request), now)
        response = RedirectResponse("/login", 303)
        self._desk.leave(response)
        return response

    async def _password(self, request: Request, session: Session, problem: str = "") -> Response:
        status = 400 if problem else 200
        return await self._desk.page(
            request, "password.html", session, status, problem=problem, least=self._accounts.least
        )

    async def _factor(self, request: Request, session: Session, problem: str = "") -> Response:
        offered = await self._accounts.offered(session)
        return await self._desk.page(
            request, "enrol.html", session, 400 if problem else 200, target="", problem=problem,
            action=f"{HOME}/factor", picture=picture(offered["address"]), **offered,
        )  # fmt: skip

    async def _codes(self, request: Request, codes: list[str]) -> Response:
        return await self._desk.page(request, "codes.html", codes=codes, target=HOME)


def _home() -> Response:
    return RedirectResponse(HOME, 303)


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
