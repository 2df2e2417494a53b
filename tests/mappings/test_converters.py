"""Each data type of HL7 becomes the FHIR type that says the same, and says what it could not say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mappings import attachments, coded, identifiers, names, people, quantities
from mappings.mapped import Json, SenderProfile
from tests.mappings.reading import context, value

V2 = "http://terminology.hl7.org/CodeSystem/v2-"


# --- names, addresses, telephone numbers ------------------------------------------------------------------------------


def test_a_name_has_its_parts_in_their_places() -> None:
    found = names.human_name(value("Doe^Jane^Q R^III^Dr^MD^L^^^^^20200101^2021^PhD"), context(), None)
    assert found == {
        "use": "official",
        "family": "Doe",
        "given": ["Jane", "Q R"],
        "prefix": ["Dr"],
        "suffix": ["III", "MD", "PhD"],
        "period": {"start": "2020-01-01", "end": "2021"},
    }


def test_a_family_name_of_several_parts_keeps_them() -> None:
    found = names.human_name(value("Van Dam&van&Dam^Eva"), context(), None)
    assert found is not None
    assert found["family"] == "Van Dam"
    assert [item["valueString"] for item in found["_family"]["extension"]] == ["van", "Dam"]


def test_a_name_of_a_type_alone_is_none() -> None:
    for raw in ("^^^^^^L", '""', "", '""^""'):
        assert names.human_name(value(raw), context(), None) is None


def test_a_name_type_nobody_knows_is_said() -> None:
    cx = context()
    found = names.human_name(value("Doe^^^^^^Q9"), cx, None)
    assert found == {"family": "Doe"}
    assert "Q9" in cx.issues[0].diagnostics


def test_an_address_has_its_parts_in_their_places() -> None:
    raw = "12 Main St&Main St&12^Apt 4^Town^ST^12345^US^H^^County^^^20200101&20210101"
    assert names.address(value(raw), context(), None) == {
        "use": "home",
        "line": ["12 Main St", "Main St", "12", "Apt 4"],
        "city": "Town",
        "district": "County",
        "state": "ST",
        "postalCode": "12345",
        "country": "US",
        "period": {"start": "2020-01-01", "end": "2021-01-01"},
    }


def test_a_mailing_address_is_postal() -> None:
    found = names.address(value("PO Box 1^^Town^^^^M"), context(), None)
    assert found == {"type": "postal", "line": ["PO Box 1"], "city": "Town"}


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("555-1234", {"system": "phone", "value": "555-1234"}),
        ("^PRN^PH^^1^555^1234567^9", {"system": "phone", "value": "+1 555 1234567 X9", "use": "home"}),
        ("^WPN^FX^^^555^1234567", {"system": "fax", "value": "555 1234567", "use": "work"}),
        ("^PRN^CP^^^555^1234567", {"system": "phone", "value": "555 1234567", "use": "mobile"}),
        ("^NET^Internet^a@b.example", {"system": "email", "value": "a@b.example"}),
        ("^^^a@b.example", {"system": "email", "value": "a@b.example"}),
        ("a@b.example", {"system": "email", "value": "a@b.example"}),
        ("^PRN^PH^^^^^^^^^(555) 123^^^^^^2", {"system": "phone", "value": "(555) 123", "use": "home", "rank": 2}),
    ],
)
def test_a_contact_is_what_was_sent(raw: str, meant: Json) -> None:
    found = names.contact(value(raw), context(), None)
    assert found is not None
    found.pop("extension", None)
    assert found == meant


def test_a_contact_of_a_use_alone_is_none() -> None:
    assert names.contact(value("^PRN^PH"), context(), None) is None


# --- codes ------------------------------------------------------------------------------------------------------------


def test_a_coded_field_has_a_coding_for_each_triplet() -> None:
    raw = "1^One^LN^2^Two^SCT^v1^v2^said so^3^Three^99LOC"
    assert coded.codeable(value(raw), context(), None) == {
        "coding": [
            {"system": "http://loinc.org", "version": "v1", "code": "1", "display": "One"},
            {"system": "http://snomed.info/sct", "version": "v2", "code": "2", "display": "Two"},
            {"system": "urn:concord:code:FAC:99LOC", "code": "3", "display": "Three"},
        ],
        "text": "said so",
    }


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("LN", "http://loinc.org"),
        ("HL70078", V2 + "0078"),
        ("HL7-0078", V2 + "0078"),
        ("2.16.840.1.113883.6.1", "http://loinc.org"),
        ("1.2.840.1", "urn:oid:1.2.840.1"),
        ("http://example.org/codes", "http://example.org/codes"),
        ("L", "urn:concord:code:FAC:L"),
        ("Our Codes", "urn:concord:code:FAC:Our%20Codes"),
        ("", "urn:concord:code:FAC"),
    ],
)
def test_every_coding_has_a_system(name: str, system: str) -> None:
    found = coded.codeable(value(f"X^Ex^{name}"), context(), None)
    assert found == {"coding": [{"system": system, "code": "X", "display": "Ex"}]}


def test_the_senders_table_of_coding_systems_comes_first() -> None:
    profile = SenderProfile(code_systems={"L": "http://example.org/lab", "LN": "http://example.org/not-loinc"})
    found = coded.codeable(value("X^^L^Y^^LN"), context(profile), None)
    assert found is not None
    assert [item["system"] for item in found["coding"]] == ["http://example.org/lab", "http://example.org/not-loinc"]


def test_text_without_a_code_stays_text() -> None:
    assert coded.codeable(value("^Hazelnut"), context(), None) == {"text": "Hazelnut"}
    assert coded.codeable(value("^^LN"), context(), None) is None


def test_a_mapped_code_stands_before_what_was_sent() -> None:
    cx = context()
    found = coded.codeable(value("M^Married^OURS"), cx, cx.codes["MaritalStatus"])
    assert found is not None
    assert [item["code"] for item in found["coding"]] == ["M", "M"]
    assert [item["system"] for item in found["coding"]] == [
        "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
        "urn:concord:code:FAC:OURS",
    ]


def test_a_code_the_table_lacks_is_kept_as_the_senders_and_said() -> None:
    cx = context()
    found = coded.codeable(value("Q"), cx, cx.codes["MaritalStatus"])
    assert found == {"coding": [{"system": "urn:concord:table:FAC:0002", "code": "Q"}]}
    assert [issue.code for issue in cx.issues] == ["code-invalid"]


def test_a_code_of_another_system_is_not_looked_up() -> None:
    cx = context()
    found = coded.codeable(value("119297000^Blood^SCT"), cx, cx.codes["SpecimenType"])
    assert found == {"coding": [{"system": "http://snomed.info/sct", "code": "119297000", "display": "Blood"}]}
    assert cx.issues == []


def test_a_required_code_the_table_lacks_is_left_out_and_said() -> None:
    cx = context()
    assert coded.code(value("Q"), cx, cx.codes["AdministrativeSex"]) is None
    assert cx.issues[0].severity == "warning"


def test_blanks_in_a_code_are_single() -> None:
    assert coded.code(value("  A   B "), context(), None) == "A B"


@pytest.mark.parametrize(("sent", "meant"), [("Y", True), ("n", False), ("1", True), ("", None), ("maybe", None)])
def test_yes_and_no_are_booleans(sent: str, meant: bool | None) -> None:
    assert coded.truth(value(sent), context(), None) is meant


# --- identifiers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "system"),
    [
        ("1^^^A&1.2.3&ISO^MR", "urn:oid:1.2.3"),
        ("1^^^A&1.2.3&L^MR", "urn:oid:1.2.3"),
        ("1^^^&6BA7B810-9DAD-11D1-80B4-00C04FD430C8&GUID", "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("1^^^&http://example.org/mrn&URI", "http://example.org/mrn"),
        ("1^^^A", "urn:concord:authority:FAC:A"),
        ("1^^^St. Mary's", "urn:concord:authority:FAC:St.%20Mary%27s"),
        ("1^^^A&lab.example.org&DNS", "urn:concord:authority:FAC:A"),
        ("1^^^A&1.02&ISO", "urn:concord:authority:FAC:A"),
        ("1^^^^MR", "urn:concord:identifier:FAC:MR"),
        ("1", "urn:concord:identifier:FAC"),
        ("1^^^^SS", "http://hl7.org/fhir/sid/us-ssn"),
        ("1^^^&2.16.840.1.113883.4.6&ISO", "http://hl7.org/fhir/sid/us-npi"),
    ],
)
def test_every_identifier_has_a_system(raw: str, system: str) -> None:
    found = identifiers.cx(value(raw), context(), None)
    assert found is not None
    assert (found["system"], found["value"]) == (system, "1")


def test_the_senders_table_of_authorities_comes_first() -> None:
    profile = SenderProfile(scope="site", systems={"A": "http://example.org/a", "1.2.3": "http://example.org/oid"})
    found = [identifiers.cx(value(raw), context(profile), None) for raw in ("1^^^A", "1^^^A&1.2.3&ISO", "1^^^B")]
    assert [item and item["system"] for item in found] == [
        "http://example.org/a",
        "http://example.org/oid",
        "urn:concord:authority:site:B",
    ]


def test_an_identifier_keeps_type_check_digit_and_period() -> None:
    found = identifiers.cx(value("12^7^M10^A^MR^^20200101^2021"), context(), None)
    assert found is not None
    assert found["type"]["coding"][0]["code"] == "MR"
    assert [item["valueString"] for item in found["extension"]] == ["7", "M10"]
    assert found["period"] == {"start": "2020-01-01", "end": "2021"}


def test_an_identifier_without_a_value_is_none_and_said() -> None:
    cx = context()
    assert identifiers.cx(value("^^^A^MR"), cx, None) is None
    assert identifiers.cx(value(""), cx, None) is None
    assert len(cx.issues) == 1


# --- people and places ------------------------------------------------------------------------------------------------


def test_the_same_person_twice_is_one_practitioner() -> None:
    cx = context()
    first = people.practitioner(value("11^Doe^Jane^^^Dr^MD"), cx, None)
    second = people.practitioner(value("11^Doe"), cx, None)
    assert first is not None
    assert second is not None
    assert first["reference"] == second["reference"]
    (entry,) = cx.entries.values()
    assert entry.resource["qualification"][0]["code"]["coding"][0]["code"] == "MD"


def test_a_person_without_a_number_is_known_by_name_within_the_sender() -> None:
    cx = context()
    people.practitioner(value("^Doe^Jane"), cx, None)
    (entry,) = cx.entries.values()
    assert entry.match == (("urn:concord:practitioner-name:FAC", "DOE JANE"),)


def test_nobody_makes_no_practitioner() -> None:
    cx = context()
    assert people.practitioner(value("^^^^^Dr"), cx, None) is None
    assert people.interpreter(value("&&"), cx, None) is None
    assert people.organization(value("^L"), cx, None) is None
    assert people.location(value("^^"), cx, None) is None
    assert cx.entries == {}


def test_an_organization_is_known_by_its_number_else_its_name() -> None:
    cx = context()
    people.organization(value("Lab One^^1^^^CLIA&2.16.840.1.113883.4.7&ISO^XX^^^05D"), cx, None)
    people.organization(value("Lab Two"), cx, None)
    first, second = cx.entries.values()
    assert first.match == (("urn:oid:2.16.840.1.113883.4.7", "05D"),)
    assert second.match == (("urn:concord:organization-name:FAC", "LAB TWO"),)


def test_a_place_is_the_smallest_one_named() -> None:
    cx = context()
    people.location(value("ICU^12^B^HOSP"), cx, None)
    (entry,) = cx.entries.values()
    assert entry.resource["physicalType"]["coding"][0]["code"] == "bd"
    assert entry.resource["name"] == "ICU 12 B HOSP"


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("1.500", "1.500"), ("-0.0", "0.0"), ("+7", "7"), (".5", "0.5"), ("5.", "5"), ("007", "7")],
)
def test_numbers_keep_their_digits(sent: str, meant: str) -> None:
    assert str(quantities.number(sent)) == meant


@pytest.mark.parametrize("sent", ["", "1,5", "1e5", "<5", "NaN", "1 2", "٣", "1" * 40])
def test_what_is_no_plain_number_is_none(sent: str) -> None:
    assert quantities.number(sent) is None


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("70-105", {"low": {"value": Decimal(70)}, "high": {"value": Decimal(105)}, "text": "70-105"}),
        ("70_105", {"low": {"value": Decimal(70)}, "high": {"value": Decimal(105)}, "text": "70_105"}),
        ("-5 - -1", {"low": {"value": Decimal(-5)}, "high": {"value": Decimal(-1)}, "text": "-5 - -1"}),
        ("<=40", {"high": {"value": Decimal(40)}, "text": "<=40"}),
        (">=60", {"low": {"value": Decimal(60)}, "text": ">=60"}),
        ("<5", {"text": "<5"}),
        ("105-70", {"text": "105-70"}),
        ("negative", {"text": "negative"}),
        ("1-2 furlong", {"text": "1-2 furlong"}),
    ],
)
def test_a_reference_range_has_the_bounds_it_plainly_says(sent: str, meant: Json) -> None:
    assert quantities.reference_range(sent, {}) == meant


def test_units_are_coded_where_they_are_declared_ucum() -> None:
    cx = context()
    assert quantities.unit(value("mg/dL^^UCUM"), cx) == {
        "unit": "mg/dL",
        "system": "http://unitsofmeasure.org",
        "code": "mg/dL",
    }
    assert quantities.unit(value("mg/dL"), cx) == {"unit": "mg/dL"}
    assert quantities.unit(value("1^millions^L"), cx) == {"unit": "millions"}


# --- documents --------------------------------------------------------------------------------------------------------


def test_embedded_data_are_decoded_sniffed_and_hashed() -> None:
    found = attachments.embedded(value(r"^AP^Octet^Base64^JVBE\.br\Ri0=\X0D0A\ "), context(), None)
    assert found is not None
    assert (found["contentType"], found["data"], found["size"]) == ("application/pdf", "JVBERi0=", 5)


def test_hexadecimal_and_plain_data_are_read() -> None:
    for raw in ("^TEXT^HTML^Hex^3C703E", "^TEXT^HTML^A^<p>"):
        found = attachments.embedded(value(raw), context(), None)
        assert found is not None
        assert (found["contentType"], found["data"]) == ("text/html", "PHA+")


def test_data_longer_than_a_string_are_whole() -> None:
    found = attachments.embedded(value(f"^AP^PDF^Base64^{'QUJD' * 400_000}"), context(), None)
    assert found is not None
    assert found["size"] == 1_200_000


def test_data_that_are_not_what_they_say_are_kept_and_said() -> None:
    cx = context()
    found = attachments.embedded(value("^AP^PDF^Base64^!!!"), cx, None)
    assert found is not None
    assert found["contentType"] == "text/plain"
    assert len(cx.issues) == 1


def test_a_pointer_becomes_an_address() -> None:
    found = attachments.referenced(value("http://x.example/1^PACS^image^jpeg"), context(), None)
    assert found == {"contentType": "image/jpeg", "url": "http://x.example/1"}
    assert attachments.referenced(value("see file 7"), context(), None) == {"title": "see file 7"}
