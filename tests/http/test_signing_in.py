"""Signing in to another server as a clinic: by its own key, published for others to verify, or by its secrets."""

from __future__ import annotations

import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters import fhir_signin
from adapters.fhir_answers import Final, Page
from adapters.fhir_client import FhirClient
from adapters.web import Web
from fhir_server.engine.signing_in import sign_in
from fhir_server.errors import NotFound
from fhir_server.operations.sign_in import Backend, Basic, Bearer, SignIn, problems
from fhir_server.smart.assertion import require_jwks
from fhir_server.store import clients, keys, tenants
from fhir_server.store.clients import Client as Registered
from tests.fhir import Client, running

GUARD = Web(frozenset(("127.0.0.1",)))


async def none(name: str) -> str:
    raise NotFound(f"there is no secret {name!r}")


async def one(name: str) -> str:
    return f"the secret {name}"


async def test_a_clinic_signs_in_to_another_by_its_key_that_the_other_reads_at_its_jwks(server_dsn: str) -> None:
    async with running(server_dsn) as (concord, clock), httpx.AsyncClient() as http:
        ours = await tenants.add(concord.db, "ours-signing-in")
        theirs = Client(concord, clock, await tenants.add(concord.db, "theirs-signing-in"), http)
        by = await sign_in(concord.db, ours.id, Backend(client_id="ours", scope="system/Patient.rs"), none)
        published = (await http.get(f"{concord.base(ours).removesuffix('/fhir')}/oauth/jwks")).json()
        keys_of_ours = require_jwks({"keys": [key for key in published["keys"] if key["alg"] == "ES384"]})
        made = Registered("ours", "Ours", "system/Patient.rs", keys_of_ours, clock())
        await clients.add(concord.db, theirs.tenant_id, made)
        async with FhirClient(theirs.base, GUARD, clock, by) as client:
            assert isinstance(await client.search("Patient", []), Page)
            assert isinstance(await client.create("Patient", b'{"resourceType":"Patient"}'), Final)
        signing = await keys.active(concord.db, ours.id, keys.ASSERTION_ALGORITHM)
        assert published["keys"][0].get("d") is None
        assert "d" in signing.jwk


async def test_the_key_for_assertions_signs_no_tokens_of_ours(fhir: Client) -> None:
    key = await keys.active(fhir.concord.db, fhir.tenant_id, keys.ASSERTION_ALGORITHM)
    token = jwt.encode({"alg": "ES384", "kid": key.kid}, {"sub": "x"}, ECKey.import_key(key.jwk), algorithms=["ES384"])
    assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_secrets_are_asked_for_by_name(fhir: Client) -> None:
    db, tenant = fhir.concord.db, fhir.tenant_id
    assert await sign_in(db, tenant, Basic(user="u", secret="pw"), one) == fhir_signin.Basic("u", "the secret pw")
    assert await sign_in(db, tenant, Bearer(secret="t"), one) == fhir_signin.Bearer("the secret t")
    assert await sign_in(db, tenant, None, none) == fhir_signin.Nobody()
    with pytest.raises(NotFound, match="no secret 'pw'"):
        await sign_in(db, tenant, Basic(user="u", secret="pw"), none)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (Basic(user="a:b", secret="pw"), ["Channel.x.user"]),
        (Basic(user="a", secret="Not A Name!"), ["Channel.x.secret"]),
        (Bearer(secret="eyJhbGciOi.J9.x"), ["Channel.x.secret"]),
        (
            Backend(client_id="", scope="", token_url="ftp://x"),
            ["Channel.x.client_id", "Channel.x.scope", "Channel.x.token_url"],
        ),
        (Backend(client_id="a", token_url="https://x.example/token"), []),
        (Basic(user="a", secret="pw"), []),
        (None, []),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(given: SignIn | None, wrong: list[str]) -> None:
    assert [issue.expression[0] for issue in problems("x", given)] == wrong


def test_a_definition_that_holds_a_secret_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="password"):
        msgspec.json.decode(b'{"kind": "basic", "user": "a", "secret": "pw", "password": "x"}', type=SignIn)
