"""Bodies and answers packed by gzip. https://www.rfc-editor.org/rfc/rfc9110#name-content-codings"""

from __future__ import annotations

import gzip
import json
import zlib

import httpx
import pytest

from fhir_server.http.coding import packed, takes_gzip, unpacked
from tests.fhir import Client

PATIENT = json.dumps({"resourceType": "Patient", "id": "a", "name": [{"text": "x" * 4000}]}).encode()
FHIR = {"content-type": "application/fhir+json"}


async def raw(fhir: Client, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """Return an answer and its body as it came over the wire."""
    given = {"authorization": f"Bearer {await fhir.token('system/*.cruds')}", **headers}
    async with fhir.http.stream("GET", fhir.base + path, headers=given) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.2", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0.1, br", True),
        ("", False),
        ("identity", False),
        ("br, zstd", False),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*;q=0", False),
        ("gzip;q=x", False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(header: str, takes: bool) -> None:
    assert takes_gzip(header) is takes


async def test_an_answer_is_packed_when_asked_and_large_enough(fhir: Client) -> None:
    await fhir.put("/Patient/a", content=PATIENT, headers=FHIR)
    await fhir.put("/Patient/b", json={"resourceType": "Patient", "id": "b"})
    plain, body = await raw(fhir, "/Patient/a", **{"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    small, wire = await raw(fhir, "/Patient/a", **{"accept-encoding": "gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) == len(wire) < len(body)
    assert gzip.decompress(wire) == body
    assert small.headers["etag"] == plain.headers["etag"] == 'W/"1"'
    assert small.headers["vary"] == plain.headers["vary"] == "accept, accept-encoding"
    other, _ = await raw(fhir, "/Patient/b", **{"accept-encoding": "gzip"})
    assert "content-encoding" not in other.headers


@pytest.mark.parametrize("form", ["xml", "ndjson", "json&_pretty=true"])
async def test_every_format_may_be_packed(fhir: Client, form: str) -> None:
    await fhir.put("/Patient/a", content=PATIENT, headers=FHIR)
    plain, body = await raw(fhir, f"/Patient/a?_format={form}", **{"accept-encoding": "identity"})
    packed_answer, wire = await raw(fhir, f"/Patient/a?_format={form}", **{"accept-encoding": "gzip"})
    assert packed_answer.headers["content-encoding"] == "gzip"
    assert packed_answer.headers["content-type"] == plain.headers["content-type"]
    assert gzip.decompress(wire) == body


async def test_the_version_of_a_packed_answer_is_a_condition_as_any_other(fhir: Client) -> None:
    await fhir.put("/Patient/a", content=PATIENT, headers=FHIR)
    answer, body = await raw(fhir, "/Patient/a", **{"accept-encoding": "gzip", "if-none-match": 'W/"1"'})
    assert (answer.status_code, body) == (304, b"")
    assert "content-encoding" not in answer.headers


async def test_the_capability_statement_is_packed_too(fhir: Client) -> None:
    answer, wire = await raw(fhir, "/metadata", **{"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(wire))["resourceType"] == "CapabilityStatement"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PATIENT)),
        ("GZIP", gzip.compress(PATIENT)),
        ("x-gzip", gzip.compress(PATIENT)),
        ("deflate", zlib.compress(PATIENT)),
        ("identity", PATIENT),
        ("gzip", gzip.compress(PATIENT[:100]) + gzip.compress(PATIENT[100:])),
    ],
    ids=["gzip", "upper case", "x-gzip", "deflate", "identity", "two streams"],
)
async def test_a_packed_body_is_taken(fhir: Client, coding: str, body: bytes) -> None:
    answer = await fhir.put("/Patient/a", content=body, headers={**FHIR, "content-encoding": coding})
    assert answer.status_code == 201
    assert answer.json()["name"] == json.loads(PATIENT)["name"]


async def test_a_packed_form_and_packed_xml_are_taken(fhir: Client) -> None:
    await fhir.put("/Patient/a", content=PATIENT, headers=FHIR)
    form = {"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"}
    found = await fhir.post("/Patient/_search", content=gzip.compress(b"_id=a&_total=accurate"), headers=form)
    assert found.json()["total"] == 1
    xml = gzip.compress(b'<Patient xmlns="http://hl7.org/fhir"/>')
    headers = {"content-type": "application/fhir+xml", "content-encoding": "gzip"}
    assert (await fhir.post("/Patient", content=xml, headers=headers)).status_code == 201


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", ["/Patient", "/Patient/_search"])
async def test_a_bomb_is_413(fhir: Client, coding: str, path: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = packer.compress(b" " * (fhir.max_body * 20)) + packer.flush()
    assert len(bomb) < fhir.max_body // 10
    answer = await fhir.post(path, content=bomb, headers={**FHIR, "content-encoding": coding})
    assert answer.status_code == 413
    assert answer.json()["issue"][0]["code"] == "too-long"


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", PATIENT, 400),
        ("gzip", gzip.compress(PATIENT)[:-9], 400),
        ("gzip", gzip.compress(PATIENT) + b"more", 400),
        ("gzip", gzip.compress(b"") * 1000, 400),
        ("deflate", gzip.compress(PATIENT), 400),
        ("br", PATIENT, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(PATIENT)), 415),
    ],
    ids=["plain", "cut off", "with a tail", "many streams", "gzip as deflate", "brotli", "twice"],
)
async def test_what_is_not_packed_as_it_says_is_refused(fhir: Client, coding: str, body: bytes, status: int) -> None:
    answer = await fhir.put("/Patient/a", content=body, headers={**FHIR, "content-encoding": coding})
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_body_of_just_the_bytes_that_are_taken_is_taken() -> None:
    assert unpacked(packed(b"x" * 1000), "gzip", 1000) == b"x" * 1000
