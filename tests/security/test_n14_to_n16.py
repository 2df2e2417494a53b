"""Mass assignment, moving, forging, and giving oneself more: N14 to N16.

https://owasp.org/API-Security/editions/2023/en/0xa3-broken-object-property-level-authorization/
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fhir import Client
from tests.security.records import WORD, pair, put, result

PATCH = {"content-type": "application/json-patch+json"}


async def test_n14_what_the_server_owns_no_client_sets(fhir: Client, other: Client) -> None:
    forged = {"versionId": "77", "lastUpdated": "1999-01-01T00:00:00Z", "source": "x"}
    made = (await fhir.post("/Patient", json={"resourceType": "Patient", "id": "chosen", "meta": forged})).json()
    assert made["id"] != "chosen"
    assert made["meta"]["versionId"] == "1"
    assert not made["meta"]["lastUpdated"].startswith("1999")
    for extra in ("account", "project", "tenant"):
        meta = {"resourceType": "Patient", "meta": {extra: {"reference": "Organization/1"}}}
        assert (await fhir.post("/Patient", json=meta)).status_code == 400, extra
    # An id that another tenant uses is a new resource here, and theirs stays what it is.
    await put(other, {"resourceType": "Patient", "id": "shared", "name": [{"family": WORD}]})
    answer = await fhir.put("/Patient/shared", json={"resourceType": "Patient", "id": "shared"})
    assert (answer.status_code, answer.json()["meta"]["versionId"]) == (201, "1")
    assert (await other.get("/Patient/shared")).json()["name"][0]["family"] == WORD


@pytest.mark.parametrize(
    "op",
    [
        {"op": "replace", "path": "/id", "value": "other"},
        {"op": "replace", "path": "/resourceType", "value": "Patient"},
        {"op": "replace", "path": "/subject/reference", "value": "Patient/theirs"},
        {"op": "remove", "path": "/subject"},
        {"op": "add", "path": "/meta/versionId", "value": "77"},
    ],
)
async def test_n14_no_patch_moves_a_resource_to_another_or_makes_it_nobodys(fhir: Client, op: dict[str, Any]) -> None:
    mine = await pair(fhir)
    answer = await mine.send("PATCH", "/Observation/my-result", content=json.dumps([op]).encode(), headers=PATCH)
    kept = (await fhir.get("/Observation/my-result")).json()
    assert kept["subject"]["reference"] == "Patient/mine"
    assert kept["id"] == "my-result"
    if "versionId" in op["path"]:
        assert kept["meta"]["versionId"] in ("1", "2")
    else:
        assert answer.status_code in (400, 403, 422), answer.text
        assert kept["meta"]["versionId"] == "1"


async def test_n14_no_put_takes_or_gives_what_is_anothers(fhir: Client) -> None:
    mine = await pair(fhir)
    taken = result("their-result", "mine")
    assert (await mine.send("PUT", "/Observation/their-result", json=taken)).status_code == 404
    given = result("my-result", "theirs")
    assert (await mine.send("PUT", "/Observation/my-result", json=given)).status_code == 403
    for scope, method, path in (
        ("patient/Observation.crds", "PUT", "/Observation/my-result"),
        ("patient/Observation.ruds", "POST", "/Observation"),
        ("patient/Observation.crds", "PUT", "/Observation/brand-new"),
        ("patient/Observation.crud", "GET", "/Observation"),
        ("patient/Observation.crud", "GET", "/Observation?_id=my-result"),
        ("patient/Observation.crus", "DELETE", "/Observation/my-result"),
        ("patient/Observation.cuds", "GET", "/Observation/my-result"),
    ):
        token = await fhir.token(scope, patient="mine")
        body = result(path.rpartition("/")[2], "mine")
        more: Any = {"json": body} if method in ("PUT", "POST") else {}
        assert (await fhir.request(method, path, token=token, **more)).status_code == 403, (scope, method)
