"""Binary: bytes in, bytes out. http://hl7.org/fhir/R4/binary.html"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fhir import MAX_BODY, Client, running
from tests.http.binaries import FHIR, PDF, PREFERS, sent


def stored_files(fhir: Client) -> list[Path]:
    folder = Path(fhir.concord.settings.object_store.removeprefix("file://"))
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_bytes_come_back_as_they_were_sent(fhir: Client) -> None:
    answer = await fhir.post("/Binary", content=PDF, headers={"content-type": "application/pdf"})
    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"1"')
    assert answer.headers["location"] == f"{fhir.base}/Binary/{answer.json()['id']}/_history/1"
    place = f"/Binary/{answer.json()['id']}"
    for accept in ({}, {"accept": "application/pdf"}, {"accept": "text/html,application/xml;q=0.9,*/*;q=0.8"}, PREFERS):
        read = await fhir.get(place, headers=accept)
        assert (read.status_code, read.content) == (200, PDF), accept
        assert read.headers["content-type"] == "application/pdf"
        assert read.headers["etag"] == 'W/"1"'
    head = await fhir.request("HEAD", place)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(PDF)))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 6 << 20])
async def test_any_size_is_kept(fhir: Client, size: int) -> None:
    content = bytes(n % 251 for n in range(997)) * (size // 997 + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 70_000):
            yield content[start : min(start + 70_000, size)]

    answer = await fhir.post("/Binary", content=pieces(), headers={"content-type": "image/png"})
    assert answer.status_code == 201, answer.text
    assert (await fhir.get(f"/Binary/{answer.json()['id']}")).content == content[:size]


async def test_who_asks_for_fhir_gets_base64(fhir: Client) -> None:
    place = await sent(fhir)
    for more in (
        {"headers": FHIR},
        {"headers": {"accept": "application/json"}},
        {"headers": {"accept": "application/fhir+json, */*;q=0.1"}},
        {"params": {"_format": "json"}},
    ):
        read = await fhir.get(place, **more)
        assert read.headers["content-type"].partition(";")[0].endswith("json")
        body = read.json()
        assert (body["contentType"], base64.b64decode(body["data"])) == ("application/pdf", PDF)
        assert "_data" not in body


async def test_fhir_in_is_fhir_or_bytes_out(fhir: Client) -> None:
    body = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"hello").decode()}
    for kind in ("application/fhir+json", "application/json"):
        answer = await fhir.post("/Binary", json=body, headers={"content-type": kind})
        assert answer.status_code == 201
        assert answer.json()["data"] == body["data"]
        place = f"/Binary/{answer.json()['id']}"
        read = await fhir.get(place)
        assert (read.content, read.headers["content-type"]) == (b"hello", "text/plain")
        assert (await fhir.get(place, headers=FHIR)).json() == answer.json()
        again = await fhir.put(place, json=answer.json(), headers={"content-type": kind})
        assert again.json()["meta"]["versionId"] == "1"
    packed = gzip.compress(json.dumps(body).encode())
    kinds = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await fhir.post("/Binary", content=packed, headers=kinds)
    assert (answer.status_code, answer.json()["data"]) == (201, body["data"])
    read = await fhir.get(f"/Binary/{answer.json()['id']}", headers={"accept": "application/fhir+xml"})
    assert read.headers["content-type"].startswith("application/fhir+xml")
    assert f'<data value="{body["data"]}"/>' in read.text
    xml = await fhir.post("/Binary", content=read.content, headers={"content-type": "application/xml"})
    assert (xml.status_code, xml.json()["contentType"]) == (201, "text/plain")
    wrong = body | {"data": "%%%"}
    assert (await fhir.post("/Binary", json=wrong)).status_code == 400


async def test_a_document_that_is_json_or_xml_is_no_resource(fhir: Client) -> None:
    for content, kind in (
        (b'{"a": 1}', "application/json"),
        (b"<ClinicalDocument xmlns='urn:hl7-org:v3'/>", "application/xml"),
        (b"no type at all", ""),
    ):
        read = await fhir.get(await sent(fhir, content, kind), headers={"accept": "*/*"})
        assert (read.content, read.headers["content-type"]) == (content, kind or "application/octet-stream")


async def test_a_conditional_create_of_bytes(fhir: Client) -> None:
    once = {"content-type": "text/plain", "if-none-exist": "_id=one"}
    assert (await fhir.put("/Binary/one", content=b"1", headers={"content-type": "text/plain"})).status_code == 201
    answer = await fhir.post("/Binary", content=b"2", headers=once)
    assert (answer.status_code, answer.json()["id"]) == (200, "one")
    assert (await fhir.get("/Binary/one?_pretty=true")).content == b"1"


async def test_a_resource_that_is_broken_is_told_so_and_a_document_that_holds_one_is_a_document(fhir: Client) -> None:
    for kind, broken in (
        ("application/json", b'{"resourceType":"Binary","contentType":'),
        ("application/xml", b'<Binary xmlns="http://hl7.org/fhir"><contentType'),
    ):
        answer = await fhir.post("/Binary", content=broken, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome"), kind
    for kind, document in (
        (
            "application/json",
            b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Binary"}}]}',
        ),
        ("application/xml", b"<a>" + b"<Binary " * 100_000),
    ):
        assert (await fhir.get(await sent(fhir, document, kind))).content == document


async def test_a_type_that_fits_no_header_puts_none_in(fhir: Client) -> None:
    body = {"resourceType": "Binary", "data": "aGVsbG8="}
    for kind in ("a/b\nx-evil: 1", "a/b\rx-evil: 1"):
        assert (await fhir.post("/Binary", json=body | {"contentType": kind})).status_code == 400
    answer = await fhir.post("/Binary", json=body | {"contentType": "text/ä"})
    read = await fhir.get(f"/Binary/{answer.json()['id']}")
    assert (read.content, read.headers["content-type"]) == (b"hello", "application/octet-stream")


async def test_put_makes_versions_that_can_be_read(fhir: Client) -> None:
    async def put(content: bytes, **headers: str) -> httpx.Response:
        return await fhir.put("/Binary/b1", content=content, headers={"content-type": "text/plain", **headers})

    assert (await put(b"one")).status_code == 201
    assert (await put(b"one")).headers["etag"] == 'W/"1"'
    assert (await put(b"two", **{"if-match": 'W/"1"'})).headers["etag"] == 'W/"2"'
    assert (await put(b"three", **{"if-match": 'W/"1"'})).status_code == 412
    assert [(await fhir.get(f"/Binary/b1/_history/{n}")).content for n in (1, 2)] == [b"one", b"two"]
    assert (await fhir.get("/Binary/b1/_history/1", headers=FHIR)).json()["data"] == "b25l"
    assert (await fhir.get("/Binary/b1/_history/3")).status_code == 404
    assert (await fhir.get("/Binary/b1", headers={"if-none-match": 'W/"2"'})).status_code == 304
    history = (await fhir.get("/Binary/b1/_history")).json()
    assert [e["resource"]["meta"]["versionId"] for e in history["entry"]] == ["2", "1"]
    assert not any("data" in e["resource"] for e in history["entry"])
    assert (await fhir.delete("/Binary/b1")).status_code == 204
    for headers in ({}, FHIR):
        assert (await fhir.get("/Binary/b1", headers=headers)).status_code == 410
    assert (await fhir.get("/Binary/b1/_history/2")).content == b"two"
    assert (await put(b"four")).status_code == 201
    assert (await fhir.get("/Binary/b1")).content == b"four"


async def test_ranges(fhir: Client) -> None:
    place = await sent(fhir, b"0123456789", "image/png")
    for asked, status, content, told in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ):
        read = await fhir.get(place, headers={"range": asked})
        assert (read.status_code, read.content, read.headers.get("content-range")) == (status, content, told), asked
        assert int(read.headers["content-length"]) == len(content)
    assert (await fhir.get(place)).headers["accept-ranges"] == "bytes"


async def test_nothing_in_it_is_run_by_a_browser(fhir: Client) -> None:
    for kind, shown in (
        ("text/html", False),
        ("image/svg+xml", False),
        ("application/javascript", False),
        ("application/pdf", False),
        ("application/xhtml+xml", False),
        ("text/plain; charset=utf-8", True),
        ("image/jpeg", True),
    ):
        headers = (await fhir.get(await sent(fhir, b"<script>", kind))).headers
        assert headers["content-disposition"].startswith("inline" if shown else "attachment"), kind
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox")


async def test_too_large_is_413_and_leaves_nothing(server_dsn: str, fhir: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000

    async with running(server_dsn, max_binary_bytes=2_000_000) as (concord, clock):
        small = Client(concord, clock, fhir._tenant, fhir.http)
        for content in (b"x" * 2_000_001, pieces()):
            answer = await small.post("/Binary", content=content, headers={"content-type": "image/png"})
            assert (answer.status_code, answer.json()["issue"][0]["code"]) == (413, "too-long")
        assert stored_files(small) == []
        assert "entry" not in (await small.get("/Binary")).json()
        await sent(small, b"x" * 2_000_000, "image/png")


async def test_what_no_write_came_to_use_is_swept_after_its_grace(fhir: Client) -> None:
    place = await sent(fhir)
    for content in (b"small", b"x" * (2 << 20)):
        refused = await fhir.put(place, content=content, headers={"content-type": "a/b", "if-match": 'W/"9"'})
        assert refused.status_code == 412
    assert len(stored_files(fhir)) == 3
    objects, tenant, now = fhir.concord.service.objects, [fhir.tenant_id], fhir.clock()
    assert await objects.sweep(tenant, now - timedelta(hours=1)) == 0
    assert await objects.sweep(tenant, now + timedelta(hours=1)) == 2
    assert len(stored_files(fhir)) == 1
    assert (await fhir.get(place)).content == PDF
    again = await sent(fhir, b"small")
    assert (await fhir.get(again)).content == b"small"


async def test_an_upload_that_a_kill_cut_short_is_swept(fhir: Client) -> None:
    incoming = Path(fhir.concord.settings.object_store.removeprefix("file://")) / "incoming" / "1"
    incoming.mkdir(parents=True)
    (incoming / "abc#1").write_bytes(b"half")
    objects, now = fhir.concord.service.objects, fhir.clock()
    assert await objects.sweep([fhir.tenant_id], now - timedelta(hours=1)) == 0
    assert await objects.sweep([fhir.tenant_id], now + timedelta(hours=1)) == 1
    assert stored_files(fhir) == []


async def test_an_upload_that_breaks_off_leaves_nothing(fhir: Client) -> None:
    host, port = fhir.base.removeprefix("http://").partition("/")[0].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /{fhir.tenant}/fhir/Binary HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nContent-Type: a/b\r\n"
    writer.write(
        f"{head}Authorization: Bearer {await fhir.token('system/*.cruds')}\r\n\r\n".encode() + b"x" * (2 << 20)
    )
    async with asyncio.timeout(60):
        while not stored_files(fhir):
            await asyncio.sleep(0.01)
        writer.close()
        while stored_files(fhir):
            await asyncio.sleep(0.01)
    assert "entry" not in (await fhir.get("/Binary")).json()


async def test_a_write_between_announcement_and_sweep_keeps_its_content(fhir: Client) -> None:
    refused = await fhir.put("/Binary/new", content=PDF, headers={"content-type": "a/b", "if-match": 'W/"9"'})
    assert refused.status_code == 412
    place = await sent(fhir)
    assert await fhir.concord.service.objects.sweep([fhir.tenant_id], fhir.clock() + timedelta(hours=1)) == 0
    assert (await fhir.get(place)).content == PDF


async def test_too_large_to_be_put_into_json_is_told(fhir: Client) -> None:
    place = await sent(fhir, b"x" * (MAX_BODY + 1), "image/png")
    assert (await fhir.get(place, headers=FHIR)).status_code == 413
    assert len((await fhir.get(place)).content) == MAX_BODY + 1


async def test_the_same_content_is_one_object_and_another_tenants_another(fhir: Client, other: Client) -> None:
    first, second = await sent(fhir), await sent(fhir)
    assert first != second
    assert len(stored_files(fhir)) == 1
    await sent(other)
    assert len(stored_files(fhir)) == 2
    assert (await other.get(first)).status_code == 404
    assert (await other.get(first, headers=FHIR)).status_code == 404


async def test_a_content_is_not_had_by_its_name_alone(fhir: Client, other: Client) -> None:
    place = await sent(fhir)
    (found,) = (await fhir.get(f"/Binary?_id={place[8:]}")).json()["entry"]
    body = {"resourceType": "Binary", "contentType": "text/plain", "_data": found["resource"]["_data"]}
    assert (await other.post("/Binary", json=body)).status_code == 400
    forged = body | {"_data": {"extension": [{"url": "urn:concord:object", "valueString": "0" * 64 + ".3"}]}}
    assert (await fhir.post("/Binary", json=forged)).status_code == 400


async def test_search_tells_of_a_binary_without_its_bytes(fhir: Client) -> None:
    place = await sent(fhir)
    for query in (f"_id={place[8:]}", "_lastUpdated=gt2020"):
        (entry,) = (await fhir.get(f"/Binary?{query}")).json()["entry"]
        assert (entry["resource"]["contentType"], "data" in entry["resource"]) == ("application/pdf", False)
    (entry,) = (await fhir.get("/?_type=Binary&_lastUpdated=gt2020")).json()["entry"]
    assert "data" not in entry["resource"]
    assert (await fhir.get(f"{place}?_elements=contentType", headers=FHIR)).json().keys() >= {"contentType"}
    assert (await fhir.get("/Binary?contenttype=x")).status_code == 400


async def test_a_transaction_links_documents_to_binaries(fhir: Client) -> None:
    urn = "urn:uuid:11111111-2222-4333-8444-555555555555"
    data = base64.b64encode(b"scan").decode()
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [{"attachment": {"contentType": "image/png", "url": urn}}],
    }
    entries = [
        {"fullUrl": urn, "resource": {"resourceType": "Binary", "contentType": "image/png", "data": data}},
        {"resource": document},
    ]
    for entry in entries:
        entry["request"] = {"method": "POST", "url": entry["resource"]["resourceType"]}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = await fhir.post("", json=bundle)
    assert answer.status_code == 200, answer.text
    made = [
        e["response"]["location"].removeprefix(f"{fhir.base}/").partition("/_history")[0]
        for e in answer.json()["entry"]
    ]
    url = (await fhir.get(f"/{made[1]}")).json()["content"][0]["attachment"]["url"]
    assert url == made[0]
    assert (await fhir.get(f"/{url}")).content == b"scan"
    reads = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": url}}]}
    assert (await fhir.post("", json=reads)).json()["entry"][0]["resource"]["data"] == data


async def test_what_cannot_be_used_is_refused(fhir: Client) -> None:
    kind = {"content-type": "application/pdf"}
    for method, path, headers, status in (
        ("POST", "/Binary", {"content-type": "a  b"}, 400),
        ("POST", "/Binary", {"x-security-context": "not a reference"}, 400),
        ("POST", "/Binary", {"content-encoding": "gzip"}, 415),
        ("POST", "/Binary", {"if-match": 'W/"1"'}, 400),
        ("PUT", "/Binary/a b", {}, 400),
        ("PUT", "/Binary/x", {"if-match": "abc"}, 400),
    ):
        answer = await fhir.request(method, path, content=PDF, headers=kind | headers)
        assert answer.status_code == status, (path, headers, answer.text)
    assert (await fhir.get("/Binary/none")).status_code == 404
    assert (await fhir.get(f"{await sent(fhir)}?x=1")).status_code == 400
    address = fhir.base.replace(f"/{fhir.tenant}/", "/nobody/")
    assert (await fhir.http.get(f"{address}/Binary/x")).status_code == 404


async def test_a_patch_keeps_the_content(fhir: Client) -> None:
    place = await sent(fhir)
    patch: Any = {"contentType": "image/png"}
    answer = await fhir.request("PATCH", place, json=patch, headers={"content-type": "application/merge-patch+json"})
    assert answer.status_code == 200, answer.text
    read = await fhir.get(place)
    assert (read.content, read.headers["content-type"]) == (PDF, "image/png")
