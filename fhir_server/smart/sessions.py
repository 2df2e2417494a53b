"""Sessions as rules: which cookie names one, how long it lasts, and what proves that a form is ours.

https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

import msgspec

from fhir_server.store import sessions as stored
from fhir_server.store.database import Database
from fhir_server.store.sessions import Session

_LONGEST_TARGET = 8192
HOME = "/account"


class SignInNeeded(Exception):
    """Nobody is signed in here, or only by half; afterwards `target` is where to go. `again` also who is signed in."""

    def __init__(self, target: str, *, again: bool = False) -> None:
        super().__init__()
        self.target, self.again = target, again


class SessionRules(msgspec.Struct, frozen=True):
    """How long a session lasts unused (`idle`) and at all (`absolute`), how long a half one waits for its second
    factor (`pending`), how long after it the account may be changed (`fresh`); and whether all need a second factor.
    """

    idle: timedelta
    absolute: timedelta
    pending: timedelta
    fresh: timedelta
    second_factor: bool


class Sessions(msgspec.Struct, frozen=True):
    """The sessions of an installation at `base_url`; `secret` keys what proves a form."""

    db: Database
    rules: SessionRules
    secret: bytes
    base_url: str

    @property
    def secure(self) -> bool:
        """Tell whether cookies go over TLS alone: everywhere but on a server that this machine alone reaches."""
        return not (self.base_url.startswith("http://") and is_loopback(urlsplit(self.base_url).hostname or ""))

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie; the prefix lets no other host or path set it."""
        return "__Host-concord" if self.secure else "concord-session"

    @property
    def form_cookie(self) -> str:
        """Return the name of the cookie that belongs to the forms of somebody who has no session."""
        return "__Host-concord-form" if self.secure else "concord-form"

    async def current(self, cookies: Mapping[str, str], now: datetime, *, touch: bool = True) -> Session | None:
        """Return the live session of a request, half or whole, or None; with `touch` note that it was used."""
        token = cookies.get(self.cookie, "")
        found = await stored.find(self.db, token, now, self.rules.idle) if 20 < len(token) < 100 else None
        if found and touch and now - found.seen >= stored.TOUCHED_EVERY:
            await stored.touch(self.db, found.hash, now)
        return found

    def is_fresh(self, session: Session, now: datetime) -> bool:
        """Tell whether the person proved a moment ago who they are, as changes of the account ask."""
        return session.verified is not None and now - session.verified < self.rules.fresh

    def expires(self, now: datetime, *, whole: bool) -> datetime:
        """Return when a session that begins now is over at the latest."""
        return now + (self.rules.absolute if whole else self.rules.pending)

    def proof(self, session: Session | None, form_cookie: str = "") -> str:
        """Return what a form of this session carries, or of this form cookie where there is no session."""
        bound = session.hash.hex() if session else form_cookie
        kind = "session" if session else "form"
        return hmac.digest(self.secret, f"concord-form:{kind}:{bound}".encode(), "sha256").hex()

    def is_ours(self, given: str, session: Session | None, form_cookie: str = "") -> bool:
        """Tell whether a form, or the x-csrf-token of a script, comes from a page of ours."""
        if session is None and not form_cookie:
            return False
        return hmac.compare_digest(given.encode(), self.proof(session, form_cookie).encode())

    def is_our_origin(self, origin: str | None) -> bool:
        """Tell whether a browser says that a request was made by a page of ours, or says nothing."""
        return origin is None or origin == origin_of(self.base_url)


def is_whole(session: Session | None) -> bool:
    """Tell whether somebody is signed in: a session whose second factor is missing opens nothing."""
    return session is not None and session.verified is not None


def origin_of(url: str) -> str:
    """Return scheme, host and port as browsers write them in Origin."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != usual else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def own_path(target: str | None) -> str:
    """Return where to go after signing in: a path of ours as it was given, else the account page."""
    if not target or len(target) > _LONGEST_TARGET or not target.isascii() or not target.isprintable():
        return HOME
    # Browsers take \ for / and // for another host.
    if not target.startswith("/") or target[1:2] in ("/", "\\") or "\\" in target or " " in target:
        return HOME
    return HOME if target.partition("?")[0].rstrip("/") in ("", "/login", "/logout") else target


def sign_in_address(needed: SignInNeeded) -> str:
    """Return where a browser is sent to sign in."""
    return "/login?" + urlencode({"next": own_path(needed.target)} | ({"again": "1"} if needed.again else {}))
