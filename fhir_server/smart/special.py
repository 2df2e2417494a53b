"""Special access: a physician breaks the glass for one patient, a super admin works in a clinic; both with an end.

45 CFR 164.312(a)(2)(ii), the emergency access procedure · https://terminology.hl7.org/ValueSet-v3-PurposeOfUse.html

Each needs a second factor given for it and a reason, reads alone, is audited as it is opened and as it is used, and
waits for somebody else's review.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import structlog

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context, Tenant, fhir_base
from fhir_server.errors import Conflict, Forbidden, Invalid, NotFound
from fhir_server.search.hashing import Hasher
from fhir_server.smart.scopes import is_whole
from fhir_server.smart.signin import Refused, SignIn
from fhir_server.smart.tokens import mint
from fhir_server.smart.told import CLIENT, Source
from fhir_server.store import alerts, audit, grants, keys, opaque, people, resources, special
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.grants import OauthGrant
from fhir_server.store.sessions import Session
from fhir_server.store.special import Access, Kind, Opened
from fhir_server.store.standing import MAY_BREAK_GLASS

_log = structlog.get_logger()
_SCOPE = "user/*.rs"
_LEAST_REASON, _LONGEST_REASON = 10, 2000


class Wanted(msgspec.Struct, frozen=True):
    """What somebody asks for: why, how long at most, and a code of their second factor, "" after a security key."""

    reason: str
    code: str = ""
    minutes: int | None = None


class Given(msgspec.Struct, frozen=True):
    """An access that was opened, and the token by which it is used."""

    id: str
    token: str
    expires: datetime


class Special(msgspec.Struct, frozen=True):
    """Opens, ends and reviews special access; `longest` is how long one may last, `changed` is told of each end."""

    db: Database
    hasher: Hasher
    signin: SignIn
    base_url: str
    clock: Callable[[], datetime]
    longest: timedelta
    changed: Callable[[], None]

    async def break_glass(self, session: Session, tenant: Tenant, patient: str, wanted: Wanted, by: Source) -> Given:
        """Open one patient's record to a physician of this clinic. Raises Forbidden, Invalid, NotFound."""
        found = await people.membership(self.db, tenant.id, session.person)
        if found is None or found[0] not in MAY_BREAK_GLASS:
            raise Forbidden("breaking the glass is for physicians of this clinic")
        await self._proved(session, wanted, by)
        kind, _, name = patient.partition("/")
        row = await resources.read(self.db, tenant.id, TYPE_CODES["Patient"], name) if kind == "Patient" else None
        if row is None or row.body is None:
            raise NotFound("there is no such patient: Patient/ID is expected")
        return await self._opened(session, tenant, "BTG", wanted, (row.self_key, row.id))

    async def support(self, session: Session, tenant: Tenant, wanted: Wanted, by: Source) -> Given:
        """Let a super admin read in a clinic. Raises Forbidden, Invalid."""
        if not session.super_admin:
            raise Forbidden("support sessions are for super admins")
        await self._proved(session, wanted, by)
        return await self._opened(session, tenant, "SUPPORT", wanted, None)

    async def _proved(self, session: Session, wanted: Wanted, by: Source) -> None:
        if not _LEAST_REASON <= len(wanted.reason.strip()) <= _LONGEST_REASON:
            raise Invalid(f"a reason of {_LEAST_REASON} to {_LONGEST_REASON} characters is needed", "reason")
        now = self.clock()
        if session.method == "webauthn" and self.signin.sessions.is_fresh(session, now):
            return
        try:
            await self.signin.prove(session, wanted.code, by, now)
        except Refused as problem:
            raise Forbidden(f"a second factor is needed for this, now: {problem}") from problem

    async def _opened(
        self, session: Session, tenant: Tenant, kind: Kind, wanted: Wanted, patient: tuple[int, str] | None
    ) -> Given:
        now = self.clock()
        asked = self.longest if wanted.minutes is None else timedelta(minutes=wanted.minutes)
        lifetime = min(max(asked, timedelta(minutes=1)), self.longest)
        key, name = patient or (None, None)
        one = Opened(
            id=opaque.new(), kind=kind, person=session.person, patient=key, patient_id=name,
            reason=wanted.reason.strip(), opened=now, expires=now + lifetime,
        )  # fmt: skip
        grant = OauthGrant(
            id=one.id, client_id=CLIENT, scope=_SCOPE, created=now, person=session.person, patient=name,
            expires=one.expires, session=session.hash,
        )  # fmt: skip
        async with self.db.transaction(tenant.id) as tx:
            grants.add(tx, grant)
            special.add(tx, one)
            audit.record(tx, [_row(one, session.sub, now)])
            told = {"email": session.email, "access": one.id[:8]}
            alerts.happened(tx, "", "break-glass" if kind == "BTG" else "support-session", told, now)
        # The review queue holds who and why; a log is no place for a patient.
        _log.warning("special access opened", kind=kind, tenant=tenant.id, person=session.person, access=one.id[:8])
        signing = await keys.active(self.db, tenant.id)
        token = mint(
            signing, fhir_base(self.base_url, tenant), now, tenant=tenant, scope=_SCOPE, subject=session.sub,
            client=CLIENT, patient=name, grant_id=one.id, lifetime=lifetime,
        )  # fmt: skip
        return Given(one.id, token, one.expires)

    async def listed(self, ctx: Context, *, unreviewed: bool = False, since: datetime | None = None) -> list[Access]:
        """Return the accesses of a clinic to its admin, of anybody else their own."""
        return await special.listed(self.db, ctx.tenant.id, person=whose(ctx), unreviewed=unreviewed, since=since)

    async def end(self, ctx: Context, id_: str) -> None:
        """End an access before its time: one's own, or as the clinic's admin any."""
        await self._one(ctx, id_, whose(ctx))
        async with self.db.transaction(ctx.tenant.id) as tx:
            if not await special.end(tx, id_, ctx.now):
                raise Conflict("it has ended already")
            grants.revoke(tx, id_, "ended", ctx.now)
            audit.record(tx, [_act(ctx, "end-access", {"access": id_})])
        self.changed()

    async def review(self, ctx: Context, id_: str, justified: bool, note: str) -> None:
        """Keep what the clinic's admin makes of an access; nobody reviews their own."""
        if whose(ctx) is not None:
            raise Forbidden("reviews are for the clinic's admin")
        found = await self._one(ctx, id_, None)
        if ctx.grant.member and ctx.grant.member.person == found.person:
            raise Forbidden("nobody reviews their own access")
        async with self.db.transaction(ctx.tenant.id) as tx:
            if not await special.review(tx, id_, ctx.grant.subject, justified, note.strip(), ctx.now):
                raise Conflict("it was reviewed already")
            audit.record(tx, [_act(ctx, "review-access", {"access": id_, "justified": justified})])

    async def _one(self, ctx: Context, id_: str, person: int | None) -> Access:
        found = await special.listed(self.db, ctx.tenant.id, person=person, id_=id_)
        if not found:
            raise NotFound("there is no such access")
        return found[0]


