"""Conditional create, update and delete, alone and when many meet. http://hl7.org/fhir/R4/http.html#ccreate"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import Client, running

SYSTEM = "http://ids.example"


def patient(value: str = "1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **more}


def unless(value: str = "1") -> dict[str, str]:
    return {"if-none-exist": f"identifier={SYSTEM}|{value}"}


def codes(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def count(fhir: Client, query: str = f"identifier={SYSTEM}|1") -> int:
    return int((await fhir.get(f"/Patient?{query}&_summary=count")).json()["total"])


async def test_a_conditional_create_creates_where_nothing_is_found_and_else_answers_what_is(fhir: Client) -> None:
    made = await fhir.post("/Patient", json=patient(), headers=unless())
    again = await fhir.post("/Patient", json=patient(active=True), headers=unless())
    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json() == made.json()
    assert again.headers["etag"] == 'W/"1"'
    assert again.headers["location"] == made.headers["location"]
    assert await count(fhir) == 1


async def test_a_conditional_create_with_several_matches_is_412(fhir: Client) -> None:
    for _ in range(2):
        await fhir.post("/Patient", json=patient())
    assert (await fhir.post("/Patient", json=patient(), headers=unless())).status_code == 412
    assert await count(fhir) == 2


@pytest.mark.parametrize(
    "criteria",
    [
        "",
        "?",
        "nonsense=1",
        "_sort=name",
        "Observation?code=1",
        "identifier:odd=x",
        "_count=1",
        "birthdate=soon",
        "organization.name=x",
        "_has:Observation:patient:code=x",
    ],
)
async def test_criteria_that_name_nothing_are_refused_and_create_nothing(fhir: Client, criteria: str) -> None:
    answer = await fhir.post("/Patient", json=patient(), headers={"if-none-exist": criteria})
    assert answer.status_code == 400, answer.text
    lenient = {"if-none-exist": "nonsense=1", "prefer": "handling=lenient"}
    assert (await fhir.post("/Patient", json=patient(), headers=lenient)).status_code == 400
    assert await count(fhir) == 0


async def test_criteria_may_be_written_as_an_address(fhir: Client) -> None:
    for status in (201, 200):
        headers = {"if-none-exist": f"Patient?identifier={SYSTEM}%7C1"}
        assert (await fhir.post("/Patient", json=patient(), headers=headers)).status_code == status


async def test_criteria_in_the_address_of_a_create_are_as_good_and_never_ignored(fhir: Client) -> None:
    address = f"Patient?identifier={SYSTEM}|1"
    for status in (201, 200):
        assert (await fhir.post(f"/{address}", json=patient())).status_code == status
    request = {"method": "POST", "url": address}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": patient(), "request": request}]}
    assert (await fhir.post("", json=bundle)).json()["entry"][0]["response"]["status"].startswith("200")
    assert (await fhir.post(f"/{address}", json=patient(), headers=unless())).status_code == 400
    assert (await fhir.post("/Patient?nonsense=1", json=patient())).status_code == 400
    assert await count(fhir) == 1


async def test_fifty_clients_with_one_if_none_exist_make_one_resource(fhir: Client) -> None:
    answers = await asyncio.gather(*(fhir.post("/Patient", json=patient(), headers=unless()) for _ in range(50)))
    assert codes(answers) == {201: 1, 200: 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(fhir) == 1


@pytest.mark.parametrize("criteria", [f"identifier={SYSTEM}|1", "identifier=1"])
async def test_of_conditional_creates_and_one_plain_create_of_an_identifier_two_remain_at_most(
    fhir: Client, criteria: str
) -> None:
    """The plain create is not conditional, so it may come second; but never do two conditional ones make two."""
    many = [fhir.post("/Patient", json=patient(), headers={"if-none-exist": criteria}) for _ in range(49)]
    answers = await asyncio.gather(*many[:20], fhir.post("/Patient", json=patient()), *many[20:])
    plain = answers.pop(20)
    assert plain.status_code == 201
    found = codes(answers)
    assert set(found) <= {200, 201, 412}
    assert found[201] <= 1
    assert await count(fhir) == 1 + found[201]
    # Several are found only once the plain create has come after a conditional one.
    assert found[412] == 0 or found[201] == 1


async def test_criteria_without_an_identifier_make_one_resource_too(fhir: Client) -> None:
    body = patient(name=[{"family": "Once"}], birthDate="1970-01-01")
    headers = {"if-none-exist": "family=once&birthdate=1970-01-01"}
    answers = await asyncio.gather(*(fhir.post("/Patient", json=body, headers=headers) for _ in range(20)))
    assert codes(answers) == {201: 1, 200: 19}


async def test_a_conditional_update_updates_the_one_it_finds_or_creates(fhir: Client) -> None:
    address = f"/Patient?identifier={SYSTEM}|1"
    made = await fhir.put(address, json=patient())
    changed = await fhir.put(address, json=patient(active=True))
    assert (made.status_code, changed.status_code) == (201, 200)
    assert made.headers["location"].endswith(f"/Patient/{made.json()['id']}/_history/1")
    assert (changed.json()["id"], changed.json()["meta"]["versionId"]) == (made.json()["id"], "2")
    same = await fhir.put(address, json=patient(active=True))
    assert (same.status_code, same.headers["etag"]) == (200, 'W/"2"')


async def test_a_conditional_update_keeps_to_the_id_of_the_body(fhir: Client) -> None:
    address = f"/Patient?identifier={SYSTEM}|1"
    made = await fhir.put(address, json=patient(id="chosen"))
    assert (made.status_code, made.json()["id"]) == (201, "chosen")
    assert (await fhir.put(address, json=patient(id="chosen", active=True))).status_code == 200
    other = await fhir.put(address, json=patient(id="other"))
    assert other.status_code == 400
    assert other.json()["issue"][0]["expression"] == ["Patient.id"]
    taken = await fhir.put(f"/Patient?identifier={SYSTEM}|2", json=patient("2", id="chosen"))
    assert taken.status_code == 409
    assert (await fhir.get("/Patient/chosen")).json()["active"] is True


async def test_a_conditional_update_with_several_matches_or_without_criteria_changes_nothing(fhir: Client) -> None:
    for _ in range(2):
        await fhir.post("/Patient", json=patient())
    assert (await fhir.put(f"/Patient?identifier={SYSTEM}|1", json=patient(active=True))).status_code == 412
    assert (await fhir.put("/Patient", json=patient(active=True))).status_code == 400
    assert await count(fhir, "active=true") == 0


async def test_a_conditional_update_holds_to_if_match(fhir: Client) -> None:
    address = f"/Patient?identifier={SYSTEM}|1"
    await fhir.put(address, json=patient())
    stale = await fhir.put(address, json=patient(active=True), headers={"if-match": 'W/"9"'})
    right = await fhir.put(address, json=patient(active=True), headers={"if-match": 'W/"1"'})
    assert (stale.status_code, right.status_code) == (412, 200)


async def test_fifty_conditional_updates_make_one_resource(fhir: Client) -> None:
    address = f"/Patient?identifier={SYSTEM}|1"
    answers = await asyncio.gather(*(fhir.put(address, json=patient(multipleBirthInteger=n + 1)) for n in range(50)))
    assert codes(answers) == {201: 1, 200: 49}
    assert await count(fhir) == 1
    (entry,) = (await fhir.get("/Patient")).json()["entry"]
    assert entry["resource"]["meta"]["versionId"] == "50"


async def test_a_conditional_delete_deletes_the_one_it_finds(fhir: Client) -> None:
    kept = (await fhir.post("/Patient", json=patient("2"))).json()["id"]
    made = (await fhir.post("/Patient", json=patient())).json()["id"]
    address = f"/Patient?identifier={SYSTEM}|1"
    assert (await fhir.delete(address)).status_code == 204
    assert (await fhir.delete(address)).status_code == 204
    assert (await fhir.get(f"/Patient/{made}")).status_code == 410
    assert (await fhir.get(f"/Patient/{kept}")).status_code == 200
    assert (await fhir.delete("/Patient")).status_code == 400
    assert (await fhir.delete("/Patient?_count=1")).status_code == 400


async def test_several_are_deleted_only_up_to_the_setting(server_dsn: str) -> None:
    async with (
        running(server_dsn, max_conditional_delete=3) as (concord, clock),
        httpx.AsyncClient(timeout=30) as http,
    ):
        fhir = Client(concord, clock, await tenants.add(concord.db, "several-deleted"), http)
        for _ in range(4):
            await fhir.post("/Patient", json=patient())
        address = f"/Patient?identifier={SYSTEM}|1"
        assert (await fhir.delete(address)).status_code == 412
        assert await count(fhir) == 4
        assert (await fhir.delete(f"{address}&_count=2")).status_code == 204
        assert await count(fhir) == 2
        assert (await fhir.delete(address)).status_code == 204
        assert await count(fhir) == 0
        statement = (await fhir.get("/metadata")).json()
        assert {r.get("conditionalDelete") for r in statement["rest"][0]["resource"]} - {None} == {"multiple"}


async def test_one_alone_is_deleted_by_default(fhir: Client) -> None:
    for _ in range(2):
        await fhir.post("/Patient", json=patient())
    assert (await fhir.delete(f"/Patient?identifier={SYSTEM}|1")).status_code == 412
    assert await count(fhir) == 2
    statement = (await fhir.get("/metadata")).json()
    assert {r.get("conditionalDelete") for r in statement["rest"][0]["resource"]} - {None} == {"single"}


async def test_a_condition_that_has_no_meaning_is_refused_and_never_ignored(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=patient())).json()
    place = f"/Patient/{made['id']}"
    for method, path, header in (
        ("POST", "/Patient", "if-match"),
        ("POST", "/Patient", "if-none-match"),
        ("PUT", place, "if-none-exist"),
        ("PUT", place, "if-none-match"),
        ("DELETE", place, "if-none-exist"),
        ("DELETE", place, "if-none-match"),
        ("DELETE", "/Patient?identifier=1", "if-match"),
    ):
        body = {"json": patient(id=made["id"], active=True)} if method != "DELETE" else {}
        answer = await fhir.request(method, path, headers={header: 'W/"1"'}, **body)
        assert answer.status_code == 400, (method, path, header)
    assert (await fhir.get(place)).json() == made
    assert await count(fhir) == 1


# ---- who may ----------------------------------------------------------------------------------------------------


async def test_criteria_never_find_what_another_tenant_has(fhir: Client, other: Client) -> None:
    theirs = (await other.post("/Patient", json=patient())).json()
    assert (await fhir.delete(f"/Patient?identifier={SYSTEM}|1")).status_code == 204
    made = await fhir.post("/Patient", json=patient(), headers=unless())
    assert made.status_code == 201
    assert (await fhir.put(f"/Patient?identifier={SYSTEM}|1", json=patient(active=True))).status_code == 200
    assert (await other.get(f"/Patient/{theirs['id']}")).json() == theirs


async def test_a_patients_criteria_find_only_its_own_record(fhir: Client) -> None:
    def result(owner: str, value: str) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "x"},
            "identifier": [{"system": SYSTEM, "value": value}],
            "subject": {"reference": f"Patient/{owner}"},
        }

    mine, theirs = [(await fhir.post("/Patient", json=patient(n))).json()["id"] for n in ("1", "2")]
    foreign = (await fhir.post("/Observation", json=result(theirs, "o"))).json()
    token = await fhir.token("patient/*.cruds", patient=mine)
    address = f"/Observation?identifier={SYSTEM}|o"
    assert (await fhir.delete(address, token=token)).status_code == 204
    assert (await fhir.put(address, json=result(theirs, "o"), token=token)).status_code == 403
    hidden = await fhir.post("/Observation", json=result(mine, "o"), headers=unless("o"), token=token)
    assert hidden.status_code == 201
    assert (await fhir.get(f"/Observation/{foreign['id']}")).json() == foreign
    named = await fhir.put(
        f"/Observation?identifier={SYSTEM}|p", json=result(mine, "p") | {"id": foreign["id"]}, token=token
    )
    assert named.status_code == 404


async def test_criteria_need_the_scope_to_search_as_well_as_the_one_to_write(fhir: Client) -> None:
    await fhir.post("/Patient", json=patient())
    address = f"/Patient?identifier={SYSTEM}|1"
    for scope in ("system/Patient.cud", "system/Patient.rs"):
        token = await fhir.token(scope)
        assert (await fhir.post("/Patient", json=patient(), headers=unless(), token=token)).status_code == 403
        assert (await fhir.put(address, json=patient(), token=token)).status_code == 403
        assert (await fhir.delete(address, token=token)).status_code == 403
    assert await count(fhir) == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_to_one_resource_takes_no_parameters_rather_than_ignoring_them(fhir: Client, method: str) -> None:
    body = {"resourceType": "Patient", "id": "one"}
    await fhir.put("/Patient/one", json=body)
    headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
    changed = {} if method == "DELETE" else {"json": body | {"active": True}}
    answer = await fhir.request(method, "/Patient/one?identifier=7", headers=headers, **changed)
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, ["http.identifier"])
    if method != "PATCH":
        entry = {"request": {"method": method, "url": "Patient/one?identifier=7"}} | (
            {"resource": body} if method == "PUT" else {}
        )
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        assert (await fhir.post("", json=bundle)).status_code == 400
    assert (await fhir.get("/Patient/one")).json()["meta"]["versionId"] == "1"
    answer = await fhir.request(method, "/Patient/one?_pretty=true", headers=headers, **changed)
    assert answer.status_code in (200, 204), answer.text
