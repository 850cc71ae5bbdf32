"""What the command line shows: text for people, JSON for programs, one clear line when something is wrong."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import msgspec

from app.core.errors import AppError

JSON_FLAG = "--json"


def wants_json() -> bool:
    """Tell whether the caller asked for JSON; the flag may stand anywhere in the command."""
    return bool(click.get_current_context().find_root().obj.get("json"))


def emit(value: object, text: str) -> None:
    """Show a result: the value as JSON when asked for, otherwise the text."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if wants_json() else text)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return "\n".join([click.style(lines[0], bold=True), *lines[1:]])


def report(error: AppError, *, as_json: bool) -> None:
    """Say on the error stream what is wrong and which part."""
    if as_json:
        problem = {"type": f"urn:countinghouse:{error.code}", "title": error.title, "status": error.status, "detail": error.detail}
        click.echo(msgspec.json.encode({**problem, "fields": error.fields}).decode(), err=True)
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.detail} ({error.code})", err=True)
    for field, reason in error.fields.items():
        click.echo(f"  {field}: {reason}", err=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show a step when it is done, with the time it took; a failed one is named before the error goes on."""
    began = time.perf_counter()
    try:
        yield
    except BaseException:
        click.echo(f"{click.style('✗', fg='red')} {what:<62} {time.perf_counter() - began:6.2f} s")
        raise
    click.echo(f"{click.style('✓', fg='green')} {what:<62} {time.perf_counter() - began:6.2f} s")


def plain_when_asked() -> None:
    """Follow the NO_COLOR custom and pipes that are not terminals; FORCE_COLOR wins."""
    if os.environ.get("NO_COLOR") or not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")):
        os.environ["NO_COLOR"] = "1"
