"""JSON Patch and merge patch by the examples of their specifications.

https://www.rfc-editor.org/rfc/rfc6902#appendix-A · https://www.rfc-editor.org/rfc/rfc7396#appendix-A
"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.errors import Invalid, TooLarge, Unprocessable
from fhir_server.interactions.json_patch import json_patch, merge_patch


@pytest.mark.parametrize(
    ("value", "operation", "result"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"}, {"foo": ["bar", "qux", "baz"]}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc"]}, {"foo": ["bar", ["abc"]]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, {"op": "replace", "path": "/baz", "value": "boo"}, {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {}},
            {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
            {"foo": {"bar": "baz"}, "qux": {"thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            {"op": "move", "from": "/foo/1", "path": "/foo/3"},
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"a": Decimal("1.50")}, {"op": "test", "path": "/a", "value": Decimal("1.5")}, {"a": Decimal("1.50")}),
        (
            {"baz": "qux", "x": 1},
            {"op": "add", "path": "/a", "value": None, "more": 1},
            {"baz": "qux", "x": 1, "a": None},
        ),
    ],
)
def test_operations_do_what_rfc_6902_shows(value: Any, operation: Any, result: Any) -> None:
    assert json_patch([operation])(copy.deepcopy(value)) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/a/b", "value": "x"},
        {"op": "remove", "path": "/none"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "add", "path": "/list/8", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/text/x", "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "copy", "from": "/none", "path": "/b"},
        {"op": "test", "path": "/yes", "value": 1},
        {"op": "test", "path": "/list", "value": [1, 3]},
        {"op": "test", "path": "/none", "value": None},
    ],
)
def test_what_cannot_be_done_to_the_value_is_unprocessable_and_names_the_operation(operation: Any) -> None:
    with pytest.raises(Unprocessable, match=r"operation 0"):
        json_patch([operation])({"list": [1, 2], "text": "t", "yes": True})


@pytest.mark.parametrize(
    "patch",
    [
        {"op": "add", "path": "/a", "value": 1},
        [1],
        [{"op": "spam", "path": "/a"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "move", "path": "/a"}],
        [{"op": "copy", "path": "/a", "from": "/~2"}],
    ],
)
def test_what_is_no_patch_is_invalid(patch: Any) -> None:
    with pytest.raises(Invalid):
        json_patch(patch)


def test_copies_that_double_are_stopped() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(60)]
    with pytest.raises(TooLarge):
        json_patch(doubling)({"a": {"text": "x" * 100}})


def test_copies_are_measured_before_they_are_made() -> None:
    twice = [{"op": "copy", "from": "/a", "path": f"/{n}"} for n in range(2)]
    assert len(json_patch(twice)({"a": ["x" * 1_000_000]})) == 3
    with pytest.raises(TooLarge):
        json_patch(twice)({"a": [{}] * 1_000_000})


@pytest.mark.parametrize(
    ("value", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "c"}, {"a": {"b": {"d": None, "e": 1}}}, {"a": {"b": {"e": 1}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_merge_patches_do_what_rfc_7396_shows(value: Any, patch: Any, result: Any) -> None:
    assert merge_patch(patch)(value) == result


def test_a_merge_patch_that_would_replace_the_resource_is_invalid() -> None:
    with pytest.raises(Invalid):
        merge_patch(["c"])
