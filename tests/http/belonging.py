"""A patient with a case, encounters and what hangs on them, and what the database then says of them."""

from __future__ import annotations

from typing import Any

from tests.fhir import Client

PATIENT = {"resourceType": "Patient", "name": [{"family": "Rivera"}]}
CODE = {"text": "knee"}


async def put(client: Client, type_: str, id_: str, **more: Any) -> None:
    """Write a resource; fails where it is refused."""
    answer = await client.put(f"/{type_}/{id_}", json={"resourceType": type_, "id": id_, **more})
    assert answer.status_code in (200, 201), answer.text


async def patient(client: Client, id_: str = "p") -> None:
    """Write a patient."""
    await put(client, "Patient", id_, name=[{"family": "Rivera"}])


async def episode(client: Client, id_: str = "case", of: str = "p", **more: Any) -> None:
    """Write the EpisodeOfCare that is a case."""
    await put(client, "EpisodeOfCare", id_, **{"status": "active", "patient": {"reference": f"Patient/{of}"}, **more})


async def encounter(client: Client, id_: str = "e", *episodes: str, of: str = "p", **more: Any) -> None:
    """Write an Encounter, of these episodes."""
    cases = {"episodeOfCare": [{"reference": f"EpisodeOfCare/{one}"} for one in episodes]} if episodes else {}
    await put(
        client,
        "Encounter",
        id_,
        **{
            "status": "in-progress",
            "class": {"code": "AMB"},
            "subject": {"reference": f"Patient/{of}"},
            **cases,
            **more,
        },
    )


async def observation(client: Client, id_: str = "o", in_: str | None = "e", of: str = "p", **more: Any) -> None:
    """Write an Observation, of an encounter."""
    where = {"encounter": {"reference": f"Encounter/{in_}"}} if in_ else {}
    subject = {"reference": f"Patient/{of}"}
    await put(client, "Observation", id_, status="final", code=CODE, subject=subject, **where, **more)


async def order(client: Client, id_: str = "s", in_: str | None = "e", of: str = "p", **more: Any) -> None:
    """Write a ServiceRequest, of an encounter."""
    where = {"encounter": {"reference": f"Encounter/{in_}"}} if in_ else {}
    subject = {"reference": f"Patient/{of}"}
    await put(client, "ServiceRequest", id_, status="active", intent="order", subject=subject, **where, **more)


async def report(client: Client, id_: str = "r", by: str = "s", of: str = "p") -> None:
    """Write a DiagnosticReport that was ordered."""
    asked = [{"reference": f"ServiceRequest/{by}"}]
    await put(
        client,
        "DiagnosticReport",
        id_,
        status="final",
        code=CODE,
        subject={"reference": f"Patient/{of}"},
        basedOn=asked,
    )


async def cases(client: Client, reference: str) -> list[str]:
    """Return the ids of the EpisodeOfCares whose cases a resource belongs to."""
    type_, _, id_ = reference.partition("/")
    key = client.concord.service.hasher.self_key(client.tenant_id, type_, id_)
    rows = await client.concord.db.fetch(
        client.tenant_id,
        "select c.id from resource r cross join unnest(r.cases) k left join clinic_case c"
        " on c.tenant_id = r.tenant_id and c.case_key = k where r.self_key = %s order by 1",
        (key,),
    )
    return [row[0] for row in rows]


async def relations(client: Client, practitioner: str, of: str = "p") -> list[tuple[Any, ...]]:
    """Return kind, start and end of each care relation between the two."""
    hasher, tenant = client.concord.service.hasher, client.tenant_id
    who = practitioner.partition("/")
    keys = (hasher.self_key(tenant, who[0], who[2]), hasher.self_key(tenant, "Patient", of))
    return await client.concord.db.fetch(
        tenant,
        "select kind, valid_from, valid_to from care_relation where member = %s and patient = %s order by 2, 3",
        keys,
    )
