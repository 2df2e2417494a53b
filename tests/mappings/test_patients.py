"""ADT messages become a patient, a visit and what stands around them, known again by their numbers."""

from __future__ import annotations

import pytest

from tests.mappings.reading import adt, all_of, entries, mapped, said, the

PV1 = "PV1|1|I|ICU^12^B||||11^Doe^Jo||||||||||||V-1^^^CLINIC&1.2.3&ISO^VN"


def pv1(end: str = "", start: str = "202601100800", kind: str = "I") -> str:
    """A PV1 of visit V-1 with admission and discharge times."""
    return f"PV1|1|{kind}|ICU^12^B||||||||||||||||V-1" + "|" * 25 + f"{start}|{end}"


# --- Patient ----------------------------------------------------------------------------------------------------------


def test_a_patient_is_known_by_every_number_that_is_its_own() -> None:
    pid = "PID|1|old^^^A|7^^^A~8^^^B&1.2&ISO^MR~9^^^C^AN~999-99-9999^^^USSSA^SS~55^^^D^MB||Doe"
    (entry,) = entries(adt("A28", pid=pid), "Patient")
    assert entry.match == (
        ("urn:concord:authority:FAC:A", "old"),
        ("urn:concord:authority:FAC:A", "7"),
        ("urn:oid:1.2", "8"),
    )
    assert len(entry.resource["identifier"]) == 6


def test_a_patient_without_a_number_is_known_by_the_account_and_said_to_be() -> None:
    found = adt("A28", pid="PID|1||||Doe|||||||||||||A-9^^^HOSP")
    assert entries(found, "Patient")[0].match == (("urn:concord:authority:FAC:HOSP", "A-9"),)
    assert "account number" in said(found)[0]


def test_a_patient_without_any_number_stands_alone() -> None:
    found = adt("A28", pid="PID|1||||Doe^Jane")
    assert entries(found, "Patient")[0].match == (("urn:concord:message:FAC", "1/PID"),)
    assert "stands alone" in said(found)[0]


def test_a_time_of_birth_is_kept_beside_the_date() -> None:
    patient = the(adt("A28", pid="PID|1||7||Doe||198402291530"), "Patient")
    assert patient["birthDate"] == "1984-02-29"
    assert patient["_birthDate"]["extension"][0]["valueDateTime"] == "1984-02-29T15:30:00+01:00"


@pytest.mark.parametrize(("sent", "meant"), [("1984", "1984"), ("198402", "1984-02"), ("19840229000000", "1984-02-29")])
def test_a_birth_date_has_the_precision_sent(sent: str, meant: str) -> None:
    patient = the(adt("A28", pid=f"PID|1||7||Doe||{sent}"), "Patient")
    assert patient["birthDate"] == meant
    assert "_birthDate" not in patient


def test_a_date_that_is_none_is_said_and_left_out() -> None:
    found = adt("A28", pid="PID|1||7||Doe||19830229")
    assert "birthDate" not in the(found, "Patient")
    assert said(found) == ["PID-7: '19830229' is no date"]


def test_a_death_is_a_time_or_a_fact() -> None:
    died, dead = ("|" * 24 + "20260101|Y", "|" * 24 + "|Y")
    assert the(adt("A28", pid=f"PID|1||7||D{died}"), "Patient")["deceasedDateTime"] == "2026-01-01"
    assert the(adt("A28", pid=f"PID|1||7||D{dead}"), "Patient")["deceasedBoolean"] is True


def test_numbers_at_home_and_at_work_say_so() -> None:
    patient = the(adt("A28", pid="PID|1||7||Doe||||||||555-1|555-2~^NET^Internet^a@b.example"), "Patient")
    assert [(item["value"], item["use"]) for item in patient["telecom"]] == [
        ("555-1", "home"),
        ("555-2", "work"),
        ("a@b.example", "work"),
    ]


def test_what_the_delete_sign_deletes_is_named_as_narrowly_as_can_be() -> None:
    found = adt("A08", 'PV1|1|""|""||||""||||||||||||V-1' + "|" * 25 + '|""', pid='PID|1||""~7||""||""||||""||""|""')
    (patient,) = entries(found, "Patient")
    assert patient.removed == ("name", "birthDate", "address", "telecom[use=home]", "telecom[use=work]")
    (visit,) = entries(found, "Encounter")
    assert visit.removed == ("location[status=active]", "participant[type=ATND]", "period.end")


def test_a_repeated_field_that_fhir_has_once_is_said() -> None:
    found = adt("A28", pid="PID|1||7||Doe|||F~M")
    assert the(found, "Patient")["gender"] == "female"
    assert said(found) == ["PID-8: 2 repetitions; FHIR has room for the first"]


