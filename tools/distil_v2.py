"""Distil HL7's v2-to-FHIR tables (CSV) into mappings/tables/*.json: facts only, one row a line.

Source: HL7 v2-to-FHIR, https://github.com/HL7/v2-to-fhir, commit 8c9b414 (Apache-2.0; published as CC0-1.0).
Usage: python tools/distil_v2.py FOLDER   (the folder with segments/, datatypes/, codesystems/ and messages/)

A row whose condition or target cannot be executed as it stands goes to `open`, for overlay.json to decide.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Json = dict[str, Any]

TARGET = Path(__file__).resolve().parent.parent / "mappings" / "tables"
NOTICE = "Distilled from HL7 v2-to-FHIR (https://github.com/HL7/v2-to-fhir, commit 8c9b414; Apache-2.0 / CC0-1.0)"

SEGMENTS = (
    "PID[Patient]",
    "PD1[Patient]",
    "NK1[RelatedPerson]",
    "PV1[Encounter]",
    "PV2[Encounter]",
    "AL1[AllergyIntolerance]",
    "DG1[Condition]",
    "IN1[Coverage]",
    "ORC[DiagnosticReport]",
    "ORC[ServiceRequest]",
    "OBR[DiagnosticReport]",
    "OBR[ServiceRequest]",
    "OBR[Specimen]",
    "OBX[Observation]",
    "SPM[Specimen]",
    "NTE[Observation]",
)
DATATYPES = (
    "CWE[CodeableConcept]",
    "CX[Identifier]",
    "XAD[Address]",
    "XCN[Practitioner]",
    "XON[Organization]",
    "XPN[HumanName]",
    "XTN[ContactPoint]",
)
MESSAGES = ("ADT_A01", "ORU_R01")
EXTRA_CODES = (
    "AddressType[Type]",
    "AddressType[Use]",
    "BodySite",
    "DegreeLicenseCertificate",
    "Event[EncounterStatus]",
    "IdentifierType",
    "NameType",
    "TelecommunicationEquipmentType",
    "TelecommunicationUseCode",
)


def main(arguments: list[str] | None = None) -> None:
    """Read the folder named on the command line and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the v2-to-fhir mappings folder")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write into (default: mappings/tables)")
    given = parser.parse_args(arguments)
    given.target.mkdir(parents=True, exist_ok=True)
    for name, text in distil(given.folder).items():
        (given.target / name).write_text(text, encoding="utf-8")


def distil(folder: Path) -> dict[str, str]:
    """Return the text of each table, by file name."""
    segments = {name: segment_map(read(folder / "segments", name)) for name in SEGMENTS}
    datatypes = {name: component_rows(read(folder / "datatypes", name)) for name in DATATYPES}
    messages = {name: message_rows(read(folder / "messages", name)) for name in MESSAGES}
    used = {row["vocabulary"] for table in segments.values() for row in table["rows"] if "vocabulary" in row}
    used |= {row["vocabulary"] for table in segments.values() for row in table["open"] if "vocabulary" in row}
    codes = {name: concept_map(read(folder / "codesystems", name)) for name in sorted(used | set(EXTRA_CODES))}
    return {
        "segments.json": text_of(segments),
        "datatypes.json": text_of(datatypes),
        "messages.json": text_of(messages),
        "codes.json": text_of(codes),
    }


def read(folder: Path, name: str) -> list[list[str]]:
    """Return the data rows of the CSV named so in its file name, padded; raises StopIteration where there is none."""
    file = next(path for path in sorted(folder.glob("*.csv")) if path.name.split("_ ", 1)[1].startswith(name + " - "))
    with file.open(encoding="utf-8", newline="") as lines:
        return [[cell.strip() for cell in row] + [""] * 20 for row in csv.reader(lines)][2:]


# --- segments -------------------------------------------------------------------------------------------------------


