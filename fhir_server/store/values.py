"""Python values as PostgreSQL parameters: one type for each Python type, so that a statement is prepared once.

https://www.postgresql.org/docs/18/protocol-message-formats.html (Bind)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
import psycopg

from fhir_server import errors

# Object ids of the types: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat
UNKNOWN, BOOL, BYTEA, INT8, FLOAT8, DATE, TIMESTAMPTZ, NUMERIC, UUID_, JSONB = (
    0, 16, 17, 20, 701, 1082, 1184, 1700, 2950, 3802,
)  # fmt: skip
BOOL_ARRAY, BYTEA_ARRAY, INT8_ARRAY, TEXT_ARRAY, FLOAT8_ARRAY, DATE_ARRAY, TIMESTAMPTZ_ARRAY = (
    1000, 1001, 1016, 1009, 1022, 1182, 1185,
)  # fmt: skip
TEXT, BINARY = 0, 1

# The bytes of a value.
Dumper = Callable[[Any], bytes]


class NulText(errors.Invalid, psycopg.DataError):
    """A text that PostgreSQL cannot hold: the client's fault, and a fault of data where the store tells them apart."""


def _text(value: Any) -> bytes:
    return str(value).encode()


def _string(value: str) -> bytes:
    # libpq would end the value there, and so find another row than was asked for.
    if "\0" in value:
        raise NulText("a text with a NUL character cannot be stored or found")
    return value.encode()


def _instant(value: datetime) -> bytes:
    if value.tzinfo is None:
        raise ValueError("a moment without a zone cannot be stored")
    return value.isoformat().encode()


def _quoted(value: str) -> str:
    return '"' + _string(value).decode().replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array(element: Callable[[Any], str]) -> Dumper:
    def dump(values: Sequence[Any]) -> bytes:
        return ("{" + ",".join(["null" if v is None else element(v) for v in values]) + "}").encode()

    return dump


def _texts(values: Sequence[str | None]) -> bytes:
    if None not in values:
        # Most need no escape: one look at all of them tells.
        joined = '","'.join(cast(Sequence[str], values))
        if "\\" not in joined and "\0" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return f'{{"{joined}"}}'.encode()
    return _escaped_texts(values)


_escaped_texts = _array(_quoted)


def _ints(values: Sequence[int | None]) -> bytes:
    return ("{" + ",".join(["null" if v is None else str(v) for v in values]) + "}").encode()


def _blobs(values: Sequence[bytes | None]) -> bytes:
    """Return bytea[] in its binary form: the text form would double every body."""
    parts = [struct.pack("!iiiii", 1, int(None in values), BYTEA, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts += (len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


# By exact Python type: object id, format, dumper.
SCALARS: dict[type, tuple[int, int, Dumper]] = {
    str: (UNKNOWN, TEXT, _string),
    int: (INT8, TEXT, _text),
    bytes: (BYTEA, BINARY, bytes),
    datetime: (TIMESTAMPTZ, TEXT, _instant),
    bool: (BOOL, TEXT, _text),
    float: (FLOAT8, TEXT, _text),
    date: (DATE, TEXT, _text),
    Decimal: (NUMERIC, TEXT, _text),
    UUID: (UUID_, TEXT, _text),
    dict: (JSONB, TEXT, msgspec.json.encode),
}
# By the type of the first element that is not None.
ARRAYS: dict[type, tuple[int, int, Dumper]] = {
    int: (INT8_ARRAY, TEXT, _ints),
    str: (TEXT_ARRAY, TEXT, _texts),
    bytes: (BYTEA_ARRAY, BINARY, _blobs),
    datetime: (TIMESTAMPTZ_ARRAY, TEXT, _array(lambda v: '"' + _instant(v).decode() + '"')),
    float: (FLOAT8_ARRAY, TEXT, _array(repr)),
    bool: (BOOL_ARRAY, TEXT, _array(str)),
    date: (DATE_ARRAY, TEXT, _array(str)),
}
_EMPTY = (UNKNOWN, TEXT, _ints)


def dumped(params: Sequence[Any]) -> tuple[tuple[int, ...], list[bytes | None], list[int]]:
    """Return object ids, values and formats.

    Raises TypeError for a value of a type that has no form here, NulText for a text with a NUL.
    """
    oids: list[int] = []
    values: list[bytes | None] = []
    formats: list[int] = []
    for param in params:
        if param is None:
            oid, form, value = UNKNOWN, TEXT, None
        else:
            oid, form, dump = SCALARS.get(type(param)) or _kind(param)
            value = dump(param)
        oids.append(oid)
        values.append(value)
        formats.append(form)
    return tuple(oids), values, formats


def _kind(param: Any) -> tuple[int, int, Dumper]:
    if isinstance(param, list | tuple):
        first = next((item for item in param if item is not None), None)
        found = ARRAYS.get(type(first)) if first is not None else _EMPTY
    else:
        found = next((SCALARS[base] for base in type(param).__mro__ if base in SCALARS), None)
    if found is None:
        raise TypeError(f"no SQL form for {type(param).__name__}")
    return found


def numbered(sql: str) -> bytes:
    """Return the statement with `%s` as $1, $2 … and `%%` as %. Raises ValueError for any other use of %."""
    pieces = sql.split("%")
    out, number, rest = [pieces[0]], 0, iter(pieces[1:])
    for piece in rest:
        if piece.startswith("s"):
            number += 1
            out.append(f"${number}{piece[1:]}")
        elif piece == "" and (after := next(rest, None)) is not None:
            out.append("%" + after)
        else:
            raise ValueError(f"%{piece[:1]} in SQL: only %s and %% are known")
    return "".join(out).encode()
