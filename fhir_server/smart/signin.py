"""Signing in: an address and a password, then a second factor; each step counts its failures before it looks.

https://pages.nist.gov/800-63-4/sp800-63b.html · https://cheatsheetseries.owasp.org/cheatsheets/Authentication_Cheat_Sheet.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec

from fhir_server.search.seal import Seal
from fhir_server.smart import recovery, totp
from fhir_server.smart.lockout import Lockout
from fhir_server.smart.passwords import Passwords
from fhir_server.smart.security_keys import SecurityKeys
from fhir_server.smart.sessions import Sessions
from fhir_server.smart.told import Source, tell
from fhir_server.store import factors, failures, people, sessions
from fhir_server.store.database import Database, Tx
from fhir_server.store.factors import Factor
from fhir_server.store.failures import Tried
from fhir_server.store.people import Person
from fhir_server.store.sessions import Session, Start

_APP = "secret of an authenticator app"
WRONG = "The e-mail address or the password is wrong."
WRONG_CODE = "That code is wrong, was used before, or is no longer good."


class Refused(Exception):
    """Somebody is not let in; the sentence is the same whether the account exists or not. `wait` until the next try."""

    def __init__(self, sentence: str, wait: timedelta = timedelta()) -> None:
        super().__init__(sentence)
        self.wait = wait


class Entered(msgspec.Struct, frozen=True):
    """A new session's token for the cookie; not `whole` where the second factor is still to come."""

    token: str
    whole: bool


