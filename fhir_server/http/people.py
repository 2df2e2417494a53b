"""The clinic's people, /{tenant}/api/people: its administrator lists them, invites, gives roles and takes them back.

Only by a session of their own: no app acts for an administrator here, whatever its scopes.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from fhir_server.context import Context, Role
from fhir_server.errors import Conflict, Forbidden, NotFound
from fhir_server.http.who import Who
from fhir_server.smart import members
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.members import Admin
from fhir_server.smart.told import CLIENT, Source
from fhir_server.store import people
from fhir_server.store.people import Colleague, Person


class PersonRow(BaseModel):
    """A person of the clinic; `invited` as long as they have chosen no password."""

    sub: str
    email: str
    name: str
    role: Role | None
    reference: str | None
    invited: bool
    second_factor: bool
    disabled: datetime | None


class NewPerson(BaseModel, extra="forbid"):
    """Somebody to invite."""

    email: str
    name: str
    role: str
    reference: str | None = None


class NewRole(BaseModel, extra="forbid"):
    """Another role."""

    role: str
    reference: str | None = None


class Invited(BaseModel):
    """What came of an invitation; `link` is to be handed on, None for somebody whom others know already."""

    sub: str
    link: str | None


class Desk:
    """What the routes share: who may ask, and whom it is about."""

    def __init__(self, accounts: Accounts, who: Who, base_url: str) -> None:
        self.accounts, self._who, self._base_url = accounts, who, base_url

    async def administrator(self, request: Request, tenant: str) -> Context:
        """Return the context of an administrator who is signed in; raise Forbidden for others."""
        ctx = await self._who.context(request, tenant)
        grant = ctx.grant
        if grant.client != CLIENT or grant.id is not None or grant.member is None:
            raise Forbidden("people are administered by a person who is signed in")
        if grant.member.role not in ("clinic-admin", "super-admin"):
            raise Forbidden("people are administered by the administrators of a clinic")
        return ctx

    def admin(self, ctx: Context, request: Request) -> Admin:
        """Return who changes something, and from where."""
        address = self._who.door.gate.peers.address(request.scope)
        return Admin(ctx.grant.subject, CLIENT, ctx.now, Source(address or None, request.headers.get("user-agent")))

    async def colleague(self, ctx: Context, sub: str) -> Colleague:
        """Return a person of the clinic; raise NotFound."""
        found = [one for one in await people.listed(self.accounts.db, ctx.tenant.id) if one.person.sub == sub]
        if not found:
            raise NotFound("there is no such person in this clinic")
        return found[0]

    async def another(self, ctx: Context, sub: str) -> Colleague:
        """Return a person of the clinic who is not the asking one: they could lock the clinic out."""
        if sub == ctx.grant.subject:
            raise Forbidden("another administrator does this to you")
        return await self.colleague(ctx, sub)

    async def link(self, person: Person, by: Admin, *, clears_factors: bool = False) -> str:
        """Return a link by which a person chooses a password."""
        token = await self.accounts.invite(person, by.source, by.now, clears_factors=clears_factors)
        return f"{self._base_url}/invitation?token={token}"

    async def first_link(self, ctx: Context, person: Person, by: Admin) -> str | None:
        """Return the link of a new person; None for who has a password, or is known to others, who have the link."""
        if not (await self.colleague(ctx, person.sub)).invited:
            return None
        try:
            await members.require_only_here(self.accounts, ctx.tenant, person)
        except Forbidden:
            return None
        return await self.link(person, by)

    async def add(self, ctx: Context, new: NewPerson, by: Admin) -> Person:
        """Return a new person, or whom another clinic knows by this address; raise Conflict for one of this clinic.

        Raises Forbidden for the asking one: a super admin makes nobody of themselves here.
        """
        members.require_role(new.role)
        try:
            return await members.add(self.accounts, by, new.email, new.name)
        except Conflict:
            person = await members.known(self.accounts, new.email)
        if person.sub == ctx.grant.subject:
            raise Forbidden("another administrator does this to you")
        if await people.membership(self.accounts.db, ctx.tenant.id, person.id):
            raise Conflict("this person has a role in this clinic already")
        return person


def routes(accounts: Accounts, who: Who, base_url: str) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/{tenant}/api/people", tags=["people"])
    desk = Desk(accounts, who, base_url)

    @router.get("")
    async def listed(ctx: Context = Depends(desk.administrator)) -> list[PersonRow]:
        """Return the people who have a role in the clinic."""
        return [_row(one) for one in await people.listed(accounts.db, ctx.tenant.id)]

    @router.post("", status_code=201)
    async def invite(new: NewPerson, request: Request, ctx: Context = Depends(desk.administrator)) -> Invited:
        """Give a new person, or one whom another clinic knows, a role here; a new one gets a link to come in by."""
        by = desk.admin(ctx, request)
        person = await desk.add(ctx, new, by)
        await members.give_role(accounts, by, ctx.tenant, person, new.role, new.reference)
        return Invited(sub=person.sub, link=await desk.first_link(ctx, person, by))

    @router.put("/{sub}")
    async def change(sub: str, new: NewRole, request: Request, ctx: Context = Depends(desk.administrator)) -> PersonRow:
        """Give a person another role; their tokens have it within the second."""
        one = await desk.another(ctx, sub)
        await members.give_role(accounts, desk.admin(ctx, request), ctx.tenant, one.person, new.role, new.reference)
        return _row(await desk.colleague(ctx, sub))

    @router.delete("/{sub}", status_code=204)
    async def end(sub: str, request: Request, ctx: Context = Depends(desk.administrator)) -> None:
        """End a person's role here; their tokens of this clinic stop within the second."""
        one = await desk.another(ctx, sub)
        await members.end_role(accounts, desk.admin(ctx, request), ctx.tenant, one.person)

    @router.post("/{sub}/reset")
    async def reset(
        sub: str, request: Request, ctx: Context = Depends(desk.administrator), factors: bool = False
    ) -> Invited:
        """Return a link by which a person of this clinic alone chooses a new password, with `factors` all anew."""
        one, by = await desk.another(ctx, sub), desk.admin(ctx, request)
        await members.require_only_here(accounts, ctx.tenant, one.person)
        return Invited(sub=sub, link=await desk.link(one.person, by, clears_factors=factors))

    return router


def _row(one: Colleague) -> PersonRow:
    person = one.person
    return PersonRow(
        sub=person.sub, email=person.email, name=person.name, role=one.role, reference=one.reference,
        invited=one.invited, second_factor=one.second_factor, disabled=person.disabled,
    )  # fmt: skip
