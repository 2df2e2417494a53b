"""Messages and resources to receivers over HTTP: POSTs of whole ones, and the interactions of FHIR servers.

https://www.rfc-editor.org/rfc/rfc9110 · http://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec

from adapters.fhir_answers import Done, Final, Result, Retry, failure, told
from adapters.fhir_client import FhirClient
from adapters.fhir_signin import SignIn
from adapters.web import Answer, Failed, Guarded, Refused, Web
from fhir_server.clock import Clock
from fhir_server.engine.bundling import relinked
from fhir_server.engine.parcel import Outcome, Parcel, acknowledged, made_by
from fhir_server.operations.destinations import FhirOut, HttpOut
from mappings.mapped import decode, encode

# Signs in as a parcel's destination says.
SigningIn = Callable[[Parcel], Awaitable[SignIn]]
_HL7 = "application/hl7-v2"
_JSON = "application/fhir+json"
_CONFLICT = 409


Kept = TypeVar("Kept", bound=Any)


class _Connections(Generic[Kept]):
    """Keeps what was made for a destination until its definition or a secret changes."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, str], tuple[object, Kept]] = {}

    async def of(self, parcel: Parcel, make: Callable[[], Awaitable[Kept]]) -> Kept:
        """Return what is kept for a destination, made anew where it must be."""
        key, made = (parcel.tenant_id, parcel.channel, parcel.destination.name), made_by(parcel)
        found = self._kept.get(key)
        if found is not None and found[0] == made:
            return found[1]
        fresh = await make()
        self._kept[key] = (made, fresh)
        if found is not None:
            await found[1].aclose()
        return fresh

    async def aclose(self) -> None:
        """Close all of it."""
        kept, self._kept = list(self._kept.values()), {}
        for _, one in kept:
            await one.aclose()


class _Posting(msgspec.Struct):
    """The connections to one receiver, and how we sign in there."""

    web: Web
    through: Guarded
    sign_in: SignIn

    async def aclose(self) -> None:
        """Close the connections."""
        await self.through.aclose()


class HttpCarrier:
    """POSTs messages as application/hl7-v2, or resources as a Bundle, with an Idempotency-Key."""

    def __init__(self, web: Web, signing_in: SigningIn, clock: Clock) -> None:
        self._web = web
        self._signing_in = signing_in
        self._clock = clock
        self._connections: _Connections[_Posting] = _Connections()

    async def carry(self, parcel: Parcel) -> Outcome:
        """Send a parcel. 2xx is done; where the answer is an acknowledgement, that decides."""
        destination = parcel.destination
        assert isinstance(destination, HttpOut)
        posting = await self._connections.of(parcel, lambda: self._posting(parcel, destination))
        signed = await posting.sign_in.headers(posting.web, posting.through, destination.url, self._clock())
        if not isinstance(signed, dict):
            return _outcome(signed)
        kind = _JSON if parcel.sends == "resources" else _HL7
        headers = {"content-type": kind, "accept": f"{kind}, */*;q=0.1", "idempotency-key": parcel.key, **signed}
        try:
            answer = await posting.web.once(posting.through, "POST", destination.url, headers, parcel.content)
        except (Refused, Failed) as problem:
            return _outcome(failure(problem))
        if _is_acknowledgement(answer):
            return acknowledged(answer.body)
        return _outcome(told(answer, self._clock()))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def _posting(self, parcel: Parcel, destination: HttpOut) -> _Posting:
        web = replace(self._web, redirects=0, seconds=destination.seconds)
        return _Posting(web, Guarded(web), await self._signing_in(parcel))


class FhirCarrier:
    """Sends resources to FHIR servers, each write under the condition that makes it the same however often it comes."""

    def __init__(self, web: Web, signing_in: SigningIn, clock: Clock) -> None:
        self._web = web
        self._signing_in = signing_in
        self._clock = clock
        self._connections: _Connections[FhirClient] = _Connections()

    async def carry(self, parcel: Parcel) -> Outcome:
        """Send a transaction, or its entries one after the other, each with its references to those before."""
        destination = parcel.destination
        assert isinstance(destination, FhirOut)
        client = await self._connections.of(parcel, lambda: self._client(parcel, destination))
        if destination.how == "transaction":
            return _outcome(await client.transaction(parcel.content))
        return await _one_by_one(client, decode(parcel.content)["entry"], destination)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def _client(self, parcel: Parcel, destination: FhirOut) -> FhirClient:
        web = replace(self._web, seconds=destination.seconds)
        return FhirClient(destination.base, web, self._clock, await self._signing_in(parcel))


async def _one_by_one(client: FhirClient, entries: list[dict[str, Any]], destination: FhirOut) -> Outcome:
    known: dict[str, str] = {}
    answers = []
    for entry in _in_order(entries):
        resource = relinked(entry["resource"], lambda reference: known.get(reference, reference))
        result = await _written(client, entry, resource, destination)
        if not isinstance(result, Done):
            return _outcome(result)
        answers.append(f"{result.status} {result.location or ''}".strip())
        name = result.reference or await _found(client, entry)
        if name is not None:
            known[entry["fullUrl"]] = name
    return Outcome(state="done", answer="\n".join(answers).encode())


async def _written(client: FhirClient, entry: dict[str, Any], resource: dict[str, Any], to: FhirOut) -> Result:
    type_, criteria = resource["resourceType"], _criteria(entry)
    if to.how == "update" and criteria:
        return await client.conditional_update(type_, criteria, encode(resource))
    return await client.create(type_, encode(resource), criteria)


async def _found(client: FhirClient, entry: dict[str, Any]) -> str | None:
    """Return what a server calls a resource of which it did not say so."""
    criteria, type_ = _criteria(entry), entry["resource"]["resourceType"]
    page = await client.search(type_, [*criteria, ("_elements", "identifier")]) if criteria else None
    if page is None or isinstance(page, Retry | Final) or not page.entries:
        return None
    return f"{type_}/{decode(page.entries[0].resource)['id']}"


def _criteria(entry: dict[str, Any]) -> list[tuple[str, str]]:
    request = entry["request"]
    return parse_qsl(request.get("ifNoneExist") or request["url"].partition("?")[2])


def _in_order(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries so that each comes after those that it refers to, as far as they are not in a circle."""
    left = {entry["fullUrl"]: entry for entry in entries}
    ready: list[dict[str, Any]] = []
    while left:
        free = [url for url, entry in left.items() if not (_references(entry["resource"]) & left.keys() - {url})]
        ready += [left.pop(url) for url in free or [next(iter(left))]]
    return ready


def _references(resource: dict[str, Any]) -> set[str]:
    found: set[str] = set()

    def note(reference: str) -> str:
        found.add(reference)
        return reference

    relinked(resource, note)
    return found


def _is_acknowledgement(answer: Answer) -> bool:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return 200 <= answer.status < 300 and kind == _HL7 and bool(answer.body)


def _outcome(result: Result) -> Outcome:
    if isinstance(result, Done):
        return Outcome(state="done", answer=result.body)
    if isinstance(result, Final):
        return Outcome(state="held", reason=result.reason, answer=result.outcome)
    # A conflict tells of this one alone; whoever does not answer at all has not had a try.
    down = result.status != _CONFLICT
    wait, reached = result.seconds or 0.0, result.status is not None
    return Outcome(state="later", reason=result.reason, answer=result.outcome, down=down, wait=wait, counts=reached)
