"""The pages between an app and its access: choose a patient, choose a visit, agree or not.

https://hl7.org/fhir/smart-app-launch/app-launch.html · https://www.rfc-editor.org/rfc/rfc6749#section-4.1.1
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from fhir_server.console import pick
from fhir_server.console.consent import Fields, answered, consent_of
from fhir_server.console.desk import Desk, sentence
from fhir_server.context import Context, Tenant
from fhir_server.errors import FhirError, Forbidden, Invalid
from fhir_server.interactions.service import Service
from fhir_server.smart.authorize import Actor, Authorization, Step
from fhir_server.smart.refusal import Refusal
from fhir_server.store.sessions import Session

# What a signed-in person may do in a clinic; Forbidden where they have no role there.
ContextOf = Callable[[Session, Tenant], Awaitable[Context]]
TenantOf = Callable[[str], Awaitable[Tenant]]


class Visit(msgspec.Struct, frozen=True):
    """One request of a person to these pages: to which clinic, and about which request of an app."""

    request: Request
    tenant: Tenant
    session: Session
    actor: Actor
    handle: str
    ctx: Context | None
    fields: Fields = ()

    def given(self, name: str) -> str:
        """Return a field of the form, "" where it has none of this name."""
        return dict(self.fields).get(name, "")


class Pages(msgspec.Struct, frozen=True):
    """The pages, on what they ask: who is there, the request of the app, the records."""

    desk: Desk
    asked: Authorization
    service: Service
    tenant_of: TenantOf
    context_of: ContextOf

    async def show(self, request: Request, tenant: str) -> Response:
        """Show what the person is asked next."""
        visit = await self._visit(request, tenant)
        return await self._shown(visit, await self._step(visit))

    async def take(self, request: Request, tenant: str) -> Response:
        """Take an answer of the person, and show what is asked next."""
        visit = await self._visit(request, tenant, form=True)
        handler = _ANSWERS.get(visit.given("do"))
        if handler is None:
            raise await self.desk.refused(request, "This form is not complete. Go back, load it again.", 400)
        try:
            return await handler(self, visit)
        except Refusal as refusal:
            raise await self._told(request, refusal) from refusal

    async def search(self, visit: Visit) -> Response:
        """Look for patients."""
        step = await self._step(visit)
        wanted = {name: visit.given(name) for name in pick.CRITERIA}
        try:
            found = await pick.patients(self.service, _of_member(visit), wanted, visit.given("page"))
        except FhirError as problem:
            return await self._shown(visit, step, wanted=wanted, problem=sentence(problem))
        return await self._shown(visit, step, wanted=wanted, found=found)

    async def visits(self, visit: Visit) -> Response:
        """Show another page of visits."""
        return await self._shown(visit, await self._step(visit), page=visit.given("page"))

    async def patient(self, visit: Visit) -> Response:
        """Take a patient whom the person may see."""
        chosen = visit.given("patient")
        if await pick.one(self.service, _of_member(visit), "Patient", chosen) is None:
            raise await self.desk.refused(visit.request, "There is no such patient whom you may see.", 404)
        return await self._shown(
            visit, await self.asked.choose(visit.tenant, visit.handle, visit.actor, patient=chosen)
        )

    async def encounter(self, visit: Visit) -> Response:
        """Take a visit of the patient, or none."""
        chosen = visit.given("encounter") if visit.given("do") == "encounter" else None
        step = await self._step(visit)
        if step.kind == "done":
            return await self._shown(visit, step)
        patient = step.asked.patient
        if chosen is not None and not await pick.is_of(self.service, _of_member(visit), chosen, patient or ""):
            raise await self.desk.refused(visit.request, "There is no such visit of this patient.", 404)
        return await self._shown(
            visit, await self.asked.choose(visit.tenant, visit.handle, visit.actor, encounter=chosen)
        )

    async def agree(self, visit: Visit) -> Response:
        """Give the app what was agreed to."""
        step = await self._step(visit)
        if step.kind == "done":
            return await self._shown(visit, step)
        scopes = answered(consent_of(step.asked.scope), visit.fields)
        return await self._shown(visit, await self.asked.agree(visit.tenant, visit.handle, visit.actor, scopes))

    async def refuse(self, visit: Visit) -> Response:
        """Send the person back to the app without anything."""
        return await self._shown(visit, await self.asked.refuse(visit.tenant, visit.handle, visit.actor))

    async def _visit(self, request: Request, name: str, *, form: bool = False) -> Visit:
        tenant = await self.tenant_of(name)
        session = await self.desk.signed_in(request)
        fields = await self.desk.fields(request, session) if form else list(request.query_params.multi_items())
        try:
            ctx = await self.context_of(session, tenant)
        except Forbidden:
            ctx = None
        actor = _actor(session, ctx)
        return Visit(request, tenant, session, actor, dict(fields).get("request", ""), ctx, fields)

    async def _step(self, visit: Visit) -> Step:
        try:
            return await self.asked.step(visit.tenant, visit.handle, visit.actor)
        except Refusal as refusal:
            raise await self._told(visit.request, refusal) from refusal

    async def _told(self, request: Request, refusal: Refusal) -> Exception:
        text = refusal.description
        return await self.desk.refused(request, f"{text[:1].upper()}{text[1:]}.", refusal.status)

    async def _shown(self, visit: Visit, step: Step, **values: Any) -> Response:
        if step.kind == "done":
            return RedirectResponse(step.location, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
        about = {
            "action": visit.request.url.path,
            "step": step,
            "host": host_of(step.asked.redirect_uri),
            "clinic": visit.tenant.name,
            "handle": visit.handle,
        }
        more = await _VALUES[step.kind](self, visit, step, values)
        status = 400 if values.get("problem") else 200
        return await self.desk.page(visit.request, f"app_{step.kind}.html", visit.session, status, **about, **more)

    async def _of_patient(self, visit: Visit, step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"wanted": dict.fromkeys(pick.CRITERIA, ""), "found": None, "problem": "", **values}

    async def _of_encounter(self, visit: Visit, step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
        patient, ctx = step.asked.patient or "", _of_member(visit)
        try:
            found, problem = await pick.encounters(self.service, ctx, patient, values.get("page", "")), ""
        except FhirError as failure:
            found, problem = pick.Found(()), sentence(failure)
        shown = await pick.one(self.service, ctx, "Patient", patient)
        return {"found": found, "problem": problem, "patient": shown}

    async def _of_consent(self, visit: Visit, step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "consent": consent_of(step.asked.scope),
            "patient": await self._row(visit, "Patient", step.asked.patient),
            "encounter": await self._row(visit, "Encounter", step.asked.encounter),
            "days": self.asked.times.refresh.days,
        }

    async def _row(self, visit: Visit, resource_type: str, resource_id: str | None) -> pick.Row | None:
        """Return a row to show; of what the person may see no more, nothing but that it is there."""
        if resource_id is None:
            return None
        found = await pick.one(self.service, _of_member(visit), resource_type, resource_id)
        return found or pick.Row(resource_id, "whom you may not see" if resource_type == "Patient" else "hidden", ())


Answer = Callable[[Pages, Visit], Awaitable[Response]]
_ANSWERS: dict[str, Answer] = {
    "search": Pages.search,
    "visits": Pages.visits,
    "patient": Pages.patient,
    "encounter": Pages.encounter,
    "none": Pages.encounter,
    "agree": Pages.agree,
    "refuse": Pages.refuse,
}
_VALUES: dict[str, Callable[[Pages, Visit, Step, Mapping[str, Any]], Awaitable[dict[str, Any]]]] = {
    "patient": Pages._of_patient,
    "encounter": Pages._of_encounter,
    "consent": Pages._of_consent,
}


def routes(pages: Pages) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/{tenant}/oauth/continue", pages.show, methods=["GET"])
    router.add_api_route("/{tenant}/oauth/continue", pages.take, methods=["POST"])
    return router


def host_of(address: str) -> str:
    """Return what a person is told of where an app is: its host, or the scheme of an app on their own device."""
    found = urlsplit(address)
    return found.netloc or f"{found.scheme}: (on this device)"


def _actor(session: Session, ctx: Context | None) -> Actor:
    member = ctx.grant.member if ctx else None
    signed_in = session.verified or session.created
    return Actor(session.person, session.sub, session.name, member, session.hash, signed_in)


def _of_member(visit: Visit) -> Context:
    """Return the context of somebody who has a role here: others are sent back before anything is looked at."""
    if visit.ctx is None:
        raise Invalid("you have no role in this clinic")
    return visit.ctx
