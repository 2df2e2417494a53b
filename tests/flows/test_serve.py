"""The newcomer's first hour: one command, a message in, FHIR out, and a clean end."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.flows.serve import Serve, concord, left_behind
from tests.needs import needs
from tests.signin import Form


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "data"


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[Serve]:
    server = Serve(folder, "--demo")
    yield server
    assert server.stop() == 0
    assert left_behind(folder) == []


@pytest.fixture(scope="module")
def told(demo: Serve) -> str:
    return demo.told("Stop: Ctrl-C")


@needs("curl")
def test_the_panel_tells_where_everything_is_and_a_curl_line_that_works(demo: Serve, told: str) -> None:
    assert demo.http in told
    assert demo.mllp in told
    line = next(item for item in told.splitlines() if item.startswith("curl "))
    answer = subprocess.run(shlex.split(line), check=True, capture_output=True, text=True).stdout
    decoder = json.JSONDecoder()
    patients, end = decoder.raw_decode(answer)
    reports, _ = decoder.raw_decode(answer[end:].lstrip())
    assert {e["resource"]["resourceType"] for e in patients["entry"]} == {"Patient"}
    assert {e["resource"]["resourceType"] for e in reports["entry"]} == {"DiagnosticReport"}


def test_the_send_line_of_the_panel_works_and_a_resend_has_no_second_effect(demo: Serve, told: str) -> None:
    token = demo.token()
    headers = {"authorization": f"Bearer {token}"}
    before = httpx.get(f"{demo.http}/demo/fhir/Observation?_summary=count", headers=headers).json()["total"]
    line = next(item for item in told.splitlines() if item.startswith("concord send "))
    sent = concord(*shlex.split(line)[1:])
    assert "AA" in sent.stdout
    assert httpx.get(f"{demo.http}/demo/fhir/Observation?_summary=count", headers=headers).json()["total"] == before


def test_health_readiness_metrics_and_the_operator_page_answer(demo: Serve, told: str) -> None:
    assert httpx.get(f"{demo.http}/healthz").status_code == 200
    assert httpx.get(f"{demo.http}/readyz").json() == {"status": "ready"}
    assert "# HELP" in httpx.get(f"{demo.http}/metrics").text
    assert httpx.get(f"{demo.http}/console").headers["location"] == "/login?next=%2Fconsole"


def test_the_people_of_the_demo_sign_in_with_what_the_panel_tells(demo: Serve, told: str) -> None:
    found = re.search(r"password +(\S+) ", told)
    assert found, told
    for name, status in (("root", 200), ("admin", 200), ("physician", 403)):
        with httpx.Client(base_url=demo.http, follow_redirects=True) as visitor:
            fields = Form(visitor.get("/login?next=/console").text, "/login").fields
            sent = {**fields, "email": f"{name}@demo.example", "password": found[1]}
            page = visitor.post("/login", data=sent)
            assert (page.status_code, page.url.path) == (status, "/console")
            assert ("other" in page.text) is (name == "root")


def test_the_physician_of_the_demo_has_its_patients_in_care(demo: Serve, told: str) -> None:
    where = ("--tenant", "demo", "--data-dir", str(demo.folder))
    people = [json.loads(line) for line in concord("user", "list", "--json", *where).stdout.splitlines()]
    sub = {one["role"]: one["sub"] for one in people}
    assert set(sub) == {"clinic-admin", "physician", "biller", "front-desk", "attorney"}
    for role, patients in (("physician", 2), ("attorney", 0)):
        token = concord("token", "--user", sub[role], "--scopes", "user/*.rs", *where).stdout.strip()
        found = httpx.get(f"{demo.http}/demo/fhir/Patient", headers={"authorization": f"Bearer {token}"}).json()
        assert len(found.get("entry", [])) == patients, role


def test_the_other_tenant_sees_nothing_of_the_demo(demo: Serve, told: str) -> None:
    token = concord("token", "--tenant", "other", "--data-dir", str(demo.folder)).stdout.strip()
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{demo.http}/demo/fhir/Patient", headers=headers).status_code == 403
    assert "entry" not in httpx.get(f"{demo.http}/other/fhir/Patient", headers=headers).json()
    assert httpx.get(f"{demo.http}/other/api/messages", headers=headers).json() == []


def test_messages_are_listed_shown_and_replayed(demo: Serve, told: str) -> None:
    listed = concord("messages", "list", "--tenant", "demo", "--data-dir", str(demo.folder), "--json").stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    assert {row["state"] for row in rows} == {"done"}
    number = str(rows[0]["id"])
    shown = concord("messages", "show", number, "--tenant", "demo", "--data-dir", str(demo.folder)).stdout
    assert "MSH|" in shown
    concord("messages", "replay", number, "--tenant", "demo", "--data-dir", str(demo.folder))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        again = json.loads(
            concord("messages", "show", number, "--tenant", "demo", "--data-dir", str(demo.folder), "--json").stdout
        )
        if again["state"] == "done":
            break
    assert again["state"] == "done"


def test_a_backend_service_is_registered_gets_a_token_and_is_disabled(demo: Serve, told: str, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "one"}]}))
    where = ("--tenant", "demo", "--data-dir", str(demo.folder))
    client = concord("client", "add", "Warehouse", "--jwks", str(keys), "--scopes", "system/Patient.rs", *where)
    client_id = client.stdout.strip()
    found = httpx.get(f"{demo.http}/demo/fhir/.well-known/smart-configuration").json()

    def ask() -> httpx.Response:
        claims = {"iss": client_id, "sub": client_id, "aud": found["token_endpoint"], "jti": str(uuid.uuid4())}
        signed = jwt.encode({**claims, "exp": int(time.time()) + 120}, key, "ES384", {"kid": "one"})
        form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion": signed}
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return httpx.post(found["token_endpoint"], data={**form, "client_assertion_type": kind})

    token = ask().json()["access_token"]
    answer = httpx.get(f"{demo.http}/demo/fhir/Patient", headers={"authorization": f"Bearer {token}"})
    assert answer.json()["entry"]
    assert "Warehouse" in concord("client", "list", *where).stdout
    concord("client", "disable", client_id, *where)
    assert ask().status_code == 401
    private = concord("client", "add", "x", "--jwks", str(keys), "--scopes", "user/*.rs", *where, check=False)
    assert private.returncode == 1
    assert "a backend service has neither" in private.stderr


def test_a_second_server_on_the_folder_is_refused_with_the_reason(demo: Serve, told: str) -> None:
    second = concord("serve", "--data-dir", str(demo.folder), "--port", "0", "--mllp-port", "0", check=False)
    assert second.returncode == 1
    assert str(demo.folder) in second.stderr
    taken = concord("serve", "--data-dir", str(demo.folder) + "2", "--port", str(demo.ready["http_port"]), check=False)
    assert taken.returncode == 1
    assert "choose another port" in taken.stderr


def test_check_is_green_on_a_fresh_installation(demo: Serve, told: str) -> None:
    checked = concord("check", "--data-dir", str(demo.folder), check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "takes and gives contents" in checked.stdout


def test_check_tells_of_an_object_store_that_cannot_be_written(demo: Serve, told: str) -> None:
    nowhere = {"CONCORD_OBJECT_STORE": "file:///proc/nowhere"}
    checked = concord("check", "--data-dir", str(demo.folder), check=False, **nowhere)
    assert (checked.returncode, "object store: make it writable" in checked.stdout) == (1, True), checked.stdout


def test_commands_name_what_is_wrong(demo: Serve) -> None:
    unknown = concord("token", "--tenant", "nobody", "--data-dir", str(demo.folder), check=False)
    assert (unknown.returncode, "demo, other" in unknown.stderr) == (1, True)
    scope = concord("token", "--tenant", "demo", "--scopes", "all", "--data-dir", str(demo.folder), check=False)
    assert (scope.returncode, "'all'" in scope.stderr, scope.stdout) == (1, True, "")
    nobody = concord("send", __file__, "--to", demo.mllp, check=False)
    assert (nobody.returncode, "no HL7 message" in nobody.stderr) == (2, True)


def test_a_second_start_repeats_no_demo_data_and_is_quick(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Serve(folder, "--demo")
    first.told("Stop: Ctrl-C")
    count = concord("messages", "list", "--tenant", "demo", "--data-dir", str(folder), "--json").stdout.count("\n")
    assert first.stop() == 0
    assert left_behind(folder) == []
    second = Serve(folder, "--demo")
    second.told("Stop: Ctrl-C")
    again = concord("messages", "list", "--tenant", "demo", "--data-dir", str(folder), "--json").stdout.count("\n")
    assert second.stop() == 0
    assert again == count > 0
