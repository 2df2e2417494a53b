"""kill -9 while resources are indexed by a new search parameter: the worker goes on where it was, and misses none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.flows.serve import Serve, concord, left_behind
from tests.http.parameters import color, parameter, patient

PATIENTS = 300
COLORS = ("red", "green", "blue")
WITHIN = 180.0


class Fhir:
    """A client of tenant demo at a server that may be another after a restart."""

    def __init__(self, server: Serve) -> None:
        self._base = f"{server.http}/demo/fhir"
        self._http = httpx.Client(headers={"authorization": f"Bearer {server.token()}"}, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str) -> httpx.Response:
        """Send a GET."""
        return self._http.get(self._base + path)

    def put(self, body: dict[str, Any]) -> None:
        """Store a resource under its id."""
        answer = self._http.put(f"{self._base}/{body['resourceType']}/{body['id']}", json=body)
        assert answer.status_code in (200, 201), answer.text

    def state(self) -> dict[str, Any]:
        """Return what $progress tells."""
        answer = self.get("/SearchParameter/color/$progress")
        assert answer.status_code == 200, answer.text
        return {p["name"]: next(v for k, v in p.items() if k != "name") for p in answer.json()["parameter"]}

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the progress is such, and return it."""
        end = time.monotonic() + WITHIN
        while not holds(found := self.state()):
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return found


def active(state: dict[str, Any]) -> bool:
    """Tell whether the parameter can be searched."""
    return bool(state["state"] == "active")


def test_an_index_that_is_killed_goes_on_and_finds_every_resource(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    truth = {f"p{n}": COLORS[n % 3] for n in range(PATIENTS)}
    file = tmp_path / "Patient.ndjson"
    file.write_text("".join(json.dumps(patient(id_, color(code))) + "\n" for id_, code in truth.items()))
    concord("tenant", "add", "demo", "--data-dir", str(folder))
    concord("load", str(file), "--tenant", "demo", "--data-dir", str(folder))
    # One resource in a transaction: so that there is something left to do when it is killed.
    server = Serve(folder, index_batch="1")
    fhir = Fhir(server)
    fhir.put(parameter())
    before = 0
    for kill in range(1, 3):
        seen = fhir.until(lambda s, least=before: active(s) or s["done"] > least)
        if not active(seen):
            assert fhir.get("/Patient?color=blue").status_code in (200, 409)
        before = seen["done"]
        fhir.close()
        server.kill()
        assert left_behind(folder) == []
        server = Serve(folder, index_batch="1")
        fhir = Fhir(server)
        after = fhir.state()
        assert after["done"] >= before
        assert after["started"] == seen["started"]
        id_ = f"p{kill}"
        truth[id_] = COLORS[(kill + 1) % 3]
        fhir.put(patient(id_, color(truth[id_])))
    done = fhir.until(active)
    assert (done["done"], done["total"]) == (PATIENTS, PATIENTS)
    for code in COLORS:
        answer = fhir.get(f"/Patient?color={code}&_count=1000")
        assert answer.status_code == 200, answer.text
        found = {entry["resource"]["id"] for entry in answer.json()["entry"]}
        assert found == {id_ for id_, had in truth.items() if had == code}
    fhir.close()
    told = concord("parameters", "--tenant", "demo", "--follow", "--json", "--data-dir", str(folder)).stdout
    row = json.loads(told)
    assert (row["code"], row["state"], row["done"], row["total"]) == ("color", "active", PATIENTS, PATIENTS)
    assert server.stop() == 0
