"""Search parameters that a tenant defines. http://hl7.org/fhir/R4/searchparameter.html"""

from __future__ import annotations

import msgspec
import pytest

from fhir_server.app import jobs
from tests.fhir import Client
from tests.http.parameters import (
    COLOR,
    U,
    color,
    defined,
    extension,
    ids,
    parameter,
    patient,
    put,
    searchable,
    state,
)


async def test_an_extension_is_searched_once_what_is_there_is_indexed(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue")), patient("none"))
    await defined(fhir, parameter())
    waiting = await fhir.get("/Patient?color=blue")
    assert waiting.status_code == 409
    (issue,) = waiting.json()["issue"]
    assert "being indexed" in issue["diagnostics"]
    assert "SearchParameter/color/$progress" in issue["diagnostics"]
    assert issue["expression"] == ["http.color"]
    await put(fhir, patient("green", color("green")))
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]
    assert await ids(fhir, f"/Patient?color={COLOR}|green") == ["green"]
    assert await ids(fhir, "/Patient?color:missing=true") == ["none"]
    assert await ids(fhir, "/Patient?color:not=blue") == ["green", "none"]
    await put(fhir, patient("later", color("blue")))
    assert await ids(fhir, "/Patient?color=blue") == ["blue", "later"]


@pytest.mark.parametrize(
    ("kind", "expression", "given", "hit", "miss"),
    [
        ("token", f"Patient.extension('{U}').value", {"valueCode": "x"}, "x", "y"),
        ("token", f"Patient.extension('{U}').value.as(Coding)", {"valueCoding": {"code": "x"}}, "x", "y"),
        ("token", f"(Patient.extension.where(url='{U}').value as Coding)", {"valueCoding": {"code": "x"}}, "x", "y"),
        ("token", f"extension.where(url = '{U}').value.ofType(boolean)", {"valueBoolean": True}, "true", "false"),
        ("token", f"Patient.extension.where(url='{U}').exists()", {"valueBoolean": False}, "true", "false"),
        ("string", f"Patient.extension('{U}').value.as(string)", {"valueString": "Überfahrt"}, "uber", "fahrt"),
        ("string", f"Patient.extension('{U}').valueHumanName", {"valueHumanName": {"family": "Ng"}}, "ng", "x"),
        ("date", f"Patient.extension('{U}').value", {"valueDate": "2024-03-05"}, "2024-03", "2024-04"),
        ("date", f"Patient.extension('{U}').value.as(Period)", {"valuePeriod": {"start": "2024"}}, "gt2025", "lt2020"),
        ("number", f"Patient.extension('{U}').value.as(integer)", {"valueInteger": 7}, "gt6", "7.6"),
        ("quantity", f"Patient.extension('{U}').value", {"valueQuantity": {"value": 5, "unit": "kg"}}, "5||kg", "6"),
        ("uri", f"Patient.extension('{U}').value", {"valueUri": "urn:a"}, "urn:a", "urn:b"),
        ("reference", f"Patient.extension('{U}').value", {"valueReference": {"reference": "Group/g"}}, "Group/g", "g1"),
        ("token", "Resource.meta.tag", None, "tagged", "x"),
        ("token", f"DomainResource.extension('{U}').value", {"valueCode": "x"}, "x", "y"),
        ("string", "Patient.name.where(use='maiden').family", None, "born", "wed"),
        ("date", "Patient.birthDate | Patient.deceased.as(dateTime)", None, "1970", "1980"),
    ],
)
async def test_each_type_of_parameter_finds_what_its_expression_says(
    fhir: Client, kind: str, expression: str, given: dict[str, object] | None, hit: str, miss: str
) -> None:
    named = [{"use": "maiden", "family": "Born"}, {"use": "official", "family": "Wed"}]
    body = patient("p", *([extension(U, **given)] if given else []), name=named, birthDate="1970-01-01")
    body["meta"] = {"tag": [{"code": "tagged"}]}
    base = [word for word in ("Resource", "DomainResource") if expression.startswith(word)] or ["Patient"]
    await put(fhir, body, patient("other"))
    await searchable(fhir, parameter("own", type=kind, expression=expression, base=base))
    assert await ids(fhir, f"/Patient?own={hit}") == ["p"]
    assert await ids(fhir, f"/Patient?own={miss}") in ([], ["other"])
    assert await ids(fhir, f"/Patient?own:missing=false&_id=p,other&own={hit}") == ["p"]


