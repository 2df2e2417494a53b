"""How one setting is declared: default, rule, and what the documentation says of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def row(default: Any, description: str, *, unit: str = "", shown: str = "", **rules: Any) -> Any:
    """Declare one setting; `shown` replaces the default in the documentation where it depends on the machine."""
    extra: dict[str, Any] = {"unit": unit, "shown": shown}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **rules)
    return Field(default=default, description=description, json_schema_extra=extra, validate_default=True, **rules)
