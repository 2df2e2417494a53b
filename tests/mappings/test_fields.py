"""What a message is looked up by: numbers of patients and orders, wherever they stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mappings.fields import MOST, Fields, fields
from mappings.hl7v2 import parse

HEAD = "MSH|^~\\&|A|B|C|D|2026||ADT^A40|1|P|2.5\r"


def of(*lines: str) -> Fields:
    return fields(parse(HEAD + "".join(f"{line}\r" for line in lines)))


def test_every_number_of_a_patient_counts_with_its_authority() -> None:
    found = of("PID|1|7|100^^^NORTH&1.2.3&ISO^MR~200^^^S", "MRG|300^^^NORTH")
    assert found.patients == (("NORTH", "1.2.3", "100"), ("S", "", "200"), ("", "", "7"), ("NORTH", "", "300"))


def test_placers_and_fillers_of_orders_and_appointments_count_once() -> None:
    assert of("ORC|RE|P1^X|F1", "OBR|1|P1|F1", "OBR|2|P1|F2", "SCH|S1|S2").orders == ("P1", "F1", "F2", "S1", "S2")


def test_what_is_empty_or_to_be_deleted_is_no_number() -> None:
    assert of('PID|1||""^^^NORTH~^^^X', 'ORC|RE|""|', "OBR|1") == Fields()


def test_a_message_that_names_no_end_of_numbers_is_found_by_the_first() -> None:
    assert len(of(*(f"OBR|{n}|P{n}|F{n}" for n in range(500))).orders) == MOST
    assert of(f"ORC|RE|{'9' * 300}").orders == ()


@given(st.text(max_size=200))
def test_whatever_the_text_it_gives_fields_that_utf8_can_say(text: str) -> None:
    found = fields(parse(HEAD + "PID|1||" + text))
    assert str(found).encode()