@pytest.mark.parametrize(
    ("given", "element", "reason"),
    [
        ({"expression": "Patient.colour"}, "expression", "no element 'colour'"),
        ({"expression": "Patient.name.given.upper()"}, "expression", "upper() is not compiled"),
        ({"expression": "Patient.extension.where("}, "expression", "missing"),
        ({"expression": "Observation.code"}, "expression", "finds nothing"),
        ({"expression": None}, "expression", "needed"),
        ({"expression": "|".join(["Patient.gender"] * 700)}, "expression", "longer than 10000"),
        ({"expression": "Patient" + ".extension" * 900 + ".url"}, "expression", "too long"),
        ({"expression": "(" * 60 + "Patient.gender" + ")" * 60}, "expression", "brackets"),
        ({"type": "date", "expression": "Patient.name.family"}, "type", "cannot be of string"),
        ({"type": "date", "expression": "Patient.birthDate | Patient.name.family"}, "type", "cannot be of string"),
        ({"type": "token", "expression": "Patient.name"}, "type", "cannot be of HumanName"),
        ({"type": "token", "expression": "Patient"}, "type", "cannot be of Patient"),
        ({"type": "special"}, "type", "special"),
        ({"base": ["Patient", "Parameters"]}, "base", "Parameters"),
        ({"code": "name"}, "code", "taken"),
        ({"code": "_mine"}, "code", "a name of letters"),
        ({"code": "a.b"}, "code", "a name of letters"),
        ({"modifier": ["contains"]}, "modifier", "contains"),
        ({"comparator": ["gt"]}, "comparator", "gt"),
        ({"target": ["Patient"]}, "target", "only a reference"),
        ({"type": "reference", "expression": "Patient.generalPractitioner", "target": ["Claim"]}, "target", "none of"),
        ({"component": [{"definition": "urn:x", "expression": "x"}]}, "component", "only a composite"),
        (
            {"type": "composite", "component": [{"definition": "urn:x", "expression": "x"}]},
            "component",
            "no parameter of R4",
        ),
    ],
)
async def test_what_cannot_be_searched_is_refused_with_its_place_and_nothing_is_stored(
    fhir: Client, given: dict[str, object], element: str, reason: str
) -> None:
    body = parameter("bad", **given)
    answer = await fhir.put("/SearchParameter/bad", json=body)
    assert answer.status_code == 422, answer.text
    issues = answer.json()["issue"]
    assert [f"SearchParameter.{element}"] in [issue["expression"] for issue in issues]
    assert reason in " ".join(issue["diagnostics"] for issue in issues)
    assert (await fhir.get("/SearchParameter/bad")).status_code == 404
    entry = {"resource": body, "request": {"method": "PUT", "url": "SearchParameter/bad"}}
    other = {"resource": patient("kept"), "request": {"method": "PUT", "url": "Patient/kept"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [other, entry]}
    refused = await fhir.post("", json=bundle)
    assert refused.status_code == 422
    assert [f"Bundle.entry[1].resource.{element}"] in [i["expression"] for i in refused.json()["issue"]]
    assert (await fhir.get("/Patient/kept")).status_code == 404


async def test_a_base_that_is_no_type_is_refused(fhir: Client) -> None:
    answer = await fhir.post("/SearchParameter", json=parameter(base=["Patientt"]))
    assert answer.status_code in (400, 422)
    assert "SearchParameter.base" in answer.text


async def test_drafts_are_stored_and_not_searched_until_they_are_active(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue")))
    for status in ("draft", "retired", "unknown"):
        await put(fhir, parameter(status=status))
        told = await state(fhir)
        assert told["state"] == "inactive"
        assert status in told["error"]
        assert (await fhir.get("/Patient?color=blue")).status_code == 400
    await searchable(fhir, parameter(experimental=True))
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]
    await put(fhir, parameter(status="retired"))
    assert (await fhir.get("/Patient?color=blue")).status_code == 400
    assert (await fhir.get("/SearchParameter/color")).status_code == 200


async def test_a_new_expression_finds_other_things_and_the_old_no_more(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue"), name=[{"text": "Red"}]))
    await searchable(fhir, parameter())
    named = parameter(type="string", expression="Patient.name.text")
    await put(fhir, named)
    assert (await fhir.get("/Patient?color=red")).status_code == 409
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=red") == ["blue"]
    assert await ids(fhir, "/Patient?color=blue") == []
    await put(fhir, named | {"description": "says the same in other words"})
    assert await ids(fhir, "/Patient?color=red") == ["blue"]


async def test_a_deleted_parameter_is_searched_no_more_and_leaves_no_entries(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue"), extension(U, valueDate="2024-01-01")))
    before = await _entries(fhir, "blue")
    await searchable(fhir, parameter(), parameter("day", type="date", expression=f"Patient.extension('{U}').value"))
    between = await _entries(fhir, "blue")
    assert len(between[0]) > len(before[0])
    assert between[1] == before[1] + 1
    for id_ in ("color", "day"):
        assert (await fhir.delete(f"/SearchParameter/{id_}")).status_code == 204
    assert (await fhir.get("/Patient?color=blue")).status_code == 400
    assert (await fhir.get("/SearchParameter/color/$progress")).status_code == 410
    await jobs(fhir.concord).drain()
    assert await _entries(fhir, "blue") == before
    await searchable(fhir, parameter())
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]


async def _entries(fhir: Client, id_: str) -> tuple[list[int], int]:
    """Return the keys of a patient's row, and how many dates stand in the index for it."""
    sql = (
        "select keys, (select count(*) from idx_date d where d.tenant_id = r.tenant_id and d.rid = r.rid)"
        " from resource r where tenant_id = %s and id = %s and body is not null"
    )
    ((keys, dates),) = await fhir.concord.db.fetch(fhir.tenant_id, sql, (fhir.tenant_id, id_))
    return keys, dates


async def test_another_tenant_neither_sees_nor_searches_it(fhir: Client, other: Client) -> None:
    for client in (fhir, other):
        await put(client, patient("blue", color("blue")))
    await searchable(fhir, parameter())
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]
    assert (await other.get("/Patient?color=blue")).status_code == 400
    assert (await other.get("/SearchParameter/color/$progress")).status_code == 404
    assert await _searched(fhir, "Patient", "color") == [
        {"name": "color", "definition": "https://clinic.example/SearchParameter/color", "type": "token"}
    ]
    assert await _searched(other, "Patient", "color") == []
    assert await _searched(fhir, "Observation", "color") == []
    await searchable(other, parameter(type="string", expression="Patient.name.text"))
    assert await ids(other, "/Patient?color=blue") == []
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]


