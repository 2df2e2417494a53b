"""Which format is answered and which is taken, by Accept, _format and Content-Type.

http://hl7.org/fhir/R4/http.html#mime-type · https://www.rfc-editor.org/rfc/rfc9110#name-accept
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import NotAcceptable
from fhir_server.http.formats import accepted
from tests.fhir import Client

JSON, XML, LINES = "application/fhir+json", "application/fhir+xml", "application/fhir+ndjson"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        (JSON, JSON),
        (XML, XML),
        (LINES, LINES),
        ("APPLICATION/FHIR+XML", XML),
        ("application/json", "application/json"),
        ("text/json", "text/json"),
        ("application/xml", "application/xml"),
        ("text/xml", "text/xml"),
        ("application/ndjson", "application/ndjson"),
        ("application/x-ndjson", "application/x-ndjson"),
        (f"{JSON};q=0.4, {XML};q=0.5", XML),
        (f"{XML}, {JSON}", XML),
        (f"{JSON}, {XML}", JSON),
        (f"{XML};q=0.9, */*", JSON),
        (f"{XML};q=0.9, */*;q=0.1", XML),
        (f"{JSON};q=0, */*", XML),
        (f"{JSON};q=0, application/*;q=0.5, */*;q=0.9", XML),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", "application/xml"),
        ("application/fhir+turtle, */*;q=0.1", JSON),
        (f"{JSON};charset=utf-8", JSON),
        (f'{XML};charset="UTF-8"', XML),
        (f"{XML};charset=iso-8859-1, {JSON};q=0.1", JSON),
        (f"{JSON};fhirVersion=3.0, */*;q=0.1", JSON),
        (f"{XML};q=x, {JSON};q=0.1", JSON),
        (",, ,", JSON),
    ],
)
def test_the_format_that_the_client_likes_best_is_answered_under_the_name_it_used(accept: str, kind: str) -> None:
    assert accepted(accept)[1] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/fhir+turtle",
        f"{JSON};q=0",
        "*/*;q=0",
        f"{JSON};fhirVersion=3.0",
        f"{XML};fhirVersion=5.0",
        f"{JSON};charset=utf-16",
        "application/json-patch+json",
    ],
)
def test_a_client_that_takes_nothing_of_what_there_is_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        accepted(accept)


def test_a_version_of_fhir_that_was_asked_for_is_said() -> None:
    assert accepted(f"{XML}; fhirVersion=4.0") == ("xml", f"{XML}; charset=utf-8; fhirVersion=4.0")


@given(st.text("applictonfhr+jsxmd/*;q=.01, "))
def test_no_header_breaks_the_choice(accept: str) -> None:
    with suppress(NotAcceptable):
        assert accepted(accept)[0] in ("json", "xml", "ndjson")


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("json", JSON),
        ("xml", XML),
        ("XML", XML),
        ("ndjson", LINES),
        ("application/json", JSON),
        ("text/xml", XML),
        ("application/fhir%2Bxml", XML),
        ("application/fhir+xml", XML),
        ("application/fhir%2Bxml;fhirVersion=4.0", f"{XML}; charset=utf-8; fhirVersion=4.0"),
        ("", JSON),
    ],
)
async def test_format_in_the_address_wins_over_accept(fhir: Client, wanted: str, kind: str) -> None:
    await fhir.put("/Patient/a", json={"resourceType": "Patient", "id": "a"})
    accept = XML if kind == JSON and wanted else JSON
    answer = await fhir.get(f"/Patient/a?_format={wanted}", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (kind if ";" in kind else f"{kind}; charset=utf-8")
    assert answer.headers["vary"] == "accept, accept-encoding"


@pytest.mark.parametrize("wanted", ["html", "ttl", "application/fhir%2Bturtle", "xml;fhirVersion=3.0", "%ff"])
async def test_a_format_that_is_not_there_is_406_with_an_outcome(fhir: Client, wanted: str) -> None:
    answer = await fhir.get(f"/Patient?_format={wanted}")
    assert answer.status_code == 406
    assert answer.json()["issue"][0]["code"] == "not-supported"
    assert (await fhir.get("/Patient", headers={"accept": "text/html"})).status_code == 406


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (JSON, 201),
        ("application/json", 201),
        ("text/json;charset=utf-8", 201),
        (f"{JSON}; fhirVersion=4.0", 201),
        ('application/fhir+json;charset="UTF-8"', 201),
        (f"{JSON}; fhirVersion=3.0", 415),
        (f"{JSON}; charset=iso-8859-1", 415),
        (f"{XML}; charset=utf-16", 415),
        (LINES, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/fhir+turtle", 415),
    ],
)
async def test_a_body_is_taken_by_its_content_type(fhir: Client, kind: str, status: int) -> None:
    content = b'{"resourceType":"Patient"}'
    answer = await fhir.post("/Patient", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    if status == 415:
        assert answer.json()["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize(
    "kind", ["application/xml", LINES, "text/plain", "", "application/json-patch+json;charset=latin1"]
)
async def test_a_patch_of_another_type_is_415(fhir: Client, kind: str) -> None:
    await fhir.put("/Patient/a", json={"resourceType": "Patient", "id": "a"})
    headers = {"content-type": kind} if kind else {}
    answer = await fhir.request("PATCH", "/Patient/a", content=b"[]", headers=headers)
    assert answer.status_code == 415


async def test_a_search_by_post_takes_a_form_in_utf_8_alone(fhir: Client) -> None:
    for kind in (JSON, XML, "application/x-www-form-urlencoded; charset=latin1"):
        answer = await fhir.post("/Patient/_search", content=b"name=a", headers={"content-type": kind})
        assert answer.status_code == 415


async def test_head_tells_what_get_would_answer(fhir: Client) -> None:
    await fhir.put("/Patient/a", json={"resourceType": "Patient", "id": "a"})
    got = await fhir.get("/Patient/a", headers={"accept": XML})
    head = await fhir.request("HEAD", "/Patient/a", headers={"accept": XML})
    assert head.content == b""
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == got.headers[name]
