"""What is stored is encrypted, and every way in which bodies are given out gives them as they were sent."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from fhir_server.app import opened
from fhir_server.app.vault import KEY_FILE, KeyProblem
from fhir_server.settings import Settings
from fhir_server.store import masterkey
from fhir_server.store.embedded import EmbeddedPostgres
from tests.fhir import Client, running

CANARY = "Canaryname"


def patient(**more: object) -> dict[str, object]:
    """Return a patient with something to look for."""
    return {"resourceType": "Patient", "name": [{"family": "Lovelace"}], "address": [{"text": CANARY}], **more}


def stored(dsn: str, tenant: int, table: str) -> list[tuple[int, bytes]]:
    """Return codec and bytes of all bodies of a tenant, as they stand in the database."""
    with psycopg.connect(dsn) as admin:
        sql = f"select codec, body from {table} where tenant_id = %s and body is not null"
        return [(codec, bytes(body)) for codec, body in admin.execute(sql.encode(), (tenant,))]


async def test_bodies_and_their_history_stand_encrypted_in_the_database(fhir: Client, admin_dsn: str) -> None:
    made = (await fhir.post("/Patient", json=patient())).json()
    place = f"/Patient/{made['id']}"
    assert (await fhir.put(place, json=patient(id=made["id"], active=True))).status_code == 200
    bodies = stored(admin_dsn, fhir.tenant_id, "resource") + stored(admin_dsn, fhir.tenant_id, "resource_history")
    assert len(bodies) == 2
    for codec, body in bodies:
        assert codec == body[0] == 1
        assert CANARY.encode() not in body
    assert (await fhir.get(f"{place}/_history/1")).json() == made
    assert (await fhir.get(place)).json()["active"] is True


async def test_every_way_to_bodies_gives_them_open(fhir: Client) -> None:
    await fhir.put("/Patient/p", json=patient(id="p", meta={"tag": [{"code": "t"}]}))
    code = {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}
    await fhir.put(
        "/Observation/o",
        json={
            "resourceType": "Observation", "id": "o", "status": "final", "code": code, "valueString": CANARY,
            "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2026-01-01",
        },
    )  # fmt: skip
    for path in (
        "/Patient/p", "/Patient/p/_history", "/Patient/p/_history/1", "/Patient/_history", "/_history",
        "/Patient?_id=p", "/Patient?_sort=gender,_id", "/Patient?_sort=family", "?_type=Patient,Observation",
        "/Patient/p/Observation", "/Observation?_include=Observation:subject",
        "/Patient?_revinclude=Observation:subject",
        "/Patient/p/$everything", "/Observation/$lastn?patient=p&code=8480-6", "/Patient?identifier:missing=true",
    ):  # fmt: skip
        answer = await fhir.get(path)
        assert answer.status_code == 200, path
        assert CANARY in answer.text, path
    assert "valueMeta" in (await fhir.get("/Patient/$meta")).text
    found = await fhir.post(
        "/Patient", json=patient(), headers={"if-none-exist": "name=Lovelace", "prefer": "return=representation"}
    )
    assert (found.status_code, CANARY in found.text) == (200, True)
    patched = [{"op": "add", "path": "/active", "value": True}]
    answer = await fhir.request(
        "PATCH", "/Patient/p", json=patched, headers={"content-type": "application/json-patch+json"}
    )
    assert CANARY in answer.text


async def test_plain_and_encrypted_rows_are_read_alike(fhir: Client, admin_dsn: str) -> None:
    await fhir.put("/Patient/old", json=patient(id="old"))
    await fhir.put("/Patient/new", json=patient(id="new"))
    plain = (await fhir.get("/Patient/old")).content
    with psycopg.connect(admin_dsn) as admin:
        sql = b"update resource set body = %s, codec = 0 where tenant_id = %s and id = 'old'"
        admin.execute(sql, (plain, fhir.tenant_id))
    assert [codec for codec, _ in sorted(stored(admin_dsn, fhir.tenant_id, "resource"))] == [0, 1]
    assert (await fhir.get("/Patient?_sort=_id")).text.count(CANARY) == 2
    assert (await fhir.get("/Patient/old")).content == plain
    assert (await fhir.put("/Patient/old", json=patient(id="old", active=True))).status_code == 200
    assert [codec for codec, _ in stored(admin_dsn, fhir.tenant_id, "resource")] == [1, 1]
    assert (await fhir.get("/Patient/old/_history/1")).content == plain


async def test_a_body_that_was_put_into_another_row_is_not_given_out(fhir: Client, admin_dsn: str) -> None:
    for name in ("a", "b"):
        await fhir.put(f"/Patient/{name}", json=patient(id=name))
    with psycopg.connect(admin_dsn) as admin:
        sql = (
            b"update resource set body = (select body from resource where tenant_id = %(t)s and id = 'a')"
            b" where tenant_id = %(t)s and id = 'b'"
        )
        admin.execute(sql, {"t": fhir.tenant_id})
    answer = await fhir.get("/Patient/b")
    assert answer.status_code == 500
    assert CANARY not in answer.text
    assert (await fhir.get("/Patient/a")).status_code == 200


async def test_a_wrong_or_lost_master_key_is_told_at_the_start(
    postgres: EmbeddedPostgres, fresh_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    async with running(dsn):
        pass
    wrong = masterkey.made(tmp_path / "other.key")
    assert wrong.check
    monkeypatch.delenv("CONCORD_MASTER_KEY")
    for settings, said in (
        (Settings.load(env="test", master_key_file=tmp_path / "other.key"), "not the one"),
        (Settings.load(env="test", database_url=dsn), "no master key"),
        (Settings.load(env="test", data_dir=tmp_path), "no master key"),
    ):
        with pytest.raises(KeyProblem, match=said):
            async with opened(settings, dsn):
                pass
    assert not (tmp_path / KEY_FILE).exists()


async def test_the_embedded_installation_makes_its_own_key_and_an_external_one_none(
    postgres: EmbeddedPostgres, fresh_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    monkeypatch.delenv("CONCORD_MASTER_KEY")
    with pytest.raises(KeyProblem, match=r"there is no master key in .*gone.key"):
        async with opened(
            Settings.load(env="test", database_url=dsn, master_key_file=tmp_path / "x" / "gone.key"), dsn
        ):
            pass
    async with opened(Settings.load(env="test", database_url=dsn), dsn) as concord:
        assert not concord.db.keyring.on
    for _ in range(2):
        async with opened(Settings.load(env="test", data_dir=tmp_path), dsn) as concord:
            assert concord.db.keyring.on
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
