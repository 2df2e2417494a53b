"""The permission matrix: every type, every route, whoever asks; no answer shows, counts or changes what it must not.

It reads the server's own table of interactions, so that a new route or type is asked for, or fails here.
"""

from __future__ import annotations

import msgspec
import pytest

from conformance.structures import STORABLE
from fhir_server.interactions.table import TABLE
from tests.security.asked import Asked, asked_by
from tests.security.principals import NAMES, principals
from tests.security.probes import READS, WRITES
from tests.security.world import NOT_WRITTEN, WORD, rows


@pytest.fixture(scope="module")
def asked(server_dsn: str) -> Asked:
    """Ask everything as whoever has no role: nobody, forgers, strangers, patients and systems."""
    return asked_by(server_dsn, principals)


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_shows_counts_or_does_what_it_must_not(asked: Asked, name: str) -> None:
    assert asked.findings(name) == []
    assert asked.results[name].asked > 800


def test_whoever_may_see_everything_sees_everything_by_these_very_requests(asked: Asked) -> None:
    assert {row for row in asked.results["system"].seen if row.type in STORABLE} == set(rows("here"))


def test_a_patient_sees_all_of_the_own_record(asked: Asked) -> None:
    own = {row for row in rows("here") if row.owner in ("one", "sealed")}
    assert own <= asked.results["patient"].seen


def test_nothing_that_was_to_be_refused_was_written(asked: Asked) -> None:
    assert asked.unchanged


def test_no_line_of_the_log_holds_a_word_of_any_record(asked: Asked) -> None:
    assert "slow search" in asked.logged
    assert WORD.findall(asked.logged.encode()) == []


def test_every_interaction_of_the_table_is_asked() -> None:
    assert set(READS) | set(WRITES) == {(row.method, row.shape) for row in TABLE}


def test_what_the_capability_statement_offers_is_what_is_asked(asked: Asked) -> None:
    [rest] = msgspec.json.decode(asked.statement)["rest"]
    offered = {item["code"] for resource in rest["resource"] for item in resource["interaction"]}
    offered |= {item["code"] for item in rest["interaction"]}
    assert offered - {"batch"} <= {row.code for row in TABLE}
    named = {f"${op['name']}" for resource in [rest, *rest["resource"]] for op in resource.get("operation", ())}
    assert named == {row.shape[-1] for row in TABLE if row.code == "operation"}
    assert {resource["type"] for resource in rest["resource"]} == set(STORABLE)
    assert len(rest["compartment"]) == 5


def test_every_type_stands_in_the_world() -> None:
    assert {row.type for row in rows("here")} | NOT_WRITTEN == set(STORABLE)
