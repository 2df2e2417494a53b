"""A clinic with two patients, of whom a physician and an attorney may see one, and what a role is shown of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from fhir_server.context import Role
from tests.fhir import Client
from tests.people import member, token_of

SSN = {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-12-3456"}
MRN = {"type": {"coding": [{"code": "MR"}]}, "system": "urn:mrn", "value": "M1"}
PSY = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]


class Clinic(msgspec.Struct):
    """What stands in the records, by a short name, as Type/id; a name that ends in `2` is of the other patient."""

    fhir: Client
    places: dict[str, str]

    def key(self, name: str) -> int:
        """Return the self_key of a resource."""
        return self.fhir.concord.service.hasher.self_key(self.fhir.tenant_id, *self.places[name].split("/"))

    async def run(self, sql: str, *params: Any) -> None:
        """Change what rules look at; the first value is always the tenant's."""
        await self.fhir.concord.db.fetch(self.fhir.tenant_id, sql, (self.fhir.tenant_id, *params))

    async def care(self, kind: str = "encounter", patient: str = "patient") -> None:
        """Let the doctor care for a patient from an hour ago on."""
        since = self.fhir.clock() - timedelta(hours=1)
        sql = "insert into care_relation (tenant_id, member, patient, kind, valid_from, source) values"
        await self.run(f"{sql} (%s, %s, %s, %s, %s, 1)", self.key("doctor"), self.key(patient), kind, since)

    async def release(self, *names: str, case: str = "case") -> None:
        """Put resources into a case, and release them to its attorneys."""
        for name in names:
            sql = (
                "update resource set cases = array[%s::bigint], released_at = %s where tenant_id = %s and self_key = %s"
            )
            values = (self.key(case), self.fhir.clock(), self.fhir.tenant_id, self.key(name))
            await self.fhir.concord.db.fetch(self.fhir.tenant_id, sql, values)

    async def into_case(self, *names: str, case: str = "case") -> None:
        """Put resources into a case."""
        for name in names:
            sql = "update resource set cases = array[%s::bigint] where tenant_id = %s and self_key = %s"
            values = (self.key(case), self.fhir.tenant_id, self.key(name))
            await self.fhir.concord.db.fetch(self.fhir.tenant_id, sql, values)

    async def attorney(
        self, scope: str = "user/*.cruds", case: str = "case", released: bool = True, reference: str | None = None
    ) -> str:
        """Return the token of a new attorney of a case, with or without a live release of information."""
        person = await member(self.fhir, "attorney", reference)
        since = self.fhir.clock() - timedelta(hours=1)
        sql = "insert into case_attorney (tenant_id, case_key, person_id, role, valid_from) values"
        await self.run(f"{sql} (%s, %s, %s, 'lead', %s)", self.key(case), person.id, since)
        if released:
            await self.run(
                "insert into release_of_information (tenant_id, case_key, patient, valid_from, expires)"
                " values (%s, %s, %s, %s, %s)",
                self.key(case), self.key(case.replace("case", "patient")), since, since + timedelta(days=30),
            )  # fmt: skip
        return await token_of(self.fhir, person, scope)

    async def token(self, role: Role, scope: str = "user/*.cruds") -> str:
        """Return the token of a new member; a physician is the doctor of these records."""
        reference = self.places["doctor"] if role == "physician" else None
        return await token_of(self.fhir, await member(self.fhir, role, reference), scope)

    async def seen(self, token: str, search: str = "_type=Patient,Observation,DocumentReference,Invoice") -> set[str]:
        """Return the short names of what a search shows."""
        answer = await self.fhir.get(f"?{search}&_count=100", token=token)
        assert answer.status_code == 200, answer.text
        shown = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in answer.json().get("entry", ())}
        return {name for name, place in self.places.items() if place in shown}

    async def status(self, token: str, name: str) -> int:
        """Return the status of a read."""
        return (await self.fhir.get(f"/{self.places[name]}", token=token)).status_code


def patient(family: str) -> dict[str, Any]:
    """Return a Patient with all that an attorney may not see."""
    return {
        "resourceType": "Patient",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">999-12-3456</div>'},
        "identifier": [MRN | {"value": f"M-{family}"}, SSN, {"value": "999123456"}],
        "name": [{"family": family}],
        "contact": [{"name": {"family": "Kin"}}],
        "gender": "female",
    }


def note(who: str, **more: Any) -> dict[str, Any]:
    """Return a DocumentReference of a patient."""
    content = [{"attachment": {"contentType": "text/plain", "data": "eA=="}}]
    return {
        "resourceType": "DocumentReference", "status": "current", "subject": {"reference": who}, "content": content,
        "docStatus": "final", **more,
    }  # fmt: skip


def result(who: str, text: str = "x", **more: Any) -> dict[str, Any]:
    """Return an Observation of a patient."""
    return {
        "resourceType": "Observation", "status": "final", "code": {"text": text}, "subject": {"reference": who}, **more,
    }  # fmt: skip


def document(who: str, purpose: str, **more: Any) -> dict[str, Any]:
    """Return a DocumentReference that is for billing, intake or the legal side."""
    coding = {"system": "urn:concord:CodeSystem:document-class", "code": purpose}
    return note(who, category=[{"coding": [coding]}], **more)


async def clinic(fhir: Client) -> Clinic:
    """Return a clinic as the module says."""
    found = Clinic(fhir, {})

    async def made(name: str, resource: dict[str, Any]) -> str:
        answer = await fhir.post(f"/{resource['resourceType']}", json=resource)
        assert answer.status_code == 201, answer.text
        found.places[name] = f"{resource['resourceType']}/{answer.json()['id']}"
        return found.places[name]

    doctor = await made("doctor", {"resourceType": "Practitioner", "name": [{"family": "Doctor"}]})
    for number in ("", "2"):
        who = await made(f"patient{number}", patient(f"Family{number}"))
        of = {"patient": {"reference": who}}
        await made(f"case{number}", {"resourceType": "EpisodeOfCare", "status": "active", **of})
        await made(f"result{number}", result(who))
        await made(f"draft{number}", result(who) | {"status": "preliminary"})
        await made(f"note{number}", note(who))
        await made(f"unsigned{number}", note(who, docStatus="preliminary"))
        await made(f"secret{number}", note(who, meta={"security": PSY}))
        await made(f"mine{number}", note(who, meta={"security": PSY}, author=[{"reference": doctor}]))
        invoice = {"resourceType": "Invoice", "status": "issued", "subject": {"reference": who}}
        lines = {"lineItem": [{"chargeItemCodeableConcept": {"text": "line"}}], "totalNet": {"value": 10}}
        await made(f"invoice{number}", invoice | lines)
        sql = "insert into clinic_case (tenant_id, case_key, id, patient, status) values (%s, %s, 'x', %s, 'active')"
        await found.run(f"{sql} on conflict do nothing", found.key(f"case{number}"), found.key(f"patient{number}"))
    return found
