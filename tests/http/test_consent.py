"""What a patient denies is not there, from the next request on, by whichever door; what is excepted is.

https://profiles.ihe.net/ITI/PCF/ : implicit, basic, timeframe, by id, break-glass, labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fhir_server.context import Role
from fhir_server.store import tenants
from tests.fhir import Client, running
from tests.http.belonging import encounter, observation, patient, put
from tests.http.consents import (
    ACT,
    CONFIDENTIALITY,
    REASON,
    actor,
    coded,
    consent,
    deny,
    permit,
    record,
    seen,
    types,
)
from tests.people import member, token_of

ALL = ("Patient/p", "Encounter/e", "Observation/o", "Condition/k")
OTHERS = ("Patient/q", "Observation/oq")


@pytest.fixture
async def fhir(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a clinic with a record of two patients."""
    async with running(server_dsn, standing_seconds=0) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        client = Client(concord, clock, await tenants.add(concord.db, f"t-{id(clock)}"), http)
        await patient(client)
        await patient(client, "q")
        await encounter(client, "e", period={"start": "2024-05-01", "end": "2024-05-02"})
        await observation(client, effectiveDateTime="2024-05-01")
        await observation(client, "oq", in_=None, of="q")
        condition = {"code": {"text": "x"}, "subject": {"reference": "Patient/p"}}
        await put(client, "Condition", "k", onsetDateTime="2026-01-15", **condition)
        yield client


async def doctor(client: Client, name: str = "dr", role: Role = "physician") -> str:
    """Return a token of somebody who treats both patients and is a Practitioner of this name."""
    await put(client, "Practitioner", name)
    team = [{"individual": {"reference": f"Practitioner/{name}"}}]
    for number, of in enumerate(("p", "q")):
        await encounter(client, f"{name}{number}", of=of, participant=team, period={"start": "2020-01-01"})
    return await token_of(client, await member(client, role, f"Practitioner/{name}"))


# ---- implicit and basic


async def test_without_a_consent_roles_and_scopes_decide(fhir: Client) -> None:
    assert await seen(fhir, *ALL) == list(ALL)


async def test_who_opts_out_is_seen_by_nobody_else(fhir: Client) -> None:
    await consent(fhir, deny())
    assert await seen(fhir, *ALL) == []
    assert await seen(fhir, *OTHERS) == list(OTHERS)


async def test_opting_out_needs_no_provision(fhir: Client) -> None:
    await consent(fhir, None, policyRule={"coding": [{"system": ACT, "code": "OPTOUT"}]})
    assert await seen(fhir, *ALL) == []


async def test_a_consent_that_permits_closes_nothing(fhir: Client) -> None:
    await consent(fhir, permit(actor=actor("Practitioner/dr")))
    assert await seen(fhir, *ALL) == list(ALL)


async def test_who_keeps_the_consents_sees_them(fhir: Client) -> None:
    await consent(fhir, deny())
    assert await seen(fhir, "Consent/c") == ["Consent/c"]


async def test_patients_see_their_own_record_whatever_they_deny(fhir: Client) -> None:
    await consent(fhir, deny())
    own = await fhir.token("patient/*.rs", patient="p")
    assert await seen(fhir, *ALL, token=own) == list(ALL)


async def test_an_app_that_a_member_launches_for_a_patient_is_not_the_patient(fhir: Client) -> None:
    person = await member(fhir, "physician", "Practitioner/dr")
    await consent(fhir, deny())
    launched = await fhir.token("patient/*.rs", patient="p", subject=person.sub)
    assert await seen(fhir, *ALL, token=launched) == []


@pytest.mark.parametrize("status", ["draft", "proposed", "rejected", "inactive", "entered-in-error"])
async def test_only_an_active_consent_counts(fhir: Client, status: str) -> None:
    await consent(fhir, deny())
    await consent(fhir, deny(), status=status)
    assert await seen(fhir, *ALL) == list(ALL)


async def test_a_consent_to_something_else_closes_nothing(fhir: Client) -> None:
    await consent(fhir, deny(), scope={"coding": [{"code": "adr"}]})
    assert await seen(fhir, *ALL) == list(ALL)


