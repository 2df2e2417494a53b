"""What people do with their own account: accept an invitation, change the password, add and remove second factors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fhir_server.errors import Conflict, Forbidden, Invalid, NotFound
from fhir_server.smart import recovery, totp
from fhir_server.smart.passwords import Passwords, require_password
from fhir_server.smart.security_keys import SecurityKeys
from fhir_server.smart.signin import WRONG_CODE, Entered, Refused, SignIn
from fhir_server.smart.told import Source, disconnect, tell
from fhir_server.store import factors, invitations, people, sessions
from fhir_server.store.database import Database, Tx
from fhir_server.store.invitations import Invitation
from fhir_server.store.people import Person
from fhir_server.store.sessions import Session

ISSUER = "Concord"
_LONGEST_NAME = 60


class Accounts(msgspec.Struct, frozen=True):
    """Accounts of an installation; `least` characters make a password, `invited` is how long a link is good."""

    db: Database
    passwords: Passwords
    signin: SignIn
    keys: SecurityKeys
    least: int
    invited: timedelta

    # ---- invitations ---------------------------------------------------------------------------------------------

    async def invite(self, person: Person, source: Source, now: datetime, *, clears_factors: bool = False) -> str:
        """Return the token of a new invitation, or reset, of a person; their earlier ones are no longer good."""
        async with self.db.transaction(None) as tx:
            token = invitations.invite(tx, person.id, now, now + self.invited, clears_factors=clears_factors)
            await tell(tx, "invite", 200, now, source, person=person.id, sub=person.sub, clears_factors=clears_factors)
        return token

    async def invitation(self, token: str, now: datetime) -> Invitation | None:
        """Return the open invitation of a link, or None."""
        return await invitations.find(self.db, token, now) if len(token) < 100 else None

    async def accept(self, token: str, password: str, source: Source, now: datetime) -> Entered:
        """Set the password of an invited person and begin their session; all their others end.

        Raises Invalid for a password that may not be chosen, NotFound for a link that is no longer good.
        """
        found = await self.invitation(token, now)
        person = await people.by_id(self.db, found.person) if found else None
        if found is None or person is None:
            raise NotFound("this link is no longer good")
        chosen = require_password(password, self.least, person.email, person.name)
        hashed = await self.passwords.hash(chosen)
        async with self.db.transaction(None) as tx:
            if not await invitations.use(tx, found.hash, now):
                raise NotFound("this link is no longer good")
            people.set_password(tx, person.id, hashed)
            sessions.end_all(tx, person.id)
            await disconnect(tx, person.id, "password changed", now)
            if found.clears_factors:
                factors.remove_all(tx, person.id)
            return await self.signin.begin(tx, person, source, now, None)

    # ---- the password, and sessions ------------------------------------------------------------------------------

    async def change_password(self, session: Session, new: str, source: Source, now: datetime) -> None:
        """Set another password; the person's other sessions end, and what they allowed apps. Raises Invalid."""
        chosen = require_password(new, self.least, session.email, session.name)
        hashed = await self.passwords.hash(chosen)
        async with self.db.transaction(None) as tx:
            people.set_password(tx, session.person, hashed)
            sessions.end_all(tx, session.person, session.hash)
            await disconnect(tx, session.person, "password changed", now)
            await self._tell(tx, "change-password", session, source, now)

    async def end_session(self, session: Session, hash_: bytes, source: Source, now: datetime) -> None:
        """End one session of the person."""
        async with self.db.transaction(None) as tx:
            sessions.end(tx, hash_, session.person)
            await self._tell(tx, "sign-out", session, source, now)

    async def end_sessions(self, session: Session, source: Source, now: datetime) -> None:
        """End all sessions of the person, this one too."""
        async with self.db.transaction(None) as tx:
            sessions.end_all(tx, session.person)
            await self._tell(tx, "sign-out", session, source, now, everywhere=True)

    async def overview(self, session: Session, now: datetime) -> Mapping[str, Any]:
        """Return what the page of an account shows."""
        idle = self.signin.sessions.rules.idle
        return {
            "memberships": await people.memberships(self.db, session.person),
            "factors": await factors.of_person(self.db, session.person),
            "codes_left": await factors.codes_left(self.db, session.person),
            "sessions": await sessions.of_person(self.db, session.person, now, idle),
        }

    # ---- second factors ------------------------------------------------------------------------------------------

    async def asked(self, session: Session) -> Mapping[str, Any]:
        """Return what a page that asks for a second factor shows; what a key is to sign is remembered."""
        owned = await factors.of_person(self.db, session.person)
        key_factors = [factor for factor in owned if factor.kind == "webauthn"]
        options = ""
        if key_factors and self.keys.usable:
            asked = self.keys.to_sign(key_factors)
            await sessions.challenge(self.db, session.hash, asked.challenge)
            options = asked.options
        return {"owned": owned, "options": options, "app": len(key_factors) < len(owned)}

    async def offered(self, session: Session) -> Mapping[str, Any]:
        """Return what a page shows by which a second factor is set up: a secret and what a new key is asked."""
        owned = await factors.of_person(self.db, session.person)
        secret = self.signin.opened(session.person, session.enrolling) or totp.new_secret()
        if session.enrolling is None:
            await sessions.enrolling(self.db, session.hash, self.signin.sealed(session.person, secret))
        options = ""
        if self.keys.usable:
            asked = self.keys.to_register(session.person, session.email, session.name, owned)
            await sessions.challenge(self.db, session.hash, asked.challenge)
            options = asked.options
        address = totp.address(secret, session.email, ISSUER)
        return {"address": address, "secret": totp.spelled(secret), "options": options}

    async def enrol(
        self, session: Session, form: Mapping[str, str], source: Source, now: datetime
    ) -> tuple[list[str], Entered]:
        """Add the second factor that `form` proves, a code or what a key made; return new recovery codes, if any.

        A half session, or the first factor of an account, begins anew under another token. Raises Refused.
        """
        challenge = await sessions.take_challenge(self.db, session.hash) if form.get("answer") else None
        async with self.db.transaction(None) as tx:
            first = not await factors.locked(tx, session.person)
            if session.verified is None and not first:
                raise Refused(WRONG_CODE)
            method = self._add(tx, session, form, challenge, now)
            codes = recovery.new_codes() if first else []
            if first:
                factors.set_codes(tx, session.person, [recovery.hashed(session.person, c) for c in codes], now)
            return codes, await self.signin.whole(tx, session, method, source, now)

    def _add(self, tx: Tx, session: Session, form: Mapping[str, str], challenge: bytes | None, now: datetime) -> str:
        name = form.get("name", "").strip()[:_LONGEST_NAME]
        if form.get("answer"):
            made = self.keys.registered(form["answer"], challenge) if challenge else None
            if made is None:
                raise Refused("The security key could not be added. Try it again.")
            factors.add_key(
                tx, session.person, name or "Security key", made.credential, made.public_key, made.counter, now
            )
            return "webauthn"
        secret = self.signin.opened(session.person, session.enrolling)
        step = totp.matched(secret, form.get("code", ""), now, 0) if secret else None
        if secret is None or step is None:
            raise Refused(WRONG_CODE)
        sealed = self.signin.sealed(session.person, secret)
        factors.add_app(tx, session.person, name or "Authenticator app", sealed, step, now)
        return "totp"

    async def remove_factor(self, session: Session, factor: int, source: Source, now: datetime) -> None:
        """Take away a second factor; raise Conflict for the last one where everybody needs one."""
        async with self.db.transaction(None) as tx:
            owned = await factors.locked(tx, session.person)
            if factor not in owned:
                raise NotFound("there is no such second factor")
            if len(owned) == 1 and self.signin.sessions.rules.second_factor:
                raise Conflict("this is your only second factor: add another one first")
            factors.remove(tx, session.person, factor)
            await self._tell(tx, "remove-factor", session, source, now)

    async def new_codes(self, session: Session, source: Source, now: datetime) -> list[str]:
        """Return new recovery codes; the old ones are no longer good. Raises Forbidden without a second factor."""
        codes = recovery.new_codes()
        async with self.db.transaction(None) as tx:
            if not await factors.kinds(tx, session.person):
                raise Forbidden("recovery codes stand in for a second factor: add one first")
            factors.set_codes(tx, session.person, [recovery.hashed(session.person, c) for c in codes], now)
            await self._tell(tx, "new-recovery-codes", session, source, now)
        return codes

    async def _tell(self, tx: Tx, action: str, session: Session, source: Source, now: datetime, **detail: Any) -> None:
        await tell(tx, action, 200, now, source, person=session.person, sub=session.sub, **detail)


def require_email(email: str) -> str:
    """Return an e-mail address in lower case; raise Invalid for what is none."""
    text = email.strip().lower()
    name, at, host = text.partition("@")
    if not (name and at and host) or "@" in host or len(text) > 320 or not text.isprintable() or " " in text:
        raise Invalid(f"{email[:80]!r} is no e-mail address")
    return text
