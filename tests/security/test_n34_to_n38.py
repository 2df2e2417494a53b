"""Injection, scripts, paths and logs: N34 to N38.

https://owasp.org/www-project-application-security-verification-standard/ V5
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from structlog.testing import capture_logs

from tests.fhir import Client
from tests.http.binaries import FHIR, sent
from tests.http.trouble import served, standing_still
from tests.security.raw import asked
from tests.security.records import WORD, put, result, whole

SQL = (
    "' or '1'='1",
    "'; drop table resource; --",
    "\\'; select pg_sleep(9); --",
    '"); select 1; --',
    "1) or (1=1",
    "%' or 1=1 --",
    "$1 $$ select $$",
    "x' union select body from resource --",
    "%s %(x)s {0} {x} %n",
    "[*] ? (@ == 1)",
    "$.** ? (1==1)",
)
# One parameter of each kind, and what shapes a search.
PLACES = (
    "Patient?name", "Patient?name:exact", "Patient?name:contains", "Patient?identifier", "Patient?gender:not",
    "Patient?birthdate", "Patient?_lastUpdated", "Patient?_id", "Patient?_tag", "Patient?_profile", "Patient?_source",
    "Patient?general-practitioner", "Patient?organization.name", "Patient?_has:Observation:patient:code",
    "Patient?link:Patient", "Patient?_sort", "Patient?_elements", "Patient?_summary", "Patient?_include",
    "Patient?_count", "Patient?_total", "Patient?_content", "Patient?_text", "Patient?_list", "Patient?_cursor",
    "Observation?value-quantity", "Observation?code-value-quantity", "Observation?code:in", "Observation?code:text",
    "Observation?date", "Location?near", "RiskAssessment?probability", "ValueSet?url:below", "_history?_since",
    "_history?_count",
)  # fmt: skip


@pytest.mark.parametrize("text", SQL)
async def test_n34_no_parameter_becomes_a_statement(fhir: Client, text: str) -> None:
    await put(fhir, {"resourceType": "Patient", "id": "kept", "name": [{"family": WORD}]}, result("kept", "kept"))
    for place in PLACES:
        answer = await fhir.get(f"/{place}={quote(text)}")
        assert answer.status_code in (200, 400, 404, 414, 422), (place, answer.text)
        # A negation and what only shapes the answer may find; nothing else does.
        if answer.status_code == 200 and place.partition("?")[2] not in (
            "gender:not",
            "_elements",
            "_summary",
            "_total",
        ):
            assert WORD not in answer.text, place
        assert not {"psycopg", "syntax error", "SELECT", "pg_"} & set(answer.text.split()), place
    modifier = await fhir.get(f"/Patient?name:{quote(text)}=x")
    name = await fhir.get(f"/Patient?{quote(text)}=x")
    path = await fhir.get(f"/Patient/{quote(text, safe='')}")
    assert {modifier.status_code, name.status_code} == {400}
    assert path.status_code in (400, 404)
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == 1


SCRIPTS = (
    "<script>alert(1)</script>",
    '<img src="x" onerror="alert(1)"/>',
    '<a href="javascript:alert(1)">x</a>',
    '<a href="JaVaScRiPt:alert(1)">x</a>',
    '<a href="data:text/html,x">x</a>',
    '<p style="background:url(http://evil.example/b)">x</p>',
    '<img src="http://evil.example/beacon.png" alt="x"/>',
    '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    '<iframe src="http://evil.example"></iframe>',
    '<form action="http://evil.example"><input name="x"/></form>',
    '<object data="http://evil.example"></object>',
    '<p onclick="x()">x</p>',
    "<style>p{background:url(http://evil.example)}</style>",
    '<link rel="stylesheet" href="http://evil.example"/>',
    '<meta http-equiv="refresh" content="0;url=http://evil.example"/>',
    "<math><mtext></mtext></math>",
)
# Of these R4's rule for narratives (txt-1) allows the element and the attribute: they are data here, and shown by
# nobody but under a policy that loads nothing (N36).
_ALLOWED_BY_TXT_1 = ("style=", "src=", "href=")


@pytest.mark.parametrize("inside", SCRIPTS)
async def test_n35_a_script_in_a_narrative_is_refused_and_not_rewritten(fhir: Client, inside: str) -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{inside}</div>'
    made = {"resourceType": "Patient", "text": {"status": "generated", "div": div}}
    answer = await fhir.post("/Patient", json=made)
    runs = any(word in inside.lower() for word in ("<script", "on", "<iframe", "<form", "<object", "<svg", "<style"))
    if answer.status_code == 201:
        assert not any(word in inside.lower() for word in ("<script", " onerror", " onclick", "<iframe", "<form"))
        assert any(word in inside for word in _ALLOWED_BY_TXT_1), (inside, runs)
        assert answer.json()["text"]["div"] == div
        page = await fhir.get(f"/Patient/{answer.json()['id']}", headers={"accept": "text/html"})
        assert "text/html" not in page.headers.get("content-type", "")
        assert "default-src 'none'" in page.headers["content-security-policy"]
    else:
        assert answer.status_code in (400, 422)
        assert answer.json()["issue"][0]["expression"] == ["Patient.text.div"]


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf"])
async def test_n36_a_document_that_could_run_is_downloaded_and_never_opened(fhir: Client, kind: str) -> None:
    place = await sent(fhir, b"<script>alert(1)</script>", kind)
    for path in (place, f"{place}/_history/1"):
        headers = (await fhir.get(path)).headers
        assert headers["content-disposition"].startswith("attachment")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox")
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "/etc/passwd", "a%00b", ".", ".."]
)
async def test_n37_no_name_leads_out_of_the_store_of_contents(fhir: Client, name: str) -> None:
    token = await fhir.token("system/*.cruds")
    bearer = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
    for method in ("GET", "PUT", "DELETE"):
        headers = {**bearer, **({"content-length": "0"} if method == "PUT" else {})}
        status, text = await asked(fhir, method, f"/{fhir.tenant}/fhir/Binary/{name}", headers)
        # Points alone are an id for FHIR; whatever the id, a content's name in the store is a keyed hash.
        assert status in (400, 404, 405, 415) or name in (".", ".."), (method, text)
        assert "root:" not in text
    store = Path(urlsplit(fhir.concord.settings.object_store).path)
    assert [file for file in store.rglob("*") if file.is_file() and not _HASHED.search(file.name)] == []
    for url in (f"Binary/{name}", f"file:///{name}", name):
        attachment = {"url": url, "contentType": "text/plain"}
        made = {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": attachment}]}
        answer = await fhir.post("/DocumentReference", json=made)
        assert answer.status_code in (201, 400, 422)
        assert "root:" not in answer.text


_HASHED = re.compile(r"[0-9a-f]{32,}")


class Lines(logging.Handler):
    """Keeps what the libraries log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


