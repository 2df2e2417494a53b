"""The tables, read and compiled once: a row naming no element of R4, converter or concept map stops the start.

Three tables nest, message → segment → data type. HL7's own rows are distilled by tools/distil_v2.py; overlay.json
decides what they leave open, a field at a time: a field it names is mapped by its rows alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec

from mappings.context import Codes, Context
from mappings.convert import CONVERTERS, Converter
from mappings.delimiters import NULL
from mappings.elements import Elements, Place
from mappings.hl7v2 import Segment
from mappings.mapped import Json
from mappings.value import Value

MOST_REPETITIONS = 500
"""No sender's field says so much; more would make one message as costly as thousands."""

Call: TypeAlias = Callable[[Context, Segment, "Draft"], None]
Step: TypeAlias = Callable[[Context, Segment, str, "Draft"], None]
Condition: TypeAlias = Callable[[Segment], bool]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a segment table.

    `field` (PID-3; a bare segment name: always) goes `to` an element by the converter `by`, `at` a place in it, beside
    the constants `with`, where `when` holds; or the function `call` does it. `removes` is what HL7's `""` deletes.
    """

    field: str
    to: str = ""
    by: str = ""
    at: str = ""
    vocabulary: str = ""
    with_: dict[str, Any] = msgspec.field(default={}, name="with")
    when: list[list[Any]] = []
    call: str = ""
    removes: str = ""
    why: str = ""

    @property
    def number(self) -> int:
        """The field's number; 0 for a row of the whole segment."""
        return int(self.field.partition("-")[2] or 0)


class Draft:
    """A resource while its segments are read into it."""

    __slots__ = ("keep", "lineage", "removed", "resource")

    def __init__(self, resource_type: str) -> None:
        self.resource: Json = {"resourceType": resource_type}
        self.lineage: dict[str, str] = {}
        self.removed: list[str] = []
        self.keep: list[str] = []

    def set(self, cx: Context, element: str, value: Any) -> None:
        """Set a top-level element, if there is something to set."""
        if value is not None:
            self.resource[element] = value
            self.lineage[element] = cx.here()


class SegmentMap:
    """One segment's compiled rows for one resource type."""

    __slots__ = ("always", "resource_type", "steps")

    def __init__(self, resource_type: str, steps: list[tuple[int, Step]]) -> None:
        self.resource_type = resource_type
        self.always = [step for number, step in steps if number == 0]
        self.steps = sorted([step for step in steps if step[0] > 0], key=lambda step: step[0])

    def apply(self, cx: Context, segment: Segment, label: str, draft: Draft) -> None:
        """Read a segment into a resource; `label` names the segment in lineage and issues, as `OBX[3]`."""
        cx.segment = label
        fields = segment.fields
        last = len(fields) - 1
        for number, step in self.steps:
            if number > last:
                break
            raw = fields[number]
            if raw:
                cx.field = number
                step(cx, segment, raw, draft)
        for step in self.always:
            step(cx, segment, "", draft)


class Tables(msgspec.Struct, frozen=True):
    """All tables, compiled. `messages`: structure → (segment, resource type) → segment map."""

    segments: Mapping[str, SegmentMap]
    codes: Mapping[str, Codes]
    systems: Mapping[str, Mapping[str, str]]
    structures: Mapping[str, str]
    messages: Mapping[str, Mapping[tuple[str, str], SegmentMap]]


class BadTable(Exception):
    """A table that cannot be compiled; the message names the table, the row and what is wrong with it."""


def load(calls: Mapping[str, Call]) -> Tables:
    """Read and compile the tables of this package; `calls` are the functions rows may name. Raises BadTable."""
    return compile_tables(read("segments"), read("codes"), read("messages"), read("overlay"), read("systems"), calls)


def read(name: str) -> Json:
    """Return one table file as it stands."""
    text = (files("mappings") / "tables" / f"{name}.json").read_text(encoding="utf-8")
    content: Json = json.loads(text)
    return content


