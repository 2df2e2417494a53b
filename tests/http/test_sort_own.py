"""`_sort` by parameters that a tenant defines itself. http://hl7.org/fhir/R4/search.html#sort"""

from __future__ import annotations

from fhir_server.app import jobs
from tests.fhir import Client
from tests.http import test_sort
from tests.http.parameters import URL, color, defined, extension, parameter, patient, put, searchable


async def test_own_parameters_are_sorted_by_once_what_is_there_is_indexed(fhir: Client, other: Client) -> None:
    shade = parameter("shade", type="string", expression=f"Patient.extension('{URL}').value.as(string)")
    since = parameter("since", type="date", expression=f"Patient.extension('{URL}').value.as(date)")
    await put(fhir, patient("a", color("red")), patient("b", color("blue"), color("white")), patient("c"))
    await put(fhir, patient("d", extension(valueString="Azur")), patient("e", extension(valueString="ocker")))
    await put(fhir, patient("f", extension(valueDate="2024-05")), patient("g", extension(valueDate="2023-12-31")))
    await defined(fhir, parameter(), shade, since)
    assert (await fhir.get("/Patient?_sort=shade")).status_code == 409
    assert (await other.get("/Patient?_sort=shade")).status_code == 400
    await jobs(fhir.concord).drain()
    for sort, first in (
        ("color", "ba"),
        ("-color", "ba"),
        ("shade", "de"),
        ("-shade", "ed"),
        ("since", "gf"),
        ("-since", "fg"),
    ):
        for count in (1, 3, 20):
            found = await test_sort.ids(fhir, f"/Patient?_sort={sort}&_count={count}")
            assert found[:2] == list(first), sort
            assert sorted(found) == list("abcdefg")
    await fhir.delete("/SearchParameter/shade")
    assert (await fhir.get("/Patient?_sort=shade")).status_code == 400


async def test_a_page_token_ends_with_the_kind_of_the_parameter_it_was_sorted_by(fhir: Client) -> None:
    await put(fhir, *(patient(name, birthDate=f"19{at}0-01-01", gender="male") for at, name in enumerate("abc", 1)))
    kinds = {"date": "Patient.birthDate", "token": "Patient.gender"}
    for before, after in (("date", "token"), ("token", "date")):
        await searchable(fhir, parameter("mine", type=before, expression=kinds[before]))
        answer = await fhir.get("/Patient?_sort=mine&_count=1")
        next_page = next(link["url"] for link in answer.json()["link"] if link["relation"] == "next")
        await searchable(fhir, parameter("mine", type=after, expression=kinds[after]))
        answer = await fhir.get(next_page.removeprefix(fhir.base))
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["expression"] == ["http._cursor"]