async def test_n38_neither_logs_nor_errors_tell_of_a_patient(server_dsn: str, admin_dsn: str) -> None:
    """Slow searches, faults of the database, refused bodies and odd addresses: the log has names and never values."""
    lines = Lines()
    logging.getLogger().addHandler(lines)
    forged = f"{WORD}\nlevel=info event=forged"
    with capture_logs() as told:
        async with served(server_dsn, slow_search_ms=1, statement_timeout=1.0, lock_timeout=1.0) as client:
            await put(client, {"resourceType": "Patient", "id": "x", "name": [{"family": WORD}]})
            for query in (f"name:contains={WORD}", f"identifier=http://x|{WORD}", f"_content={WORD}", f"_sort={WORD}"):
                await client.get(f"/Patient?{query}")
            await client.get(f"/Patient/{quote(forged)}", headers={"x-request-id": WORD.lower()})
            await client.post("/Patient", json={"resourceType": "Patient", "gender": WORD, "name": WORD})
            await client.get("/Patient/x", token=f"{WORD}.{WORD}.{WORD}")
            async with standing_still(admin_dsn):
                stuck = await client.get(f"/Patient?name={WORD}")
            assert stuck.status_code == 503
            assert WORD not in stuck.text
            await asyncio.sleep(0)
    logging.getLogger().removeHandler(lines)
    written = json.dumps([dict(line) for line in told], default=str) + str(lines.lines)
    assert "slow search" in written
    assert WORD not in written
    assert "event=forged" not in written


async def test_n38_a_value_that_a_table_program_would_run_comes_back_as_it_was(fhir: Client) -> None:
    """There is no CSV to inject into; what is stored is never changed to look harmless."""
    for text in ('=HYPERLINK("http://evil.example")', "@SUM(1)", "+1", "-1", "\ttab"):
        made: dict[str, Any] = {"resourceType": "Patient", "id": "x", "name": [{"family": f"{text}x"}]}
        await put(fhir, made)
        assert (await fhir.get("/Patient/x", headers=FHIR)).json()["name"][0]["family"] == f"{text}x"
    refused = await fhir.get("/Patient", headers={"accept": "text/csv"})
    assert refused.status_code == 406
    assert "evil" not in whole(refused)
