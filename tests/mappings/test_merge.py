"""What a message mentions changes, what it does not stays, what it deletes goes, and older news never wins."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import structures
from mappings.hl7v2 import decode as decode_message
from mappings.hl7v2 import parse
from mappings.mapped import AS_OF, Entry, Json, Mapped, decode, encode
from mappings.merge import conflict, is_stale, merge
from mappings.to_fhir import to_fhir
from tests.mappings.corpus import DEMO, own_files
from tests.mappings.reading import BERLIN, adt, entries, oru

OLD, NOW, LATER = "2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z", "2026-01-03T10:00:00Z"


def stored(kind: str, as_of: str = NOW, **elements: Any) -> Json:
    """A stored resource, as of a time."""
    meta = {"versionId": "3", "extension": [{"url": AS_OF, "valueDateTime": as_of}]}
    return {"resourceType": kind, "id": "x", "meta": meta, **elements}


def news(
    kind: str, newer: str | None = LATER, removed: tuple[str, ...] = (), keep: tuple[str, ...] = (), **rest: Any
) -> Entry:
    """An entry of a message."""
    return Entry("urn:uuid:x", {"resourceType": kind, **rest}, newer=newer, removed=removed, keep=keep)


def as_of(resource: Json) -> str:
    found: str = resource["meta"]["extension"][0]["valueDateTime"]
    return found


# --- what is mentioned and what is not --------------------------------------------------------------------------------


def test_what_a_message_mentions_changes_and_the_rest_stays() -> None:
    old = stored("Patient", gender="male", birthDate="1980")
    got = merge(old, news("Patient", gender="female"))
    assert (got["gender"], got["birthDate"], got["id"]) == ("female", "1980", "x")
    assert (got["meta"]["versionId"], as_of(got)) == ("3", LATER)
    assert old["gender"] == "male"


def test_news_that_change_nothing_leave_what_is_stored() -> None:
    old = stored("Patient", gender="male")
    assert merge(old, news("Patient", gender="male")) == old


def test_a_resend_of_a_result_changes_nothing_but_a_newer_word_on_it_is_dated() -> None:
    old = stored("Observation", status="final", valueString="a")
    assert merge(old, news("Observation", NOW, status="final", valueString="a")) == old
    assert as_of(merge(old, news("Observation", LATER, status="final", valueString="a"))) == LATER


def test_an_entry_that_only_creates_leaves_what_is_stored() -> None:
    entry = msgspec.structs.replace(news("Patient", gender="male"), mode="create")
    assert merge(stored("Patient"), entry) == stored("Patient")


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("gender", {"birthDate", "_birthDate", "telecom", "period"}),
        ("birthDate", {"gender", "telecom", "period"}),
        ("telecom", {"gender", "birthDate", "_birthDate", "period"}),
        ("nothing", {"gender", "birthDate", "_birthDate", "telecom", "period"}),
        ("period.end", {"gender", "birthDate", "_birthDate", "telecom"}),
    ],
)
def test_what_is_deleted_goes_with_its_companions(path: str, left: set[str]) -> None:
    elements: Json = {"gender": "male", "birthDate": "1980", "_birthDate": {"id": "1"}}
    elements |= {"telecom": [{"use": "home"}], "period": {"end": "2026"}}
    got = merge(stored("Patient", **elements), news("Patient", removed=(path,)))
    assert set(got) == left | {"resourceType", "id", "meta"}


def test_some_items_of_a_list_can_be_deleted() -> None:
    phones = [{"use": "home", "value": "1"}, {"use": "work", "value": "2"}]
    got = merge(stored("Patient", telecom=phones), news("Patient", removed=("telecom[use=home]",)))
    assert got["telecom"] == phones[1:]
    people = [{"type": [{"coding": [{"code": "ATND"}]}]}, {"type": [{"coding": [{"code": "REF"}]}]}]
    got = merge(stored("Encounter", participant=people), news("Encounter", removed=("participant[type=ATND]",)))
    assert got["participant"] == people[1:]


def test_what_is_deleted_and_said_anew_is_new() -> None:
    old = stored("Patient", name=[{"use": "old", "family": "A"}])
    assert merge(old, news("Patient", removed=("name",), name=[{"family": "B"}]))["name"] == [{"family": "B"}]


# --- lists ------------------------------------------------------------------------------------------------------------


def test_names_and_numbers_are_replaced_by_use_where_they_stood() -> None:
    old = stored("Patient", name=[{"use": "official", "family": "A"}, {"use": "maiden", "family": "M"}])
    got = merge(old, news("Patient", name=[{"use": "official", "family": "B"}, {"use": "nickname", "family": "N"}]))
    assert [name["family"] for name in got["name"]] == ["B", "M", "N"]


def test_identifiers_are_added_and_told_more_of() -> None:
    old = stored("Patient", identifier=[{"system": "a", "value": "1"}, {"system": "b", "value": "2"}])
    new = [{"system": "b", "value": "2", "type": {"text": "t"}}, {"system": "a", "value": "9"}]
    got = merge(old, news("Patient", identifier=new))
    assert [item["value"] for item in got["identifier"]] == ["1", "2", "9"]
    assert got["identifier"][1]["type"] == {"text": "t"}


def test_a_partial_report_erases_no_result() -> None:
    old = stored("DiagnosticReport", result=[{"reference": "Observation/1"}, {"reference": "Observation/2"}])
    new = [{"reference": "Observation/2", "display": "x"}, {"reference": "Observation/3"}]
    got = merge(old, news("DiagnosticReport", result=new))
    assert [item["reference"] for item in got["result"]] == ["Observation/1", "Observation/2", "Observation/3"]


def test_a_moved_patient_has_left_where_he_was() -> None:
    old = stored("Encounter", location=[{"location": {"reference": "Location/1"}, "status": "active"}])
    got = merge(old, news("Encounter", location=[{"location": {"reference": "Location/2"}, "status": "active"}]))
    assert [(item["location"]["reference"], item["status"]) for item in got["location"]] == [
        ("Location/1", "completed"),
        ("Location/2", "active"),
    ]


def test_periods_come_part_by_part() -> None:
    got = merge(stored("Encounter", period={"start": "2026"}), news("Encounter", period={"end": "2027"}))
    assert got["period"] == {"start": "2026", "end": "2027"}


def test_elements_of_the_same_name_are_merged_by_what_they_are() -> None:
    old = stored("Encounter", **{"class": {"code": "IMP"}})
    assert merge(old, news("Encounter", **{"class": {"code": "AMB"}}))["class"] == {"code": "AMB"}
    old = stored("Observation", specimen={"reference": "Specimen/1"})
    got = merge(old, news("Observation", specimen={"reference": "Specimen/2"}))
    assert got["specimen"] == {"reference": "Specimen/2"}


# --- values and status ------------------------------------------------------------------------------------------------


def test_a_value_of_another_type_replaces_the_one_before() -> None:
    old = stored("Observation", valueQuantity={"value": Decimal("1.50")}, status="preliminary")
    got = merge(old, news("Observation", valueString="n/a", status="final"))
    assert "valueQuantity" not in got
    assert got["valueString"] == "n/a"
    got = merge(stored("Observation", effectiveDateTime="2026"), news("Observation", effectivePeriod={"start": "2026"}))
    assert "effectiveDateTime" not in got


def test_a_value_and_a_reason_for_none_exclude_each_other() -> None:
    old = stored("Observation", valueString="1")
    assert "valueString" not in merge(old, news("Observation", dataAbsentReason={"text": "x"}))
    old = stored("Observation", dataAbsentReason={"text": "x"})
    assert "dataAbsentReason" not in merge(old, news("Observation", valueString="1"))


def test_a_change_to_final_keeps_the_value() -> None:
    got = merge(stored("Observation", status="preliminary", valueString="1"), news("Observation", status="final"))
    assert (got["status"], got["valueString"]) == ("final", "1")


@pytest.mark.parametrize(
    ("before", "after"),
    [("preliminary", "final"), ("registered", "final"), ("final", "final"), ("corrected", "corrected")],
)
def test_a_verification_confirms_what_is_open_and_leaves_what_is_settled(before: str, after: str) -> None:
    got = merge(stored("Observation", status=before), news("Observation", status="final", keep=("status",)))
    assert got["status"] == after


def test_a_withdrawn_result_loses_its_value() -> None:
    old = stored("Observation", status="final", valueQuantity={"value": 1}, interpretation=[{"text": "H"}])
    entry = news("Observation", removed=("value[x]", "interpretation", "component"), status="entered-in-error")
    got = merge(old, entry)
    assert got["status"] == "entered-in-error"
    assert not {"valueQuantity", "interpretation"} & set(got)


def test_a_new_date_drops_what_was_said_of_the_old_one() -> None:
    old = stored("Patient", birthDate="1980-01-01", _birthDate={"extension": [{"url": "u", "valueString": "x"}]})
    assert "_birthDate" not in merge(old, news("Patient", birthDate="1981-01-01"))
    assert "_birthDate" in merge(old, news("Patient", birthDate="1980-01-01", gender="male"))


# --- time -------------------------------------------------------------------------------------------------------------


def test_older_news_change_nothing_but_add_what_nobody_has_seen() -> None:
    old = stored("DiagnosticReport", status="final", result=[{"reference": "Observation/1"}])
    late = news(
        "DiagnosticReport", OLD, status="preliminary", result=[{"reference": "Observation/2"}], removed=("status",)
    )
    got = merge(old, late)
    assert got["status"] == "final"
    assert [item["reference"] for item in got["result"]] == ["Observation/1", "Observation/2"]
    assert as_of(got) == NOW
    assert merge(old, news("DiagnosticReport", OLD, status="preliminary")) == old


@pytest.mark.parametrize(
    ("arrived", "stale"),
    [
        (OLD, True),
        (NOW, False),
        (LATER, False),
        ("2026-01-02", False),
        ("2026-01-01", True),
        ("2026", False),
        (None, False),
    ],
)
def test_news_are_stale_when_certainly_older(arrived: str | None, stale: bool) -> None:
    assert is_stale(stored("Observation"), news("Observation", arrived)) is stale


def test_times_compare_across_zones() -> None:
    assert is_stale(stored("Observation"), news("Observation", "2026-01-02T11:30:00+02:00"))


def test_what_a_client_wrote_is_dated_by_its_issue_or_not_at_all() -> None:
    assert is_stale({"resourceType": "Observation", "issued": NOW}, news("Observation", OLD))
    assert not is_stale({"resourceType": "Patient"}, news("Patient", OLD))


# --- whom a number belongs to -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "born", "is_conflict"),
    [
        ("Doe", "1980-01-01", False),
        ("DOE", "1999-09-09", False),
        ("Roe", "1980-01-01", False),
        ("Roe", "1999-09-09", True),
    ],
)
def test_a_number_with_another_name_and_birth_date_is_somebody_else(name: str, born: str, is_conflict: bool) -> None:
    old = stored("Patient", name=[{"family": "Doe"}], birthDate="1980-01-01")
    assert bool(conflict(old, news("Patient", name=[{"family": name}], birthDate=born))) is is_conflict


def test_what_is_not_said_is_no_conflict() -> None:
    old = stored("Patient", name=[{"family": "Doe"}], birthDate="1980-01-01")
    assert conflict(old, news("Patient", name=[{"family": "Roe"}])) is None
    assert conflict(stored("Observation"), news("Observation")) is None


# --- laws -------------------------------------------------------------------------------------------------------------


def demo() -> list[Mapped]:
    """The demo's messages, mapped, in order."""
    return [to_fhir(parse(file.read_text()), BERLIN) for file in sorted(DEMO.glob("*.hl7"))]


