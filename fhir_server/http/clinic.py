"""The clinic's API on cases, their attorneys and authorizations, releases of records, and care."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from conformance.r4.types import CODE_TYPES
from fhir_server.context import Context
from fhir_server.interactions import clinic
from fhir_server.interactions.clinic import CareKind, Parties
from fhir_server.interactions.service import Service
from fhir_server.store.cases import Attorney, Authorization

WhoAsks = Callable[[Request, str], Awaitable[Context]]
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Number = Annotated[int, Field(ge=0, lt=2**63)]
_MOST_RECORDS = 100


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaseRow(BaseModel):
    """A case; `id` is that of its EpisodeOfCare."""

    id: str
    patient: str | None
    number: str | None
    type: str | None
    accident_date: date | None
    accident_state: str | None
    status: str


class AttorneyRow(BaseModel):
    """An attorney of a case, from one moment to another."""

    id: int
    email: str
    name: str
    role: str
    valid_from: datetime
    valid_to: datetime | None


class AuthorizationRow(BaseModel):
    """A release of information; `email` names the only recipient, None every attorney of the case."""

    id: int
    email: str | None
    valid_from: datetime
    expires: datetime
    revoked_at: datetime | None


class CaseWithParties(BaseModel):
    """A case with who may see it from outside."""

    case: CaseRow
    attorneys: list[AttorneyRow]
    releases: list[AuthorizationRow]


class NewAttorney(_Given):
    """Somebody, by the address they sign in with, becomes attorney of the case."""

    email: _Text
    role: Literal["lead", "co-counsel", "paralegal"] = "lead"
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None


class NewAuthorization(_Given):
    """The patient lets the case be shown until `expires`, to one attorney alone where `email` names one."""

    email: _Text | None = None
    valid_from: AwareDatetime | None = None
    expires: AwareDatetime


class End(_Given):
    """When it ends; now where nothing is said."""

    at: AwareDatetime | None = None


class Record(_Given):
    """A resource, such as Observation/1."""

    reference: _Text


class Records(_Given):
    """Resources that are released, or withdrawn, all or none."""

    references: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_RECORDS)]


class Labels(_Given):
    """Security labels of a record, by their codes."""

    reference: _Text
    codes: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_RECORDS)]


class Made(BaseModel):
    """The number under which an entry is ended."""

    id: int


class NewCare(_Given):
    """A patient is assigned to a practitioner, or handed to one: `cover` for a time, `referral` to treat."""

    practitioner: _Text
    patient: _Text
    kind: CareKind
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None


class CareRow(BaseModel):
    """Who cares for a patient; `id` None where an Encounter or an Appointment tells it."""

    id: int | None
    practitioner: str | None
    patient: str | None
    kind: str
    valid_from: datetime
    valid_to: datetime | None


def routes(service: Service, who_asks: WhoAsks) -> APIRouter:
    """Return the routes; `who_asks` gives the context of a request at a tenant, or raises."""
    router = APIRouter(prefix="/{tenant}/api", tags=["clinic"])

    async def asked(request: Request, tenant: str) -> Context:
        return await who_asks(request, tenant)

    _cases(router, service, asked)
    _records(router, service, asked)
    _care(router, service, asked)
    return router


def _cases(router: APIRouter, service: Service, asked: WhoAsks) -> None:
    @router.get("/cases")
    async def listed(
        ctx: Context = Depends(asked),
        patient: str | None = None,
        number: str | None = None,
        after: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> list[CaseRow]:
        """Return cases by id; the next page is `after` the last one's id."""
        rows = await clinic.listed(service, ctx, patient=patient, number=number, after=after, most=limit)
        return [CaseRow.model_validate(row, from_attributes=True) for row in rows]

    @router.get("/cases/{id_}")
    async def one(id_: str, ctx: Context = Depends(asked)) -> CaseWithParties:
        """Return a case with its attorneys and releases of information."""
        return _with_parties(await clinic.parties(service, ctx, id_))

    @router.post("/cases/{id_}/attorneys", status_code=201)
    async def attorney(id_: str, given: NewAttorney, ctx: Context = Depends(asked)) -> Made:
        """Make somebody attorney of the case."""
        made = await clinic.add_attorney(service, ctx, id_, given.email, given.role, given.valid_from, given.valid_to)
        return Made(id=made.id)

    @router.post("/cases/{id_}/attorneys/{entry}/end")
    async def end(id_: str, entry: _Number, given: End, ctx: Context = Depends(asked)) -> Made:
        """End it: from then on the attorney sees nothing of the case."""
        return Made(id=(await clinic.end_attorney(service, ctx, id_, entry, given.at)).id)

    @router.post("/cases/{id_}/releases", status_code=201)
    async def authorize(id_: str, given: NewAuthorization, ctx: Context = Depends(asked)) -> Made:
        """Record a release of information: the patient's authorization to show the case."""
        made = await clinic.authorize(service, ctx, id_, given.email, given.valid_from, given.expires)
        return Made(id=made.id)

    @router.post("/cases/{id_}/releases/{entry}/revoke")
    async def revoke(id_: str, entry: _Number, ctx: Context = Depends(asked)) -> Made:
        """Revoke it: the next request sees nothing by it."""
        return Made(id=(await clinic.revoke(service, ctx, id_, entry)).id)