async def test_a_denial_that_is_withdrawn_or_deleted_ends(fhir: Client) -> None:
    await consent(fhir, deny())
    await consent(fhir, permit())
    assert await seen(fhir, *ALL) == list(ALL)
    await consent(fhir, deny())
    await fhir.delete("/Consent/c")
    assert await seen(fhir, *ALL) == list(ALL)


async def test_one_of_two_consents_that_denies_is_enough(fhir: Client) -> None:
    await consent(fhir, deny())
    await consent(fhir, permit(), id_="later")
    assert await seen(fhir, *ALL) == []


async def test_a_consent_that_changes_its_patient_leaves_the_first(fhir: Client) -> None:
    await consent(fhir, deny())
    await consent(fhir, deny(), of="q")
    assert await seen(fhir, *ALL) == list(ALL)
    assert await seen(fhir, *OTHERS) == []


@pytest.mark.parametrize(
    ("period", "closed"),
    [
        ({"start": "2020-01-01", "end": "2020-12-31"}, False),
        ({"start": "2020-01-01"}, True),
        ({"start": "2999-01-01"}, False),
        ({"end": "2999-01-01"}, True),
    ],
)
async def test_a_denial_holds_in_its_period(fhir: Client, period: Any, closed: bool) -> None:
    await consent(fhir, deny(period=period))
    assert (await seen(fhir, *ALL) == []) is closed


# ---- actors and purposes


async def test_a_denial_to_one_is_none_to_others(fhir: Client) -> None:
    first, second = await doctor(fhir), await doctor(fhir, "other")
    await consent(fhir, permit(provision=[deny(actor=actor("Practitioner/dr"))]))
    assert await seen(fhir, "Observation/o", token=first) == []
    assert await seen(fhir, "Observation/o", token=second) == ["Observation/o"]
    assert await seen(fhir, "Observation/oq", token=first) == ["Observation/oq"]


async def test_a_permission_to_one_excepts_that_one_from_a_denial(fhir: Client) -> None:
    first, second = await doctor(fhir), await doctor(fhir, "other")
    await consent(fhir, deny(provision=[permit(actor=actor("Practitioner/dr"))]))
    assert await seen(fhir, "Observation/o", token=first) == ["Observation/o"]
    assert await seen(fhir, "Observation/o", token=second) == []


async def test_a_denial_within_a_permission_within_a_denial_holds(fhir: Client) -> None:
    token = await doctor(fhir)
    inner = permit(actor=actor("Practitioner/dr"), provision=[deny(**{"class": types("Observation")})])
    await consent(fhir, deny(provision=[inner]))
    assert await seen(fhir, "Observation/o", "Condition/k", token=token) == ["Condition/k"]


async def test_an_organization_is_those_who_work_for_it(fhir: Client) -> None:
    first, second = await doctor(fhir), await doctor(fhir, "other")
    await put(
        fhir,
        "PractitionerRole",
        "r",
        practitioner={"reference": "Practitioner/dr"},
        organization={"reference": "Organization/firm"},
    )
    await consent(fhir, deny(actor=actor("Organization/firm")))
    assert await seen(fhir, "Observation/o", token=first) == []
    assert await seen(fhir, "Observation/o", token=second) == ["Observation/o"]


async def test_a_denial_to_somebody_who_cannot_be_told_is_to_everybody(fhir: Client) -> None:
    await consent(fhir, deny(actor=[{"role": {"text": "x"}, "reference": {"display": "my neighbour"}}]))
    assert await seen(fhir, *ALL) == []


async def test_a_denial_of_one_purpose_is_none_of_others(fhir: Client) -> None:
    treating = await doctor(fhir)
    await consent(fhir, deny(purpose=coded(REASON, "HMARKT")))
    assert await seen(fhir, "Observation/o", token=treating) == ["Observation/o"]
    await consent(fhir, deny(purpose=coded(REASON, "TREAT")))
    assert await seen(fhir, "Observation/o", token=treating) == []


async def test_a_client_whose_purpose_nobody_knows_is_denied_what_one_purpose_is(fhir: Client) -> None:
    await consent(fhir, deny(purpose=coded(REASON, "HMARKT")))
    assert await seen(fhir, *ALL) == []


async def test_a_denial_to_collect_hides_nothing(fhir: Client) -> None:
    await consent(fhir, deny(action=[{"coding": [{"code": "collect"}]}]))
    assert await seen(fhir, *ALL) == list(ALL)


# ---- data: type, id, time, label


