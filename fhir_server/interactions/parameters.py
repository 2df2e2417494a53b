"""The parameters of an operation, from the address or from a Parameters resource. http://hl7.org/fhir/R4/operations.html"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from conformance.structures import STORABLE, Refused, decode
from fhir_server.errors import Invalid
from fhir_server.interactions.message import Request, preference
from fhir_server.search import date

T = TypeVar("T")
Pairs = list[tuple[str, str]]
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def pairs(request: Request) -> Pairs:
    """Return names and values: those of the address, then those of a posted Parameters. Raises Invalid."""
    found = list(request.query)
    if request.method != "POST" or not request.body:
        return found
    try:
        decode("Parameters", request.body)
    except Refused as refused:
        raise Invalid(refused.issues) from refused
    return [*found, *map(_pair, _decoder.decode(request.body).get("parameter", []))]


def _pair(parameter: dict[str, Any]) -> tuple[str, str]:
    name: str = parameter["name"]
    values = [value for key, value in parameter.items() if key.startswith("value")]
    match values:
        case [bool(value)]:
            return name, "true" if value else "false"
        case [str() | int() | float() as value]:
            return name, str(value)
        case [{"code": str(code), **rest}] if "value" not in rest:  # a Coding
            return name, f"{rest.get('system', '')}|{code}"
        case [{"reference": str(reference)}]:
            return name, reference
    raise Invalid(f"the parameter {name[:80]} needs a value that is a primitive, a Coding or a Reference", "Parameters")


class Given:
    """Parameters by name; what is taken by no reader is refused, unless the client prefers leniency."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self.pairs = pairs(request)
        unknown = sorted({name for name, _ in self.pairs} - set(known))
        if unknown and preference(request, "handling") != "lenient":
            raise Invalid(
                f"{unknown[0][:80]} is not known here; known are {', '.join(known)}", f"http.{unknown[0][:80]}"
            )
        self.pairs = [pair for pair in self.pairs if pair[0] in known]

    def all(self, name: str) -> list[str]:
        """Return the values of a parameter that repeats, or that has several between commas."""
        return [text for key, value in self.pairs if key == name for text in value.split(",")]

    def one(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return the one value of a parameter, read; raise Invalid naming it where it cannot be."""
        texts = [value for key, value in self.pairs if key == name]
        if not texts:
            return None
        if len(texts) > 1:
            raise Invalid(f"{name} is given more than once", f"http.{name}")
        try:
            return read(texts[0])
        except ValueError as wrong:
            raise Invalid(f"{name}={texts[0][:100]} cannot be used: {wrong}", f"http.{name}") from wrong

    def types(self) -> list[str]:
        """Return the types of `_type`; raise Invalid for one that is not stored here."""
        for name in (found := self.all("_type")):
            if name not in STORABLE:
                raise Invalid(f"{name[:80]!r} is not a resource type that is stored here", "http._type")
        return found


def positive(text: str) -> int:
    """Read a whole number above 0. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ValueError("a whole number above 0 is expected")
    return int(text)


def boolean(text: str) -> bool:
    """Read true or false. Raises ValueError."""
    if text not in ("true", "false"):
        raise ValueError("true or false is expected")
    return text == "true"


def beginning(text: str) -> datetime:
    """Read the first moment of a date. Raises ValueError."""
    return date.parse(text)[0]


def ending(text: str) -> datetime:
    """Read the moment at which a date is over. Raises ValueError."""
    return date.parse(text)[1]
