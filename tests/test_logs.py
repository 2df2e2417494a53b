"""Logs: one line per event, fields of a fixed list, nothing that quotes a patient."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from fhir_server.logs import configure, request_id


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    made = io.StringIO()
    configure("info", "json", made)
    return made


def test_an_event_is_one_line_of_json_with_time_and_level(stream: io.StringIO) -> None:
    structlog.get_logger("engine").info("message taken", tenant="demo", bytes=120)
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "message taken", "level": "info", "logger": "engine", "tenant": "demo", "bytes": 120}


def test_the_console_form_is_a_line_to_read() -> None:
    made = io.StringIO()
    configure("info", "console", made)
    structlog.get_logger("engine").warning("message buried", tenant="demo")
    assert "message buried" in made.getvalue()
    assert "tenant=demo" in made.getvalue()
    assert "\x1b" not in made.getvalue()


def test_a_field_that_is_not_on_the_list_is_withheld_by_name(stream: io.StringIO) -> None:
    structlog.get_logger().info("message taken", tenant="demo", patient_name="Ada Lovelace", body="{...}")
    assert lines(stream)[0]["withheld"] == ["body", "patient_name"]
    assert "Lovelace" not in stream.getvalue()


def test_the_text_of_an_exception_is_withheld_but_its_type_and_place_are_told(stream: io.StringIO) -> None:
    try:
        raise ValueError("name is Ada Lovelace")
    except ValueError:
        structlog.get_logger().exception("a step failed")
    [line] = lines(stream)
    assert line["error"] == "ValueError"
    assert "test_the_text_of_an_exception" in line["where"]
    assert "Lovelace" not in stream.getvalue()


def test_what_the_machine_says_of_itself_is_told(stream: io.StringIO) -> None:
    structlog.get_logger().error("cannot listen", exc_info=OSError("address already in use"), port=2575)
    assert lines(stream)[0]["error"] == "OSError: address already in use"


def test_a_library_that_logs_an_exception_is_held_to_the_same(stream: io.StringIO) -> None:
    try:
        raise KeyError("Ada Lovelace")
    except KeyError:
        logging.getLogger("a.library").exception("a request failed")
    [line] = lines(stream)
    assert (line["event"], line["error"]) == ("a request failed", "KeyError")
    assert "Lovelace" not in stream.getvalue()


def test_events_below_the_level_are_not_told(stream: io.StringIO) -> None:
    structlog.get_logger().debug("quiet")
    logging.getLogger("library").debug("quiet")
    assert stream.getvalue() == ""


def test_a_request_id_stands_on_every_line_of_its_request(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("read")
        logging.getLogger("library").warning("slow")
    structlog.get_logger().info("after")
    assert [line.get("request_id") for line in lines(stream)] == ["r-1", "r-1", None]


def test_a_clients_request_id_is_kept_when_it_is_plain() -> None:
    assert request_id("abc-1.2_X") == "abc-1.2_X"


@pytest.mark.parametrize("offered", [None, "", "a b", "x\r\nSet-Cookie: y", "x\n", "é", "a" * 65])
def test_any_other_request_id_is_replaced_by_a_new_one(offered: str | None) -> None:
    made = request_id(offered)
    assert made != offered
    assert len(made) == 32
    assert request_id(offered) != made