async def test_types_are_denied_by_class(fhir: Client) -> None:
    await consent(fhir, deny(**{"class": types("Observation")}))
    assert await seen(fhir, *ALL) == ["Patient/p", "Encounter/e", "Condition/k"]


async def test_a_class_that_is_no_resource_type_denies_everything(fhir: Client) -> None:
    await consent(fhir, deny(**{"class": coded("urn:ietf:bcp:13", "application/pdf")}))
    assert await seen(fhir, *ALL) == []


async def test_records_are_denied_by_id(fhir: Client) -> None:
    await consent(fhir, deny(data=record("Observation/o")))
    assert await seen(fhir, *ALL) == ["Patient/p", "Encounter/e", "Condition/k"]


async def test_records_are_excepted_by_id(fhir: Client) -> None:
    await consent(fhir, deny(provision=[permit(data=record("Condition/k"))]))
    assert await seen(fhir, *ALL) == ["Condition/k"]


async def test_records_are_denied_by_who_wrote_them(fhir: Client) -> None:
    for name in ("ada", "bob"):
        await put(fhir, "Practitioner", name)
        await observation(fhir, f"by-{name}", performer=[{"reference": f"Practitioner/{name}"}])
    await put(
        fhir, "Condition", "asserted", code={"text": "x"}, subject={"reference": "Patient/p"},
        asserter={"reference": "Practitioner/ada"},
    )  # fmt: skip
    written = ("Observation/by-ada", "Condition/asserted", "Observation/by-bob", "Practitioner/ada")
    await consent(fhir, deny(data=record("Practitioner/ada", meaning="authoredby")))
    assert await seen(fhir, *ALL, *written) == [*ALL, "Observation/by-bob", "Practitioner/ada"]
    await consent(fhir, deny(provision=[permit(data=record("Practitioner/ada", meaning="authoredby"))]))
    assert await seen(fhir, *ALL, *written) == ["Observation/by-ada", "Condition/asserted", "Practitioner/ada"]


async def test_a_record_is_denied_with_what_refers_to_it(fhir: Client) -> None:
    await observation(fhir, "apart", in_=None)
    await consent(fhir, deny(data=record("Encounter/e", meaning="dependents")))
    assert await seen(fhir, *ALL, "Observation/apart") == ["Patient/p", "Condition/k", "Observation/apart"]


async def test_what_a_record_refers_to_cannot_be_told_and_everything_is_denied(fhir: Client) -> None:
    await consent(fhir, deny(data=record("Encounter/e", meaning="related")))
    assert await seen(fhir, *ALL) == []


async def test_data_of_a_time_are_denied_with_what_has_no_date(fhir: Client) -> None:
    period = {"start": "2024-01-01", "end": "2024-12-31"}
    await consent(fhir, deny(dataPeriod=period, **{"class": types("Observation", "Condition", "Encounter")}))
    assert await seen(fhir, *ALL) == ["Patient/p", "Condition/k"]
    await observation(fhir, "undated")
    assert await seen(fhir, "Observation/undated") == []


async def test_data_of_a_time_are_excepted_where_all_of_their_dates_are_in_it(fhir: Client) -> None:
    await consent(fhir, deny(provision=[permit(dataPeriod={"start": "2026-01-01"})]))
    assert await seen(fhir, *ALL) == ["Condition/k"]


async def test_labels_close_and_stronger_ones_with_them(fhir: Client) -> None:
    await observation(fhir, "plain")
    await observation(fhir, "hiv", meta={"security": coded(ACT, "HIV")})
    await observation(fhir, "very", meta={"security": coded(CONFIDENTIALITY, "V")})
    await consent(fhir, deny(securityLabel=coded(CONFIDENTIALITY, "R")))
    await consent(fhir, deny(securityLabel=coded(ACT, "HIV")), id_="hiv")
    found = await seen(fhir, "Observation/plain", "Observation/hiv", "Observation/very")
    assert found == ["Observation/plain"]


# ---- every door


