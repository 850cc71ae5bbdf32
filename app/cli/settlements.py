"""Settlement files and bank statements by hand: what is in a file, and does it add up?"""

import asyncio
from pathlib import Path
from uuid import UUID

import click
import msgspec

from app.cli.installation import attached
from app.cli.output import emit
from app.core import db
from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.ids import MerchantId, parse_id
from app.reconciliation import flows, queries
from app.reconciliation.domain import formats
from app.reconciliation.domain.formats import CSV, FORMATS
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import Tally, pieces
from app.reconciliation.files import service as files


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


@recon.command("import")
@click.option("--merchant", required=True, metavar="MERCHANT", help="Public id of the merchant.")
@click.option("--source", required=True, metavar="SOURCE", help="Public id of the source, as its page shows it.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def import_files(context: click.Context, *, merchant: str, source: str, paths: tuple[Path, ...]) -> None:
    """Hand files in and compare, as a folder that a provider delivers to would.

    \b
    Example:
      countinghouse recon import --merchant mer_01k… --source rsc_01k… drop/*.csv
    A file that was handed in before changes nothing. Exit code 1 when one was refused.
    """
    merchant_id, source_id = MerchantId(parse_id("mer", merchant)), queries.source_id(source)
    with attached(context.obj["data"]):
        taken = asyncio.run(_take(merchant_id, source_id, paths))
    emit(taken, "\n".join(f"{file['status']:<9} {file['name']}{': ' + str(file['reason']) if file['reason'] else ''}" for file in taken))
    if any(file["status"] == "refused" for file in taken):
        context.exit(1)


async def _take(merchant_id: MerchantId, source_id: UUID, paths: tuple[Path, ...]) -> list[dict[str, object]]:
    actor = Actor.system(merchant_id, "command line")
    taken: list[dict[str, object]] = []
    try:
        for path in paths:
            with path.open("rb") as content:
                async with db.unit_of_work(merchant_id) as session:
                    known = await queries.source(session, merchant_id=merchant_id, source_id=source_id)
                    file = await files.import_file(session, actor, source=known, name=path.name, chunks=pieces(content))
                    taken.append(
                        {"name": file.name, "status": file.status, "lines": file.lines, "new": file.new_lines, "reason": file.reason}
                    )
        await flows.compare_one(merchant_id)
    finally:
        await db.dispose()
    return taken


def _mapping(path: Path) -> ColumnMapping:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ColumnMapping)
    except msgspec.DecodeError as error:
        raise MappingUnreadable(f"{path.name}: {error}.") from None
