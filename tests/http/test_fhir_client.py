"""Our client of other FHIR servers, with a Concord that stands for the other one, on a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from adapters.fhir_answers import Done, Final, Page, Retry
from adapters.fhir_client import FhirClient
from adapters.fhir_signin import BackendService, Basic, Bearer
from adapters.web import Web
from tests.clients.registered import backend, private_key
from tests.fhir import Client

SYSTEM = "urn:oid:1.2.3"
GUARD = Web(frozenset(("127.0.0.1",)))


def person(value: str, **more: Any) -> bytes:
    """Return a patient known by an identifier."""
    found = {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **more}
    return json.dumps(found).encode()


@pytest.fixture
async def client(fhir: Client) -> AsyncIterator[FhirClient]:
    """Give a client that signs in as a backend service."""
    key = private_key()
    name = await backend(fhir, "system/*.cruds", key)
    signed = BackendService(name, key, "system/*.cruds")
    async with FhirClient(fhir.base, GUARD, fhir.clock, signed) as made:
        yield made


async def test_a_resource_is_created_read_and_updated(client: FhirClient) -> None:
    made = await client.create("Patient", person("1"))
    assert isinstance(made, Done)
    assert (made.status, made.etag) == (201, 'W/"1"')
    kind, id_ = str(made.reference).split("/")
    found = await client.read(kind, id_)
    assert isinstance(found, Done)
    assert json.loads(found.body)["identifier"][0]["value"] == "1"
    changed = await client.update(kind, id_, person("1", id=id_, active=True), if_match=made.etag)
    assert isinstance(changed, Done)
    late = await client.update(kind, id_, person("1", id=id_, active=False), if_match=made.etag)
    assert isinstance(late, Final)
    assert late.status == 412
    assert json.loads(late.outcome)["resourceType"] == "OperationOutcome"


async def test_a_conditional_create_has_no_second_effect(client: FhirClient) -> None:
    condition = [("identifier", f"{SYSTEM}|1&2")]
    first = await client.create("Patient", person("1&2"), condition)
    second = await client.create("Patient", person("1&2"), condition)
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert (first.status, second.status) == (201, 200)
    found = await client.search("Patient", [*condition, ("_total", "accurate")])
    assert isinstance(found, Page)
    assert found.total == 1


async def test_a_conditional_update_creates_once_and_changes_then(client: FhirClient) -> None:
    condition = [("identifier", f"{SYSTEM}|7")]
    answers = [await client.conditional_update("Patient", condition, person("7", active=on)) for on in (True, False)]
    assert [answer.status for answer in answers] == [201, 200]
    await client.create("Patient", person("7"))
    several = await client.conditional_update("Patient", condition, person("7"))
    assert isinstance(several, Final)
    assert several.status == 412


async def test_a_transaction_is_done_whole_or_refused_whole(client: FhirClient) -> None:
    def bundle(*bodies: bytes) -> bytes:
        entry = [{"resource": json.loads(b), "request": {"method": "POST", "url": "Patient"}} for b in bodies]
        return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entry}).encode()

    done = await client.transaction(bundle(person("1"), person("2")))
    assert isinstance(done, Done)
    assert [entry["response"]["status"][:3] for entry in json.loads(done.body)["entry"]] == ["201", "201"]
    refused = await client.transaction(bundle(person("3"), person("4", birthDate="tomorrow")))
    assert isinstance(refused, Final)
    assert refused.status in (400, 422)
    assert "tomorrow" not in refused.reason
    nobody = await client.search("Patient", [("identifier", f"{SYSTEM}|3")])
    assert isinstance(nobody, Page)
    assert nobody.entries == ()


async def test_a_search_gives_page_after_page_with_the_bytes_as_they_came(client: FhirClient) -> None:
    for number in range(5):
        body = {"resourceType": "Observation", "status": "final", "code": {"text": str(number)}}
        text = json.dumps(body)[:-1] + ', "valueQuantity": {"value": 1.50}}'
        assert isinstance(await client.create("Observation", text.encode()), Done)
    pages = [page async for page in client.pages("Observation", [("_count", "2"), ("_sort", "_lastUpdated")])]
    assert [len(page.entries) for page in pages if isinstance(page, Page)] == [2, 2, 1]
    found = [entry for page in pages if isinstance(page, Page) for entry in page.entries]
    assert {json.loads(entry.resource)["code"]["text"] for entry in found} == {"0", "1", "2", "3", "4"}
    assert all(b'"value":1.50' in entry.resource.replace(b" ", b"") for entry in found)
    assert {entry.mode for entry in found} == {"match"}


async def test_more_pages_than_are_read_are_told(client: FhirClient) -> None:
    for number in range(3):
        await client.create("Patient", person(str(number)))
    pages = [page async for page in client.pages("Patient", [("_count", "1")], most=2)]
    assert [type(page) for page in pages] == [Page, Page, Final]


async def test_a_token_is_kept_until_it_expires_and_got_anew_after_that(fhir: Client, client: FhirClient) -> None:
    await client.create("Patient", person("1"))
    sign_in = client._sign_in
    assert isinstance(sign_in, BackendService)
    first = sign_in._kept
    await client.create("Patient", person("2"))
    assert sign_in._kept is first
    fhir.clock.move(timedelta(hours=2))
    assert isinstance(await client.create("Patient", person("3")), Done)
    assert sign_in._kept is not first


async def test_an_rsa_key_signs_as_well(fhir: Client) -> None:
    made = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)
    key = {**made, "kid": "an RSA key"}
    public = {name: value for name, value in key.items() if name in ("kty", "n", "e", "kid")}
    name = await backend(fhir, "system/Patient.rs", public)
    token_url = fhir.base.removesuffix("/fhir") + "/oauth/token"
    signed = BackendService(name, key, "system/Patient.rs", token_url)
    async with FhirClient(fhir.base, GUARD, fhir.clock, signed) as client:
        assert isinstance(await client.search("Patient", []), Page)
        refused = await client.create("Patient", person("1"))
        assert isinstance(refused, Final)
        assert refused.status == 403


async def test_a_key_that_is_not_registered_gets_no_token_and_no_second_try(fhir: Client) -> None:
    name = await backend(fhir, "system/*.rs", private_key())
    async with FhirClient(fhir.base, GUARD, fhir.clock, BackendService(name, private_key(), "system/*.rs")) as client:
        assert await client.search("Patient", []) == Final("no token: invalid_client", 401)


async def test_a_bearer_token_is_sent_and_a_bad_one_is_final(fhir: Client) -> None:
    good = Bearer(await fhir.token("system/*.rs"))
    async with FhirClient(fhir.base, GUARD, fhir.clock, good) as client:
        assert isinstance(await client.search("Patient", []), Page)
    for bad in (Bearer("not.a.token"), Basic("ada", "secret"), None):
        async with FhirClient(fhir.base, GUARD, fhir.clock, bad) as client:
            refused = await client.search("Patient", [])
            assert isinstance(refused, Final)
            assert refused.status == 401
            assert "secret" not in repr(bad)


async def test_a_server_that_nobody_runs_is_tried_again(fhir: Client) -> None:
    async with FhirClient("http://127.0.0.1:1/fhir", GUARD, fhir.clock) as client:
        answered = await client.read("Patient", "1")
        assert isinstance(answered, Retry)
        assert answered.status is None


async def test_a_server_in_the_private_network_is_refused_unless_the_installation_allows_it(fhir: Client) -> None:
    async with FhirClient(fhir.base, Web(), fhir.clock) as client:
        assert isinstance(await client.read("Patient", "1"), Final)