def test_segments_without_a_map_and_comments_without_a_place_are_said_once() -> None:
    found = adt("A28", "NTE|1||seen", "ZXX|1", "ZXX|2", "GT1|1")
    assert said(found) == [
        "ZXX: segment ZXX is not mapped",
        "GT1: segment GT1 is not mapped",
        "NTE: FHIR has no place for a comment here",
    ]


def test_lineage_names_the_field_of_every_element() -> None:
    (patient,) = entries(adt("A28", pid="PID|1|2^^^A|7~8||Doe|||F"), "Patient")
    assert patient.lineage == {
        "identifier[0]": "PID-2",
        "identifier[1]": "PID-3",
        "identifier[2]": "PID-3",
        "name[0]": "PID-5",
        "gender": "PID-8",
    }


# --- Encounter --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "end", "kind", "status"),
    [
        ("A01", "", "I", "in-progress"),
        ("A01", "", "P", "planned"),
        ("A01", "202601110900", "I", "finished"),
        ("A02", "", "I", "in-progress"),
        ("A03", "", "I", "finished"),
        ("A04", "", "O", "in-progress"),
        ("A05", "", "I", "planned"),
        ("A08", "", "I", "in-progress"),
        ("A08", "202601110900", "I", "finished"),
        ("A10", "", "O", "arrived"),
        ("A11", "", "I", "cancelled"),
        ("A13", "202601110900", "I", "in-progress"),
        ("A01", "", "Q", "unknown"),
    ],
)
def test_the_event_the_class_and_the_discharge_decide_the_status(
    trigger: str, end: str, kind: str, status: str
) -> None:
    assert the(adt(trigger, pv1(end, kind=kind)), "Encounter")["status"] == status


def test_an_update_does_not_decide_the_status_of_a_visit_it_only_updates() -> None:
    assert entries(adt("A08", pv1()), "Encounter")[0].keep == ("status",)
    assert entries(adt("A08", pv1("202601110900")), "Encounter")[0].keep == ()
    assert entries(adt("A02", pv1()), "Encounter")[0].keep == ()


def test_cancelling_a_discharge_takes_back_its_time() -> None:
    (visit,) = entries(adt("A13", pv1("202601110900")), "Encounter")
    assert "period.end" in visit.removed
    assert visit.resource["period"] == {"start": "2026-01-10T08:00:00+01:00"}


def test_a_visit_is_known_by_its_number_and_authority() -> None:
    assert entries(adt("A01", PV1), "Encounter")[0].match == (("urn:oid:1.2.3", "V-1"),)
    assert entries(adt("A01", pv1()), "Encounter")[0].match == (("urn:concord:visit:FAC", "V-1"),)


def test_a_visit_without_a_number_is_known_by_account_or_admission() -> None:
    bare = "PV1|1|I" + "|" * 42 + "202601100800"
    account = "PID|1||7||Doe|||||||||||||A-9"
    assert entries(adt("A08", "PV1|1|I", pid=account), "Encounter")[0].match == (("urn:concord:account:FAC", "A-9"),)
    ((system, value),) = entries(adt("A08", bare, pid="PID|1||7"), "Encounter")[0].match
    assert (system, value) == ("urn:concord:visit-of:FAC", "urn:concord:identifier:FAC/7/202601100800")


def test_a_visit_that_nothing_tells_apart_is_not_kept_unless_it_begins() -> None:
    found = adt("A08", "PV1|1|I")
    assert all_of(found, "Encounter") == []
    assert "nothing tells from another" in said(found)[0]
    assert len(all_of(adt("A01", "PV1|1|I"), "Encounter")) == 1


def test_the_prior_place_is_left_and_the_new_one_active() -> None:
    visit = the(adt("A02", "PV1|1|I|ICU^1^A|||ER^2^B|||||||||||||V-1"), "Encounter")
    assert [(item["status"], item["location"]["display"]) for item in visit["location"]] == [
        ("active", "ICU 1 A"),
        ("completed", "ER 2 B"),
    ]


def test_nobody_is_anywhere_when_the_visit_is_over() -> None:
    visit = the(adt("A03", "PV1|1|I|ICU^1^A|||ICU^1^A|||||||||||||V-1"), "Encounter")
    assert [item["status"] for item in visit["location"]] == ["completed"]