def segment_map(lines: list[list[str]]) -> Json:
    """Return the rows that can be executed and those left open."""
    rows: dict[str, Row] = {}
    open_rows: list[Row] = []
    for line in lines:
        target = clean_target(line[9])
        if not target and not line[10]:
            continue
        condition = conditions(line[6])
        if line[8] or condition is None or not is_plain(target):
            open_rows.append(open_row(line))
        else:
            merge_row(rows, line, target, condition)
    return {"rows": [row for row in rows.values() if row.get("by") or row.get("with")], "open": open_rows}


def clean_target(text: str) -> str:
    """Drop the type in brackets at the end of a reference: `asserter(Practitioner)` → `asserter`."""
    return re.sub(r"\([A-Z]\w+\)\s*$", "", text).strip()


def is_plain(target: str) -> bool:
    """A path of names and indices, nothing said in words."""
    return bool(re.fullmatch(r"[a-z]\w*(\[\d+\])?(\.[a-z]\w*(\[\d+\])?)*", target))


def open_row(line: list[str]) -> Row:
    """What a row says that cannot be executed as it stands; whether by its prose is noted, the prose is not kept."""
    row: Row = {"field": line[1], "to": line[9] or line[10]}
    for name, value in (("by", line[14]), ("vocabulary", vocabulary(line[15])), ("fixed", constant(line[16]))):
        if value:
            row[name] = value
    if line[6]:
        row["when"] = " ".join(line[6].split())
    if line[8]:
        row["prose"] = True
    return row


def merge_row(rows: dict[str, Row], line: list[str], target: str, condition: list[list[Any]]) -> None:
    """Add a line to the row of its field and element: constants beside the converter that fills the element."""
    root, at = split_target(target)
    key = json.dumps([line[1], root, condition])
    row = rows.setdefault(key, {"field": line[1], "to": re.sub(r"\[\d+\]", "", root)})
    if condition:
        row["when"] = condition
    fixed = constant(line[16])
    if fixed:
        row.setdefault("with", {})[at or "$this"] = fixed
        return
    by = line[14] or f"{line[3]}[{line[11]}]"
    if at and "at" not in row:
        row["at"] = at
    row["by"] = re.sub(r"\s+", "", by)
    if vocabulary(line[15]):
        row["vocabulary"] = vocabulary(line[15])


def split_target(target: str) -> tuple[str, str]:
    """`participant[1].type.coding.code` → (`participant[1]`, `type.coding.code`): the element, and the place in it."""
    found = re.match(r"(.*?\[\d+\])\.?(.*)", target)
    root, at = (found.group(1), found.group(2)) if found else (target, "")
    return root, re.sub(r"\[\d+\]", "", at)


def vocabulary(text: str) -> str:
    """The name of a concept map as its file is named."""
    return "" if '"' in text else text.replace("/", "")


def constant(text: str) -> str:
    """The value of an assignment such as `"VN"`, else nothing."""
    found = re.fullmatch(r'"\s*([^"]*?)\s*"', text)
    return found.group(1) if found else ""


CONDITION = re.compile(
    r"(?P<path>[A-Z][A-Z0-9]{2}[-.][\d.]+) (?:IS )?"
    r"(?P<op>NOT VALUED|VALUED|NOT EQUALS|EQUALS|NOT IN|IN|IS) ?(?P<values>.*)"
)
OPERATORS = {"VALUED": "valued", "NOT VALUED": "absent", "EQUALS": "in", "IN": "in", "IS": "in"}
OPERATORS |= {"NOT EQUALS": "not in", "NOT IN": "not in"}


def conditions(text: str) -> list[list[Any]] | None:
    """Return `[[operator, field, values]…]`, all of which must hold; None where the text says more than that."""
    text = " ".join(text.split())
    if not text:
        return []
    parts = [condition(part) for part in re.split(r" AND ", re.sub(r"^IF ", "", text, flags=re.IGNORECASE))]
    return None if any(part is None for part in parts) else [part for part in parts if part is not None]


