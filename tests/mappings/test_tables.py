"""The tables decide: a bad one stops the start, an open row of HL7's is decided, and facts are HL7's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mappings.calls import CALLS
from mappings.convert import CONVERTERS
from mappings.mapped import Json
from mappings.table import BadTable, compile_tables, read
from tests.mappings.corpus import TABLES, needs_tables
from tests.mappings.reading import tables
from tools.distil_v2 import distil


def compiled_with(map_name: str, field: str, *rows: Json) -> None:
    """Compile the tables with these rows for a field."""
    overlay = read("overlay")
    overlay["segments"].setdefault(map_name, {})[field] = list(rows)
    compile_tables(read("segments"), read("codes"), read("messages"), overlay, read("systems"), CALLS)


def test_the_tables_as_they_stand_compile() -> None:
    assert set(tables().messages) == {"ADT_A01", "ORU_R01"}


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"to": "nickname", "by": "ST[string]"}, "R4's Patient has no element 'nickname'"),
        ({"to": "name.nick", "by": "ST[string]"}, "R4's HumanName has no element 'nick'"),
        ({"to": "gender", "by": "ST[gender]"}, "there is no converter 'ST[gender]'"),
        ({"to": "gender", "by": "CWE[code]", "vocabulary": "Gender"}, "there is no concept map 'Gender'"),
        ({"to": "gender", "by": "CWE[code]", "vocabulary": "MaritalStatus"}, "which the required value set lacks"),
        ({"call": "guess"}, "there is no function 'guess'"),
        ({"to": "birthDate", "by": "DTM[date]", "when": [["longer", "PID-8", ["8"]]]}, "there is no operator 'longer'"),
        ({"to": "birthDate", "by": "DTM[date]", "when": [["valued", "PV1-2"]]}, "a condition of PID cannot see PV1-2"),
        ({"to": "birthDate", "by": "DTM[date]", "unless": "x"}, "unless"),
        (
            {"to": "telecom", "by": "XTN[ContactPoint]", "with": {"purpose": "x"}},
            "ContactPoint has no element 'purpose'",
        ),
    ],
)
def test_a_bad_row_stops_the_start_and_is_named(row: Json, wrong: str) -> None:
    with pytest.raises(BadTable) as refused:
        compiled_with("PID[Patient]", "PID-8", row)
    assert wrong in str(refused.value)
    assert "PID[Patient]" in str(refused.value)


def test_a_message_row_without_a_map_stops_the_start() -> None:
    messages = read("messages")
    messages["ADT_A01"].append({"segment": "GT1", "resource": "Account", "map": "GT1[Account]"})
    with pytest.raises(BadTable, match=r"GT1: there is no segment map GT1\[Account\]"):
        compile_tables(read("segments"), read("codes"), messages, read("overlay"), read("systems"), CALLS)


def test_a_code_without_a_system_stops_the_start() -> None:
    codes = read("codes")
    codes["Religion"] = {"codes": {"X": ["x", "X"]}}
    with pytest.raises(BadTable, match="concept map Religion, X: no system"):
        compile_tables(read("segments"), codes, read("messages"), read("overlay"), read("systems"), CALLS)


def test_every_row_that_hl7_leaves_open_is_decided() -> None:
    decided = read("overlay")["segments"]
    segments = {name: table for name, table in read("segments").items() if name != "notice"}
    undecided = {
        (name, row["field"])
        for name, table in segments.items()
        for row in table["open"]
        if row["field"] not in decided.get(name, {})
    }
    assert undecided == set()


def test_every_function_and_converter_is_used_by_a_row() -> None:
    overlay = read("overlay")["segments"]
    own = [row for fields in overlay.values() for rows in fields.values() for row in rows]
    assert {row["call"] for row in own if "call" in row} == set(CALLS)
    theirs = [row for name, table in read("segments").items() if name != "notice" for row in table["rows"]]
    used = {row.get("by") for row in [*own, *theirs]}
    assert set(CONVERTERS) <= used


def test_every_map_left_out_has_a_reason_and_is_one_of_hl7s() -> None:
    known = {row["map"] for name, rows in read("messages").items() if name != "notice" for row in rows}
    left_out = read("overlay")["left_out"]
    assert set(left_out) <= known
    assert all(left_out.values())


def test_every_table_says_where_it_comes_from() -> None:
    for name in ("segments", "codes", "messages", "datatypes"):
        assert "HL7 v2-to-FHIR" in read(name)["notice"]
        assert "8c9b414" in read(name)["notice"]
    assert "Our own" in read("overlay")["notice"]


@needs_tables
def test_the_distilled_tables_are_what_the_script_makes_of_hl7s() -> None:
    folder = Path(__file__).resolve().parent.parent.parent / "mappings" / "tables"
    for name, text in distil(TABLES).items():
        assert (folder / name).read_text(encoding="utf-8") == text, f"run tools/distil_v2.py again: {name} differs"