class SignIn(msgspec.Struct, frozen=True):
    """The way in; `account` and `address` say how long who fails must wait.

    `household` tells what is counted as one network address.
    """

    db: Database
    passwords: Passwords
    sessions: Sessions
    keys: SecurityKeys
    account: Lockout
    address: Lockout
    seal: Seal
    household: Callable[[str], str]

    async def password(self, email: str, password: str, source: Source, now: datetime, old: Session | None) -> Entered:
        """Begin a session for the person of this address and password, in place of `old`. Raises Refused, Busy."""
        email = email.strip().lower()[:320]
        account, address = Tried("account", _key(email)), Tried("address", _key(self.household(source.address or "")))
        await self._reserve([account, address], now)
        person, stored = await people.with_password(self.db, email)
        checked = await self.passwords.check(stored if person and not person.disabled else None, password)
        if person is None or not checked.right:
            await self._refuse("sign-in", person, source, now, WRONG, method="password")
        assert person is not None
        async with self.db.transaction(None) as tx:
            failures.forgive(tx, account)
            failures.take_back(tx, address, now)
            if checked.better:
                people.set_password(tx, person.id, checked.better)
            return await self.begin(tx, person, source, now, old)

    async def begin(self, tx: Tx, person: Person, source: Source, now: datetime, old: Session | None) -> Entered:
        """Begin a session of somebody who gave their password; a half one where a second factor is needed."""
        has = bool(await factors.kinds(tx, person.id))
        whole = not has and not self.sessions.rules.second_factor
        return await self._begin(tx, person, "password", source, now, old, whole=whole)

    async def code(self, session: Session, typed: str, source: Source, now: datetime) -> Entered:
        """Make a half session whole by the code of an authenticator app. Raises Refused."""
        return await self._second(session, "totp", source, now, lambda tx: self._code(tx, session.person, typed, now))

    async def recovery(self, session: Session, typed: str, source: Source, now: datetime) -> Entered:
        """Make a half session whole by a recovery code. Raises Refused."""
        hash_ = recovery.hashed(session.person, typed)
        return await self._second(
            session, "recovery", source, now, lambda tx: factors.use_code(tx, session.person, hash_, now)
        )

    async def key(self, session: Session, answer: str, source: Source, now: datetime) -> Entered:
        """Make a half session whole by what a security key signed. Raises Refused."""
        challenge = await sessions.take_challenge(self.db, session.hash)
        owned = await factors.of_person(self.db, session.person)
        return await self._second(
            session, "webauthn", source, now, lambda tx: self._key(tx, owned, answer, challenge, now)
        )

    async def prove(self, session: Session, typed: str, source: Source, now: datetime) -> None:
        """Hold somebody who is signed in to a code of their second factor, as break-glass does. Raises Refused."""
        tried = Tried("factor", _key(str(session.person)))
        await self._reserve([tried], now)
        async with self.db.transaction(None) as tx:
            right = await self._code(tx, session.person, typed, now)
            if right:
                failures.forgive(tx, tried)
        if not right:
            await self._refuse("second-factor", session, source, now, WRONG_CODE, method="totp")

    def tries_of(self, person: Person) -> list[Tried]:
        """Return what the failures of a person are counted under, but for their network addresses."""
        return [Tried("account", _key(person.email)), Tried("factor", _key(str(person.id)))]

    async def _second(
        self, session: Session, method: str, source: Source, now: datetime, look: Callable[[Tx], Awaitable[bool]]
    ) -> Entered:
        tried = Tried("factor", _key(str(session.person)))
        await self._reserve([tried], now)
        async with self.db.transaction(None) as tx:
            if await look(tx):
                failures.forgive(tx, tried)
                return await self._begin(tx, session, method, source, now, session, whole=True)
        return await self._refuse("sign-in", session, source, now, WRONG_CODE, method=method)

    async def whole(self, tx: Tx, session: Session, method: str, source: Source, now: datetime) -> Entered:
        """Begin a whole session in place of a half one whose person has just proved a new second factor."""
        return await self._begin(tx, session, method, source, now, session, whole=True)

    async def _code(self, tx: Tx, person: int, typed: str, now: datetime) -> bool:
        for factor in await factors.apps(tx, person):
            secret = self.opened(person, factor.secret)
            step = totp.matched(secret, typed, now, factor.counter) if secret else None
            if step is not None:
                return await factors.step_on(tx, factor.id, step, now)
        return False

    def sealed(self, person: int, secret: bytes) -> bytes:
        """Return the secret of a person's app as it is stored: under a key that only the running server has."""
        return self.seal.close(secret, [_APP, person]).encode()

    def opened(self, person: int, stored: bytes | None) -> bytes | None:
        """Return the secret of a person's app; None for another's, or for none."""
        return self.seal.open(stored.decode(), [_APP, person], bytes) if stored else None

    async def _key(self, tx: Tx, owned: list[Factor], answer: str, challenge: bytes | None, now: datetime) -> bool:
        signed = self.keys.signed(answer, challenge, owned) if challenge else None
        return signed is not None and await factors.counted(tx, signed.factor, signed.counter, now)

    async def _begin(
        self, tx: Tx, person: Person | Session, method: str, source: Source, now: datetime, old: Session | None, *,
        whole: bool,
    ) -> Entered:  # fmt: skip
        """Begin under a new token: one that was known before the sign-in is worth nothing after it."""
        who = person.person if isinstance(person, Session) else person.id
        if old:
            sessions.end(tx, old.hash)
        start = Start(
            person=who, now=now, expires=self.sessions.expires(now, whole=whole), verified=now if whole else None,
            method=method, address=source.address, agent=(source.agent or "")[:200] or None,
        )  # fmt: skip
        token = sessions.begin(tx, start)
        await tell(tx, "sign-in", 200 if whole else 202, now, source, person=who, sub=person.sub, method=method)
        return Entered(token, whole)

    async def _reserve(self, tried: list[Tried], now: datetime) -> None:
        def wait(kind: str, count: int) -> timedelta:
            return (self.address if kind == "address" else self.account).wait(count)

        longest = await failures.reserve(self.db, tried, wait, self.account.memory, now)
        if longest:
            raise Refused("There were too many failures: wait a while, then try again.", longest)

    async def _refuse(
        self, action: str, person: Person | Session | None, source: Source, now: datetime, sentence: str, **detail: str
    ) -> Entered:
        who = person.person if isinstance(person, Session) else person.id if person else None
        sub = person.sub if person else "unknown"
        async with self.db.transaction(None) as tx:
            await tell(tx, action, 401, now, source, person=who, sub=sub, **detail)
        raise Refused(sentence)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
