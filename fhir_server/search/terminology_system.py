"""A stored CodeSystem: its concepts, their hierarchy and properties, and what filters select.

http://hl7.org/fhir/R4/codesystem.html · http://hl7.org/fhir/R4/valueset.html#compositions
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

# What a hierarchy may mean and still tell what subsumes what; where it is not said it is taken for that.
_SUBSUMES = ("is-a", None)
_PARENT, _CHILD = "http://hl7.org/fhir/concept-properties#parent", "http://hl7.org/fhir/concept-properties#child"
_SELF = frozenset(("concept", "code"))
_RETIRED = frozenset(("retired", "deprecated", "inactive"))


class CodeSystem:
    """A CodeSystem as it was stored. Its methods raise ValueError, saying what it cannot answer."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        self.url: str = resource.get("url", "")
        self.version: str = resource.get("version", "")
        self.content: str = resource.get("content", "")
        self._meaning: str | None = resource.get("hierarchyMeaning")
        self._exact = resource.get("caseSensitive") is True
        self.display: dict[str, str] = {}
        self._parents: dict[str, set[str]] = {}
        self._children: dict[str, set[str]] = {}
        self._properties: dict[str, dict[str, list[str]]] = {}
        uris = {one.get("code"): one.get("uri") for one in resource.get("property", ())}
        self._up = {"parent"} | {code for code, uri in uris.items() if uri == _PARENT}
        self._down = {"child"} | {code for code, uri in uris.items() if uri == _CHILD}
        self._read(resource.get("concept", ()))

    def _read(self, concepts: Iterable[dict[str, Any]]) -> None:
        rest: list[tuple[str | None, dict[str, Any]]] = [(None, concept) for concept in concepts]
        while rest:
            parent, concept = rest.pop()
            code = concept.get("code", "")
            self.display[code] = concept.get("display", "")
            if parent is not None:
                self._link(parent, code)
            for one in concept.get("property", ()):
                self._property(code, one)
            rest += [(code, below) for below in concept.get("concept", ())]

    def _property(self, code: str, one: dict[str, Any]) -> None:
        name = one.get("code", "")
        value = next((v for key, v in one.items() if key.startswith("value")), None)
        if value is None:
            return
        if isinstance(value, dict):
            value = value.get("code", "")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        self._properties.setdefault(code, {}).setdefault(name, []).append(text)
        if name in self._up:
            self._link(text, code)
        elif name in self._down:
            self._link(code, text)

    def _link(self, parent: str, child: str) -> None:
        self._parents.setdefault(child, set()).add(parent)
        self._children.setdefault(parent, set()).add(child)

    def __len__(self) -> int:
        return len(self.display)

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {code.casefold(): code for code in self.display}

    def codes(self) -> frozenset[str]:
        """Return every code."""
        if self.content not in ("complete", "fragment"):
            raise ValueError(f"the CodeSystem {self.url} is stored without its codes (content is {self.content!r})")
        return frozenset(self.display)

    def inactive(self, code: str) -> bool:
        """Tell whether a concept is marked as no longer in use."""
        found = self._properties.get(code, {})
        return "true" in found.get("inactive", ()) or not _RETIRED.isdisjoint(found.get("status", ()))

    def known(self, code: str) -> str:
        """Return a code as the system writes it."""
        self.codes()
        if code in self.display:
            return code
        if not self._exact and (found := self._folded.get(code.casefold())) is not None:
            return found
        raise ValueError(f"the CodeSystem {self.url} has no code {code[:100]!r}")

    def below(self, code: str) -> frozenset[str]:
        """Return a code and all that it subsumes."""
        return self._reached(code, self._children)

    def above(self, code: str) -> frozenset[str]:
        """Return a code and all that subsume it."""
        return self._reached(code, self._parents)

    def _reached(self, code: str, links: Mapping[str, set[str]]) -> frozenset[str]:
        if self._meaning not in _SUBSUMES:
            raise ValueError(f"the hierarchy of {self.url} is {self._meaning}: it does not tell what subsumes what")
        found = {self.known(code)}
        rest = list(found)
        while rest:
            fresh = links.get(rest.pop(), set()) - found
            found |= fresh
            rest += fresh
        return frozenset(found)

    def texts(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return the values of a property by code; `concept` and `code` are the code itself."""
        codes = self.codes()
        if name in _SELF:
            return {code: (code,) for code in codes}
        if name == "display":
            return {code: (text,) for code, text in self.display.items() if text}
        if name in self._up | self._down:
            links = self._parents if name in self._up else self._children
            return {code: tuple(links[code]) for code in codes if code in links}
        found = {code: tuple(own[name]) for code, own in self._properties.items() if name in own}
        if not found and name not in self._declared:
            raise ValueError(f"no concept of the CodeSystem {self.url} has a property {name[:100]!r}")
        return found

    @cached_property
    def _declared(self) -> frozenset[str]:
        return frozenset(name for own in self._properties.values() for name in own)

    def selected(self, name: str, operator: str, value: str) -> frozenset[str]:
        """Return the codes that a filter selects, of every operator but `regex`."""
        if operator in ("is-a", "descendent-of", "is-not-a", "generalizes"):
            if name not in _SELF:
                raise ValueError(f"the filter {name[:100]} {operator} is not supported: only concept {operator} is")
            return self._related(operator, value)
        texts = self.texts(name)
        if operator == "=":
            return frozenset(code for code, found in texts.items() if value in found)
        if operator in ("in", "not-in"):
            wanted = {part.strip() for part in value.split(",")}
            hit = frozenset(code for code, found in texts.items() if not wanted.isdisjoint(found))
            return hit if operator == "in" else self.codes() - hit
        if operator == "exists" and value in ("true", "false"):
            return frozenset(texts) if value == "true" else self.codes() - texts.keys()
        raise ValueError(f"the filter {name[:100]} {operator[:100]} {value[:100]} cannot be used")

    def _related(self, operator: str, value: str) -> frozenset[str]:
        match operator:
            case "is-a":
                return self.below(value)
            case "descendent-of":
                return self.below(value) - {self.known(value)}
            case "generalizes":
                return self.above(value)
        return self.codes() - self.below(value)
