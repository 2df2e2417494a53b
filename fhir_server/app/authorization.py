"""The authorization server of an installation, wired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from fhir_server.app.concord import Concord
from fhir_server.app.guards import web_of
from fhir_server.smart.authentication import Authentication
from fhir_server.smart.authorize import Authorization, Times
from fhir_server.smart.issuing import Issuer
from fhir_server.smart.jwks import KeySets
from fhir_server.smart.launching import Launcher
from fhir_server.smart.redeeming import Redeemer
from fhir_server.store import sessions


def issuer_of(concord: Concord, forget: Callable[[], None]) -> Issuer:
    """Return what answers the token endpoint; `forget` makes this process look anew at what was revoked."""
    given = concord.settings
    redeemer = Redeemer(
        concord.db, concord.base_url, concord.service.hasher, timedelta(seconds=given.token_lifetime),
        timedelta(seconds=given.refresh_token_lifetime),
        partial(sessions.lives, idle=timedelta(seconds=given.session_idle)), forget,
    )  # fmt: skip
    authentication = Authentication(concord.db, concord.base_url, KeySets(web_of(concord.settings).get))
    lifetime = timedelta(seconds=given.backend_token_lifetime)
    return Issuer(concord.db, concord.base_url, concord.clock, authentication, redeemer, lifetime)


def authorization_of(concord: Concord) -> Authorization:
    """Return what answers the authorization endpoint."""
    given = concord.settings
    times = Times(
        request=timedelta(seconds=given.authorization_timeout),
        code=timedelta(seconds=given.code_lifetime),
        access=timedelta(seconds=given.token_lifetime),
        refresh=timedelta(seconds=given.refresh_token_lifetime),
    )
    return Authorization(concord.db, concord.base_url, concord.clock, concord.service.hasher, times)


def launcher_of(concord: Concord) -> Launcher:
    """Return what starts apps from here."""
    return Launcher(
        concord.db,
        concord.base_url,
        concord.clock,
        concord.service.hasher,
        timedelta(seconds=concord.settings.launch_lifetime),
    )