async def test_what_is_denied_cannot_be_told_by_any_door(fhir: Client) -> None:
    await consent(fhir, deny())
    for path in (
        "/Observation/o/_history",
        "/Observation/o/_history/1",
        "/Patient/p/$everything",
        "/Patient/p/Observation",
        "/Observation/o/$meta",
    ):
        answer = await fhir.get(path)
        assert answer.status_code == 404 or '"entry"' not in answer.text, path
    for query in (
        "/Observation?patient=Patient/p",
        "/Observation?patient.name=Rivera&patient=Patient/p",
        "/Patient?_has:Observation:patient:_id=o",
        "/Observation?_id=o&_include=Observation:patient",
        "/Patient?_id=p&_revinclude=Observation:patient",
        "/Observation?_id=o&_summary=count",
    ):
        answer = await fhir.get(query)
        assert answer.json().get("total", 0) == 0, query
        assert "entry" not in answer.json(), query
    shown = (await fhir.get("/Patient?_id=q&_include=*&_revinclude=*")).text
    assert "Observation/o/" not in shown
    assert "Patient/p" not in (await fhir.get("/_history?_count=100")).text.replace(
        '"patient":{"reference":"Patient/p"},"source', ""
    )


async def test_what_is_denied_cannot_be_written(fhir: Client) -> None:
    await consent(fhir, deny())
    body = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    assert (await fhir.put("/Observation/o", json=body)).status_code == 404
    assert (await fhir.delete("/Observation/o")).status_code in (404, 204)
    await fhir.delete("/Consent/c")
    assert await seen(fhir, "Observation/o") == ["Observation/o"]


async def test_what_is_new_is_collected_and_closed(fhir: Client) -> None:
    await consent(fhir, deny())
    about = {"code": {"text": "x"}, "subject": {"reference": "Patient/p"}}
    answer = await fhir.post("/Observation", json={"resourceType": "Observation", "status": "final", **about})
    assert answer.status_code == 201
    assert await seen(fhir, f"Observation/{answer.json()['id']}") == []


async def test_a_page_that_is_turned_after_a_denial_shows_nothing_more(fhir: Client) -> None:
    for number in range(6):
        await observation(fhir, f"n{number}", effectiveDateTime="2025-01-01")
    first = (await fhir.get("/Observation?patient=Patient/p&_count=2")).json()
    (after,) = [one["url"] for one in first["link"] if one["relation"] == "next"]
    await consent(fhir, deny())
    answer = await fhir.get(after.removeprefix(fhir.base))
    assert answer.status_code == 200
    assert "entry" not in answer.json()


async def test_a_denial_of_one_clinic_is_none_of_another(fhir: Client) -> None:
    concord = fhir.concord
    other = Client(concord, fhir.clock, await tenants.add(concord.db, f"o-{id(fhir)}"), fhir.http)
    await patient(other)
    await observation(other)
    await consent(fhir, deny())
    assert await seen(other, "Patient/p", "Observation/o") == ["Patient/p", "Observation/o"]


async def test_readers_and_the_one_who_denies_meet_and_nobody_sees_it_afterwards(fhir: Client) -> None:
    denied = asyncio.Event()

    async def reader() -> list[int]:
        late = []
        for _ in range(30):
            after = denied.is_set()
            answer = await fhir.get("/Observation/o")
            late += [answer.status_code] if after else []
        return late

    async def denier() -> None:
        await consent(fhir, deny())
        denied.set()

    *found, _ = await asyncio.gather(*(reader() for _ in range(6)), denier())
    assert {status for one in found for status in one} <= {404}
    assert (await fhir.get("/Observation/o")).status_code == 404


async def test_the_first_denial_is_answered_once_every_process_has_to_look(server_dsn: str) -> None:
    async with (
        running(server_dsn, standing_seconds=0.5) as (one, clock),
        running(server_dsn, standing_seconds=0.5) as (two, _),
        httpx.AsyncClient(timeout=30) as http,
    ):
        tenant = await tenants.add(one.db, f"w-{id(clock)}")
        client = Client(one, clock, tenant, http)
        await patient(client)
        token = await client.token("system/*.rs")
        address = f"{two.base_url}/{tenant.name}/fhir/Patient/p"
        # The other process has another address, so the token is made for that one.
        away = await Client(two, clock, tenant, http).token("system/*.rs")
        assert (await http.get(address, headers={"authorization": f"Bearer {away}"})).status_code == 200
        assert await seen(client, "Patient/p", token=token) == ["Patient/p"]
        await consent(client, deny())
        assert (await http.get(address, headers={"authorization": f"Bearer {away}"})).status_code == 404
        assert await seen(client, "Patient/p", token=token) == []
