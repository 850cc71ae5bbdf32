"""What was measured: one figure per workload, each beside the floor it is compared with."""

from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one workload reached, and its ratio to the floor that was measured in the same run."""

    part: str
    name: str
    clients: int
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_p50_ms: float | None = None
    server_p99_ms: float | None = None
    queries: int | None = None
    web_cpu_ms: float | None = None
    database_cpu_ms: float | None = None
    floor: str = ""
    ratio: float | None = None
    note: str = ""


COLUMNS: dict[str, tuple[str, str]] = {
    "clients": ("clients", ",d"),
    "per_second": ("per second", ",.0f"),
    "p50_ms": ("p50 ms", ",.2f"),
    "p99_ms": ("p99 ms", ",.2f"),
    "server_p50_ms": ("server p50", ",.2f"),
    "server_p99_ms": ("server p99", ",.2f"),
    "queries": ("queries", ",d"),
    "web_cpu_ms": ("web CPU ms", ",.2f"),
    "database_cpu_ms": ("DB CPU ms", ",.2f"),
    "ratio": ("of floor", ",.2f"),
}


def percentile(sorted_values: Sequence[float], percent: int) -> float:
    """The value that so many percent of them do not exceed; the values must be sorted."""
    return sorted_values[min(len(sorted_values) - 1, len(sorted_values) * percent // 100)]


def table(figures: Sequence[Figure]) -> str:
    """The figures of one part as lines; a column nobody fills is left out."""
    shown = {field: heading for field, heading in COLUMNS.items() if any(getattr(figure, field) is not None for figure in figures)}
    rows = [["workload", *(heading for heading, _ in shown.values()), "floor", ""]]
    rows += [[figure.name, *(_cell(figure, field) for field in shown), figure.floor or "–", figure.note] for figure in figures]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: list[str], widths: list[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(row[1:-2], widths[1:-2], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers, row[-2].ljust(widths[-2]), row[-1]]).rstrip()


def _cell(figure: Figure, field: str) -> str:
    value = getattr(figure, field)
    return "–" if value is None else format(value, COLUMNS[field][1])
