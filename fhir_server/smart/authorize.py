"""How an app comes to a code: it asks, a person signs in, chooses a patient where one is needed, and agrees.

https://hl7.org/fhir/smart-app-launch/app-launch.html · https://www.rfc-editor.org/rfc/rfc6749#section-4.1
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from fhir_server.context import Member, Tenant, fhir_base, oauth_address
from fhir_server.smart.asking import Asked, Fields, checked, require_redirect, single
from fhir_server.smart.granting import REFRESH, require_usable, shared
from fhir_server.smart.redirects import with_query
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import parse_scope, parse_scopes
from fhir_server.store import audit, authorizations, clients, codes, grants, launches, opaque
from fhir_server.store.audit import Audited
from fhir_server.store.authorizations import Pending
from fhir_server.store.clients import Client
from fhir_server.store.codes import Code
from fhir_server.store.database import Database, Tx
from fhir_server.store.grants import OauthGrant


class Actor(msgspec.Struct, frozen=True):
    """A person who is signed in: `member` is what they are in this clinic, None where they are nothing here."""

    person: int
    sub: str
    name: str
    member: Member | None
    session: bytes
    signed_in: datetime


class Step(msgspec.Struct, frozen=True):
    """What the person is asked next; `done` says that the browser goes to `location`."""

    kind: Literal["patient", "encounter", "consent", "done"]
    client: Client
    asked: Pending
    location: str = ""


class Times(msgspec.Struct, frozen=True):
    """How long a person may take to answer, a code is good, and a grant lasts: short, or with refresh tokens."""

    request: timedelta
    code: timedelta
    access: timedelta
    refresh: timedelta


class Authorization(msgspec.Struct, frozen=True):
    """The authorization endpoint of every tenant."""

    db: Database
    base_url: str
    clock: Callable[[], datetime]
    rules: Rules
    times: Times

    async def begin(self, tenant: Tenant, fields: Fields) -> str:
        """Return where the browser goes: on to the person, or back to the app with an error.

        Raises Refusal, to be shown and not sent to anybody, where the app or its address are not known.
        """
        now = self.clock()
        given, repeated = single(fields)
        client = await clients.by_id(self.db, tenant.id, given.get("client_id", ""))
        try:
            address = require_redirect(client, given)
        except Refusal as refusal:
            await self._refused(tenant, "", given.get("client_id", ""), refusal, now)
            raise
        assert client is not None
        try:
            asked = checked(client, given, repeated, fhir_base(self.base_url, tenant))
            require_usable(self.rules, asked.scope)
            handle = await self._kept(tenant, client, address, asked, now)
        except Refusal as refusal:
            await self._refused(tenant, "", client.client_id, refusal, now)
            return self._back(tenant, address, given.get("state"), error=refusal)
        return with_query(oauth_address(self.base_url, tenant, "continue"), {"request": handle})

    async def step(self, tenant: Tenant, handle: str, actor: Actor) -> Step:
        """Return what this person is asked next. Raises Refusal, to be shown, for a handle that is not theirs."""
        now = self.clock()
        async with self.db.transaction(tenant.id) as tx:
            asked, client = await self._theirs(tx, handle, actor, now)
            return await self._next(tx, tenant, client, asked, actor, now)

    async def choose(self, tenant: Tenant, handle: str, actor: Actor, **chosen: str | None) -> Step:
        """Take the `patient` or the `encounter` (None: none of them) that was chosen, and return the next step.

        That the person may see them is for the caller to know. Raises Refusal as `step`.
        """
        now = self.clock()
        async with self.db.transaction(tenant.id) as tx:
            asked, client = await self._theirs(tx, handle, actor, now)
            if (await self._next(tx, tenant, client, asked, actor, now)).kind in chosen:
                authorizations.choose(tx, asked.handle_hash, **chosen)
                asked, client = await self._theirs(tx, handle, actor, now)
            return await self._next(tx, tenant, client, asked, actor, now)

    async def agree(self, tenant: Tenant, handle: str, actor: Actor, scopes: str) -> Step:
        """Return the way back to the app with a code for what was agreed to of what was asked: clinical scopes, or
        narrower ones, and refresh tokens; what names no data is granted with them. Raises Refusal as `step`.
        """
        now = self.clock()
        async with self.db.transaction(tenant.id) as tx:
            asked, client = await self._theirs(tx, handle, actor, now)
            step = await self._next(tx, tenant, client, asked, actor, now)
            if step.kind != "consent":
                return step
            granted = require_usable(self.rules, agreed(scopes, asked.scope))
            if not granted:
                return await self._denied(tx, tenant, step, actor, now, "nothing was agreed to")
            await self._take(tx, asked, actor)
            text = opaque.new()
            self._grant(tx, tenant, asked, actor, granted, opaque.hashed(text), now)
        fields = {"code": text, "state": asked.state, "iss": fhir_base(self.base_url, tenant)}
        return Step("done", client, asked, with_query(asked.redirect_uri, fields))

    async def refuse(self, tenant: Tenant, handle: str, actor: Actor) -> Step:
        """Return the way back to the app of a person who does not agree. Raises Refusal as `step`."""
        now = self.clock()
        async with self.db.transaction(tenant.id) as tx:
            asked, client = await self._theirs(tx, handle, actor, now)
            return await self._denied(tx, tenant, Step("done", client, asked), actor, now, "the user did not agree")

    async def _kept(self, tenant: Tenant, client: Client, address: str, asked: Asked, now: datetime) -> str:
        """Return the handle of a request that waits for its person, its launch used up."""
        handle = opaque.new()
        async with self.db.transaction(tenant.id) as tx:
            launch = None
            if asked.launch is not None:
                launch = await launches.take(tx, opaque.hashed(asked.launch), client.client_id, now)
                if launch is None:
                    raise Refusal("invalid_request", "this launch is not this application's, was used, or is over")
            pending = Pending(
                handle_hash=opaque.hashed(handle),
                client_id=client.client_id,
                redirect_uri=address,
                state=asked.state,
                scope=asked.scope,
                challenge=asked.challenge,
                created=now,
                expires=now + self.times.request,
                nonce=asked.nonce,
                launched_by=launch.person if launch else None,
                patient=launch.patient if launch else None,
                encounter=launch.encounter if launch else None,
            )
            authorizations.add(tx, pending)
        return handle

    async def _theirs(self, tx: Tx, handle: str, actor: Actor, now: datetime) -> tuple[Pending, Client]:
        asked = await authorizations.bind(tx, opaque.hashed(handle), actor.person, now)
        client = await clients.within(tx, asked.client_id) if asked else None
        if asked is None or client is None or client.disabled is not None:
            raise Refusal("invalid_request", "this request is over, was answered, or is somebody else's: start again")
        return asked, client

    async def _next(self, tx: Tx, tenant: Tenant, client: Client, asked: Pending, actor: Actor, now: datetime) -> Step:
        step = Step("consent", client, asked)
        if actor.member is None:
            return await self._denied(tx, tenant, step, actor, now, "the user is nobody in this clinic")
        if asked.launched_by not in (None, actor.person):
            return await self._denied(tx, tenant, step, actor, now, "another user made this launch")
        own = own_patient(actor.member)
        if own and asked.patient not in (None, own):
            return await self._denied(tx, tenant, step, actor, now, "the patient is another than the user")
        if needs_patient(asked.scope) and asked.patient is None:
            if own is None:
                return Step("patient", client, asked)
            authorizations.choose(tx, asked.handle_hash, patient=own)
            asked = msgspec.structs.replace(asked, patient=own)
        if "launch/encounter" in asked.scope.split() and asked.encounter is None and not asked.asked_encounter:
            return Step("encounter", client, asked)
        return Step("consent", client, asked)

    async def _denied(self, tx: Tx, tenant: Tenant, step: Step, actor: Actor, now: datetime, why: str) -> Step:
        await self._take(tx, step.asked, actor)
        refusal = Refusal("access_denied", why)
        audit.record(tx, [_row("authorize", actor.sub, step.client.client_id, 403, now, {"error": why})])
        location = self._back(tenant, step.asked.redirect_uri, step.asked.state, error=refusal)
        return Step("done", step.client, step.asked, location)

    async def _take(self, tx: Tx, asked: Pending, actor: Actor) -> None:
        if not await authorizations.take(tx, asked.handle_hash, actor.person):
            raise Refusal("invalid_request", "this request was answered already")

    def _grant(
        self, tx: Tx, tenant: Tenant, asked: Pending, actor: Actor, scope: str, code_hash: bytes, now: datetime
    ) -> None:
        lasting = any(name in scope.split() for name in REFRESH)
        grant = OauthGrant(
            id=str(uuid.uuid4()),
            client_id=asked.client_id,
            scope=scope,
            created=now,
            person=actor.person,
            patient=asked.patient,
            encounter=asked.encounter,
            expires=now + (self.times.refresh if lasting else self.times.code + self.times.access),
            session=actor.session if "online_access" in scope.split() else None,
        )
        grants.add(tx, grant)
        code = Code(
            code_hash, grant.id, asked.client_id, asked.redirect_uri, asked.challenge, asked.nonce, actor.signed_in,
            now + self.times.code,
        )  # fmt: skip
        codes.add_code(tx, code, now)
        whose = self.rules.hasher.self_key(tenant.id, "Patient", asked.patient) if asked.patient else None
        row = _row("authorize", actor.sub, asked.client_id, 200, now, {"scope": scope, "grant": grant.id})
        audit.record(tx, [msgspec.structs.replace(row, patient=whose)])

    def _back(self, tenant: Tenant, address: str, state: str | None, *, error: Refusal) -> str:
        fields = {"error": error.code, "error_description": error.description, "state": state}
        return with_query(address, {**fields, "iss": fhir_base(self.base_url, tenant)})

    async def _refused(self, tenant: Tenant, subject: str, client_id: str, refusal: Refusal, now: datetime) -> None:
        known = client_id.replace("\0", "")[:255] or "unknown"
        async with self.db.transaction(tenant.id) as tx:
            audit.record(tx, [_row("authorize", subject or known, known, 400, now, {"error": refusal.code})])


def needs_patient(scope: str) -> bool:
    """Tell whether these scopes stand on one patient: there is nothing that patient/ scopes mean without."""
    plain = scope.split()
    contexts = {one.context for one in parse_scopes(scope)}
    return "patient" in contexts or "launch/patient" in plain or "launch/encounter" in plain


def own_patient(member: Member) -> str | None:
    """Return the id of the patient that this person is, None for somebody who works here."""
    kind, _, found = (member.reference or "").partition("/")
    return found if kind == "Patient" and found else None


def agreed(scopes: str, asked: str) -> str:
    """Return what is granted of what was asked once a person has agreed to `scopes`; "" where nothing of use is left.

    What names no data, such as openid, needs no agreement of its own; refresh tokens do.
    """
    chosen = [text for text in scopes.split() if parse_scope(text) or text in REFRESH]
    given = [text for text in asked.split() if parse_scope(text) is None and text not in REFRESH]
    found = shared(" ".join([*given, *chosen]), asked)
    return found if parse_scopes(found) or "openid" in found.split() else ""


def _row(action: str, subject: str, client_id: str, outcome: int, now: datetime, told: dict[str, Any]) -> Audited:
    return Audited(at=now, action=action, subject=subject, client=client_id, outcome=outcome, detail=told)
