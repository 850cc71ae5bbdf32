"""Commands for whoever runs an installation: settings, keys, books, providers, demo data."""

import asyncio
from pathlib import Path

import click

from app.cli.installation import attached
from app.cli.output import emit, table
from app.core import settings as core_settings


@click.command("settings")
@click.option("--markdown", is_flag=True, help="As the table of the README.")
def show_settings(markdown: bool) -> None:
    """List every setting with its default and meaning.

    \b
    Example:
      countinghouse settings
    """
    rows = [list(row) for row in core_settings.table()]
    text = settings_markdown() if markdown else table(["setting", "default", "meaning"], rows)
    emit([{"name": name, "default": default, "meaning": meaning} for name, default, meaning in rows], text)


def settings_markdown() -> str:
    """The configuration table of the README."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in core_settings.table()]
    return "\n".join(lines)
