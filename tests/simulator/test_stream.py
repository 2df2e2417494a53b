"""What a simulated hospital sends: valid messages, one person's story in order, nobody's data."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice, pairwise
from random import Random
from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message, parse_segment

from fhir_server.simulator.habits import Habits, carelessly
from fhir_server.simulator.life import TYPES
from fhir_server.simulator.segments import Writing
from fhir_server.simulator.stream import Simulated, stream
from mappings.header import header
from mappings.hl7v2 import Message, decode, parse

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def some(number: int, **more: Any) -> list[Simulated]:
    """Return the first messages of a stream."""
    return list(islice(stream(START, **{"seed": 3, "patients": 8, **more}), number))


def read(message: Simulated) -> Message:
    """Return a message as the engine reads it."""
    found = decode(message.data)
    assert not found.warnings
    return parse(found.text)


def of_each_type(messages: list[Simulated], most: int) -> list[Simulated]:
    """Return up to `most` messages of each type and event."""
    by_type: dict[str, list[Simulated]] = defaultdict(list)
    for message in messages:
        by_type[message.type].append(message)
    return [message for found in by_type.values() for message in found[:most]]


def test_hl7apy_finds_each_message_valid_for_its_version() -> None:
    tried = of_each_type(some(300), 2)
    assert {message.type[:3] for message in tried} == set(TYPES)
    for message in tried:
        text = message.data.decode()
        if message.type == "ORM^O01":
            # It asks for every segment of the choice behind ORC, of which an order has one.
            for line in text.split("\r")[1:-1]:
                parse_segment(line, version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT).validate()
        else:
            parsed = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
            assert parsed.validate(), text


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    assert some(50) == some(50)
    assert {m.data for m in some(50)}.isdisjoint(m.data for m in some(50, seed=4))


def test_a_person_has_the_same_name_number_and_birth_date_in_every_run() -> None:
    known: dict[str, set[str]] = defaultdict(set)
    for message in [*some(100), *some(100, seed=9)]:
        pid = next(s for s in read(message).segments if s.id == "PID")
        known[message.patient].add("|".join(pid.field(n) for n in (3, 5, 7, 8, 11)))
    assert len(known) == 8
    assert all(len(one) == 1 for one in known.values())


def test_a_person_is_admitted_before_results_and_discharged_before_the_next_visit() -> None:
    open_visits: dict[str, str] = {}
    orders: set[str] = set()
    for message in some(600, patients=5):
        lines = {s.id: s for s in read(message).segments}
        if message.type.startswith("SIU"):
            continue
        visit = lines["PV1"].field(19)
        if message.type in ("ADT^A01", "ADT^A04"):
            assert message.patient not in open_visits
            open_visits[message.patient] = visit
        assert open_visits[message.patient] == visit
        if message.type == "ORM^O01":
            orders.add(lines["OBR"].field(2))
        if message.type == "ORU^R01":
            assert lines["OBR"].field(2) in orders
        if message.type == "ADT^A03":
            assert lines["PV1"].field(45)
            del open_visits[message.patient]
    assert orders


def test_a_preliminary_result_becomes_final_with_the_same_values() -> None:
    told: dict[str, dict[str, str]] = {}
    agreed = 0
    for message in some(400, types=["ORU"]):
        lines = read(message).segments
        filler = next(s.field(3) for s in lines if s.id == "OBR")
        values = {s.field(3): s.field(5) for s in lines if s.id == "OBX"}
        status = {s.field(11) for s in lines if s.id == "OBX"}
        assert len(status) == 1
        if status == {"F"} and filler in told:
            assert told[filler].items() <= values.items()
            agreed += 1
        told[filler] = values
    assert agreed > 5


def test_messages_say_that_they_are_of_nobody() -> None:
    for message in some(100):
        head = header(message.data)
        assert (head.processing_id, head.sender_facility) == ("T", "SIM")
        pid = next(s for s in read(message).segments if s.id == "PID")
        assert not pid.field(19)
        assert pid.raw(11, 1, 4) == "ZZ"
        assert pid.raw(13, 1, 6) == "305"
        assert pid.raw(13, 1, 7).startswith("55501")


def test_control_ids_are_unique_and_fit_every_version() -> None:
    found = [m.control_id for m in some(500, seed=2**31)]
    assert len(set(found)) == 500
    assert max(map(len, found)) <= 20


def test_types_that_are_not_asked_for_do_not_come() -> None:
    assert {m.type[:3] for m in some(50, types=["ORU", "ADT"])} == {"ORU", "ADT"}


@pytest.mark.parametrize("wrong", [{"types": ["VXU"]}, {"types": []}, {"patients": 0}])
def test_what_cannot_be_simulated_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        stream(START, **wrong)


def test_a_sender_without_zones_writes_none() -> None:
    for message in some(50, writing=Writing(zones=False)):
        assert b"+0000" not in message.data


def careless(number: int, **habits: Any) -> list[Simulated]:
    """Return what becomes of messages by bad habits."""
    return list(carelessly(iter(some(number)), Habits(**habits), Random(1)))


def test_a_sender_without_bad_habits_sends_what_it_has() -> None:
    assert careless(50) == some(50)


def test_duplicates_follow_what_they_repeat() -> None:
    sent = careless(200, duplicates=0.25)
    again = [m for before, m in pairwise(sent) if m == before]
    assert 25 < len(again) == len(sent) - 200 < 75


def test_late_messages_come_behind_newer_ones_and_none_is_lost() -> None:
    sent = [m.number for m in careless(200, out_of_order=0.2)]
    assert sorted(sent) == list(range(1, 201))
    assert sum(later < before for before, later in pairwise(sent)) > 10


def test_bytes_that_are_not_what_msh_18_says_can_be_read_as_latin_1() -> None:
    sent = careless(100, wrong_charset=1.0)
    assert [m.data.decode("latin-1") for m in sent] == [m.data.decode() for m in some(100)]
    with pytest.raises(UnicodeDecodeError):
        b"".join(m.data for m in sent).decode()


def test_a_reused_control_id_is_that_of_the_message_before() -> None:
    sent = careless(20, reused_ids=1.0)
    assert [m.control_id for m in sent[1:]] == [m.control_id for m in some(20)[:-1]]
    assert all(header(m.data).control_id == m.control_id for m in sent)


def test_line_feeds_stand_for_the_ends_of_segments() -> None:
    assert all(b"\r" not in m.data and m.data.count(b"\n") > 2 for m in careless(10, line_feeds=True))
