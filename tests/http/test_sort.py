"""`_sort` by any parameter, in pages, and what the links say. http://hl7.org/fhir/R4/search.html#sort"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from conformance.search_params import Registry
from tests.fhir import Client

PATIENTS: dict[str, dict[str, Any]] = {
    "ada": {
        "name": [{"family": "Müller", "given": ["Ada"]}], "birthDate": "1970-05-01", "gender": "female",
        "identifier": [{"value": "9"}, {"value": "1"}], "managingOrganization": {"reference": "Organization/b"},
    },
    "bob": {
        "name": [{"family": "abel"}, {"family": "Zahn"}], "birthDate": "1970-05", "gender": "male",
        "identifier": [{"value": "5"}],
    },
    "cy": {"name": [{"family": "Meier"}], "gender": "female", "managingOrganization": {"reference": "Organization/a"}},
    "dee": {"birthDate": "1991", "identifier": [{"value": "3"}]},
}  # fmt: skip


async def patients(fhir: Client) -> None:
    for name in ("a", "b"):
        await put(fhir, {"resourceType": "Organization", "id": name, "name": f"Org {name}"})
    for name, more in PATIENTS.items():
        await put(fhir, {"resourceType": "Patient", "id": name, **more})


async def put(fhir: Client, resource: dict[str, Any]) -> None:
    answer = await fhir.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text


def links(page: dict[str, Any]) -> dict[str, str]:
    return {link["relation"]: link["url"] for link in page["link"]}


async def ids(fhir: Client, path: str, mode: str = "match", **more: Any) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    while path:
        answer = await fhir.get(path, **more)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [e["resource"]["id"] for e in page.get("entry", []) if e["search"]["mode"] == mode]
        path = links(page).get("next", "").removeprefix(fhir.base)
    return found


# By what is sorted by: the order, of several values the first in it, what has none last.
ORDERS = [
    ("family", "bob cy ada dee"),
    ("-family", "bob ada cy dee"),
    ("birthdate", "ada bob dee cy"),
    ("-birthdate", "dee bob ada cy"),
    ("gender,-birthdate", "ada cy bob dee"),
    ("-gender,family", "bob cy ada dee"),
    ("identifier", "ada dee bob cy"),
    ("-identifier", "ada bob dee cy"),
    ("organization", "cy ada bob dee"),
    ("-organization,-_id", "ada cy dee bob"),
    ("_id", "ada bob cy dee"),
    ("-_id", "dee cy bob ada"),
    ("-_lastUpdated", "dee cy bob ada"),
    ("_lastUpdated", "ada bob cy dee"),
]


@pytest.mark.parametrize("count", ["", "&_count=1", "&_count=3"])
async def test_a_search_comes_in_the_order_that_is_asked_for(fhir: Client, count: str) -> None:
    await patients(fhir)
    for sort, order in ORDERS:
        assert await ids(fhir, f"/Patient?_sort={sort}{count}") == order.split(), sort


async def test_numbers_and_quantities_are_sorted_by_value_and_dates_by_their_beginning(fhir: Client) -> None:
    for name, value, when in (("a", 10, "2020"), ("b", 9.5, "2020-06"), ("c", -1, "2019-12-31"), ("d", None, None)):
        more = {"valueQuantity": {"value": value}, "effectiveDateTime": when} if when else {}
        base = {"resourceType": "Observation", "id": name, "status": "final", "code": {"text": name.upper()}}
        await put(fhir, base | more)
    for sort, order in (
        ("value-quantity", "cbad"),
        ("-value-quantity", "abcd"),
        ("date", "cabd"),
        ("-date", "bacd"),
        ("-code", "dcba"),
    ):
        assert await ids(fhir, f"/Observation?_sort={sort}") == list(order), sort
    for name, chance in (("x", 0.30), ("y", 0.3000001), ("z", 1e-7)):
        risk = {"status": "final", "subject": {"display": "x"}, "prediction": [{"probabilityDecimal": chance}]}
        await put(fhir, {"resourceType": "RiskAssessment", "id": name, **risk})
    assert await ids(fhir, "/RiskAssessment?_sort=-probability") == ["y", "x", "z"]


async def test_sorting_goes_with_filters_chains_reverse_chains_lists_compartments_and_includes(fhir: Client) -> None:
    await patients(fhir)
    for name, who, day in (("o1", "ada", "3"), ("o2", "ada", "1"), ("o3", "bob", "2"), ("o4", "ada", "2")):
        await put(
            fhir,
            {
                "resourceType": "Observation", "id": name, "status": "final", "code": {"coding": [{"code": "k"}]},
                "subject": {"reference": f"Patient/{who}"}, "effectiveDateTime": f"2020-01-0{day}",
            },
        )  # fmt: skip
    items = [{"item": {"reference": f"Patient/{name}"}} for name in ("dee", "ada")]
    await put(fhir, {"resourceType": "List", "id": "l", "status": "current", "mode": "working", "entry": items})
    for query, order in (
        ("/Observation?patient=ada&_sort=-date", "o1 o4 o2"),
        ("/Observation?patient=ada&code=k&_sort=date", "o2 o4 o1"),
        ("/Observation?date=ge2020-01-02&_sort=-date,_id", "o1 o3 o4"),
        ("/Observation?date=ge2020-01-02&date=lt2020-01-03&_sort=-date,-_id", "o4 o3"),
        ("/Observation?subject:Patient.family=mull&_sort=date", "o2 o4 o1"),
        ("/Patient?_has:Observation:patient:code=k&_sort=family", "bob ada"),
        ("/Patient?_list=l&_sort=birthdate", "ada dee"),
        ("/Patient/ada/Observation?_sort=date", "o2 o4 o1"),
        ("/Patient?gender=female&_sort=family", "cy ada"),
        ("/Patient?birthdate=ge1970&_sort=-birthdate", "dee bob ada"),
        ("/Patient?birthdate:missing=true&_sort=birthdate", "cy"),
    ):
        for count in ("", "&_count=1"):
            assert await ids(fhir, query + count) == order.split(), query
    path = "/Observation?_sort=date&_count=2&_include=Observation:patient"
    assert sorted(await ids(fhir, path, "include")) == ["ada", "ada", "bob"]
    form = {"_sort": "-date", "patient": "ada", "_count": "2"}
    token = await fhir.token("system/*.rs")
    posted = await fhir.http.post(
        f"{fhir.base}/Observation/_search", data=form, headers={"authorization": f"Bearer {token}"}
    )
    assert [e["resource"]["id"] for e in posted.json()["entry"]] == ["o1", "o4"]
    assert await ids(fhir, links(posted.json())["next"].removeprefix(fhir.base)) == ["o2"]


async def test_several_types_are_sorted_by_what_all_of_them_have(fhir: Client) -> None:
    await patients(fhir)
    for name, family in (("p1", "Mann"), ("p2", "Zahn")):
        await put(fhir, {"resourceType": "Practitioner", "id": name, "name": [{"family": family}], "gender": "male"})
    await put(fhir, {"resourceType": "Practitioner", "id": "dee"})
    both = "?_type=Patient,Practitioner"
    for sort, order in (
        ("family", "bob p1 cy ada p2 dee dee"),
        ("-family", "p2 bob ada cy p1 dee dee"),
        ("gender,_id", "ada cy bob p1 p2 dee dee"),
        ("_id", "ada bob cy dee dee p1 p2"),
    ):
        for count in ("", "&_count=1", "&_count=4"):
            assert await ids(fhir, f"{both}&_sort={sort}{count}") == order.split(), sort
    refused = await fhir.get(f"{both}&_sort=birthdate")
    assert refused.status_code == 400
    assert "Practitioner has no search parameter 'birthdate'" in refused.text
    refused = await fhir.get("?_type=Observation,MolecularSequence&_sort=patient,code")
    assert refused.status_code == 400
    refused = await fhir.get("?_type=Patient,Composition,ActivityDefinition&_sort=version")
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("/Patient?_sort=shoesize", "no search parameter"),
        ("/Patient?_sort=family,shoesize", "no search parameter"),
        ("/Patient?_sort=organization.name", "cannot be sorted by"),
        ("/Patient?_sort=family:exact", "cannot be sorted by"),
        ("/Patient?_sort=", "a value is missing"),
        ("/Patient?_sort=family,", "is missing"),
        ("/Patient?_sort=-", "is missing"),
        ("/Patient?_sort=_score", "no search parameter"),
        ("/Patient?_sort=family&_sort=_id", "more than once"),
        ("/Observation?_sort=code-value-quantity", "of type composite"),
        ("/Location?_sort=near", "of type special"),
    ],
)
async def test_what_cannot_be_sorted_by_is_refused_and_named(fhir: Client, query: str, said: str) -> None:
    answer = await fhir.get(query)
    assert answer.status_code == 400
    (issue,) = answer.json()["issue"]
    assert said in issue["diagnostics"]
    assert issue["expression"] == ["http._sort"]


async def test_every_parameter_that_is_told_is_sorted_by_or_refused_for_its_kind(fhir: Client) -> None:
    registry = Registry.r4()
    for name in ("Patient", "Observation", "Claim", "DocumentReference", "Bundle", "Appointment", "ValueSet"):
        await put(fhir, {"resourceType": "Patient", "id": "p"})
        for param in registry.for_type(name).values():
            status = 400 if param.kind in ("composite", "special") else 200
            for sign in ("", "-"):
                answer = await fhir.get(f"/{name}?_sort={sign}{param.code}")
                assert answer.status_code == status, (param.code, answer.text)


async def test_an_order_is_never_left_out_in_part(fhir: Client) -> None:
    for query in ("/Patient?_sort=family,shoesize", "?_type=Patient,Observation&_sort=family"):
        assert (await fhir.get(query, headers={"prefer": "handling=lenient"})).status_code == 400


async def test_a_tenant_and_a_patient_see_in_any_order_what_they_may(fhir: Client, other: Client) -> None:
    await patients(fhir)
    await put(other, {"resourceType": "Patient", "id": "canary", "name": [{"family": "Aa"}], "gender": "female"})
    ada = await fhir.token("patient/*.rs", patient="ada")
    for sort, _ in ORDERS:
        assert await ids(fhir, f"/Patient?_sort={sort}", token=ada) == ["ada"]
        assert await ids(other, f"/Patient?_sort={sort}") == ["canary"]
        assert "canary" not in await ids(fhir, f"/Patient?_sort={sort}&_count=2")
    assert (await fhir.get("/Patient?_sort=family", token=await fhir.token("system/Observation.rs"))).status_code == 403


@pytest.mark.parametrize("number", ["1e-99999", "0.1e-20000", "1e308", f"0.{'1' * 20000}"])
async def test_a_number_that_the_database_cannot_hold_stops_no_order(fhir: Client, number: str) -> None:
    for code, value in (("b", "1"), ("a", "2"), ("z", number)):
        said = f'"code":{{"coding":[{{"code":"{code}"}}]}},"valueQuantity":{{"value":{value}}}'
        body = f'{{"resourceType":"Observation","id":"{code}","status":"final",{said}}}'
        headers = {"content-type": "application/fhir+json"}
        assert (await fhir.put(f"/Observation/{code}", content=body, headers=headers)).status_code == 201
    for sort, order in (("code", "abz"), ("_id", "abz")):
        assert await ids(fhir, f"/Observation?_sort={sort}") == list(order)
        assert await ids(fhir, f"/Observation?_sort={sort}&_count=1") == list(order)


# ---- page tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["family", "gender,-_id", "-_lastUpdated"])
async def test_a_page_token_is_good_for_its_user_tenant_query_and_order_alone(
    fhir: Client, other: Client, sort: str
) -> None:
    await patients(fhir)
    page = (await fhir.get(f"/Patient?gender=female,male&_sort={sort}&_count=1")).json()
    following = links(page)["next"].removeprefix(fhir.base)
    assert (await fhir.get(following)).status_code == 200
    assert (await fhir.get(following.replace("_count=1", "_count=9"))).status_code == 200
    token = following.rpartition("_cursor=")[2]
    last = "B" if token[5] == "A" else "A"
    for wrong in (
        following.replace("gender=female", "gender=other"),
        following.replace("_sort=", "_sort=-_id,"),
        following.replace("/Patient", "/Practitioner"),
        following.replace(token, token[:5] + last + token[6:]),
        following.replace(token, token[:-4]),
    ):
        answer = await fhir.get(wrong)
        assert answer.status_code == 400, wrong
        assert "_cursor" in answer.text
    assert (await other.get(following)).status_code == 400
    anna = await fhir.token("system/*.rs", subject="anna")
    assert (await fhir.get(following, token=anna)).status_code == 400


async def test_a_page_token_tells_nothing_of_a_patient(fhir: Client) -> None:
    for name in ("Geheimrat", "Geheimrat"):
        await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": name}]})
    page = (await fhir.get("/Patient?_sort=family&_count=1")).json()
    from base64 import urlsafe_b64decode

    token = dict(parse_qsl(urlsplit(links(page)["next"]).query))["_cursor"]
    assert b"eheim" not in urlsafe_b64decode(token)


async def test_a_history_token_is_good_for_its_history_alone(fhir: Client, other: Client) -> None:
    await patients(fhir)
    await patients(other)
    await put(fhir, {"resourceType": "Patient", "id": "ada", "active": True})
    for path in ("/Patient/_history?", "/_history?", "/Patient/ada/_history?", "/Patient/_history?_sort=_lastUpdated&"):
        page = (await fhir.get(f"{path}_count=1")).json()
        following = links(page)["next"].removeprefix(fhir.base)
        assert (await fhir.get(following)).status_code == 200
        assert (await fhir.get(following.replace("_count=1", "_count=5"))).status_code == 200
        assert (await other.get(following)).status_code == 400
        anna = await fhir.token("system/*.rs", subject="anna")
        assert (await fhir.get(following, token=anna)).status_code == 400
        assert (await fhir.get(following + "&_since=2000")).status_code == 400
        for elsewhere in ("/Patient/bob/_history?", "/Organization/_history?"):
            assert (await fhir.get(following.replace(following.partition("?")[0] + "?", elsewhere))).status_code == 400


# ---- links ------------------------------------------------------------------------------------------------------


async def test_the_self_link_says_what_was_done(fhir: Client) -> None:
    await patients(fhir)

    async def told(path: str) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(links((await fhir.get(path)).json())["self"]).query)

    assert await told("/Patient") == [("_sort", "-_lastUpdated"), ("_count", "20")]
    assert await told("/Patient?gender=male&_sort=family,-_id") == [
        ("gender", "male"), ("_sort", "family,-_id"), ("_count", "20"),
    ]  # fmt: skip
    assert ("_count", "1000") in await told("/Patient?_count=99999")
    assert await told("/Patient?_summary=count") == [("_summary", "count")]
    assert ("_total", "accurate") in await told("/Patient?_total=estimate")


async def test_links_lead_to_the_first_page_and_to_the_same_again(fhir: Client) -> None:
    await patients(fhir)
    first = (await fhir.get("/Patient?_sort=family&_count=2")).json()
    assert set(links(first)) == {"self", "next"}
    second = (await fhir.get(links(first)["next"].removeprefix(fhir.base))).json()
    assert set(links(second)) == {"self", "first"}
    again = (await fhir.get(links(second)["self"].removeprefix(fhir.base))).json()
    assert again["entry"] == second["entry"]
    start = (await fhir.get(links(second)["first"].removeprefix(fhir.base))).json()
    assert start["entry"] == first["entry"]