def condition(text: str) -> list[Any] | None:
    """One comparison of a field with nothing or with constants."""
    found = CONDITION.fullmatch(text.strip())
    if not found:
        return None
    values = re.findall(r'"([^"]*)"', found["values"])
    rest = re.sub(r'"[^"]*"|[(), ]', "", found["values"])
    operator = OPERATORS[found["op"]]
    if rest or (operator in ("in", "not in")) != bool(values):
        return None
    return [operator, found["path"], values] if values else [operator, found["path"]]


# --- datatypes, messages, codes -------------------------------------------------------------------------------------


def component_rows(lines: list[list[str]]) -> list[Row]:
    """Return which component goes where; conditions and extensions still to be invented are left out."""
    rows = [{"component": line[1], "to": line[9]} for line in lines if line[1] and line[9] and "??" not in line[9]]
    return list({json.dumps(row): row for row in rows}.values())


def message_rows(lines: list[list[str]]) -> list[Row]:
    """Return which segment, in which group, makes or fills which resource by which segment map."""
    rows = []
    for line in lines:
        if line[9]:
            row = {"segment": line[1].partition(".")[2] or line[1], "resource": line[9]}
            rows.append(row | ({"map": line[10]} if line[10] else {}) | ({"open": True} if line[6] or line[8] else {}))
    return list({json.dumps(row): row for row in rows}.values())


def concept_map(lines: list[list[str]]) -> Json:
    """Return v2 code → [code, display, system], or null for a code without an equivalent; and the v2 table's number."""
    found: dict[str, list[str] | None] = {}
    for line in lines:
        if line[0] and line[0] not in found:
            found[line[0]] = concept(line)
    table = {line[2].removeprefix("HL7") for line in lines if re.fullmatch(r"HL7\d{4}", line[2])}
    systems = {row[2] for row in found.values() if row}
    named: Json = {"table": sorted(table)[0]} if table else {}
    if len(systems) == 1:
        return named | {"system": systems.pop(), "codes": {code: row and row[:2] for code, row in found.items()}}
    return named | {"codes": found}


def concept(line: list[str]) -> list[str] | None:
    """The code, display and system of one row; None where it has none or says so in words."""
    target = line[6]
    # one sheet lacks the column between code and display
    display, system = (line[8] or line[7], line[9]) if line[9] else (line[7], line[8])
    if not re.fullmatch(r"\S+( \S+)*", target) or not re.match(r"https?://", system):
        return None
    return [target, display or line[1], system.split()[0]]


# --- writing --------------------------------------------------------------------------------------------------------


def text_of(tables: Json) -> str:
    """JSON that diffs well: one row a line."""
    return "{\n" + ",\n".join([f'"notice": {json.dumps(NOTICE)}', *(entry(n, t) for n, t in tables.items())]) + "\n}\n"


def entry(name: str, table: Any) -> str:
    """One named table."""
    return f"{json.dumps(name)}: " + "\n".join(block(table, 1))


def block(value: Any, depth: int) -> Iterator[str]:
    """Lists of rows and objects of codes are opened a line a row; a row stays on its line."""
    if isinstance(value, dict) and any(isinstance(item, dict | list) and item for item in value.values()):
        yield from spread("{}", depth, (f"{json.dumps(k)}: {compact(v, depth)}" for k, v in value.items()))
    elif isinstance(value, list) and value:
        yield from spread("[]", depth, (json.dumps(item, ensure_ascii=False) for item in value))
    else:
        yield json.dumps(value, ensure_ascii=False)


def compact(value: Any, depth: int) -> str:
    """A nested table, or one line where it holds plain values only."""
    rows = isinstance(value, dict | list) and depth < 2 and bool(value)
    return "\n".join(block(value, depth + 1)) if rows else json.dumps(value, ensure_ascii=False)


def spread(brackets: str, depth: int, items: Iterable[str]) -> Iterator[str]:
    """Brackets around items, one a line."""
    indent = " " * depth
    yield brackets[0] + "\n" + ",\n".join(indent + item for item in items) + "\n" + " " * (depth - 1) + brackets[1]


if __name__ == "__main__":
    main()
