"""concord load: bundles, ndjson and folders, resumable, with reasons for what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.flows.serve import concord

SYNTHEA = Path(__file__).parents[3] / "shared" / "data" / "synthea"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load") / "data"
    concord("tenant", "add", "north", "--data-dir", str(folder))
    return folder


def load(folder: Path, *argv: str, status: int = 0, **more: str) -> str:
    done = concord("load", *argv, "--tenant", "north", "--data-dir", str(folder), check=False, **more)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_ndjson_is_loaded_and_a_second_run_loads_nothing(folder: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"resourceType": "Patient", "id": f"n{n}", "active": True}) for n in range(450)]
    file = tmp_path / "Patient.ndjson"
    file.write_text("\n".join(lines) + "\n")
    assert "450 resources loaded, 0 were loaded before, 0 refused" in load(folder, str(file))
    assert "0 resources loaded, 450 were loaded before" in load(folder, str(file))
    assert "450 resources loaded" in load(folder, str(file), "--again")


def test_a_large_load_ends_with_tidied_tables_and_says_so(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "Basic.ndjson"
    file.write_text("".join(f'{{"resourceType":"Basic","id":"v{n}","code":{{"text":"x"}}}}\n' for n in range(20)))
    more = {"CONCORD_VACUUM_AFTER_LOAD": "20"}
    assert "vacuumed and analysed resource, " in load(folder, str(file), **more)
    assert "vacuumed" not in load(folder, str(file))


def test_binaries_are_loaded_with_their_contents_in_the_object_store(folder: Path, tmp_path: Path) -> None:
    contents = {f"b{n}": b"\x00\xff scan %d" % n for n in range(3)}
    file = tmp_path / "Binary.ndjson"
    lines = [
        {"resourceType": "Binary", "id": i, "contentType": "image/png", "data": base64.b64encode(c).decode()}
        for i, c in contents.items()
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert "3 resources loaded, 0 were loaded before, 0 refused" in load(folder, str(file))
    kept = [path.read_bytes() for path in (folder / "objects").rglob("*") if path.is_file()]
    # Encrypted, each by itself.
    assert len(kept) == len(contents)
    assert not any(content in whole for whole in kept for content in contents.values())


def test_what_is_bad_is_named_with_its_line_and_reason_and_the_rest_is_loaded(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mixed.ndjson"
    file.write_text(
        '{"resourceType":"Patient","id":"m1"}\n'
        '{"resourceType":"Patient","id":"m2","gender":"unknowable"}\n'
        "no json\n"
        '{"resourceType":"Nonsense"}\n'
        '{"resourceType":"Patient","id":"m3"}\n'
    )
    told = load(folder, str(file), status=1)
    assert "2 resources loaded" in told
    assert "3 refused" in told
    assert "mixed.ndjson line 2.gender" in told
    assert "line 3" in told
    assert "line 4" in told


def test_a_folder_of_bundles_is_loaded_each_as_its_type_says(folder: Path, tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "active": True}
    entry = {"fullUrl": "urn:uuid:6f9619ff-8b86-4011-b42d-00c04fc964ff", "resource": patient}
    post = entry | {"request": {"method": "POST", "url": "Patient"}}
    (tmp_path / "a.json").write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [post]}))
    (tmp_path / "b.json").write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [entry]}))
    (tmp_path / "c.json").write_text(json.dumps(patient | {"id": "alone"}))
    (tmp_path / "readme.txt").write_text("not loaded")
    assert "3 resources loaded" in load(folder, str(tmp_path))


def test_a_transaction_with_one_bad_entry_loads_nothing_and_names_it(folder: Path, tmp_path: Path) -> None:
    entries = [
        {"resource": {"resourceType": "Patient", "id": "t1"}, "request": {"method": "PUT", "url": "Patient/t1"}},
        {"resource": {"resourceType": "Observation"}, "request": {"method": "POST", "url": "Observation"}},
    ]
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    told = load(folder, str(file), status=1)
    assert "0 resources loaded" in told
    assert "Bundle.entry[1].resource.status" in told


def test_synthea_bundles_load(folder: Path) -> None:
    if not SYNTHEA.is_dir():
        pytest.skip("the Synthea bundles are not beside this checkout")
    files = sorted(SYNTHEA.glob("patient-*.json"), key=lambda f: f.stat().st_size)[:3]
    told = load(folder, *map(str, files))
    count = sum(len(json.loads(f.read_text())["entry"]) for f in files)
    assert f"{count} resources loaded, 0 were loaded before, 0 refused" in told


def test_an_unknown_tenant_or_path_is_told(folder: Path, tmp_path: Path) -> None:
    done = concord("load", str(tmp_path), "--tenant", "south", "--data-dir", str(folder), check=False)
    assert (done.returncode, "north" in done.stderr) == (1, True)
    assert concord("load", str(tmp_path / "none"), "--tenant", "north", check=False).returncode == 2
