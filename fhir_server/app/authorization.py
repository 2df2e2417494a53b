"""The authorization server of an installation, wired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import msgspec

from fhir_server.app.concord import Concord
from fhir_server.app.guards import web_of
from fhir_server.smart.authentication import Authentication
from fhir_server.smart.authorize import Authorization, Times
from fhir_server.smart.introspection import Introspection
from fhir_server.smart.issuing import Issuer
from fhir_server.smart.jwks import KeySets
from fhir_server.smart.launching import Launcher
from fhir_server.smart.redeeming import Redeemer
from fhir_server.smart.tokens import Verifier
from fhir_server.store import sessions


class Endpoints(msgspec.Struct, frozen=True):
    """What answers the endpoints for programs: tokens, and questions about them."""

    issuer: Issuer
    introspection: Introspection


def endpoints_of(concord: Concord, verifier: Verifier) -> Endpoints:
    """Return what answers programs; `verifier` looks anew at what was revoked here."""
    authentication = Authentication(concord.db, concord.base_url, KeySets(web_of(concord.settings).get))
    introspection = Introspection(concord.db, concord.base_url, concord.clock, authentication, verifier)
    return Endpoints(_issuer_of(concord, authentication, verifier.forget), introspection)


def _issuer_of(concord: Concord, authentication: Authentication, forget: Callable[[], None]) -> Issuer:
    given = concord.settings
    redeemer = Redeemer(
        concord.db, concord.base_url, concord.service.hasher, timedelta(seconds=given.token_lifetime),
        timedelta(seconds=given.refresh_token_lifetime),
        partial(sessions.lives, idle=timedelta(seconds=given.session_idle)), forget,
    )  # fmt: skip
    lifetime = timedelta(seconds=given.backend_token_lifetime)
    return Issuer(
        concord.db, concord.base_url, concord.clock, authentication, redeemer, concord.service.rules, lifetime
    )


def authorization_of(concord: Concord) -> Authorization:
    """Return what answers the authorization endpoint."""
    given = concord.settings
    times = Times(
        request=timedelta(seconds=given.authorization_timeout),
        code=timedelta(seconds=given.code_lifetime),
        access=timedelta(seconds=given.token_lifetime),
        refresh=timedelta(seconds=given.refresh_token_lifetime),
    )
    return Authorization(concord.db, concord.base_url, concord.clock, concord.service.rules, times)


def launcher_of(concord: Concord) -> Launcher:
    """Return what starts apps from here."""
    return Launcher(
        concord.db,
        concord.base_url,
        concord.clock,
        concord.service.hasher,
        timedelta(seconds=concord.settings.launch_lifetime),
    )
