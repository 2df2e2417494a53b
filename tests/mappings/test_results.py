"""ORU messages become reports, requests, specimens and observations, each result known by what it is, not its place."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mappings.mapped import SenderProfile
from tests.mappings.reading import adt, all_of, entries, mapped, oru, said, the

OBR = "OBR|1|P-1^CLIN|F-1^LAB|24323-8^Metabolic panel^LN|||202601100815|||||||||11^Doe^Jo||||||202601101200||CH|F"


def obx(code: str, value: str, status: str = "F", kind: str = "NM", sub: str = "", unit: str = "") -> str:
    """One OBX."""
    return f"OBX|1|{kind}|{code}|{sub}|{value}|{unit}|||||{status}"


def result(value: str, kind: str, unit: str = "") -> dict[str, Any]:
    """Return what one OBX-5 became: its value elements."""
    found = the(oru(OBR, obx("c^C^L", value, kind=kind, unit=unit)), "Observation")
    return {name: content for name, content in found.items() if name.startswith("value") or name == "component"}


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sent", "meant"),
    [
        ("NM", "1.500", {"valueQuantity": {"value": Decimal("1.500")}}),
        ("NM", "<5", {"valueQuantity": {"value": Decimal(5), "comparator": "<"}}),
        ("NM", "+++", {"valueString": "+++"}),
        ("SN", ">=^10", {"valueQuantity": {"value": Decimal(10), "comparator": ">="}}),
        ("SN", "^1^/^8", {"valueRatio": {"numerator": {"value": Decimal(1)}, "denominator": {"value": Decimal(8)}}}),
        ("SN", "^2^-^4", {"valueRange": {"low": {"value": Decimal(2)}, "high": {"value": Decimal(4)}}}),
        ("SN", "^2^+", {"valueString": "2 +"}),
        ("SN", "<>^2", {"valueString": "<> 2"}),
        ("NR", "1^2", {"valueRange": {"low": {"value": Decimal(1)}, "high": {"value": Decimal(2)}}}),
        ("DT", "202601", {"valueDateTime": "2026-01"}),
        ("TM", "0830", {"valueTime": "08:30:00"}),
        ("TS", "202601020304+0000", {"valueDateTime": "2026-01-02T03:04:00+00:00"}),
        ("DR", "2026^2027", {"valuePeriod": {"start": "2026", "end": "2027"}}),
        ("DT", "soon", {"valueString": "soon"}),
        ("TX", "a~b", {"valueString": "a\nb"}),
        ("FT", "a\\.br\\b", {"valueString": "a\nb"}),
        ("VR", "a^b", {"valueString": "a-b"}),
        ("ZZ", "a^b", {"valueString": "a^b"}),
        ("", "x", {"valueString": "x"}),
        ("NM", "", {}),
        ("CWE", '""', {}),
    ],
)
def test_a_value_is_what_its_type_says(kind: str, sent: str, meant: dict[str, Any]) -> None:
    assert result(sent, kind) == meant


def test_a_number_sent_as_text_with_a_unit_is_a_quantity() -> None:
    assert result("98.60", "ST", "[degF]")["valueQuantity"] == {"value": Decimal("98.60"), "unit": "[degF]"}


def test_a_unit_beside_words_is_said_to_be_lost() -> None:
    found = oru(OBR, obx("c", "none seen", kind="ST", unit="/HPF"))
    assert said(found) == ["OBX-6: unit '/HPF' has no room beside text"]


def test_several_codes_are_components_of_the_same_code() -> None:
    components = result("A^^L~B^^L", "CWE")["component"]
    assert [item["valueCodeableConcept"]["coding"][0]["code"] for item in components] == ["A", "B"]
    assert {item["code"]["coding"][0]["code"] for item in components} == {"c"}


def test_several_numbers_sent_as_text_with_a_unit_are_components() -> None:
    components = result("1~2", "ST", "mm")["component"]
    assert [item["valueQuantity"]["value"] for item in components] == [1, 2]


def test_what_is_not_what_it_claims_is_kept_and_said() -> None:
    assert said(oru(OBR, obx("c", "n/a"))) == ["OBX-5: 'n/a' is declared a number and is none; kept as text"]
    assert said(oru(OBR, obx("c", "x", kind="QQ"))) == ["OBX-2: value type 'QQ' is not known; kept as text"]


def test_a_document_is_a_form_of_the_report_and_no_observation() -> None:
    found = oru(OBR, "OBX|1|ED|PDF^Report^L||^AP^PDF^Base64^JVBERi0=||||||F", obx("c", "1"))
    (form,) = the(found, "DiagnosticReport")["presentedForm"]
    assert (form["contentType"], form["data"], form["title"]) == ("application/pdf", "JVBERi0=", "Report")
    assert len(all_of(found, "Observation")) == 1


def test_a_withdrawn_document_is_taken_away() -> None:
    (report,) = entries(oru(OBR, "OBX|1|ED|PDF^Report^L||^AP^PDF^Base64^JVBERi0=||||||W"), "DiagnosticReport")
    assert report.removed == ("presentedForm[title=Report]",)
    assert "presentedForm" not in report.resource


def test_a_document_without_a_report_stays_an_observation() -> None:
    found = adt("A01", "OBX|1|ED|PDF^Report^L||^AP^PDF^Base64^JVBERi0=||||||F")
    assert the(found, "Observation")["extension"][0]["valueAttachment"]["size"] == 5


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("A", "amended"), ("B", "amended"), ("C", "corrected"), ("D", "entered-in-error"), ("F", "final"),
        ("I", "registered"), ("N", "cancelled"), ("O", "registered"), ("P", "preliminary"), ("R", "preliminary"),
        ("S", "preliminary"), ("U", "final"), ("V", "final"), ("W", "entered-in-error"), ("X", "cancelled"),
    ],
)  # fmt: skip
def test_the_status_of_a_result_is_of_table_0085(sent: str, meant: str) -> None:
    assert the(oru(OBR, obx("c", "1", sent)), "Observation")["status"] == meant


@pytest.mark.parametrize("status", ["D", "W"])
def test_a_result_that_was_wrong_shows_no_value(status: str) -> None:
    (entry,) = entries(oru(OBR, "OBX|1|NM|c||1|mg|1-2|H|||" + status), "Observation")
    assert not {"valueQuantity", "interpretation", "referenceRange"} & set(entry.resource)
    assert {"value[x]", "component", "interpretation", "referenceRange"} <= set(entry.removed)


def test_a_result_that_cannot_be_had_says_why_there_is_none() -> None:
    found = the(oru(OBR, obx("c", "", "X")), "Observation")
    assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert "dataAbsentReason" not in the(oru(OBR, obx("c", "haemolysed", "X", "ST")), "Observation")
    assert the(oru(OBR, obx("c", "", "N")), "Observation")["dataAbsentReason"]["coding"][0]["code"] == "not-asked"


def test_a_verification_only_confirms() -> None:
    assert entries(oru(OBR, obx("c", "1", "V")), "Observation")[0].keep == ("status",)


def test_a_change_to_final_without_a_value_mentions_none() -> None:
    found = the(oru(OBR, obx("c", "", "U")), "Observation")
    assert not any(name.startswith("value") for name in found)
    assert "dataAbsentReason" not in found


def test_a_status_nobody_knows_is_said_and_unknown() -> None:
    found = oru("OBR|1||F-1|c", obx("c", "1", "?"))
    assert the(found, "Observation")["status"] == "unknown"
    assert any("'?' is not in table 0085" in text for text in said(found))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("A", "partial"), ("C", "corrected"), ("F", "final"), ("I", "registered"), ("M", "preliminary"),
        ("N", "registered"), ("O", "registered"), ("P", "preliminary"), ("R", "partial"), ("S", "registered"),
        ("X", "cancelled"), ("Y", "unknown"), ("Z", "unknown"),
    ],
)  # fmt: skip
def test_the_status_of_a_report_is_of_table_0123(sent: str, meant: str) -> None:
    found = oru("OBR|1||F-1|c" + "|" * 21 + sent, obx("c", "1"))
    assert the(found, "DiagnosticReport")["status"] == meant


@pytest.mark.parametrize(
    ("results", "meant"),
    [("FF", "final"), ("FP", "partial"), ("PP", "preliminary"), ("FC", "corrected"), ("FX", "final"), ("X", "unknown")],
)
def test_a_report_that_does_not_say_is_as_far_as_its_results(results: str, meant: str) -> None:
    lines = [obx(f"c{n}", "1", status) for n, status in enumerate(results)]
    assert the(oru("OBR|1||F-1|c", *lines), "DiagnosticReport")["status"] == meant


# --- identity ---------------------------------------------------------------------------------------------------------


def keys(*segments: str) -> list[str]:
    """Return the identity of each result."""
    return [entry.match[0][1] for entry in entries(oru(*segments), "Observation")]


def test_a_result_is_known_by_order_code_sub_identifier_and_specimen() -> None:
    assert keys(OBR, obx("2345-7^Glucose^LN", "1"), obx("2345-7^Glucose^LN", "1", sub="2")) == [
        "F-1/LAB/24323-8/2345-7/LN",
        "F-1/LAB/24323-8/2345-7/LN/2",
    ]
    assert keys(OBR, "OBX|1|NM|c||1||||||F" + "|" * 22 + "S-2", "SPM|1|S-1", "SPM|2|S-2") == ["F-1/LAB/24323-8/c///S-2"]


def test_its_number_in_the_message_says_nothing() -> None:
    assert keys(OBR, obx("c", "1").replace("OBX|1", "OBX|9")) == keys(OBR, obx("c", "1"))


def test_the_same_code_again_without_a_sub_identifier_is_another_result() -> None:
    assert keys(OBR, obx("c", "1"), obx("c", "2"), obx("d", "3")) == [
        "F-1/LAB/24323-8/c",
        "F-1/LAB/24323-8/c#2",
        "F-1/LAB/24323-8/d",
    ]


def test_marks_of_ours_in_a_code_make_no_other_identity() -> None:
    assert (
        len(set(keys(OBR, obx("a/b", "1"), obx("a", "2", sub="b"), obx("a#2", "3"), obx("a", "4"), obx("a", "5")))) == 5
    )


def test_a_result_without_a_code_never_meets_one_of_another_order() -> None:
    orphan = "OBX|1|ST|||x||||||F"
    found = oru("OBR|1||F-1|A", orphan, orphan, "OBR|2||F-1|A", orphan)
    assert len({entry.full_url for entry in entries(found, "Observation")}) == 3


def test_two_orders_under_one_number_are_two_reports() -> None:
    found = oru("OBR|1||F-1|A", obx("c", "1"), "OBR|2||F-1|B", obx("c", "2"), "OBR|3||F-1|B", obx("c", "3"))
    assert [entry.match[0][1] for entry in entries(found, "DiagnosticReport")] == ["F-1//A", "F-1//B", "F-1//B#2"]
    assert len({entry.full_url for entry in entries(found, "Observation")}) == 3


def test_a_correction_meets_the_same_entries_as_the_first_result() -> None:
    first = oru(OBR, obx("c", "1", "P"), head="20260110", control="1")
    second = oru("ORC|RE", OBR, obx("d", "0"), obx("c", "2", "C"), head="20260111", control="2")
    wanted = {(e.full_url, e.match) for e in first.entries}
    assert wanted <= {(e.full_url, e.match) for e in second.entries}


def test_two_senders_with_the_same_numbers_never_meet() -> None:
    lines = ["PID|1||7", "OBR|1||F-1|A", obx("c", "1")]
    one, two = (mapped(f"MSH|^~\\&|A|{name}|||20260101||ORU^R01|1|P|2.5", *lines) for name in ("L1", "L2"))
    assert not {e.full_url for e in one.entries} & {e.full_url for e in two.entries}


def test_a_scope_of_the_profile_joins_what_one_sender_sends_under_two_names() -> None:
    lines = ["PID|1||7", "OBR|1||F-1|A", obx("c", "1")]
    profile = SenderProfile(scope="north")
    one, two = (
        mapped(f"MSH|^~\\&|A|{name}|||20260101||ORU^R01|1|P|2.5", *lines, profile=profile) for name in ("L1", "L2")
    )
    assert {e.full_url for e in one.entries} == {e.full_url for e in two.entries}


def test_an_order_without_a_number_is_known_within_its_message() -> None:
    found = oru("OBR|1|||A", obx("c", "1"), control="77")
    assert entries(found, "DiagnosticReport")[0].match[0][1] == "message 77//A"
    assert all_of(found, "ServiceRequest") == []


# --- orders -----------------------------------------------------------------------------------------------------------


def test_a_report_refers_to_request_results_specimen_and_visit() -> None:
    found = oru("PV1|1|O" + "|" * 17 + "V-1", OBR, obx("c", "1"), "SPM|1|S-1^T-1||BLD^Blood^HL70487")
    report = the(found, "DiagnosticReport")
    urls = {entry.resource["resourceType"]: entry.full_url for entry in found.entries}
    assert report["basedOn"] == [{"reference": urls["ServiceRequest"]}]
    assert report["result"] == [{"reference": urls["Observation"]}]
    assert report["specimen"] == [{"reference": urls["Specimen"]}]
    assert report["encounter"] == {"reference": urls["Encounter"]}
    assert the(found, "Observation")["specimen"] == {"reference": urls["Specimen"]}
    assert the(found, "ServiceRequest")["requester"]["reference"] == urls["Practitioner"]


def test_a_visit_without_a_number_beside_results_is_not_kept() -> None:
    found = oru("PV1|1|O", OBR, obx("c", "1"))
    assert all_of(found, "Encounter") == []
    assert said(found) == ["PV1-19: a visit without a number, beside results, is not kept"]


def test_numbers_of_the_order_come_from_obr_else_orc() -> None:
    found = oru("ORC|RE|P-9|F-9", "OBR|1|P-1||A", obx("c", "1"))
    report = the(found, "DiagnosticReport")
    assert [(item["type"]["coding"][0]["code"], item["value"]) for item in report["identifier"][1:]] == [
        ("PLAC", "P-1"),
        ("FILL", "F-9"),
    ]


@pytest.mark.parametrize(
    ("orc", "status", "meant"),
    [
        ("ORC|RE|P-1|F-1||CM", "P", "completed"),
        ("ORC|RE|P-1|F-1||HD", "P", "on-hold"),
        ("ORC|NW|P-1|F-1", "P", "active"),
        ("ORC|CA|P-1|F-1", "P", "revoked"),
        ("ORC|SC|P-1|F-1", "F", "completed"),
        ("ORC||P-1|F-1", "X", "revoked"),
        ("ORC||P-1|F-1", "", "unknown"),
    ],
)
def test_the_status_of_a_request_is_the_orders_else_the_reports(orc: str, status: str, meant: str) -> None:
    found = oru(orc, "OBR|1||F-1|A" + "|" * 21 + status)
    assert the(found, "ServiceRequest")["status"] == meant


def test_a_reflex_order_names_its_parent() -> None:
    found = the(oru("OBR|2|P-1|F-2|B|||||||G" + "|" * 18 + "P-0^F-0"), "ServiceRequest")
    assert found["intent"] == "reflex-order"
    assert [item["identifier"]["value"] for item in found["basedOn"]] == ["P-0", "F-0"]


def test_results_take_time_and_kind_from_their_order() -> None:
    found = the(oru(OBR, obx("c", "1")), "Observation")
    assert found["effectiveDateTime"] == "2026-01-10T08:15:00+01:00"
    assert found["issued"] == "2026-01-10T12:00:00+01:00"
    assert [item["coding"][0]["code"] for item in found["category"]] == ["laboratory", "CH"]


def test_a_results_own_time_comes_first() -> None:
    found = the(oru(OBR, "OBX|1|NM|c||1||||||F|||20260109"), "Observation")
    assert found["effectiveDateTime"] == "2026-01-09"


def test_the_time_that_tells_newer_is_the_reports_else_the_messages() -> None:
    found = oru(OBR, obx("c", "1"))
    assert {entry.newer for entry in entries(found, "Observation")} == {"2026-01-10T12:00:00+01:00"}
    assert {entry.newer for entry in entries(found, "Patient")} == {"2026-01-10T12:15:00+01:00"}
    bare = oru("OBR|1||F-1|A", obx("c", "1"))
    assert {entry.newer for entry in entries(bare, "Observation")} == {"2026-01-10T12:15:00+01:00"}


def test_comments_stand_where_they_were_made() -> None:
    order = ["ORC|RE|P-1|F-1", "NTE|1||on the order", OBR, "NTE|1||on the report"]
    results = [obx("c", "1"), "NTE|1||line one", "NTE|2||line two", "NTE|3||signed||20260110"]
    found = oru(*order, *results, "SPM|1|S-1", "NTE|1||on the specimen")
    assert the(found, "ServiceRequest")["note"] == [{"text": "on the order"}]
    assert the(found, "DiagnosticReport")["extension"][0]["valueAnnotation"] == {"text": "on the report"}
    notes = the(found, "Observation")["note"]
    assert [note["text"] for note in notes] == ["line one\nline two", "signed"]
    assert the(found, "Specimen")["note"] == [{"text": "on the specimen"}]


def test_specimens_are_told_apart_by_their_numbers() -> None:
    found = oru(OBR, obx("c", "1"), "SPM|1|S-1^T-1", "SPM|2|^T-2", "SPM|3|||URN", "SPM|4|||URN")
    assert [entry.match[0][1] for entry in entries(found, "Specimen")] == [
        "S-1",
        "T-2",
        "F-1/LAB/24323-8/URN",
        "F-1/LAB/24323-8/URN#2",
    ]
    assert "specimen" not in the(found, "Observation")


def test_an_old_senders_specimen_is_in_its_order() -> None:
    found = oru("OBR|1||F-1|A|||20260110||||||||BLD&Blood&HL70487^EDTA", obx("c", "1"))
    specimen = the(found, "Specimen")
    assert specimen["type"]["coding"][0]["code"] == "BLD"
    assert specimen["container"][0]["additiveCodeableConcept"]["coding"][0]["code"] == "EDTA"
    assert specimen["collection"]["collectedDateTime"] == "2026-01-10"


def test_who_performed_is_a_laboratory_with_address_and_director() -> None:
    line = "OBX|1|NM|c||1||||||F||||OLD^Old lab^L|12^Roe^Al|||||||Lab One^^^^^CLIA^XX^^^05D|1 St^^Town|13^Chief^Di"
    found = oru(OBR, line)
    (laboratory,) = all_of(found, "Organization")
    assert (laboratory["name"], laboratory["address"][0]["city"]) == ("Lab One", "Town")
    assert laboratory["contact"][0]["name"]["family"] == "Chief"
    assert [item["display"] for item in the(found, "Observation")["performer"]] == ["Al Roe", "Lab One"]


def test_results_before_any_order_belong_to_the_patient() -> None:
    found = oru(obx("8302-2^Height^LN", "171"), OBR, obx("c", "1"))
    first = all_of(found, "Observation")[0]
    assert first["code"]["coding"][0]["code"] == "8302-2"
    assert the(found, "DiagnosticReport")["result"] == [{"reference": entries(found, "Observation")[1].full_url}]


def test_every_patient_has_its_own_results() -> None:
    found = oru(OBR, obx("c", "1"), "PID|2||8||Roe", "OBR|1||F-2|A", obx("c", "2"))
    patients, results = entries(found, "Patient"), all_of(found, "Observation")
    assert [item["subject"]["reference"] for item in results] == [entry.full_url for entry in patients]


def test_a_result_of_nothing_named_is_kept_and_said() -> None:
    found = oru("OBR|1||F-1", "OBX|1|ST|||orphan||||||F")
    assert the(found, "Observation")["code"]["extension"][0]["valueCode"] == "unknown"
    assert len(said(found)) == 2


def test_lineage_of_a_result_names_its_segment() -> None:
    entry = entries(oru(OBR, obx("c", "1"), obx("d", "2")), "Observation")[1]
    assert entry.lineage["valueQuantity"] == "OBX[2]-5"
    assert entry.lineage["effectiveDateTime"] == "OBR-7"
    assert entry.lineage["issued"] == "OBR-22"