def compile_tables(
    segments: Json, codes: Json, messages: Json, overlay: Json, systems: Json, calls: Mapping[str, Call]
) -> Tables:
    """Compile tables given as JSON. Raises BadTable."""
    elements = Elements.load()
    maps = {name: table["rows"] for name, table in segments.items() if name != "notice"}
    concept_maps = {**{k: v for k, v in codes.items() if k != "notice"}}
    for name, change in overlay["codes"].items():
        known = concept_maps.get(name, {})
        concept_maps[name] = {**known, **change, "codes": {**known.get("codes", {}), **change["codes"]}}
    compiled_codes = {name: _codes(name, table) for name, table in concept_maps.items()}
    compiler = _Compiler(elements, compiled_codes, calls)
    compiled = {
        name: compiler.segment_map(name, overlaid(maps.get(name, []), overlay["segments"].get(name, {})))
        for name in {**maps, **overlay["segments"]}
    }
    plans = {name: _plan(name, messages.get(name, []), overlay, compiled) for name in overlay["messages"]}
    return Tables(compiled, compiled_codes, systems, overlay["structures"], plans)


def overlaid(rows: Sequence[Json], changes: Mapping[str, Sequence[Json]]) -> list[Json]:
    """Return the rows with those fields replaced that the overlay names."""
    kept = [row for row in rows if row["field"] not in changes]
    return kept + [{"field": field, **row} for field, new in changes.items() for row in new]


def _plan(name: str, rows: Sequence[Json], overlay: Json, compiled: Mapping[str, SegmentMap]) -> Any:
    """Which segment fills which resource in this structure; a map that is neither compiled nor left out is an error."""
    plan: dict[tuple[str, str], SegmentMap] = {}
    for row in [*rows, *overlay["messages"][name]]:
        segment, wanted = row["segment"].rpartition(".")[2], row["map"]
        if wanted in overlay["left_out"]:
            continue
        if wanted not in compiled:
            raise BadTable(f"message {name}, {segment}: there is no segment map {wanted}, and it is not left out")
        found = compiled[wanted]
        plan[segment, found.resource_type] = found
    return plan


def _codes(name: str, table: Json) -> Codes:
    shared = table.get("system", "")
    found: dict[str, Any] = {}
    for code, row in table["codes"].items():
        full = row and (*row, shared)[:3]
        if full and (len(full) != 3 or not full[2]):
            raise BadTable(f"concept map {name}, {code}: no system")
        found[code] = full and tuple(full)
    return Codes(name, table.get("table", ""), found)


class _Compiler:
    """Turns rows into closures, holding every name in them against R4, the registry and the concept maps."""

    def __init__(self, elements: Elements, codes: Mapping[str, Codes], calls: Mapping[str, Call]) -> None:
        self.elements = elements
        self.codes = codes
        self.calls = calls

    def segment_map(self, name: str, rows: Sequence[Json]) -> SegmentMap:
        """Compile the rows of one segment map, named as `PID[Patient]`."""
        resource_type = name.partition("[")[2].rstrip("]").partition("-")[0]
        steps = []
        for content in rows:
            try:
                row = msgspec.convert(content, Row)
                steps.append((row.number, self.step(row, resource_type)))
            except (msgspec.ValidationError, LookupError, ValueError) as problem:
                raise BadTable(f"{name}, row {content}: {problem}") from problem
        return SegmentMap(resource_type, steps)

    def step(self, row: Row, resource_type: str) -> Step:
        """Compile one row. Raises LookupError naming what does not exist."""
        condition = _conditions(row.when, row.field[:3])
        if row.call:
            return _guard(_calling(_named(self.calls, row.call, "function")), condition, row.removes)
        place = self.elements.place(resource_type, row.to)
        removes = row.removes or removed_by(place, row)
        if not row.by:
            return _guard(_constant(place, row.with_["$this"]), condition, removes)
        converter = _named(CONVERTERS, row.by, "converter")
        codes = _named(self.codes, row.vocabulary, "concept map") if row.vocabulary else None
        self.check_codes(place, codes)
        build = self.builder(place, row)
        return _guard(_converting(place, converter, codes, build), condition, removes)

    def check_codes(self, place: Place, codes: Codes | None) -> None:
        """A required binding admits its codes alone."""
        if codes is None or place.type_name != "code" or not place.required:
            return
        wrong = {found[0] for found in codes.codes.values() if found} - place.required
        if wrong:
            raise ValueError(f"{codes.name} gives {sorted(wrong)}, which the required value set lacks")

    def builder(self, place: Place, row: Row) -> Callable[[Any], Any]:
        """Return what puts a converted value in its place beside the row's constants."""
        if not row.at and not row.with_:
            return _same
        inner = self.elements.place(place.type_name, row.at) if row.at else None
        constants = [(self.elements.place(place.type_name, path), value) for path, value in row.with_.items()]

        def build(value: Any) -> Any:
            item: Json = {} if inner else dict(value)
            present = set(item)
            for constant, fixed in constants:
                if constant.first not in present:
                    constant.put(item, fixed)
            if inner:
                inner.put(item, value)
            return item

        return build


