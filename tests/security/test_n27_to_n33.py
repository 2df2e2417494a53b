"""Parsers and floods: N27 to N33. What is hostile is refused with a sentence, in a time that has a bound.

https://owasp.org/API-Security/editions/2023/en/0xa4-unrestricted-resource-consumption/
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from fhir_server.interactions.table import TABLE
from tests.fhir import Client
from tests.http.binaries import sent
from tests.http.trouble import served
from tests.security.raw import raw

XML = {"content-type": "application/fhir+xml"}
JSON = {"content-type": "application/fhir+json"}
SECRET = "root:x:0"


def refused(answer: httpx.Response, *statuses: int) -> None:
    """Hold an answer to be a refusal with an outcome."""
    assert answer.status_code in (statuses or (400, 413, 414, 415, 422)), (answer.status_code, answer.text[:300])
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert SECRET not in answer.text


DOCTYPES = {
    "plain": "<!DOCTYPE Patient>",
    "file": '<!DOCTYPE Patient [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "http": '<!DOCTYPE Patient [<!ENTITY x SYSTEM "http://127.0.0.1:1/x">]>',
    "external": '<!DOCTYPE Patient SYSTEM "http://127.0.0.1:1/x.dtd">',
    "parameter": '<!DOCTYPE Patient [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]>',
    "laughs": '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY x "&b;&b;&b;&b;">]>',
}


@pytest.mark.parametrize("kind", DOCTYPES)
@pytest.mark.parametrize("place", ["resource", "narrative", "batch"])
async def test_n27_xml_with_a_document_type_is_refused_wherever_xml_is_read(
    fhir: Client, kind: str, place: str
) -> None:
    inside = '<name><family value="&x;"/></name>' if kind not in ("plain", "external") else ""
    patient = f'<Patient xmlns="http://hl7.org/fhir">{inside}</Patient>'
    if place == "narrative":
        div = f'{DOCTYPES[kind]}<div xmlns="http://www.w3.org/1999/xhtml">&x;</div>'
        body = json.dumps({"resourceType": "Patient", "text": {"status": "generated", "div": div}}).encode()
        refused(await fhir.post("/Patient", content=body, headers=JSON))
        return
    whole = patient
    if place == "batch":
        request = '<request><method value="POST"/><url value="Patient"/></request>'
        entry = f"<entry><resource>{patient}</resource>{request}</entry>"
        whole = f'<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/>{entry}</Bundle>'
    text = f'<?xml version="1.0"?>{DOCTYPES[kind]}{whole}'
    refused(await fhir.post("" if place == "batch" else "/Patient", content=text.encode(), headers=XML))


@pytest.mark.parametrize(
    "text",
    [
        '<Patient xmlns="http://hl7.org/fhir" xmlns:xi="http://www.w3.org/2001/XInclude">'
        '<xi:include href="file:///etc/passwd" parse="text"/></Patient>',
        '<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:1/x.xsl"?><xsl:stylesheet version="1.0" '
        'xmlns:xsl="http://www.w3.org/1999/XSL/Transform"/>',
    ],
)
async def test_n27_neither_xinclude_nor_xslt_is_done(fhir: Client, text: str) -> None:
    refused(await fhir.post("/Patient", content=text.encode(), headers=XML))


HOSTILE_JSON: dict[str, bytes] = {
    "deep": b'{"resourceType":"Patient","extension":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": b'{"resourceType":"Patient","contained":' + b'[{"a":' * 20_000 + b"1" + b"}]" * 20_000 + b"}",
    "ten megabytes": b'{"resourceType":"Patient","name":[{"family":"' + b"x" * 10_000_000 + b'"}]}',
    "a million keys": b'{"resourceType":"Patient",' + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}",
    "a key twice": b'{"resourceType":"Patient","active":true,"active":false}',
    "NaN": b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":NaN}}',
    "Infinity": b'{"resourceType":"Observation","status":"final","code":{},"valueQuantity":{"value":Infinity}}',
    "a huge number": b'{"resourceType":"Patient","multipleBirthInteger":' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"resourceType":"Patient","name":[{"family":"\\ud800"}]}',
    "NUL": b'{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}',
    "not UTF-8": b'{"resourceType":"Patient","name":[{"family":"\xff\xfe"}]}',
    "UTF-16": '{"resourceType":"Patient"}'.encode("utf-16"),
    "a tail": b'{"resourceType":"Patient"}{"resourceType":"Patient"}',
    "nothing": b"",
    "a list": b"[]",
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
async def test_n28_hostile_json_is_refused_with_a_sentence(fhir: Client, name: str) -> None:
    refused(await fhir.post("/Patient", content=HOSTILE_JSON[name], headers=JSON))
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == 0


async def test_n28_an_exponent_beyond_all_numbers_changes_nothing_but_itself(fhir: Client) -> None:
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1e400}}'
    answer = await fhir.post("/Observation", content=body, headers=JSON)
    assert answer.status_code in (201, 400, 422)
    assert (await fhir.get("/Observation?value-quantity=gt1")).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("path", ["/Patient", "/Patient/_search", "", "/Binary"])
async def test_n29_a_packed_bomb_is_not_unpacked(fhir: Client, coding: str, path: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = packer.compress(b" " * (fhir.max_body * 20)) + packer.flush()
    refused(await fhir.post(path, content=bomb, headers={**JSON, "content-encoding": coding}), 413, 415)


async def test_n29_a_bomb_in_a_bomb_and_a_thousand_streams_are_refused(fhir: Client) -> None:
    twice = gzip.compress(gzip.compress(b" " * 1_000_000))
    refused(await fhir.post("/Patient", content=twice, headers={**JSON, "content-encoding": "gzip, gzip"}), 415)
    many = gzip.compress(b"") * 1000
    refused(await fhir.post("/Patient", content=many, headers={**JSON, "content-encoding": "gzip"}), 400)


async def test_n29_many_ranges_and_headers_cost_nothing(fhir: Client) -> None:
    place = await sent(fhir, b"0123456789", "text/plain")
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(8000))
    answer = await fhir.get(place, headers={"range": ranges})
    assert answer.status_code in (200, 416)
    assert len(answer.content) <= 10
    body = "--x\r\n" + "a: b\r\n" * 50_000 + "\r\n--x--\r\n"
    refused(await fhir.post("/Patient", content=body, headers={"content-type": "multipart/form-data; boundary=x"}), 415)
    head = b"".join(b"x-%d: y\r\n" % n for n in range(20_000))
    try:
        answer_bytes = await raw(fhir, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
    except ConnectionError:
        return  # closed before all of it was sent
    assert answer_bytes.startswith(b"HTTP/1.1 431 ")


async def test_n30_packages_are_not_taken_in_by_any_door(fhir: Client) -> None:
    """Zip slip and links in packages: there is no door through which a package could come."""
    assert [row.shape for row in TABLE if {"$import", "$install", "$load", "$package"} & set(row.shape)] == []
    for path in ("/ImplementationGuide/$install", "/$load-ig", "/$import", "/$install-package"):
        answer = await fhir.post(path, content=gzip.compress(b"x"), headers={"content-type": "application/gzip"})
        assert answer.status_code in (400, 404, 405, 415), path


HOSTILE_SEARCHES = {
    "values": "code=" + ",".join(str(n) for n in range(3000)),
    "chains": "subject:Patient." + "link:Patient." * 80 + "name=a",
    "reverse chains": "&".join(["_has:Provenance:target:agent=x"] * 40),
    "nested reverse chains": "_has:Provenance:target:" * 70 + "agent=x",
    "includes": "&".join(f"_include=Observation:{name}" for name in ["subject"] * 60),
    "parameters": "&".join(f"_tag=a{n}" for n in range(101)),
    "sorts": "_sort=" + ",".join(["code"] * 40),
    "filter": "_filter=" + "(" * 500 + "code eq x" + ")" * 500,
    "a bad count": "_count=-1",
    "a count that is no number": "_count=1e9",
    "a NUL": "code=%00",
    "a bad date": "date=" + "9" * 500,
    "a bad number": "value-quantity=" + "9" * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE_SEARCHES)
async def test_n31_a_search_that_asks_too_much_is_refused(fhir: Client, name: str) -> None:
    refused(await fhir.get(f"/Observation?{HOSTILE_SEARCHES[name]}"), 400, 414)


async def test_n31_what_may_be_asked_has_a_bound_all_the_same(server_dsn: str) -> None:
    async with served(server_dsn, statement_timeout=5.0) as client:
        for name, other in (("a", "b"), ("b", "a")):
            link = [{"other": {"reference": f"Patient/{other}"}, "type": "seealso"}]
            await client.put(f"/Patient/{name}", json={"resourceType": "Patient", "id": name, "link": link})
        circle = await client.get("/Patient?_include:iterate=Patient:link&_revinclude:iterate=Patient:link")
        assert len(circle.json()["entry"]) == 2
        huge = await client.get("/Patient?_count=1000000000")
        assert huge.status_code == 400
        large = await client.get("/Patient?_count=99999")
        assert "_count=1000" in large.json()["link"][0]["url"]
        for query in ("name:contains=" + "a" * 5000, "name:contains=%25_%25_%25_", "_content=" + "(a " * 300):
            assert (await client.get(f"/Patient?{query}")).status_code in (200, 400, 503)


async def test_n32_a_bundle_or_a_history_of_any_size_is_cut_or_refused(fhir: Client) -> None:
    entries = b",".join([b'{"request":{"method":"GET","url":"Patient"}}'] * 20_000)
    bundle = b'{"resourceType":"Bundle","type":"batch","entry":[' + entries + b"]}"
    refused(await fhir.post("", content=bundle[: fhir.max_body - 1] if len(bundle) > fhir.max_body else bundle,
                            headers=JSON), 400, 413)  # fmt: skip
    nested: Any = {"resourceType": "Bundle", "type": "batch", "entry": []}
    for _ in range(4):
        request = {"method": "POST", "url": ""}
        nested = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": nested, "request": request}]}
    answer = await fhir.post("", json=nested)
    assert answer.status_code in (200, 400)
    assert answer.status_code == 400 or answer.json()["entry"][0]["response"]["status"][0] == "4"
    for path in ("/_history?_count=1000000000", "/Patient/_history?_count=1000000000"):
        answer = await fhir.get(path)
        assert answer.status_code in (200, 400)
    assert (await fhir.get("/_history?_since=" + "9" * 400)).status_code == 400


SMUGGLED = {
    "length and chunks": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
    "a coding that is none": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"content-length : 4\r\n\r\nabcd",
    "a signed length": b"content-length: +4\r\n\r\nabcd",
    "a bad chunk": b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a folded header": b"x: y\r\n content-length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_n33_no_second_request_is_smuggled_behind_the_first(fhir: Client, name: str) -> None:
    await fhir.put("/Patient/kept", json={"resourceType": "Patient", "id": "kept"})
    token = await fhir.token("system/*.cruds")
    place = f"/{fhir.tenant}/fhir/Patient".encode()
    second = b"DELETE " + place + b"/kept HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + token.encode() + b"\r\n\r\n"
    first = b"POST " + place + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + SMUGGLED[name]
    answer = await raw(fhir, first + (second if name != "a folded header" else b""))
    assert b"HTTP/1.1 204" not in answer
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert (await fhir.get("/Patient/kept")).status_code == 200


async def test_n33_no_header_or_parameter_changes_the_method(fhir: Client) -> None:
    await fhir.put("/Patient/kept", json={"resourceType": "Patient", "id": "kept"})
    for name in ("x-http-method-override", "x-method-override", "x-http-method"):
        await fhir.post("/Patient/kept", headers={name: "DELETE"})
        await fhir.get("/Patient/kept", headers={name: "DELETE"})
    await fhir.get("/Patient/kept?_method=DELETE")
    await fhir.post("/Patient/kept?_method=DELETE", content="_method=DELETE")
    assert (await fhir.get("/Patient/kept")).status_code == 200


async def test_n33_nothing_that_a_client_sends_becomes_a_header_of_its_own(fhir: Client) -> None:
    evil = "x%0d%0aset-cookie:%20evil=1"
    for path in (f"/Patient/{evil}", f"/{evil}", f"/Patient?_id={evil}", f"/Patient?_sort={evil}"):
        answer = await fhir.get(path)
        assert "set-cookie" not in answer.headers
    for headers in ({"x-request-id": "a\tb" + "c" * 500}, {"if-none-match": 'W/"1"; x'}, {"prefer": "return=\x7f"}):
        answer = await fhir.post("/Patient", json={"resourceType": "Patient"}, headers=headers)
        assert "set-cookie" not in answer.headers
        assert len(answer.headers.get("x-request-id", "")) <= 200