async def _searched(client: Client, resource_type: str, code: str) -> list[dict[str, str]]:
    """Return what /metadata says of a parameter of a type."""
    answer = await client.get("/metadata")
    (rest,) = answer.json()["rest"]
    (found,) = [one for one in rest["resource"] if one["type"] == resource_type]
    return [one for one in found["searchParam"] if one["name"] == code]


async def test_metadata_lists_it_when_it_can_be_searched_and_names_the_operation(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue")))
    await defined(fhir, parameter())
    assert await _searched(fhir, "Patient", "color") == []
    await jobs(fhir.concord).drain()
    assert len(await _searched(fhir, "Patient", "color")) == 1
    await fhir.delete("/SearchParameter/color")
    assert await _searched(fhir, "Patient", "color") == []
    (rest,) = (await fhir.get("/metadata")).json()["rest"]
    by_type = {one["type"]: [op["name"] for op in one.get("operation", ())] for one in rest["resource"]}
    assert "progress" in by_type["SearchParameter"]
    assert "progress" not in by_type["Patient"]


async def test_it_takes_the_scope_to_write_search_parameters(fhir: Client) -> None:
    for scope, patient_id in (("system/Patient.cruds", None), ("system/*.rs", None), ("patient/*.cruds", "p")):
        token = await fhir.token(scope, patient=patient_id)
        assert (await fhir.put("/SearchParameter/color", json=parameter(), token=token)).status_code == 403
        answer = await fhir.get("/SearchParameter/color/$progress", token=token)
        assert answer.status_code in (403, 404)
    token = await fhir.token("system/SearchParameter.cruds")
    assert (await fhir.put("/SearchParameter/color", json=parameter(), token=token)).status_code == 201
    hidden = await fhir.token("patient/*.rs", patient="p")
    assert (await fhir.get("/SearchParameter/color/$progress", token=hidden)).status_code == 404
    assert (await fhir.delete("/SearchParameter/color", token=hidden)).status_code in (403, 404)


async def test_a_patients_token_finds_by_it_what_is_the_patients(fhir: Client) -> None:
    await put(fhir, patient("mine", color("blue")), patient("anothers", color("blue")))
    await searchable(fhir, parameter())
    token = await fhir.token("patient/*.rs", patient="mine")
    assert await ids(fhir, "/Patient?color=blue", token=token) == ["mine"]


async def test_progress_tells_how_far_it_is(fhir: Client) -> None:
    await put(fhir, *(patient(f"p{n}", color("blue")) for n in range(5)))
    await defined(fhir, parameter())
    waiting = await state(fhir)
    assert (waiting["state"], waiting["done"]) == ("indexing", 0)
    assert "started" not in waiting
    await jobs(fhir.concord).drain()
    done = await state(fhir)
    assert (done["state"], done["done"], done["total"]) == ("active", 5, 5)
    assert done["requested"] <= done["started"] <= done["finished"]
    assert "error" not in done
    assert (await fhir.get("/SearchParameter/nothing/$progress")).status_code == 404
    assert (await fhir.get("/Patient/p1/$progress")).status_code == 404
    assert (await fhir.post("/SearchParameter/color/$progress")).status_code in (404, 405)


async def test_a_code_means_one_thing_in_a_tenant(fhir: Client) -> None:
    await searchable(fhir, parameter())
    twice = await fhir.put("/SearchParameter/again", json=parameter("again", code="color", expression="Patient.gender"))
    assert twice.status_code == 422
    assert "taken" in twice.text
    moved = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"request": {"method": "DELETE", "url": "SearchParameter/color"}},
            {
                "resource": parameter("again", code="color", expression="Patient.gender"),
                "request": {"method": "PUT", "url": "SearchParameter/again"},
            },
        ],
    }
    assert (await fhir.post("", json=moved)).status_code == 200
    await put(fhir, patient("p", gender="female"))
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=female") == ["p"]


