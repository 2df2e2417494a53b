"""The accounts of an installation, wired: sessions, ways in, second factors, as the settings bound them."""

from __future__ import annotations

from datetime import timedelta

from fhir_server.app.concord import Concord
from fhir_server.http.peers import household
from fhir_server.settings import Settings
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.lockout import Lockout
from fhir_server.smart.passwords import Passwords
from fhir_server.smart.security_keys import SecurityKeys
from fhir_server.smart.sessions import SessionRules, Sessions
from fhir_server.smart.signin import SignIn
from fhir_server.store import failures, sessions

_PENDING = timedelta(minutes=10)


def accounts_of(concord: Concord) -> Accounts:
    """Return the accounts of an installation at its public address; one for a process, which bounds its hashing."""
    given = concord.settings
    passwords = Passwords(given.password_memory, given.password_passes)
    keys = SecurityKeys(concord.base_url)
    known = Sessions(concord.db, rules_of(given), concord.form_key, concord.base_url)
    signin = SignIn(
        concord.db, passwords, known, keys, _lockout(given, given.lockout_free),
        _lockout(given, given.lockout_address_free), concord.service.seal, household,
    )  # fmt: skip
    invited = timedelta(seconds=given.invitation_lifetime)
    return Accounts(concord.db, passwords, signin, keys, given.password_length, invited)


def rules_of(settings: Settings) -> SessionRules:
    """Return how long sessions last."""
    return SessionRules(
        idle=timedelta(seconds=settings.session_idle),
        absolute=timedelta(seconds=settings.session_absolute),
        pending=_PENDING,
        fresh=timedelta(seconds=settings.session_fresh),
        second_factor=settings.second_factor == "required",
    )


def _lockout(settings: Settings, free: int) -> Lockout:
    first, longest = timedelta(seconds=settings.lockout_first), timedelta(seconds=settings.lockout_longest)
    return Lockout(free, first, longest, timedelta(seconds=settings.lockout_memory))


async def forget_old(concord: Concord) -> None:
    """Take away sessions that are over and failures that are long ago."""
    now, given = concord.clock(), concord.settings
    async with concord.db.transaction(None) as tx:
        sessions.forget_old(tx, now, timedelta(seconds=given.session_idle))
        failures.forget_old(tx, now - timedelta(seconds=given.lockout_memory))
