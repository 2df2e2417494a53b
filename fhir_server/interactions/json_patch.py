"""JSON Patch and JSON merge patch on decoded JSON. https://www.rfc-editor.org/rfc/rfc6902 · https://www.rfc-editor.org/rfc/rfc7396

Pure: a patch is read once into a function from one JSON value to another. Whatever it cannot do to a value is
Unprocessable, with the number of the operation; a patch that is none is Invalid.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import msgspec

from fhir_server.errors import Invalid, TooLarge, Unprocessable

Json = Any
Patch = Callable[[Json], Json]

# How much the copies of a patch may copy together: each may double what there is.
_MOST_COPIED = 2 << 20
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_NEEDS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}


def json_patch(operations: Json) -> Patch:
    """Return what these operations do; raise Invalid for a patch that RFC 6902 does not allow."""
    if not isinstance(operations, list):
        raise Invalid("a JSON Patch is an array of operations")
    for number, one in enumerate(operations):
        _check(number, one)

    def patched(value: Json) -> Json:
        copied = 0
        for number, one in enumerate(operations):
            try:
                if one["op"] == "copy":
                    copied += len(msgspec.json.encode(_at(value, _tokens(one["from"]))))
                    if copied > _MOST_COPIED:
                        raise TooLarge("the patch copies more than this server takes")
                value = _OPERATIONS[one["op"]](value, one)
            except (LookupError, TypeError, ValueError) as problem:
                told = problem.args[0] if isinstance(problem, ValueError) else "there is nothing at the path"
                raise Unprocessable(f"operation {number} ({one['op']} {one['path'][:200]}): {told}") from problem
        return value

    return patched


def merge_patch(patch: Json) -> Patch:
    """Return what a merge patch does; raise Invalid for one that is no object, which would replace the resource."""
    if not isinstance(patch, dict):
        raise Invalid("a merge patch of a resource is a JSON object")
    return lambda value: _merged(value, patch)


def _merged(value: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), part)
    return result


def _check(number: int, one: Json) -> None:
    where = f"operation {number}"
    if not isinstance(one, dict) or not isinstance(one.get("op"), str) or one["op"] not in _NEEDS:
        raise Invalid(f"{where}: op is one of {', '.join(_NEEDS)}")
    for name in _NEEDS[one["op"]]:
        if name not in one:
            raise Invalid(f"{where}: {one['op']} needs {name}")
    for name in ("path", "from"):
        if name in one or name == "path":
            _check_pointer(where, name, one.get(name))


def _check_pointer(where: str, name: str, text: Json) -> None:
    if not isinstance(text, str) or (text and not text.startswith("/")) or re.search("~(?![01])", text):
        raise Invalid(f"{where}: {name} is a JSON pointer such as /name/0/family")


def _tokens(pointer: str) -> list[str]:
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]


def _index(items: list[Json], token: str, past: int = 0) -> int:
    """Return a position in a list; `past` is 1 where one after the last will do."""
    if not _INDEX.match(token) or int(token) >= len(items) + past:
        raise ValueError(f"{token[:40]!r} is no position in a list of {len(items)}")
    return int(token)


def _at(value: Json, tokens: list[str]) -> Json:
    for token in tokens:
        value = value[_index(value, token)] if isinstance(value, list) else _member(value, token)
    return value


def _member(value: Json, name: str) -> Json:
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"there is no {name[:80]!r}")
    return value[name]


def _add(value: Json, one: dict[str, Json]) -> Json:
    return _put(value, _tokens(one["path"]), copy.deepcopy(one["value"]))


def _put(value: Json, tokens: list[str], new: Json) -> Json:
    if not tokens:
        return new
    parent, last = _at(value, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, 1), new)
    elif isinstance(parent, dict):
        parent[last] = new
    else:
        raise ValueError("only objects and arrays have parts")
    return value


def _remove(value: Json, one: dict[str, Json]) -> Json:
    _taken(value, _tokens(one["path"]))
    return value


def _taken(value: Json, tokens: list[str]) -> Json:
    if not tokens:
        raise ValueError("the whole resource cannot be taken away: delete it")
    parent, last = _at(value, tokens[:-1]), tokens[-1]
    found = _at(parent, [last])
    del parent[int(last) if isinstance(parent, list) else last]
    return found


def _replace(value: Json, one: dict[str, Json]) -> Json:
    tokens = _tokens(one["path"])
    if not tokens:
        return copy.deepcopy(one["value"])
    parent, last = _at(value, tokens[:-1]), tokens[-1]
    _at(parent, [last])
    parent[int(last) if isinstance(parent, list) else last] = copy.deepcopy(one["value"])
    return value


def _move(value: Json, one: dict[str, Json]) -> Json:
    source, target = _tokens(one["from"]), _tokens(one["path"])
    if source == target:
        _at(value, source)
        return value
    if target[: len(source)] == source:
        raise ValueError("nothing can be moved into itself")
    return _put(value, target, _taken(value, source))


def _copy(value: Json, one: dict[str, Json]) -> Json:
    return _put(value, _tokens(one["path"]), copy.deepcopy(_at(value, _tokens(one["from"]))))


def _test(value: Json, one: dict[str, Json]) -> Json:
    if not _equal(_at(value, _tokens(one["path"])), one["value"]):
        raise ValueError("the value is another")
    return value


def _equal(one: Json, other: Json) -> bool:
    """Compare as JSON does: numbers by value, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return bool(one == other)


_OPERATIONS: dict[str, Callable[[Json, dict[str, Json]], Json]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