def _with_parties(found: Parties) -> CaseWithParties:
    return CaseWithParties(
        case=CaseRow.model_validate(found.case, from_attributes=True),
        attorneys=[_attorney(one, found) for one in found.attorneys],
        releases=[_authorization(one, found) for one in found.authorizations],
    )


def _attorney(one: Attorney, of: Parties) -> AttorneyRow:
    email, name = of.people[one.person]
    return AttorneyRow(
        id=one.id, email=email, name=name, role=one.role, valid_from=one.valid_from, valid_to=one.valid_to
    )


def _authorization(one: Authorization, of: Parties) -> AuthorizationRow:
    email = None if one.person is None else of.people[one.person][0]
    return AuthorizationRow(
        id=one.id, email=email, valid_from=one.valid_from, expires=one.expires, revoked_at=one.revoked_at
    )


def _records(router: APIRouter, service: Service, asked: WhoAsks) -> None:
    @router.post("/cases/{id_}/records", status_code=204)
    async def assign(id_: str, given: Record, ctx: Context = Depends(asked)) -> None:
        """Put a record into the case, where no encounter and no order tells one."""
        await clinic.assign(service, ctx, id_, given.reference)

    @router.post("/cases/{id_}/records/remove", status_code=204)
    async def unassign(id_: str, given: Record, ctx: Context = Depends(asked)) -> None:
        """Take out what was put in."""
        await clinic.unassign(service, ctx, id_, given.reference)

    @router.post("/released")
    async def release(given: Records, ctx: Context = Depends(asked)) -> Mapping[str, datetime | None]:
        """Release records to the attorneys of their cases."""
        found = await clinic.release(service, ctx, given.references)
        return {f"{CODE_TYPES[one.type]}/{one.id}": one.released_at for one in found}

    @router.post("/released/withdraw")
    async def withdraw(given: Records, ctx: Context = Depends(asked)) -> Mapping[str, datetime | None]:
        """Withdraw records that were released."""
        found = await clinic.release(service, ctx, given.references, withdraw=True)
        return {f"{CODE_TYPES[one.type]}/{one.id}": one.released_at for one in found}

    @router.post("/labels/remove", status_code=204)
    async def unlabel(given: Labels, ctx: Context = Depends(asked)) -> None:
        """Take labels away that protect a record."""
        await clinic.unlabel(service, ctx, given.reference, given.codes)


def _care(router: APIRouter, service: Service, asked: WhoAsks) -> None:
    @router.get("/care")
    async def care(patient: str, ctx: Context = Depends(asked)) -> list[CareRow]:
        """Return who cares for a patient, now or later."""
        rows = await clinic.care_of(service, ctx, patient)
        return [CareRow.model_validate(row, from_attributes=True) for row in rows]

    @router.post("/care", status_code=201)
    async def assign(given: NewCare, ctx: Context = Depends(asked)) -> CareRow:
        """Assign a patient to a practitioner, or hand a patient to one."""
        made = await clinic.assign_care(
            service, ctx, given.practitioner, given.patient, given.kind, given.valid_from, given.valid_to
        )
        return CareRow.model_validate(made, from_attributes=True)

    @router.post("/care/{entry}/end")
    async def end(entry: _Number, ctx: Context = Depends(asked)) -> CareRow:
        """End an assignment: the next request sees nothing by it."""
        return CareRow.model_validate(await clinic.end_care(service, ctx, entry), from_attributes=True)
