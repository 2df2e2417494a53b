"""Write docs/settings.md from the table of settings: `python tools/settings_doc.py [--check]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from fhir_server.settings import Settings, variable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "`true` or `false`",
    "SecretStr": "secret text",
}
HEAD = """# Settings

This page is written by `tools/settings_doc.py` from the tables in `fhir_server/settings*.py`; a test holds it to them.

Every setting is an environment variable. There is no settings file: what starts the process gives it the variables. An
empty variable counts as not set. A flag of the command line wins over the variable. A wrong value stops the start with
one line that names the variable. `concord check` warns about `CONCORD_` variables that this table lacks.

| variable | value | default | unit | what it is |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(row(name, field) for name, field in Settings.model_fields.items())


def row(name: str, field: FieldInfo) -> str:
    """Return one line of the table."""
    cells = (f"`{variable(name)}`", kind(field), default(field), extra(field, "unit"), field.description or "")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def kind(field: FieldInfo) -> str:
    """Return what may be written, in words; bounds included."""
    written = str(field.annotation)
    if "Literal" in written:
        return " or ".join(f"`{choice}`" for choice in re.findall(r"'(\w+)'", written))
    plain = written.removeprefix("<class '").removesuffix("'>").removesuffix(" | None").rsplit(".", 1)[-1]
    return WORDS.get(plain, plain.lower()) + bounds(field)


def bounds(field: FieldInfo) -> str:
    """Return the least and the largest value as words, or nothing."""
    said = {"ge": "from {}", "gt": "over {}", "le": "to {}"}
    found = [said[key].format(getattr(m, key)) for m in field.metadata for key in said if hasattr(m, key)]
    return f", {' '.join(found)}" if found else ""


def default(field: FieldInfo) -> str:
    """Return the default as it would be written in the environment."""
    if shown := extra(field, "shown"):
        return shown
    return "none" if field.default is None else f"`{str(field.default).removesuffix('.0').lower()}`"


def extra(field: FieldInfo, key: str) -> str:
    """Return what the declaration says beyond pydantic's own words."""
    return str(field.json_schema_extra.get(key, "")) if isinstance(field.json_schema_extra, dict) else ""


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` return 1 when it is not current."""
    if "--check" in arguments:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
