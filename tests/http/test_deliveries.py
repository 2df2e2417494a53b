"""/{tenant}/api/deliveries, destinations and secrets: seen and changed by those who may, of their own clinic alone."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from fhir_server.app.deliveries import deliverer
from fhir_server.app.work import messages
from fhir_server.context import Role
from fhir_server.engine.directory import Directory
from fhir_server.store import tenants
from tests.engine.world import PEER, adt, receiver
from tests.fhir import Client
from tests.people import member

ADT = {
    "name": "adt",
    "source": {"kind": "http"},
    "destinations": [{"kind": "mllp", "name": "ehr", "host": "127.0.0.1", "port": 9}],
}


async def call(
    fhir: Client, method: str, path: str, *, scope: str = "system/*.cruds", subject: str = "tester", **more: Any
) -> httpx.Response:
    """Send a request to the API of the client's clinic."""
    address = fhir.base.removesuffix("/fhir") + "/api" + path
    headers = {"authorization": f"Bearer {await fhir.token(scope, subject=subject)}"} if scope else {}
    return await fhir.http.request(method, address, headers=headers, **more)


async def held(fhir: Client) -> int:
    """Have a delivery held, because no host is allowed to get anything, and return its number."""
    assert (await call(fhir, "POST", "/channels", json=ADT)).status_code == 200
    directory = Directory(fhir.concord.db, await tenants.quarantine(fhir.concord.db))
    await directory.look()
    door = receiver(fhir.concord.db, await directory.named(fhir.tenant_id, "adt"), clock=fhir.clock)
    await door.message(adt("1"), PEER)
    await messages(fhir.concord).drain()
    sends = deliverer(fhir.concord)
    await sends.drain()
    await sends.aclose()
    (row,) = (await call(fhir, "GET", "/deliveries?state=held&destination=ehr")).json()
    assert (row["control_id"], row["attempts"]) == ("1", 1)
    return int(row["id"])


async def test_deliveries_are_listed_shown_retried_and_cancelled(fhir: Client) -> None:
    number = await held(fhir)
    whole = (await call(fhir, "GET", f"/deliveries/{number}")).json()
    (only,) = whole["tries"]
    assert base64.b64decode(only["request"]) == adt("1")
    assert (only["outcome"], only["answer"]) == ("held", None)
    assert (await call(fhir, "POST", "/deliveries/retry?state=held")).json() == {"deliveries": [number]}
    assert (await call(fhir, "GET", f"/deliveries/{number}")).json()["state"] == "queued"
    assert (await call(fhir, "POST", f"/deliveries/{number}/cancel")).status_code == 202
    assert (await call(fhir, "GET", f"/deliveries/{number}")).json()["state"] == "cancelled"
    assert (await call(fhir, "POST", f"/deliveries/{number}/cancel")).status_code == 400
    assert (await call(fhir, "POST", "/deliveries/retry")).status_code == 400
    sql = "select action from audit where tenant_id = %s and action like 'delivery-%%' order by id"
    rows = await fhir.concord.db.fetch(fhir.tenant_id, sql, (fhir.tenant_id,))
    shown, retried, cancelled = "delivery-show", "delivery-retry", "delivery-cancel"
    assert [action for (action,) in rows] == [shown, retried, shown, cancelled, shown]


async def test_a_destination_is_paused_and_how_it_fares_is_shown(fhir: Client) -> None:
    await held(fhir)
    (row,) = (await call(fhir, "GET", "/destinations")).json()
    assert (row["name"], row["kind"], row["sends"], row["open"]) == ("ehr", "mllp", "yes", {"held": 1})
    assert (await call(fhir, "PUT", "/destinations/adt/ehr", json={"paused": True})).status_code == 200
    (row,) = (await call(fhir, "GET", "/destinations")).json()
    assert row["sends"] == "paused"
    assert (await call(fhir, "PUT", "/destinations/adt/none", json={"paused": True})).status_code == 404


async def test_a_secret_is_set_and_never_given_out(fhir: Client) -> None:
    assert (await call(fhir, "PUT", "/secrets/his", json={"value": "xyzzy"})).status_code == 204
    answer = await call(fhir, "GET", "/secrets")
    assert [row["name"] for row in answer.json()] == ["his"]
    assert "xyzzy" not in answer.text
    told = await fhir.concord.db.fetch(
        fhir.tenant_id, "select value from secret where tenant_id = %s", (fhir.tenant_id,)
    )
    assert b"xyzzy" not in told[0][0]
    rows = await fhir.concord.db.fetch(
        fhir.tenant_id, "select detail::text from audit where tenant_id = %s", (fhir.tenant_id,)
    )
    assert not any("xyzzy" in (detail or "") for (detail,) in rows)
    assert (await call(fhir, "PUT", "/secrets/A b", json={"value": "x"})).status_code == 400
    assert (await call(fhir, "DELETE", "/secrets/his")).status_code == 204
    assert (await call(fhir, "DELETE", "/secrets/his")).status_code == 404


async def test_what_is_of_another_clinic_is_not_there(fhir: Client, other: Client) -> None:
    number = await held(fhir)
    assert (await call(other, "GET", "/deliveries")).json() == []
    assert (await call(other, "GET", f"/deliveries/{number}")).status_code == 404
    assert (await call(other, "POST", f"/deliveries/{number}/retry")).status_code == 400
    assert (await call(other, "POST", "/deliveries/cancel?state=held")).json() == {"deliveries": []}
    assert (await call(other, "PUT", "/destinations/adt/ehr", json={"paused": True})).status_code == 404
    assert (await call(fhir, "GET", f"/deliveries/{number}")).json()["state"] == "held"


@pytest.mark.parametrize("role", ["physician", "biller", "front-desk", "attorney"])
async def test_deliveries_are_for_administrators_whatever_the_scopes(fhir: Client, role: Role) -> None:
    person = await member(fhir, role)
    for method, path, body in (
        ("GET", "/deliveries", None),
        ("GET", "/deliveries/1", None),
        ("POST", "/deliveries/1/retry", None),
        ("POST", "/deliveries/cancel?state=held", None),
        ("GET", "/destinations", None),
        ("PUT", "/destinations/adt/ehr", {"paused": True}),
        ("GET", "/secrets", None),
        ("PUT", "/secrets/his", {"value": "x"}),
        ("DELETE", "/secrets/his", None),
    ):
        answer = await call(fhir, method, path, subject=person.sub, scope="user/*.cruds", json=body)
        assert answer.status_code == 403, (method, path)
    assert (await call(fhir, "GET", "/deliveries", scope="")).status_code == 401
    assert (await call(fhir, "POST", "/deliveries/1/retry", scope="system/*.rs")).status_code == 403
