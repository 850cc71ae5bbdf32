"""Settlement files and bank statements by hand: what is in a file, and does it add up?"""

from pathlib import Path

import click
import msgspec

from app.core.errors import Invalid
from app.reconciliation.domain import formats
from app.reconciliation.domain.formats import CSV, FORMATS
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import Tally


class MappingUnreadable(Invalid):
    """The file with the mapping is not JSON of the expected shape."""

    code = "settlement_mapping_unreadable"
    title = "The mapping cannot be read"


@click.group()
def recon() -> None:
    """Settlement files and bank statements."""


@recon.command()
@click.option("--format", "name", type=click.Choice(list(FORMATS)), required=True, help="What kind of file it is.")
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON file that maps columns (csv only).")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def read(*, name: str, mapping: Path | None, file: Path) -> None:
    """Show the lines of a file in our words and its control totals, as lines of JSON.

    A file that fails its own totals is refused whole: nothing is shown, the reason and the line go to the error stream, the exit code is 1.
    A line that fails its own is shown with its problem.

    \b
    Examples:
      countinghouse recon read --format stripe payout_reconciliation.csv
      countinghouse recon read --format csv --mapping bank.json statement.csv
    """
    known = _mapping(mapping) if mapping else None
    if name == CSV and known is None:
        raise click.UsageError("--format csv needs --mapping.")
    with file.open("rb") as source:
        # read twice: a refused file shows nothing, and a large one is never held in memory
        totals = formats.prove(name, source, mapping=known)
        for line in formats.read(name, source, Tally(), mapping=known):
            click.echo(msgspec.json.encode(line))
    for total in totals.totals():
        click.echo(msgspec.json.encode(total))
    click.echo(msgspec.json.encode(totals.summary(name)))


def _mapping(path: Path) -> ColumnMapping:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ColumnMapping)
    except msgspec.DecodeError as error:
        raise MappingUnreadable(f"{path.name}: {error}.") from None
