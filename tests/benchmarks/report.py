"""The figures as tables: for the terminal, and in Markdown for the docs, several sizes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

Row = dict[str, Any]
Figures = dict[str, Any]


def shown(rows: Sequence[Row]) -> Table:
    """Return the rows as a table for people."""
    table = Table(title="CPU ms per operation, by the operating system's accounting")
    columns = ("case", "concurrency", "server_ms", "postgres_ms", "cpu_ms", "bar_ms", "per_second", "p50_ms", "p95_ms")
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    return table


def markdown(runs: Sequence[Figures]) -> str:
    """Return CPU ms per operation by size: server + PostgreSQL, and their sum."""
    sizes = " | ".join(f"{run['resources']:,}" for run in runs)
    lines = [f"| operation | clients | {sizes} | bar |", "|---|---|" + "---|" * (len(runs) + 1)]
    found = [{(row["case"], row["concurrency"]): row for row in run["rows"]} for run in runs]
    for case, concurrency in dict.fromkeys(key for rows in found for key in rows):
        cells = [_cell(rows.get((case, concurrency))) for rows in found]
        bar = next(rows[case, concurrency]["bar_ms"] for rows in found if (case, concurrency) in rows)
        lines.append(f"| {case} | {concurrency} | {' | '.join(cells)} | {bar or ''} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row['server_ms']:.2f} + {row['postgres_ms']:.2f} = **{row['cpu_ms']:.2f}**"
