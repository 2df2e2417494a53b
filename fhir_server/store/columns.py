"""How a column is declared, and the one list of all tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata = MetaData()
INSTANT = TIMESTAMP(timezone=True)
NOW = text("now()")


def must(name: str, kind: Any, **more: Any) -> Column[Any]:
    """Return a column that is never null."""
    return Column(name, kind, nullable=False, **more)


def may(name: str, kind: Any) -> Column[Any]:
    """Return a column that may be null."""
    return Column(name, kind, nullable=True)


def tenant_id() -> Column[Any]:
    """Return the column that leads every key of a tenant's table."""
    return must("tenant_id", Integer)
