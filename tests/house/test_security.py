"""What is promised about security has its test: each attack of the list, each clause, each interaction and type."""

from __future__ import annotations

import ast
import re

import pytest

from conformance.structures import STORABLE
from fhir_server.interactions.table import TABLE
from tests.house.tree import ROOT, functions, modules
from tests.security.probes import READS, WRITES
from tests.security.world import NOT_WRITTEN, rows

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
# What the rules of 45 CFR 164.312 are called.
_OF_A = ("(a)(1)", "(a)(2)(i)", "(a)(2)(ii)", "(a)(2)(iii)", "(a)(2)(iv)")
CLAUSES = (*_OF_A, "(b)", "(c)(1)", "(c)(2)", "(d)", "(e)(1)", "(e)(2)")


def section(heading: str) -> list[str]:
    """Return the rows of the table under a heading."""
    _, mark, rest = PAGE.partition(f"\n## {heading}\n")
    assert mark, heading
    lines = rest.partition("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


@pytest.mark.parametrize("number", range(1, 43))
def test_every_attack_of_the_list_has_a_test_by_its_name(number: int) -> None:
    named = {f.name for file, tree in modules("tests") if "security" in file.parts for f in functions(tree)}
    assert [name for name in named if name.startswith(f"test_n{number:02}_")]


@pytest.mark.parametrize("heading", ["Threats", "Safeguards by clause of 45 CFR 164.312"])
def test_every_threat_and_every_clause_names_its_test(heading: str) -> None:
    lines = section(heading)
    assert len(lines) >= 10
    assert [line for line in lines if not re.search(r"`\w+/test_\w+", line)] == []


def test_every_clause_of_the_rule_is_there() -> None:
    said = " ".join(
        line.partition("|")[2].partition("|")[0] for line in section("Safeguards by clause of 45 CFR 164.312")
    )
    assert [clause for clause in CLAUSES if clause not in said] == []


def test_every_interaction_and_every_type_is_in_the_permission_matrix() -> None:
    assert set(READS) | set(WRITES) >= {(row.method, row.shape) for row in TABLE}
    assert {row.type for row in rows("here")} | NOT_WRITTEN == set(STORABLE)


def test_the_functions_of_tests_are_found() -> None:
    assert [f.name for f in functions(ast.parse("def test_n01_x() -> None: ..."))] == ["test_n01_x"]
