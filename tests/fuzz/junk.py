"""Values that no program expects, and changes of JSON that make a good body a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "a\ud800b", "\x07", "\u202e", "é", "e\u0301", "ﷺ", "𝔘", "\ufeff", "\u2028", "%",
    "%00", "%ff",
    "'", '"', "\\", "a\\", "\\,", "a,b", ",", ",,", "|", "a|", "|a", "a|b|c", "$", "a$b", "a$b$c", "null", "true", "1",
    "-1", "0", "1e400", "-0", "1.0000000000000000000000000001", "NaN", "Infinity", "9" * 40, "1" + "0" * 400,
    "2020", "2020-02-30", "2020-01-01T00:00:00Z", "2020-01-01T24:00:00Z", "0001", "9999-12-31", "0000", "gt2020",
    "eq2020-01-01T00:00:00.999999999Z", "sa9999", "apx", "ne", "gt", "2020-01-01T00:00:00+14:00",
    "Patient/1", "Patient/1/_history/1", "Patient/", "/Patient/1", "../Patient/1", "#1", "#", "http://x/fhir/Patient/1",
    "urn:uuid:00000000-0000-0000-0000-000000000000", "urn:oid:1.2.3", "http://[x", "http://s|1", "Observation/2",
    "<div/>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "Patient?identifier=http://s|1", "*", "Patient.name",
    "name.where(true)",
    "x" * 501, "x" * 3000, "a" * 65, "); drop table resource; --", "%s", "{0}", "${x}", "1||g",
    "1|http://unitsofmeasure.org|g",
    "5.4|http://unitsofmeasure.org|10*", "8480-6$gt1|http://unitsofmeasure.org|g", "MR|http://s|1", "http://s|MR|1",
    "count", "_id", "-_id", "_lastUpdated", "-date,name", "birthdate,-birthdate", "lastn", "accurate", "estimate",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 10**40, -(10**40), 1e308, 5e-324, 0.1, -0.0)


def text(random: Random) -> str:
    """Return a text that is seldom what is asked for."""
    if random.random() < 0.85:
        return random.choice(TEXTS)
    return "".join(
        chr(random.choice((random.randrange(32, 127), random.randrange(0xD7FF)))) for _ in range(random.randrange(12))
    )


def deep(levels: int) -> Any:
    """Return lists in lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def value(random: Random) -> Any:
    """Return a JSON value of any kind."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: text(random),
        lambda: random.choice(NUMBERS),
        lambda: random.choice((None, True, False)),
        lambda: random.choice(([], {}, [None], [[]], [{}], {"": ""}, {"a": None})),
        lambda: {"reference": text(random)},
        lambda: [{"url": "http://e", "valueString": text(random)}],
        lambda: {"extension": [{"url": "http://e", "valueInteger": 1}]},
        lambda: deep(random.choice((2, 5, 5, 5, 90, 150))),
    )
    return random.choice(kinds)()


def changed(random: Random, body: Any, times: int) -> Any:
    """Return a copy of a JSON value with some of its parts changed."""
    copy = json.loads(json.dumps(body))
    for _ in range(times):
        _change(random, copy)
    return copy


def _change(random: Random, body: Any) -> None:
    place = body
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(place[key], dict | list) and random.random() < 0.7:
            place = place[key]
            continue
        _CHANGES[random.randrange(len(_CHANGES))](random, place, key)
        return


def _set(random: Random, place: Any, key: Any) -> None:
    place[key] = value(random)


def _drop(random: Random, place: Any, key: Any) -> None:
    del place[key]


def _wrap(random: Random, place: Any, key: Any) -> None:
    place[key] = [place[key]]


def _companion(random: Random, place: Any, key: Any) -> None:
    if isinstance(place, dict):
        place[f"_{key}"] = value(random)


def _rename(random: Random, place: Any, key: Any) -> None:
    if isinstance(place, dict):
        place[random.choice((f"{key}x", text(random), "id", "meta", "contained", "extension"))] = place.pop(key)


def _twice(random: Random, place: Any, key: Any) -> None:
    if isinstance(place, list):
        place.append(place[key])


_CHANGES = (_set, _set, _drop, _wrap, _companion, _rename, _twice)


def spoiled(random: Random, body: bytes) -> bytes:
    """Return bytes with some of them changed, so that they may be no JSON, no text, or something else."""
    if not body:
        return body
    at = random.randrange(len(body))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: body[:at],
        lambda: body[:at] + bytes([random.randrange(256)]) + body[at + 1 :],
        lambda: (
            body[:at] + random.choice((b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"{", b"]", b",", b'"', b"\\")) + body[at:]
        ),
        lambda: b"\xef\xbb\xbf" + body,
        lambda: body + body,
        lambda: body.decode("utf-8", "replace").encode("utf-16"),
        lambda: b"[" * random.choice((50, 5000)),
        lambda: body.replace(b"1", b"1" + b"0" * 400, 1),
        lambda: body[:-1] + b"," + body[1:],
        lambda: body.replace(b'"', b'"\\u0000', 3),
        lambda: body.replace(b'":"', b'":"\\ud800', 1),
        lambda: b" " * 100 + body,
    )
    return random.choice(ways)()