async def test_it_is_taken_by_every_way_of_writing(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue")))
    url = "https://clinic.example/SearchParameter/color"
    plain = parameter(status="draft")
    del plain["id"]
    answer = await fhir.put(f"/SearchParameter?url={url}", json=plain)
    assert answer.status_code == 201, answer.text
    id_ = answer.json()["id"]
    active = [{"op": "replace", "path": "/status", "value": "active"}]
    headers = {"content-type": "application/json-patch+json"}
    answer = await fhir.request(
        "PATCH", f"/SearchParameter/{id_}", content=msgspec.json.encode(active), headers=headers
    )
    assert answer.status_code == 200, answer.text
    assert (await fhir.get("/Patient?color=blue")).status_code == 409
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?color=blue") == ["blue"]
    answer = await fhir.delete(f"/SearchParameter?url={url}")
    assert answer.status_code == 204
    assert (await fhir.get("/Patient?color=blue")).status_code == 400


async def test_a_conditional_write_by_a_parameter_waits_for_its_index_and_then_finds(fhir: Client) -> None:
    await put(fhir, patient("blue", color("blue")))
    await defined(fhir, parameter())
    headers = {"if-none-exist": "color=blue"}
    body = patient("x", color("blue"))
    assert (await fhir.post("/Patient", json=body, headers=headers)).status_code == 409
    await jobs(fhir.concord).drain()
    answer = await fhir.post("/Patient", json=body, headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (200, "blue")


async def test_an_unknown_parameter_stays_unknown(fhir: Client) -> None:
    await searchable(fhir, parameter())
    assert (await fhir.get("/Patient?colour=blue")).status_code == 400
    lenient = await fhir.get("/Patient?colour=blue", headers={"prefer": "handling=lenient"})
    assert lenient.status_code == 200


async def test_as_many_as_the_setting_says(fhir: Client) -> None:
    most = fhir.concord.service.limits.max_search_parameters
    entries = [
        {
            "resource": parameter(f"c{n}", expression="Patient.gender"),
            "request": {"method": "PUT", "url": f"SearchParameter/c{n}"},
        }
        for n in range(most + 1)
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = await fhir.post("", json=bundle)
    assert answer.status_code == 422
    assert str(most) in answer.text
    bundle["entry"] = entries[:3]
    assert (await fhir.post("", json=bundle)).status_code == 200
    await jobs(fhir.concord).drain()
    await put(fhir, patient("p", gender="female"))
    assert await ids(fhir, "/Patient?c0=female&c1=female&c2=female") == ["p"]
