"""The same resource in JSON and XML, as the client asks and sends. http://hl7.org/fhir/R4/http.html#mime-type"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from conformance.xml_read import to_json
from conformance.xml_write import to_xml
from tests.fhir import Client

XML, JSON = "application/fhir+xml", "application/fhir+json"
OBSERVATION = b"""<Observation xmlns="http://hl7.org/fhir">
  <text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">a &amp; b<br /></div></text>
  <status value="final"><extension url="http://e"><valueDecimal value="1.0"/></extension></status>
  <code><text value="a&#10;b"/></code>
  <valueQuantity><value value="0.10000000000000000000"/></valueQuantity>
</Observation>"""


async def send(fhir: Client, body: bytes, kind: str = XML, path: str = "/Observation", **more: Any) -> httpx.Response:
    """Send a body of a media type by POST, or by another method."""
    headers = {"content-type": kind, **more.pop("headers", {})}
    return await fhir.request(more.pop("method", "POST"), path, content=body, headers=headers, **more)


def inside(answer: httpx.Response) -> Any:
    """Return an answer in XML as the JSON that says the same, numbers as text."""
    assert answer.headers["content-type"].startswith(XML), answer.text
    return json.loads(to_json(answer.content), parse_float=str, parse_int=str)


async def test_what_is_created_in_xml_is_read_in_json_to_the_digit_and_back(fhir: Client) -> None:
    made = await send(fhir, OBSERVATION)
    assert (made.status_code, made.headers["content-type"]) == (201, "application/fhir+json; charset=utf-8")
    assert '"value":0.10000000000000000000' in made.text
    assert made.json()["_status"]["extension"][0]["url"] == "http://e"
    assert made.json()["text"]["div"] == '<div xmlns="http://www.w3.org/1999/xhtml">a &amp; b<br /></div>'
    address = f"/Observation/{made.json()['id']}"
    read = await fhir.get(address, headers={"accept": XML})
    assert read.headers["content-type"] == "application/fhir+xml; charset=utf-8"
    assert read.headers["etag"] == 'W/"1"'
    assert b'<value value="0.10000000000000000000"/>' in read.content
    assert inside(read) == json.loads(made.content, parse_float=str, parse_int=str)


async def test_an_update_with_what_was_read_in_xml_changes_nothing(fhir: Client) -> None:
    made = await send(fhir, OBSERVATION, headers={"accept": XML})
    address = f"/Observation/{inside(made)['id']}"
    again = await send(fhir, made.content, path=address, method="PUT", headers={"if-match": 'W/"1"', "accept": XML})
    assert (again.status_code, again.headers["etag"]) == (200, 'W/"1"')
    changed = made.content.replace(b'"final"', b'"amended"')
    updated = await send(fhir, changed, path=address, method="PUT")
    assert (updated.status_code, updated.headers["etag"]) == (200, 'W/"2"')


async def test_an_update_that_says_the_same_in_another_way_changes_nothing(fhir: Client) -> None:
    body = b"""{"valueQuantity": {"unit": "mg", "value": 1.50}, "status": "final", "id": "a", "resourceType":
      "Observation", "code": {"text": "\\u00e9", "coding": [{"code": "c", "system": "http://s"}]}}"""
    assert (await send(fhir, body, JSON, "/Observation/a", method="PUT")).status_code == 201
    xml = (await fhir.get("/Observation/a", headers={"accept": XML})).content
    for kind, told in ((XML, xml), (JSON, json.dumps(json.loads(body)).replace("1.5", "1.50").encode())):
        again = await send(fhir, told, kind, "/Observation/a", method="PUT")
        assert (again.status_code, again.headers["etag"]) == (200, 'W/"1"'), kind
        assert "\\u00e9" in again.text
    for other in (b"1.500", b"1.5", b"15e-1"):
        answer = await send(fhir, body.replace(b"1.50", other), JSON, "/Observation/a", method="PUT")
        assert answer.headers["etag"] != 'W/"1"'
        assert b'"value": ' + other in answer.content


@pytest.mark.parametrize("kind", ["application/fhir+xml", "application/xml; charset=UTF-8", "text/xml"])
async def test_xml_is_taken_under_each_of_its_names(fhir: Client, kind: str) -> None:
    assert (await send(fhir, OBSERVATION, kind)).status_code == 201


async def test_search_history_and_errors_are_answered_in_xml(fhir: Client) -> None:
    made = (await send(fhir, OBSERVATION)).json()
    headers = {"accept": XML}
    page = inside(await fhir.get("/Observation?status=final&_total=accurate", headers=headers))
    assert (page["type"], page["total"], page["entry"][0]["resource"]["id"]) == ("searchset", "1", made["id"])
    past = inside(await fhir.get(f"/Observation/{made['id']}/_history", headers=headers))
    assert past["entry"][0]["request"]["method"] == "POST"
    version = inside(await fhir.get(f"/Observation/{made['id']}/_history/1", headers=headers))
    assert version["meta"]["versionId"] == "1"
    for path, status in (("/Observation/none", 404), ("/Observation?nonsense=1", 400), ("/Nothing", 404)):
        failed = await fhir.get(path, headers=headers)
        assert failed.status_code == status
        assert inside(failed)["issue"][0]["severity"] == "error"
    assert inside(await fhir.get("/Observation", headers=headers, token=None))["resourceType"] == "OperationOutcome"


async def test_the_capability_statement_is_there_in_xml_without_a_token(fhir: Client) -> None:
    for _ in range(2):
        answer = await fhir.get("/metadata?_format=xml", token=None)
        told = inside(answer)
        assert told["resourceType"] == "CapabilityStatement"
        assert {"application/fhir+xml", "xml", "ndjson"} <= set(told["format"])
        assert "application/fhir+xml" in told["patchFormat"]
    assert answer.text == (await fhir.get("/metadata", headers={"accept": XML}, token=None)).text
    assert (await fhir.get("/metadata", token=None)).json()["resourceType"] == "CapabilityStatement"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_a_bundle_in_xml_is_processed_and_answered_in_xml(fhir: Client, kind: str) -> None:
    body = f"""<Bundle xmlns="http://hl7.org/fhir"><type value="{kind}"/>
      <entry><fullUrl value="urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"/>
        <resource><Patient><active value="true"/></Patient></resource>
        <request><method value="POST"/><url value="Patient"/></request></entry>
      <entry><request><method value="GET"/><url value="Patient?_format=json"/></request></entry></Bundle>"""
    answer = await send(fhir, body.encode(), path="", headers={"accept": XML})
    assert answer.status_code == 200
    found = inside(answer)
    assert found["type"] == f"{kind}-response"
    assert [one["response"]["status"] for one in found["entry"]] == ["201", "200"]


async def test_a_fhirpath_patch_may_be_xml(fhir: Client) -> None:
    made = (await send(fhir, OBSERVATION)).json()
    part = '<part><name value="{}"/><{} value="{}"/></part>'
    told = [("type", "valueCode", "replace"), ("path", "valueString", "Observation.value.value")]
    parts = "".join(part.format(*one) for one in [*told, ("value", "valueDecimal", "7.50")])
    body = (
        f'<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/>{parts}</parameter></Parameters>'
    )
    answer = await send(fhir, body.encode(), path=f"/Observation/{made['id']}", method="PATCH")
    assert answer.status_code == 200
    assert '"value":7.50' in answer.text
    refused = await send(fhir, body.encode(), "application/xml", path=f"/Observation/{made['id']}", method="PATCH")
    assert refused.status_code == 415


async def test_parameters_of_an_operation_may_be_xml(fhir: Client) -> None:
    made = (await send(fhir, OBSERVATION)).json()
    body = b"""<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="meta"/><valueMeta>
      <tag><system value="http://t"/><code value="x"/></tag></valueMeta></parameter></Parameters>"""
    answer = await send(fhir, body, path=f"/Observation/{made['id']}/$meta-add", headers={"accept": XML})
    assert inside(answer)["parameter"][0]["valueMeta"]["tag"][0]["code"] == "x"


async def test_an_answer_of_pages_keeps_its_format_in_the_links(fhir: Client) -> None:
    for _ in range(3):
        await send(fhir, OBSERVATION)
    seen, path = 0, "/Observation?_count=2&_format=xml&_pretty=true"
    while path:
        page = inside(await fhir.get(path))
        seen += len(page["entry"])
        links = {one["relation"]: one["url"] for one in page["link"]}
        assert "_format=xml" in links["self"]
        path = links.get("next", "").removeprefix(fhir.base)
    assert seen == 3
    past = inside(await fhir.get("/Observation/_history?_count=1&_format=xml"))
    assert all("_format=xml" in one["url"] for one in past["link"])


async def test_a_form_may_say_the_format(fhir: Client) -> None:
    await send(fhir, OBSERVATION)
    answer = await fhir.post("/Observation/_search", data={"status": "final", "_format": "xml", "_pretty": "true"})
    assert len(inside(answer)["entry"]) == 1
    assert "\n  <type" in answer.text
    failed = await fhir.post("/Observation/_search", data={"nonsense": "1", "_format": "xml"})
    assert (failed.status_code, inside(failed)["resourceType"]) == (400, "OperationOutcome")
    assert (await fhir.post("/Observation/_search", data={"_format": "html"})).status_code == 406


async def test_pretty_indents_both_formats(fhir: Client) -> None:
    made = (await send(fhir, OBSERVATION)).json()
    address = f"/Observation/{made['id']}?_pretty=true"
    assert '\n  "status": "final"' in (await fhir.get(address)).text
    xml = await fhir.get(f"{address}&_format=xml")
    assert '\n  <id value="' in xml.text
    assert ElementTree.fromstring(xml.text).tag == "{http://hl7.org/fhir}Observation"
    assert inside(xml)["text"] == made["text"]


@pytest.mark.parametrize(
    ("inside_patient", "path", "words"),
    [
        ("<nickname/>", "Patient.nickname", "line 1"),
        ('<birthDate value="1990-02-30"/>', "Patient.birthDate", "1990-02-30"),
        ('<gender value="none"/>', "Patient.gender", "not one of"),
    ],
)
async def test_bad_xml_is_400_with_the_path(fhir: Client, inside_patient: str, path: str, words: str) -> None:
    body = f'<Patient xmlns="http://hl7.org/fhir">{inside_patient}</Patient>'
    answer = await send(fhir, body.encode(), path="/Patient", headers={"accept": XML})
    assert answer.status_code == 400
    (issue,) = inside(answer)["issue"]
    assert issue["expression"] == [path]
    assert words in issue["diagnostics"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<Patient",
        b'<!DOCTYPE p [<!ENTITY a "x">]><Patient xmlns="http://hl7.org/fhir"><id value="&a;"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir">' + b"<contained><Patient>" * 9999,
        b'<Observation xmlns="http://hl7.org/fhir"/>',
    ],
)
async def test_xml_that_cannot_be_read_is_400(fhir: Client, body: bytes) -> None:
    answer = await send(fhir, body, path="/Patient")
    assert answer.status_code == 400, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_xml_of_more_bytes_than_are_taken_is_413(fhir: Client) -> None:
    assert (await send(fhir, b" " * fhir.max_body + OBSERVATION)).status_code == 413


async def test_a_large_answer_and_body_go_through_as_any_other(fhir: Client) -> None:
    notes = [{"text": f"note {n} " + "x" * 900} for n in range(700)]
    data = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "note": notes}
    made = await send(fhir, to_xml(json.dumps(data).encode()), headers={"accept": XML})
    assert made.status_code == 201
    assert inside(made)["note"] == notes


async def test_xml_of_another_tenant_or_without_scope_stays_shut(fhir: Client, other: Client) -> None:
    made = (await send(fhir, OBSERVATION)).json()
    assert (await other.get(f"/Observation/{made['id']}", headers={"accept": XML})).status_code == 404
    token = await fhir.token("system/Patient.cruds")
    assert (await send(fhir, OBSERVATION, token=token)).status_code == 403
    assert (await send(fhir, OBSERVATION, token=None)).status_code == 401


async def test_a_binary_is_a_resource_in_xml_where_that_is_asked_for(fhir: Client) -> None:
    made = await fhir.post("/Binary", content=b"words", headers={"content-type": "text/plain"})
    address = f"/Binary/{made.headers['location'].split('/Binary/')[1].split('/')[0]}"
    read = await fhir.get(address, headers={"accept": XML})
    assert (inside(read)["contentType"], inside(read)["data"]) == ("text/plain", "d29yZHM=")
    assert (await fhir.get(address, headers={"accept": "*/*"})).content == b"words"
    body = b'<Binary xmlns="http://hl7.org/fhir"><contentType value="text/plain"/><data value="d29yZHM="/></Binary>'
    for kind in (XML, "application/xml"):
        sent = await send(fhir, body, kind, "/Binary", headers={"accept": XML})
        assert (sent.status_code, inside(sent)["contentType"]) == (201, "text/plain"), kind
