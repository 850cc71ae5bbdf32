"""The generated parts of the documents: the configuration table and the error catalogue."""

import re
from collections.abc import Callable

import click

from app.cli.catalogues import events_markdown, states_markdown
from app.cli.installation import ROOT
from app.cli.operations import errors_markdown, settings_markdown
from app.cli.output import emit


def _readme(text: str) -> str:
    table = f"<!-- settings -->\n{settings_markdown()}\n<!-- /settings -->"
    return re.sub(r"<!-- settings -->.*<!-- /settings -->", lambda _: table, text, flags=re.DOTALL)


DOCUMENTS: dict[str, Callable[[str], str]] = {
    "README.md": _readme,
    "docs/errors.md": lambda _: errors_markdown(),
    "docs/events.md": lambda _: events_markdown(),
    "docs/states.md": lambda _: states_markdown(),
}


def written(path: str) -> tuple[str, str]:
    """A document as it is and as it should be."""
    file = ROOT / path
    before = file.read_text() if file.exists() else ""
    return before, DOCUMENTS[path](before)


@click.command()
def docs() -> None:
    """Write the generated parts of README.md and docs/.

    \b
    Example:
      countinghouse docs
    """
    changed = []
    for path in DOCUMENTS:
        before, now = written(path)
        if before != now:
            (ROOT / path).write_text(now)
            changed.append(path)
    emit({"written": changed}, f"Written: {', '.join(changed) or 'nothing, all is current'}.")