def test_a_class_nobody_knows_is_the_senders_own_and_said() -> None:
    found = adt("A01", pv1(kind="Q"))
    assert the(found, "Encounter")["class"] == {"system": "urn:concord:table:FAC:0004", "code": "Q"}
    assert any("'Q' is not in table 0004" in text for text in said(found))


# --- around -----------------------------------------------------------------------------------------------------------


def test_next_of_kin_are_related_persons_known_by_patient_name_and_relationship() -> None:
    (entry,) = entries(adt("A28", "NK1|1|Doe^Jo|SPO||555"), "RelatedPerson")
    assert entry.match == (("urn:concord:related:FAC", "urn:oid:1.2.3/7/DOE JO/SPO"),)
    assert entry.resource["patient"] == {"reference": "urn:uuid:" + entry.resource["patient"]["reference"][9:]}


def test_next_of_kin_without_anything_are_not_kept() -> None:
    found = adt("A28", "NK1|1||SPO")
    assert all_of(found, "RelatedPerson") == []
    assert len(said(found)) == 1


def test_a_diagnosis_belongs_to_the_visit_and_is_ranked() -> None:
    found = adt("A01", PV1, "DG1|1||R07.9^Chest pain^I10|||A", "DG1|2||J45^Asthma^I10|||F")
    first, second = entries(found, "Condition")
    assert first.resource["encounter"]["reference"] == entries(found, "Encounter")[0].full_url
    diagnosis = the(found, "Encounter")["diagnosis"]
    assert [(item["rank"], item["condition"]["reference"]) for item in diagnosis] == [
        (1, first.full_url),
        (2, second.full_url),
    ]
    assert [item["use"]["coding"][0]["code"] for item in diagnosis] == ["AD", "DD"]


def test_a_deleted_diagnosis_is_an_error_and_no_longer_the_visits() -> None:
    found = adt("A08", PV1, "DG1|1||R07.9^Chest pain^I10" + "|" * 18 + "D")
    assert the(found, "Condition")["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "diagnosis" not in the(found, "Encounter")


def test_the_same_allergy_twice_is_one() -> None:
    found = adt("A28", "AL1|1|DA|1191^Aspirin^RXNORM|SV|Hives", "AL1|2|DA|1191^Aspirin^RXNORM")
    assert len(all_of(found, "AllergyIntolerance")) == 1
    assert said(found) == ["AL1[2]: the same again in this message; the first is kept"]


def test_things_that_name_nothing_are_not_kept_and_said() -> None:
    found = adt("A28", "AL1|1|DA", "DG1|1", "IN1|1")
    assert {entry.resource["resourceType"] for entry in found.entries} == {"Patient"}
    assert len(said(found)) == 3


def test_insurance_names_insurer_plan_policy_and_subscriber() -> None:
    line = "IN1|1|GOLD^Gold^L|77^^^NAIC|Mutual|1 St^^Town||555|G1|Group One|||20260101|||||SEL" + "|" * 19 + "P-1"
    found = adt("A01", line)
    coverage, insurer = the(found, "Coverage"), entries(found, "Organization")[0]
    assert coverage["payor"] == [{"reference": insurer.full_url, "display": "Mutual"}]
    assert [(item["type"]["coding"][0]["code"], item["value"]) for item in coverage["class"]] == [
        ("plan", "GOLD"),
        ("group", "G1"),
    ]
    assert coverage["subscriber"] == coverage["beneficiary"]
    assert (coverage["subscriberId"], coverage["status"]) == ("P-1", "active")
    assert insurer.match == (("urn:concord:authority:FAC:NAIC", "77"),)


def test_an_insurer_nobody_names_is_absent_for_a_reason() -> None:
    coverage = the(adt("A01", "IN1|1|GOLD"), "Coverage")
    assert coverage["payor"][0]["extension"][0]["valueCode"] == "unknown"


def test_two_patients_in_one_message_are_two() -> None:
    found = mapped("MSH|^~\\&|A|F|||20260101||ADT^A01|1|P|2.5", "PID|1||1||Doe", "AL1|1||^Nuts", "PID|2||2||Roe")
    first, second = entries(found, "Patient")
    assert first.full_url != second.full_url
    assert the(found, "AllergyIntolerance")["patient"]["reference"] == first.full_url


def test_the_same_patient_twice_is_one_and_stays_valid() -> None:
    alive, dead = "PID|1||1||Doe" + "|" * 25 + "N", "PID|2||1||Doe|19800101" + "|" * 22 + "20260101"
    found = mapped("MSH|^~\\&|A|F|||20260101||ADT^A01|1|P|2.5", alive, dead)
    assert the(found, "Patient")["deceasedBoolean"] is False
