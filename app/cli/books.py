"""The books from the command line: do they balance?"""

import asyncio

import click
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.cli.installation import attached
from app.cli.output import emit
from app.core import db
from app.core.ids import MerchantId, parse_id, public_id
from app.core.settings import settings
from app.ledger import queries
from app.ledger.domain.seals import Verdict
from app.ledger.seals import queries as seals
from app.tenancy.domain import MerchantNotFound


@click.group()
def ledger() -> None:
    """The books."""


@ledger.command()
@click.option("--merchant", metavar="MERCHANT", help="Public id of one merchant; all otherwise.")
@click.pass_context
def check(context: click.Context, merchant: str | None) -> None:
    """Check that every transaction balances, every balance is the sum of its entries, and no limit is broken.

    \b
    Examples:
      countinghouse ledger check
      countinghouse ledger check --merchant mer_01k… --json
    Exit code 1 when something is wrong.
    """
    merchant_id = MerchantId(parse_id("mer", merchant)) if merchant else None
    with attached(context.obj["data"]):
        sound = asyncio.run(check_books(settings().owner_database_url or settings().database_url, merchant_id))
    if not sound:
        context.exit(1)


@ledger.command()
@click.option("--merchant", required=True, metavar="MERCHANT", help="Public id of the merchant.")
@click.option("--head", metavar="HASH", help="A head that was noted elsewhere, such as in the log; shows whether blocks were cut off.")
@click.pass_context
def verify(context: click.Context, merchant: str, head: str | None) -> None:
    """Compare a book with its seal: every block with the transactions, the block before it and the signature.

    \b
    Example:
      countinghouse ledger verify --merchant mer_01k… --head 9f2c…
    Exit code 1 when the book is not as it was sealed.
    """
    merchant_id = MerchantId(parse_id("mer", merchant))
    with attached(context.obj["data"]):
        verdict = asyncio.run(verify_seal(merchant_id, head))
    text = f"{verdict.blocks} blocks, {verdict.transactions} transactions, head {verdict.head}"
    if verdict.is_sound:
        emit(verdict, f"{click.style('The book is as it was sealed.', fg='green')} {text}.")
    else:
        emit(verdict, click.style(f"The book is not as it was sealed: {verdict.problem}.", fg="red"))
        context.exit(1)


async def verify_seal(merchant_id: MerchantId, head: str | None) -> Verdict:
    """Verify one merchant's seal."""
    try:
        async with db.unit_of_work(merchant_id) as session:
            return await seals.verify(session, merchant_id=merchant_id, expected_head=head)
    finally:
        await db.dispose()


async def check_books(owner_url: str, merchant_id: MerchantId | None) -> bool:
    """Check as the owner role, which may read every book; show what was found and tell whether all is well."""
    engine = create_async_engine(owner_url)
    try:
        async with AsyncSession(engine) as session:
            report = await queries.check(session, merchant_id=merchant_id)
            if merchant_id is not None and not report.books:
                raise MerchantNotFound("There is no book of this merchant here; nothing was checked.")
    finally:
        await engine.dispose()
    counts = f"{report.books} books, {report.accounts} accounts, {report.transactions} transactions, {report.entries} entries"
    findings = [
        f"  {public_id('mer', found.merchant_id)}  {found.subject}: {found.detail} ({found.invariant})" for found in report.violations
    ]
    emit(report, describe(counts, findings))
    return report.is_sound


def describe(counts: str, findings: list[str]) -> str:
    """What was found, for people."""
    if not findings:
        return f"{click.style('The books balance.', fg='green')} {counts} checked."
    return "\n".join([click.style(f"The books do not balance: {len(findings)} findings in {counts}.", fg="red"), *findings])
