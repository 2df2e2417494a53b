"""HEAD answers as GET would, without the body, on everything that is read. http://hl7.org/fhir/R4/http.html#ops"""

from __future__ import annotations

import pytest

from tests.fhir import Client

READS = [
    "/metadata",
    "/Patient/p",
    "/Patient/p?_summary=true&_pretty=true",
    "/Patient/p/_history/1",
    "/Patient/p/_history",
    "/Patient/_history",
    "/_history",
    "/Patient",
    "/Patient?_summary=count",
    "?_type=Patient",
    "/Patient/p/Patient",
    "/Patient/p/$meta",
    "/Patient/none",
    "/Patient?colour=red",
]
CHANGING = ("date", "x-request-id", "content-length")


# So that the length is that of what the test reads.
PLAIN = {"accept-encoding": "identity"}


async def stored(fhir: Client) -> None:
    """Store one patient."""
    answer = await fhir.put("/Patient/p", json={"resourceType": "Patient", "id": "p", "active": True})
    assert answer.status_code == 201


@pytest.mark.parametrize("path", READS)
async def test_head_has_the_status_and_headers_of_get_and_no_body(fhir: Client, path: str) -> None:
    await stored(fhir)
    get, head = [await fhir.request(method, path, headers=PLAIN) for method in ("GET", "HEAD")]
    assert get.content
    assert (head.status_code, head.content) == (get.status_code, b"")
    told = [{k: v for k, v in answer.headers.items() if k not in CHANGING} for answer in (get, head)]
    assert told[0] == told[1]
    assert abs(int(head.headers["content-length"]) - len(get.content)) < 10, "the moment of a bundle may be shorter"


async def test_head_is_conditional_needs_a_token_and_no_other_tenant_learns_a_thing(
    fhir: Client, other: Client
) -> None:
    await stored(fhir)
    assert (await fhir.request("HEAD", "/Patient/p", headers={"if-none-match": 'W/"1"'})).status_code == 304
    assert (await fhir.request("HEAD", "/Patient/p", token=None)).status_code == 401
    assert (await fhir.request("HEAD", "/Patient/p", token=await other.token("system/*.cruds"))).status_code == 403
    assert (await other.request("HEAD", "/Patient/p")).status_code == 404
    assert (await fhir.request("HEAD", "/Patient/_search")).status_code == 405


async def test_head_in_a_bundle_tells_the_version_and_no_resource(fhir: Client) -> None:
    await stored(fhir)
    entries = [{"request": {"method": method, "url": "Patient/p"}} for method in ("GET", "HEAD")]
    for kind in ("batch", "transaction"):
        answer = await fhir.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})
        get, head = answer.json()["entry"]
        assert get["resource"]["id"] == "p"
        assert "resource" not in head
        assert head["response"]["etag"] == get["response"]["etag"] == 'W/"1"'
