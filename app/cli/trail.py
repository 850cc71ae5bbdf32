"""`countinghouse audit verify`: the audit trail held against its chain."""

import asyncio

import click

from app.cli.installation import attached
from app.cli.output import emit
from app.core import db
from app.core.ids import MerchantId, parse_id
from app.tenancy.audit import queries
from app.tenancy.audit.domain import Verdict
from app.tenancy.queries import merchant


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command()
@click.option("--merchant", "public", required=True, metavar="MERCHANT", help="Public id of the merchant.")
@click.option("--head", metavar="HASH", help="A head that was noted elsewhere, such as in the log; shows whether the end was cut off.")
@click.pass_context
def verify(context: click.Context, public: str, head: str | None) -> None:
    """Compare a merchant's audit trail with its chain: every block with its entries, the block before it and the signature.

    \b
    Example:
      countinghouse audit verify --merchant mer_01k… --head 9f2c…
    Exit code 1 when the trail is not as it was chained. What was written in the last minute may not be chained yet.
    """
    merchant_id = MerchantId(parse_id("mer", public))
    with attached(context.obj["data"]):
        verdict = asyncio.run(compare(merchant_id, head))
    if verdict.is_sound:
        sound = click.style("The audit trail is as it was written.", fg="green")
        emit(verdict, f"{sound} {verdict.blocks} blocks, {verdict.entries} entries, head {verdict.head}.")
    else:
        emit(verdict, click.style(f"The audit trail is not as it was written: {verdict.problem}.", fg="red"))
        context.exit(1)


async def compare(merchant_id: MerchantId, head: str | None) -> Verdict:
    """Compare one merchant's trail; a merchant that does not exist is an error, not an empty trail."""
    try:
        async with db.unit_of_work(merchant_id) as session:
            await merchant(session, merchant_id)
            return await queries.verify(session, merchant_id=merchant_id, expected_head=head)
    finally:
        await db.dispose()