def removed_by(place: Place, row: Row) -> str:
    """What HL7's `""` in a field deletes: its element, or the items of a list that only this field makes.

    Nothing where FHIR requires the element, and never all identifiers: who would it be then?
    """
    for key, name in (("use", "use"), ("url", "url"), ("status", "status"), ("type.coding.code", "type")):
        if place.many and key in row.with_:
            return f"{place.first}[{name}={row.with_[key]}]"
    return "" if place.must_be or place.first == "identifier" else place.top


def _named(registry: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in registry:
        raise LookupError(f"there is no {what} {name!r}")
    return registry[name]


def _same(value: Any) -> Any:
    return value


def _calling(call: Call) -> Step:
    def step(cx: Context, segment: Segment, raw: str, draft: Draft) -> None:
        call(cx, segment, draft)

    return step


def _constant(place: Place, value: Any) -> Step:
    def step(cx: Context, segment: Segment, raw: str, draft: Draft) -> None:
        place.put(draft.resource, value)
        draft.lineage[place.path] = cx.here() if raw else cx.segment

    return step


def _converting(place: Place, converter: Converter, codes: Codes | None, build: Callable[[Any], Any]) -> Step:
    path, put, many = place.path, place.put, place.many

    def step(cx: Context, segment: Segment, raw: str, draft: Draft) -> None:
        marks = segment.delimiters
        repeats = raw.split(marks.repetition) if marks.repetition in raw else [raw]
        if not many and len(repeats) > 1:
            cx.inform(f"{len(repeats)} repetitions; FHIR has room for the first")
            repeats = repeats[:1]
        elif len(repeats) > MOST_REPETITIONS:
            cx.warn("too-costly", f"{len(repeats)} repetitions; the first {MOST_REPETITIONS} are mapped")
            repeats = repeats[:MOST_REPETITIONS]
        for repeat in repeats:
            value = converter(Value(repeat, marks, marks.component), cx, codes) if repeat else None
            if value is not None:
                index = put(draft.resource, build(value))
                if index is not None:
                    draft.lineage[f"{path}[{index}]" if many else path] = cx.here()

    return step


def _guard(step: Step, condition: Condition | None, removes: str) -> Step:
    """Run a step where its condition holds; HL7's delete sign deletes instead."""

    def guarded(cx: Context, segment: Segment, raw: str, draft: Draft) -> None:
        if condition is not None and not condition(segment):
            return
        if raw != NULL:
            step(cx, segment, raw, draft)
        elif removes:
            draft.removed.append(removes)
        else:
            cx.inform("what this field says cannot be deleted")

    return guarded


def _conditions(when: Sequence[Sequence[Any]], segment_id: str) -> Condition | None:
    """All must hold; there are four operators and there will be no more: what needs an `if` is a function."""
    if not when:
        return None
    for _, path, *_ in when:
        if not path.startswith(f"{segment_id}-"):
            raise LookupError(f"a condition of {segment_id} cannot see {path}")
    tests = [_condition(*each) for each in when]
    return lambda segment: all(test(segment) for test in tests)


def _condition(operator: str, path: str, values: Sequence[str] = ()) -> Condition:
    numbers = [int(part) for part in path.partition("-")[2].split(".")]

    def said(segment: Segment) -> str:
        found = segment.get(numbers[0], 1, numbers[1]) if len(numbers) > 1 else segment.field(numbers[0])
        return "" if found is None or found == NULL else found

    tests: dict[str, Condition] = {
        "valued": lambda segment: bool(said(segment)),
        "absent": lambda segment: not said(segment),
        "in": lambda segment: said(segment) in values,
        "not in": lambda segment: said(segment) not in values,
    }
    if operator not in tests:
        raise LookupError(f"there is no operator {operator!r}")
    return tests[operator]
