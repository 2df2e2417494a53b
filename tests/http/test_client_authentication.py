"""How clients prove who they are at the token endpoint: as they are registered to, in one way at a time.

https://www.rfc-editor.org/rfc/rfc6749#section-2.3
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from fhir_server.store import clients, opaque
from tests.apps import App, app
from tests.fhir import Client

# What is asked for does not matter: who is let in gets no further than an unknown code.
FORM = {"grant_type": "authorization_code", "code": "unknown"}


async def answered(asking: App, form: dict[str, Any], authorization: str | None = None) -> tuple[int, str]:
    headers = {"authorization": authorization} if authorization else {}
    answer = await asking.fhir.http.post(f"{asking.oauth}/token", data={**FORM, **form}, headers=headers)
    if answer.status_code == 401 and authorization:
        assert answer.headers["www-authenticate"].startswith("Basic")
    return answer.status_code, answer.json()["error"]


def basic(client_id: str, secret: str | None) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


LET_IN = (400, "invalid_grant")
REFUSED = (401, "invalid_client")


async def test_a_secret_comes_in_the_header_as_it_is_or_encoded_or_in_the_form(fhir: Client) -> None:
    asking = await app(fhir, "symmetric")
    encoded = asking.client_id.replace("-", "%2D")
    assert await answered(asking, {}, basic(asking.client_id, asking.secret)) == LET_IN
    assert await answered(asking, {}, basic(encoded, quote_plus(str(asking.secret)).replace("-", "%2D"))) == LET_IN
    assert await answered(asking, {"client_id": asking.client_id, "client_secret": asking.secret}) == LET_IN


async def test_another_secret_or_none_is_refused(fhir: Client) -> None:
    asking, another = await app(fhir, "symmetric"), await app(fhir, "symmetric")
    for secret in ("", "x", f"{asking.secret}x", another.secret, asking.client_id):
        assert await answered(asking, {}, basic(asking.client_id, secret)) == REFUSED
        assert await answered(asking, {"client_id": asking.client_id, "client_secret": secret}) == REFUSED
    assert await answered(asking, {"client_id": asking.client_id}) == REFUSED
    assert await answered(asking, {}, basic("nobody", asking.secret)) == REFUSED
    for header in ("Basic", "Basic %%%", "Basic " + base64.b64encode(b"no colon").decode(), "Basic Og==", "Basic /w=="):
        assert await answered(asking, {}, header) == REFUSED


async def test_a_new_secret_ends_the_old_one(fhir: Client) -> None:
    asking = await app(fhir, "symmetric")
    secret = opaque.new()
    assert await clients.change_secret(fhir.concord.db, fhir.tenant_id, asking.client_id, opaque.hashed(secret))
    assert await answered(asking, {}, basic(asking.client_id, asking.secret)) == REFUSED
    assert await answered(asking, {}, basic(asking.client_id, secret)) == LET_IN
    public = await app(fhir)
    assert not await clients.change_secret(fhir.concord.db, fhir.tenant_id, public.client_id, opaque.hashed(secret))


async def test_a_public_client_has_nothing_but_its_id(fhir: Client) -> None:
    asking = await app(fhir)
    assert await answered(asking, {"client_id": asking.client_id}) == LET_IN
    assert await answered(asking, {"client_id": asking.client_id, "client_secret": "x"}) == REFUSED
    assert await answered(asking, {"client_id": "nobody"}) == REFUSED
    assert await answered(asking, {}) == REFUSED


async def test_a_client_with_a_key_cannot_do_without_it(fhir: Client) -> None:
    asking = await app(fhir, "asymmetric")
    assert await answered(asking, asking.proof()["data"]) == LET_IN
    assert await answered(asking, {"client_id": asking.client_id}) == REFUSED
    assert await answered(asking, {"client_id": asking.client_id, "client_secret": "x"}) == REFUSED
    again = {**asking.proof()["data"], "client_assertion_type": "another"}
    assert await answered(asking, again) == (400, "invalid_request")


async def test_an_assertion_for_a_client_without_keys_is_refused(fhir: Client) -> None:
    signing = await app(fhir, "asymmetric")
    for kind in ("public", "symmetric"):
        asking = await app(fhir, kind)  # type: ignore[arg-type]
        signing.client_id = asking.client_id
        assert await answered(asking, signing.proof()["data"]) == REFUSED


async def test_two_proofs_at_one_time_are_none(fhir: Client) -> None:
    asking = await app(fhir, "symmetric")
    both = {"client_id": asking.client_id, "client_secret": asking.secret}
    assert await answered(asking, both, basic(asking.client_id, asking.secret)) == (400, "invalid_request")
    signing = await app(fhir, "asymmetric")
    mixed = basic(asking.client_id, asking.secret)
    assert await answered(asking, signing.proof()["data"], mixed) == (400, "invalid_request")
    other_id = {"client_id": "somebody"}
    assert await answered(asking, other_id, basic(asking.client_id, asking.secret)) == REFUSED
    assert await answered(signing, {**signing.proof()["data"], **other_id}) == REFUSED


@pytest.mark.parametrize("kind", ["public", "symmetric"])
async def test_client_credentials_are_for_clients_with_a_key(fhir: Client, kind: Any) -> None:
    asking = await app(fhir, kind)
    answer = await asking.post("token", grant_type="client_credentials", scope="user/*.rs")
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_proof_in_the_address_is_no_proof(fhir: Client) -> None:
    asking = await app(fhir)
    answer = await fhir.http.post(f"{asking.oauth}/token?client_id={asking.client_id}", data=FORM)
    assert isinstance(answer, httpx.Response)
    assert (answer.status_code, answer.json()["error"]) == REFUSED
