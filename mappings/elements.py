"""Where things go in a resource: element paths held against R4's definitions, compiled to setters.

https://hl7.org/fhir/R4/elementdefinition.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from mappings.mapped import Json


class Place:
    """An element at a path such as `hospitalization.dietPreference`, under a resource or data type.

    `top`: the path as far as it is single, which is what can be deleted alone; `must_be`: FHIR requires its first step.
    """

    __slots__ = ("_last", "_parents", "first", "many", "must_be", "path", "required", "top", "type_name")

    def __init__(
        self, path: str, steps: list[tuple[str, bool]], type_name: str, required: frozenset[str], *, must_be: bool
    ) -> None:
        self.path = path
        self._parents = steps[:-1]
        self._last, self.many = steps[-1]
        self.first = steps[0][0]
        singles = [name for name, _ in steps[: next((i for i, (_, many) in enumerate(steps) if many), len(steps))]]
        self.top = ".".join(singles) or self.first
        self.must_be = must_be
        self.type_name = type_name
        self.required = required

    def put(self, node: Json, value: Any) -> int | None:
        """Add to a list what it lacks, or set what is not set; return the index, or None where nothing changed."""
        for name, many in self._parents:
            if many:
                items = node.setdefault(name, [{}])
                node = items[-1]
            else:
                node = node.setdefault(name, {})
        if not self.many:
            return None if node.setdefault(self._last, value) is not value else 0
        items = node.setdefault(self._last, [])
        if value in items:
            return None
        items.append(value)
        return len(items) - 1


class Elements:
    """R4's types and elements."""

    __slots__ = ("_types", "_values")

    def __init__(self, types: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self._types = types
        self._values = values

    @classmethod
    def load(cls) -> Elements:
        """Read the facts that conformance holds."""
        folder = files("conformance") / "r4"
        types, values = (json.loads((folder / f"{name}.json").read_text()) for name in ("elements", "value_sets"))
        return cls(types, values)

    def place(self, type_name: str, path: str) -> Place:
        """Return the place of a path. Raises LookupError where R4 has no such element."""
        steps: list[tuple[str, bool]] = []
        required: frozenset[str] = frozenset()
        must_be = False
        for name in path.split("."):
            element, type_name = self._element(type_name, name)
            must_be = must_be or (not steps and element.get("min", 0) > 0)
            steps.append((name, element.get("max") == "*"))
            required = self._codes(element.get("required", ""))
        return Place(path, steps, type_name, required, must_be=must_be)

    def _element(self, type_name: str, name: str) -> tuple[Json, str]:
        found = self._all(type_name)
        if name in found:
            element = found[name]
            return element, element.get("content") or element["types"][0]
        for key, element in found.items():
            stem = key.removesuffix("[x]")
            if stem != key and name.startswith(stem):
                chosen = name[len(stem) :]
                for choice in element["types"]:
                    if choice[0].upper() + choice[1:] == chosen:
                        return element, choice
        raise LookupError(f"R4's {type_name} has no element {name!r}")

    def _all(self, type_name: str) -> dict[str, Any]:
        if type_name not in self._types:
            raise LookupError(f"R4 has no type with elements {type_name!r}")
        found: dict[str, Any] = self._types[type_name]["elements"]
        return found

    def _codes(self, value_set: str) -> frozenset[str]:
        systems = self._values.get(value_set, {})
        return frozenset(code for codes in systems.values() for code in codes)
