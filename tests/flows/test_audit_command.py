"""concord audit: seal, verify, anchor and retain as whoever runs the server calls them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.flows.serve import concord


@pytest.fixture
def given(server_dsn: str, admin_dsn: str, tmp_path: Path) -> dict[str, str]:
    name = f"audit-{uuid.uuid4().hex[:8]}"
    environ = {"CONCORD_DATABASE_URL": server_dsn, "CONCORD_MIGRATE_DATABASE_URL": admin_dsn}
    environ |= {"CONCORD_DATA_DIR": str(tmp_path)}
    concord("tenant", "add", name, **environ)
    with psycopg.connect(admin_dsn) as admin:
        admin.execute(
            "insert into audit (tenant_id, at, action, outcome) select id, now(), 'read', 200 from tenant,"
            " generate_series(1, 3) where name = %s",
            (name,),
        )
    return environ | {"NAME": name}


def test_an_anchor_that_was_kept_tells_of_a_chain_that_was_written_anew(
    given: dict[str, str], admin_dsn: str, tmp_path: Path
) -> None:
    name = given.pop("NAME")
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text(concord("audit", "anchor", "--tenant", name, **given).stdout)
    assert json.loads(anchors.read_text())["tenant"] == name
    whole = concord("audit", "verify", "--tenant", name, "--anchors", str(anchors), **given).stdout
    assert whole.startswith(f"{name}: whole: 3 rows in 1 blocks")
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("delete from audit_block where tenant_id = (select id from tenant where name = %s)", (name,))
        admin.execute(
            "update audit set outcome = 403 where tenant_id = (select id from tenant where name = %s)", (name,)
        )
    assert "3 rows sealed" in concord("audit", "seal", "--tenant", name, **given).stdout
    assert concord("audit", "verify", "--tenant", name, **given).returncode == 0
    told = concord("audit", "verify", "--tenant", name, "--anchors", str(anchors), check=False, **given)
    assert told.returncode == 1
    assert f"{name}: BROKEN: block 1 was changed: an anchor tells another hash" in told.stdout


def test_days_are_kept_as_long_as_was_said(given: dict[str, str], admin_dsn: str) -> None:
    name = given.pop("NAME")
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute(
            "insert into audit (tenant_id, at, action, outcome) select id, now() - interval '40 days', 'read', 200"
            " from tenant where name = %s",
            (name,),
        )
    assert "days before" in concord("audit", "retain", "--days", "35", **given).stdout
    told = concord("audit", "verify", "--tenant", name, **given).stdout
    assert "BROKEN" not in told
    with psycopg.connect(admin_dsn) as admin:
        sql = "select action, count(*) from audit join tenant on tenant_id = tenant.id where name = %s group by 1"
        assert dict(admin.execute(sql, (name,)).fetchall()) == {"read": 3, "retain": 1}


def test_the_audit_is_listed_by_patient_and_exported_and_both_are_audited(given: dict[str, str]) -> None:
    name = given.pop("NAME")
    assert "Who" in concord("audit", "who-saw", "p1", "--tenant", name, **given).stdout
    lines = concord("audit", "export", "--tenant", name, "--since", "2020-01-01", **given).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["subtype"][0]["code"] for one in told] == ["read", "read", "read", "who-saw", "export"]
    assert {one["resourceType"] for one in told} == {"AuditEvent"}
    early = concord("audit", "export", "--tenant", name, "--until", "2020-01-01", **given).stdout
    assert early == ""


def test_a_tenant_that_is_not_there_is_told(given: dict[str, str]) -> None:
    given.pop("NAME")
    told = concord("audit", "verify", "--tenant", "nobody", check=False, **given)
    assert told.returncode == 1
    assert "there is no tenant 'nobody'" in told.stderr