def test_the_correction_of_the_demo_is_a_new_version_of_the_same_observation() -> None:
    first, second = demo()[3:5]
    before = {entry.full_url: entry for entry in first.entries}
    changed = {
        entry.resource["code"]["coding"][0]["code"]: merge(before[entry.full_url].resource, entry)
        for entry in entries(second, "Observation")
    }
    assert set(changed) == {"2823-3", "2160-0", "2345-7"}
    assert changed["2823-3"]["valueQuantity"]["value"] == Decimal("4.3")
    assert changed["2823-3"]["status"] == "corrected"
    assert changed["2160-0"]["status"] == "final"


def test_an_update_after_discharge_does_not_reopen_the_visit() -> None:
    line = "PV1|1|I" + "|" * 17 + "V-1"
    (over,) = entries(adt("A03", line, head="20260102"), "Encounter")
    (update,) = entries(adt("A08", line, head="20260103"), "Encounter")
    assert merge(over.resource, update)["status"] == "finished"


@given(st.permutations(range(3)))
def test_in_whatever_order_results_arrive_the_newest_stands(order: list[int]) -> None:
    obr = "OBR|1||F-1|A||||||||||||||||||2026010{}12|||{}"
    messages = [oru(obr.format(n + 1, s), f"OBX|1|NM|c||{n}||||||{s}") for n, s in enumerate("PFC")]
    resource: Json | None = None
    for number in order:
        (entry,) = entries(messages[number], "Observation")
        resource = merge(resource, entry) if resource else entry.resource
    assert resource is not None
    assert (resource["status"], resource["valueQuantity"]["value"]) == ("corrected", 2)


@pytest.mark.parametrize("file", own_files(), ids=lambda path: path.stem)
def test_merging_is_idempotent_pure_and_stays_valid(file: Any) -> None:
    for entry in to_fhir(parse(decode_message(file.read_bytes()).text), BERLIN).entries:
        for old in (entry.resource, stored(entry.resource["resourceType"], OLD, **_required(entry.resource))):
            before = copy.deepcopy(old)
            once = merge(old, entry)
            assert old == before
            assert merge(once, entry) == once
            structures.decode(once["resourceType"], encode(once))
            assert merge(decode(encode(once)), entry) == once


def _required(resource: Json) -> Json:
    """What R4 requires of the resource, so that a stored one without the rest is valid."""
    names = {"status", "code", "class", "intent", "subject", "patient", "beneficiary", "payor"}
    return {name: copy.deepcopy(value) for name, value in resource.items() if name in names}
