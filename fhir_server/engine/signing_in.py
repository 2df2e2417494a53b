"""From a definition's way of signing in to what sends it: the tenant's key for assertions, its secrets for the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from adapters import fhir_signin
from fhir_server.operations.sign_in import Backend, Basic, SignIn
from fhir_server.store import keys
from fhir_server.store.database import Database

# Returns the secret of a name; raises errors.NotFound.
Secret = Callable[[str], Awaitable[str]]


async def sign_in(db: Database, tenant_id: int, given: SignIn | None, secret: Secret) -> fhir_signin.SignIn:
    """Return what signs in for a tenant as its definition says. Raises what `secret` raises."""
    if given is None:
        return fhir_signin.Nobody()
    if isinstance(given, Backend):
        key = await keys.active(db, tenant_id, keys.ASSERTION_ALGORITHM)
        return fhir_signin.BackendService(given.client_id, key.jwk, given.scope, given.token_url)
    if isinstance(given, Basic):
        return fhir_signin.Basic(given.user, await secret(given.secret))
    return fhir_signin.Bearer(await secret(given.secret))
