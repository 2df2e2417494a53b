"""A session of smart-on-fhir-client with two running servers, run by the Python of that client's own environment.

It prints one JSON line for each step, and a last line that says that it came to the end. Told by the environment: a
JSON object in SESSION with `source` and `target` (base, token_url, client_id, and its private key as a JWK), `reader`
(a client of the source that may read patients alone) and `stranger` (one whose key is not registered).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import jwt
from fhir.resources.patient import Patient
from loguru import logger
from smart_on_fhir_client.client import smart_on_fhir_client
from smart_on_fhir_client.partner import Organization, Partner, TargetUrlStrategy, TokenEndpointResponse
from smart_on_fhir_client.requester.fhir_requester import FhirContextManager, FhirContextRequester
from smart_on_fhir_client.requester.fhir_resource import CustomFHIRResource
from smart_on_fhir_client.session import session_manager
from smart_on_fhir_client.strategy import Strategy
from tenacity import RetryError

WORLD = json.loads(os.environ["SESSION"])
SYSTEM = "http://ids.example"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def token(of: dict[str, Any]) -> str:
    """Get an access token for a backend service by an assertion that its key signs."""
    now = int(time.time())
    claims = {"iss": of["client_id"], "sub": of["client_id"], "aud": of["token_url"], "exp": now + 240}
    key = jwt.PyJWK(of["key"], algorithm="ES384").key
    assertion = jwt.encode({**claims, "jti": str(uuid.uuid4())}, key, "ES384", {"kid": of["key"]["kid"]})
    form = {"grant_type": "client_credentials", "scope": of["scope"], "client_assertion_type": ASSERTION}
    async with aiohttp.ClientSession() as http:
        answer = await http.post(of["token_url"], data={**form, "client_assertion": assertion})
        given = await answer.json()
    if answer.status != 200:
        raise PermissionError(f"{answer.status} {given['error']}")
    return str(given["access_token"])


class Concord(Partner):
    """A Concord tenant as this client knows a server: its README's method is gone, this one is asked."""

    registration: dict[str, Any]

    async def get_access_token_for_m2m(self, **_: Any) -> TokenEndpointResponse:
        """Return the token of a backend service."""
        return TokenEndpointResponse(access_token=await token(self.registration))


class Named(CustomFHIRResource):
    """A class of the user's for patients."""

    @property
    def family(self) -> str:
        """Return the family name."""
        return str(self["name"][0]["family"])


manager = FhirContextManager(WORLD["target"]["base"])


async def requester(name: str, of: dict[str, Any]) -> FhirContextRequester:
    """Register a tenant as a partner whose resources are piped to the target, and return what asks it."""
    told = {"fhir_url": of["base"], "token_url": of["token_url"], "supported_strategies": {Strategy.M2M}}
    partner = Concord(name=name, registration=of, **told)
    clinic = Organization(name, TargetUrlStrategy.NONE)
    builder = smart_on_fhir_client.builder().for_partner(partner).for_strategy(Strategy.M2M).for_organization(clinic)
    builder.register_cls_for("Patient", Named)
    builder.register_target_server_authorization(await token(WORLD["target"]))
    await manager.register_fhir_client_async(builder)
    return manager.req(clinic.slug)


async def refused(work: Callable[[], Awaitable[Any]]) -> None:
    """Hold that the client gives up: it asks again with new tokens before it does."""
    try:
        await work()
    except RetryError:
        return
    raise AssertionError("was not refused")


def same(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


async def a_partner_is_registered_and_reads() -> None:
    at = await requester("SOURCE", WORLD["source"])
    first = await at.patient.search(family="Ångström").first()
    same((type(first), first.family, first["birthDate"]), (Named, "Ångström", "1970-03-30"))
    same((await at.patient.by_id(first.id))["identifier"], first["identifier"])


async def searches_sort_include_and_validate() -> None:
    at = manager.req("SOURCE")
    women = at.patient.search(gender="female").sort("birthdate")
    same([p["birthDate"] for p in await women.fetch()], ["1970-03-30", "1980-03-30"])
    same([p["birthDate"] for p in await women.limit(1).fetch()], ["1970-03-30"])
    same([p["birthDate"] for p in await at.patient.search(birthdate="1980-03-30").post_fetch()], ["1980-03-30"])
    both = await at.encounter.search(status="finished").include("Encounter", "patient").fetch(all_resources=True)
    same([r["resourceType"] for r in both], ["Encounter", "Patient"])
    found = await at.patient.search(birthdate="1980-03-30").first()
    # Its return_as would hand a member of the client's own to the model, which refuses it.
    same(Patient(**found.serialize()).name[0].family, "Müller")
    subject = await at.resolve_ref(both[0]["subject"]["reference"])
    same(subject.id, both[1].id)


async def patients_are_piped_to_the_other_server_once() -> None:
    at = manager.req("SOURCE")
    to = manager.TARGET_SOURCE
    for _ in range(2):
        for patient in await at.patient.search().sort("birthdate").fetch():
            await patient.pipe_to_target_fhir_server(target_identifier_url=SYSTEM)
    there = await to.patient.search().sort("birthdate").fetch()
    same([p["name"][0]["family"] for p in there], ["Ångström", "Müller"])
    same(
        [p["identifier"] for p in there], [p["identifier"] for p in await at.patient.search().sort("birthdate").fetch()]
    )


async def what_its_registration_leaves_out_is_refused() -> None:
    at = await requester("READER", WORLD["reader"])
    same(len(await at.patient.search().fetch()), 2)
    await refused(lambda: at.encounter.search().fetch())
    await refused(lambda: at.patient.create_resource({"name": [{"family": "New"}]}).save())


async def a_key_that_is_not_registered_gets_nothing() -> None:
    at = await requester("STRANGER", WORLD["stranger"])
    await refused(lambda: at.patient.search().fetch())


STEPS = (
    a_partner_is_registered_and_reads,
    searches_sort_include_and_validate,
    patients_are_piped_to_the_other_server_once,
    what_its_registration_leaves_out_is_refused,
    a_key_that_is_not_registered_gets_nothing,
)


async def main() -> None:
    logger.remove()
    async with session_manager:
        for step in STEPS:
            failure = None
            try:
                await step()
            except Exception as problem:
                failure = f"{type(problem).__name__}: {problem}"
            print(json.dumps({"step": step.__name__, "failure": failure}))
    print(json.dumps({"done": True}))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