def whose(ctx: Context) -> int | None:
    """Return the person who sees their own accesses alone, None for who sees all. Raises Forbidden for nobody."""
    member = ctx.grant.member
    if ctx.grant.purpose is not None or (member is None and not is_whole(ctx.grant.scopes, "system", "cruds")):
        raise Forbidden("special access is seen by people of this clinic, in their own name")
    if member and not is_whole(ctx.grant.scopes, "user"):
        raise Forbidden("this needs a sign-in, or a token with user/*.rs")
    return None if member is None or member.role == "clinic-admin" else member.person


def _row(one: Opened, subject: str, now: datetime) -> Audited:
    return Audited(
        at=now, action="break-glass" if one.kind == "BTG" else "support", subject=subject, client=CLIENT, outcome=201,
        type=TYPE_CODES["Patient"] if one.patient_id else None, resource_id=one.patient_id, patient=one.patient,
        purpose=one.kind, detail={"access": one.id, "reason": one.reason, "expires": one.expires.isoformat()},
    )  # fmt: skip


def _act(ctx: Context, action: str, detail: dict[str, object]) -> Audited:
    return Audited(
        at=ctx.now, action=action, subject=ctx.grant.subject, client=ctx.grant.client, outcome=200,
        request_id=ctx.request_id, detail=detail,
    )  # fmt: skip
