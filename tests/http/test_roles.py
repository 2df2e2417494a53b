"""What each of the six roles sees and does, by every way to a record: the rows of smart/roles.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fhir_server.context import Role
from fhir_server.smart.roles import RULES
from tests.fhir import Client
from tests.house.tree import ROOT
from tests.http.clinic import PSY, Clinic, clinic, document, note, result
from tests.http.parameters import parameter, searchable
from tests.people import member, token_of

ONE = {"patient", "result", "draft", "note", "unsigned", "invoice"}
OPEN = ONE | {f"{name}2" for name in ONE}
GUARDED = {"secret", "mine", "secret2", "mine2"}


@pytest.fixture
async def here(fhir: Client) -> Clinic:
    """Return a clinic with two patients."""
    return await clinic(fhir)


async def test_a_user_who_is_no_member_may_nothing(here: Clinic, other: Client) -> None:
    stranger = await member(other, "clinic-admin")
    for path in ("/Patient", f"/{here.places['patient']}"):
        assert (await here.fhir.get(path, token=await token_of(here.fhir, stranger))).status_code in (401, 403)
    nobody = await here.fhir.token("user/*.cruds", subject="nobody")
    assert (await here.fhir.get("/Patient", token=nobody)).status_code == 403


async def test_a_clinic_admin_reads_all_but_what_labels_close_and_changes_no_clinical_record(here: Clinic) -> None:
    token = await here.token("clinic-admin")
    assert await here.seen(token) == OPEN
    assert {await here.status(token, name) for name in GUARDED} == {404}
    who = here.places["patient"]
    assert (await here.fhir.post("/Observation", json=result(who), token=token)).status_code == 403
    assert (await here.fhir.delete(f"/{here.places['result']}", token=token)).status_code == 403
    assert (await here.fhir.post("/DocumentReference", json=note(who), token=token)).status_code == 201
    assert (await here.fhir.delete(f"/{here.places['invoice']}", token=token)).status_code == 204


async def test_a_clinic_admin_sees_guarded_notes_of_a_patient_who_was_assigned_to_them_by_name(here: Clinic) -> None:
    token = await token_of(here.fhir, await member(here.fhir, "clinic-admin", here.places["doctor"]))
    await here.care("encounter")
    assert await here.status(token, "secret") == 404
    await here.care("assigned")
    assert await here.status(token, "secret") == 200
    assert await here.status(token, "secret2") == 404


async def test_a_physician_sees_the_patients_in_their_care_as_long_as_it_lasts(here: Clinic) -> None:
    token = await here.token("physician")
    assert await here.seen(token) == set()
    await here.care("appointment")
    assert await here.seen(token) == ONE | {"mine"}
    assert await here.status(token, "result2") == 404
    await here.run("update care_relation set valid_to = now() where tenant_id = %s")
    assert await here.seen(token) == set()
    assert await here.status(token, "result") == 404


async def test_a_physician_sees_guarded_notes_of_whom_they_treat_and_those_they_wrote(here: Clinic) -> None:
    token = await here.token("physician")
    await here.care("cover")
    assert (await here.status(token, "secret"), await here.status(token, "mine")) == (404, 200)
    await here.care("encounter")
    assert (await here.status(token, "secret"), await here.status(token, "secret2")) == (200, 404)


async def test_a_physician_writes_the_record_of_patients_in_their_care_alone(here: Clinic) -> None:
    token, fhir = await here.token("physician"), here.fhir
    await here.care()
    made = await fhir.post("/Observation", json=result(here.places["patient"]), token=token)
    assert made.status_code == 201
    assert (await fhir.post("/Observation", json=result(here.places["patient2"]), token=token)).status_code == 403
    moved = made.json() | {"subject": {"reference": here.places["patient2"]}}
    assert (await fhir.put(f"/Observation/{made.json()['id']}", json=moved, token=token)).status_code == 403
    assert (await fhir.put(f"/{here.places['result2']}", json=moved, token=token)).status_code in (400, 404)
    assert (await fhir.delete(f"/Observation/{made.json()['id']}", token=token)).status_code == 403
    patch = [{"op": "replace", "path": "/subject/reference", "value": here.places["patient2"]}]
    headers = {"content-type": "application/json-patch+json"}
    answer = await fhir.request("PATCH", f"/Observation/{made.json()['id']}", json=patch, token=token, headers=headers)
    assert answer.status_code == 403
    assert (await fhir.get(f"/Observation/{made.json()['id']}", token=token)).json() == made.json()


async def test_no_write_makes_its_own_permission(here: Clinic) -> None:
    token = await here.token("physician")
    encounter = {
        "resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"},
        "subject": {"reference": here.places["patient2"]},
        "participant": [{"individual": {"reference": here.places["doctor"]}}],
    }  # fmt: skip
    assert (await here.fhir.post("/Encounter", json=encounter, token=token)).status_code == 403
    entries = [
        {"resource": one, "request": {"method": "POST", "url": one["resourceType"]}}
        for one in (encounter, result(here.places["patient2"]))
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert (await here.fhir.post("", json=bundle, token=token)).status_code == 403
    assert await here.seen(token) == set()


async def test_a_biller_reads_what_is_signed_and_keeps_the_accounts(here: Clinic) -> None:
    token, fhir = await here.token("biller"), here.fhir
    assert await here.seen(token) == OPEN - {"draft", "draft2", "unsigned", "unsigned2"}
    assert {await here.status(token, name) for name in GUARDED | {"draft", "unsigned"}} == {404}
    invoice = {"resourceType": "Invoice", "status": "draft", "subject": {"reference": here.places["patient2"]}}
    assert (await fhir.post("/Invoice", json=invoice, token=token)).status_code == 201
    assert (await fhir.post("/Observation", json=result(here.places["patient"]), token=token)).status_code == 403
    assert (await fhir.post("/Patient", json={"resourceType": "Patient"}, token=token)).status_code == 403
    # It can be read, so that it is told why it cannot be changed.
    place = here.places["patient"]
    changed = {"resourceType": "Patient", "id": place.partition("/")[2]}
    assert (await fhir.put(f"/{place}", json=changed, token=token)).status_code == 403
    assert (await fhir.delete(f"/{here.places['secret']}", token=token)).status_code in (403, 404)


async def test_the_front_desk_keeps_people_and_sees_of_invoices_the_totals(here: Clinic) -> None:
    token, fhir = await here.token("front-desk"), here.fhir
    assert await here.seen(token) == {"patient", "patient2", "invoice", "invoice2"}
    shown = (await fhir.get(f"/{here.places['invoice']}", token=token)).json()
    assert (shown["totalNet"], "lineItem" in shown) == ({"value": 10}, False)
    assert "lineItem" not in (await fhir.get("/Invoice", token=token)).text
    assert (await fhir.get("/Invoice?_content=line", token=token)).status_code == 400
    assert (await fhir.post("/Patient", json={"resourceType": "Patient"}, token=token)).status_code == 201
    assert (await fhir.get(f"/{here.places['result']}", token=token)).status_code == 404
    assert (await fhir.get("/Observation?_summary=count", token=token)).json()["total"] == 0


async def test_an_attorney_sees_what_was_released_of_own_cases_while_the_release_lives(here: Clinic) -> None:
    token, fhir = await here.attorney(), here.fhir
    assert await here.seen(token) == {"patient"}
    await here.into_case("case", "result", "note", "invoice", "secret", "draft")
    assert await here.seen(token) == {"patient", "invoice"}
    await here.release("result", "secret", "draft", "unsigned")
    assert await here.seen(token) == {"patient", "invoice", "result"}
    # An accident is a case of its own: the same patient's other case is not theirs.
    await here.release("note", case="case2")
    assert await here.status(token, "note") == 404
    counted = await fhir.get("/Observation?_summary=count", token=token)
    assert counted.json()["total"] == 1
    await here.run(
        "update release_of_information set revoked_at = date_trunc('milliseconds', now()) where tenant_id = %s"
    )
    assert await here.seen(token) == set()
    assert {await here.status(token, name) for name in ("patient", "result", "invoice", "case")} == {404}


async def test_an_attorney_without_a_release_or_of_another_case_sees_nothing(here: Clinic) -> None:
    await here.release("result", "case")
    assert await here.seen(await here.attorney(released=False)) == set()
    ended = await here.attorney()
    await here.run("update case_attorney set valid_to = now() where tenant_id = %s")
    assert await here.seen(ended) == set()
    assert await here.seen(await here.attorney(case="case2")) == {"patient2"}


async def test_a_release_of_one_patient_opens_nothing_of_another_whose_the_case_becomes(here: Clinic) -> None:
    token, fhir, case = await here.attorney(), here.fhir, here.places["case"]
    assert (await here.status(token, "case"), await here.status(token, "patient")) == (200, 200)
    corrected = (await fhir.get(f"/{case}")).json() | {"patient": {"reference": here.places["patient2"]}}
    assert (await fhir.put(f"/{case}", json=corrected)).status_code == 200
    assert [await here.status(token, name) for name in ("case", "patient", "patient2")] == [404] * 3
    assert "Family" not in (await fhir.get("/Patient", token=token)).text


async def test_what_is_released_later_is_not_released_yet(here: Clinic) -> None:
    token = await here.attorney()
    await here.release("result")
    await here.run("update resource set released_at = released_at + interval '1 hour' where tenant_id = %s")
    assert await here.status(token, "result") == 404
    here.fhir.clock.move(timedelta(hours=1, minutes=1))
    assert await here.status(await here.attorney(), "result") == 200


async def test_an_attorney_sees_no_social_security_number_and_no_other_contacts(here: Clinic) -> None:
    token, fhir = await here.attorney(), here.fhir
    place = here.places["patient"]
    await here.release("result")
    pages = [
        f"/{place}", f"/{place}/_history", f"/{place}/_history/1", "/Patient", "/Patient?_elements=identifier,contact",
        "/Observation?_include=Observation:subject", f"/{place}/$everything", "?_type=Patient",
    ]  # fmt: skip
    for page in pages:
        answer = await fhir.get(page, token=token)
        assert answer.status_code == 200, page
        assert "M-Family" in answer.text, page
        for secret in ("999-12", "999123456", "Kin"):
            assert secret not in answer.text, page
    xml = await fhir.get(f"/{place}?_format=xml", token=token)
    assert ("999" in xml.text, "Kin" in xml.text) == (False, False)


@pytest.mark.parametrize(
    "asked",
    [
        "Patient?identifier=999-12-3456", "Patient?_sort=identifier", "Patient?_content=Kin", "Patient?_text=999",
        "Observation?subject:Patient.identifier=999-12-3456", "Patient?identifier:not=x",
        "Patient?identifier:missing=false",
        "Practitioner?_has:Patient:general-practitioner:identifier=999-12-3456",
    ],
)  # fmt: skip
async def test_an_attorney_cannot_look_for_what_is_masked(here: Clinic, asked: str) -> None:
    token = await here.attorney()
    assert (await here.fhir.get(f"/{asked}", token=token)).status_code == 400
    granular = await here.attorney("user/Patient.rs?identifier=999-12-3456")
    assert await here.status(granular, "patient") == 404


async def test_an_attorney_cannot_look_for_what_is_masked_by_a_clinics_own_parameter(here: Clinic) -> None:
    kin = parameter("kin", type="string", expression="Patient.contact.name.family")
    await searchable(here.fhir, kin)
    assert len((await here.fhir.get("/Patient?kin=Kin")).json()["entry"]) == 2
    token = await here.attorney()
    for asked in ("Patient?kin=Kin", "Patient?_sort=kin", "Observation?subject:Patient.kin=Kin"):
        assert (await here.fhir.get(f"/{asked}", token=token)).status_code == 400, asked


async def test_an_attorney_asks_in_tasks_of_own_cases_and_sees_no_others(here: Clinic) -> None:
    fhir, doctor = here.fhir, here.places["doctor"]
    visit = {
        "resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
        "subject": {"reference": here.places["patient"]}, "episodeOfCare": [{"reference": here.places["case"]}],
    }  # fmt: skip
    encounter = f"Encounter/{(await fhir.post('/Encounter', json=visit)).json()['id']}"
    token = await here.attorney(reference=doctor)

    def task(requester: str = doctor, patient: str = "patient", within: str = encounter) -> dict[str, Any]:
        return {
            "resourceType": "Task", "status": "requested", "intent": "order", "encounter": {"reference": within},
            "for": {"reference": here.places[patient]}, "requester": {"reference": requester},
        }  # fmt: skip

    made = await fhir.post("/Task", json=task(), token=token)
    assert made.status_code == 201
    assert (await fhir.get(f"/Task/{made.json()['id']}", token=token)).status_code == 200
    for wrong in (task("Practitioner/x"), task(patient="patient2"), task(within="Encounter/none")):
        assert (await fhir.post("/Task", json=wrong, token=token)).status_code == 403
    stored = (await fhir.post("/Task", json=task("Practitioner/x"))).json()
    assert (await fhir.get(f"/Task/{stored['id']}", token=token)).status_code == 404
    moved = made.json() | {"for": {"reference": here.places["patient2"]}}
    assert (await fhir.put(f"/Task/{moved['id']}", json=moved, token=token)).status_code == 403


async def test_an_attorney_reads_bills_and_leaves_letters_in_own_cases(here: Clinic) -> None:
    fhir, who = here.fhir, here.places["patient"]
    context = {"context": {"related": [{"reference": here.places["case"]}]}}
    token = await here.attorney()
    letter = await fhir.post("/DocumentReference", json=document(who, "legal", **context), token=token)
    assert letter.status_code == 201
    assert (await fhir.get(f"/DocumentReference/{letter.json()['id']}", token=token)).status_code == 200
    wrong = [
        document(who, "legal"), document(who, "billing", **context), note(who, **context),
        document(here.places["patient2"], "legal", **context),
        document(who, "legal", context={"related": [{"reference": here.places["case2"]}]}),
        document(who, "legal", meta={"security": PSY}, **context),
    ]  # fmt: skip
    for one in wrong:
        assert (await fhir.post("/DocumentReference", json=one, token=token)).status_code == 403
    bill = (await fhir.post("/DocumentReference", json=document(who, "billing", **context))).json()
    loose = (await fhir.post("/DocumentReference", json=document(who, "billing"))).json()
    statuses = [(await fhir.get(f"/DocumentReference/{one['id']}", token=token)).status_code for one in (bill, loose)]
    assert statuses == [200, 404]


async def test_a_document_of_two_classes_is_of_neither(here: Clinic) -> None:
    who, desk = here.places["patient"], await here.token("front-desk")
    both = document(who, "billing")
    both["category"] += document(who, "legal")["category"]
    made = (await here.fhir.post("/DocumentReference", json=both)).json()
    assert (await here.fhir.get(f"/DocumentReference/{made['id']}", token=desk)).status_code == 404


async def test_what_the_record_is_made_with_is_open_to_staff_and_kept_by_the_admin(here: Clinic) -> None:
    url = {"resourceType": "ValueSet", "status": "active", "url": "http://a.example/v"}
    admin, attorney = await here.token("clinic-admin"), await here.attorney()
    made = await here.fhir.post("/ValueSet", json=url, token=admin)
    assert made.status_code == 201
    roles: tuple[Role, ...] = ("physician", "biller", "front-desk")
    for role in roles:
        token = await here.token(role)
        assert (await here.fhir.get(f"/ValueSet/{made.json()['id']}", token=token)).status_code == 200
        assert (await here.fhir.post("/ValueSet", json=url, token=token)).status_code == 403
    assert (await here.fhir.get(f"/ValueSet/{made.json()['id']}", token=attorney)).status_code == 404


async def test_a_physician_sees_cases_and_bills_of_own_patients_and_changes_none(here: Clinic) -> None:
    token, fhir = await here.token("physician"), here.fhir
    await here.care()
    for name in ("case", "invoice"):
        assert (await here.status(token, name), await here.status(token, f"{name}2")) == (200, 404)
        stored = (await fhir.get(f"/{here.places[name]}")).json()
        changed = stored | {"identifier": [{"system": "urn:x", "value": "1"}]}
        assert (await fhir.put(f"/{here.places[name]}", json=changed, token=token)).status_code == 403


async def test_a_biller_keeps_cases_fees_and_the_documents_of_billing(here: Clinic) -> None:
    token, fhir, who = await here.token("biller"), here.fhir, here.places["patient"]
    fee = {"resourceType": "ChargeItemDefinition", "status": "draft", "url": "http://a.example/fee"}
    case = {"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": who}}
    for resource in (fee, case, document(who, "billing")):
        assert (await fhir.post(f"/{resource['resourceType']}", json=resource, token=token)).status_code == 201
    for resource in (document(who, "legal"), note(who), {"resourceType": "Schedule"}):
        assert (await fhir.post(f"/{resource['resourceType']}", json=resource, token=token)).status_code in (400, 403)


async def test_the_front_desk_keeps_calendar_cases_and_intake_documents(here: Clinic) -> None:
    token, fhir, who = await here.token("front-desk"), here.fhir, here.places["patient"]
    calendar = {"resourceType": "Schedule", "actor": [{"reference": here.places["doctor"]}]}
    case = {"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": who}}
    for resource in (calendar, case, document(who, "intake"), document(who, "legal")):
        made = await fhir.post(f"/{resource['resourceType']}", json=resource, token=token)
        assert made.status_code == 201, made.text
        assert (await fhir.get(f"/{resource['resourceType']}/{made.json()['id']}", token=token)).status_code == 200
    for resource in (document(who, "billing"), note(who), result(who)):
        assert (await fhir.post(f"/{resource['resourceType']}", json=resource, token=token)).status_code == 403


async def test_a_super_admin_sees_nothing_without_a_support_session(here: Clinic) -> None:
    token = await here.token("super-admin")
    assert (await here.fhir.get("/Patient", token=token)).status_code == 403
    assert (await here.fhir.get(f"/{here.places['patient']}", token=token)).status_code == 403


async def test_a_role_never_reaches_further_than_the_scopes(here: Clinic) -> None:
    token = await here.token("clinic-admin", "user/Patient.rs")
    assert (await here.fhir.get("/Observation", token=token)).status_code == 403
    assert (await here.fhir.post("/Patient", json={"resourceType": "Patient"}, token=token)).status_code == 403
    assert (await here.fhir.get("/Patient", token=token)).status_code == 200


async def test_no_other_role_sees_messages_or_channels_whatever_the_scopes(here: Clinic) -> None:
    address = here.fhir.base.removesuffix("/fhir") + "/api"
    roles: tuple[Role, ...] = ("physician", "biller", "front-desk", "attorney", "super-admin")
    for role in roles:
        headers = {"authorization": f"Bearer {await here.token(role)}"}
        for path in ("/messages", "/messages/counts", "/channels"):
            assert (await here.fhir.http.get(address + path, headers=headers)).status_code == 403, (role, path)
    headers = {"authorization": f"Bearer {await here.token('clinic-admin')}"}
    assert (await here.fhir.http.get(f"{address}/messages", headers=headers)).status_code == 200


async def test_a_role_that_is_taken_away_is_gone_at_the_next_look(here: Clinic) -> None:
    person = await member(here.fhir, "clinic-admin")
    token = await token_of(here.fhir, person)
    assert await here.status(token, "patient") == 200
    await here.run("update membership set role = 'attorney' where tenant_id = %s and person_id = %s", person.id)
    here.fhir.clock.move(timedelta(seconds=2))
    assert await here.status(token, "patient") == 404


async def test_the_directory_is_open_to_every_role_and_binaries_by_what_they_belong_to(here: Clinic) -> None:
    headers = {"content-type": "application/pdf", "x-security-context": here.places["note"]}
    answer = await here.fhir.post("/Binary", content=b"%PDF", headers=headers)
    place = answer.headers["location"].removeprefix(here.fhir.base).partition("/_history")[0]
    loose = await here.fhir.post("/Binary", content=b"%PDF", headers={"content-type": "application/pdf"})
    unbound = loose.headers["location"].removeprefix(here.fhir.base).partition("/_history")[0]
    await here.care()
    doctor, attorney = await here.token("physician"), await here.attorney()
    admin, desk = await here.token("clinic-admin"), await here.token("front-desk")
    for token, bound, open_one in ((doctor, 200, 404), (attorney, 404, 404), (admin, 200, 200), (desk, 404, 404)):
        assert await here.status(token, "doctor") == 200
        statuses = [(await here.fhir.get(path, token=token)).status_code for path in (place, unbound)]
        assert statuses == [bound, open_one]
    await here.release("note")
    assert (await here.fhir.get(place, token=attorney)).status_code == 200


def test_every_rule_has_a_name_of_its_own_and_a_row_in_the_docs_that_names_its_test() -> None:
    text = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == [rule.name for rule in RULES]
    assert [name for name, line in rows.items() if "`http/test_roles::test_" not in line] == []
