"""Special access, wired: how long it lasts at most is a setting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from fhir_server.app.concord import Concord
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.special import Special


def special_of(concord: Concord, accounts: Accounts, changed: Callable[[], None]) -> Special:
    """Return what opens special access in an installation."""
    return Special(
        concord.db,
        concord.service.hasher,
        accounts.signin,
        concord.base_url,
        concord.clock,
        timedelta(seconds=concord.settings.special_access_lifetime),
        changed,
    )
