"""Does everything hold? The invariants of the books and of reconciliation, from the command line."""

import asyncio

import click
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.cli.installation import attached
from app.cli.output import emit
from app.core.ids import MerchantId, parse_id
from app.core.settings import settings
from app.reconciliation.invariants import queries
from app.reconciliation.invariants.queries import Proof


@click.group()
def check() -> None:
    """Prove that everything holds."""


@check.command()
@click.option("--merchant", metavar="MERCHANT", help="Public id of one merchant; all otherwise.")
@click.pass_context
def invariants(context: click.Context, merchant: str | None) -> None:
    """Check every invariant of the books, the matches and the sources.

    \b
    Examples:
      countinghouse check invariants
      countinghouse check invariants --merchant mer_01k… --json
    Exit code 1 when something does not hold.
    """
    merchant_id = MerchantId(parse_id("mer", merchant)) if merchant else None
    with attached(context.obj["data"]):
        proof = asyncio.run(prove(settings().owner_database_url or settings().database_url, merchant_id))
    emit(proof, described(proof))
    if not proof.is_sound:
        context.exit(1)


async def prove(owner_url: str, merchant_id: MerchantId | None) -> Proof:
    """Check as the owner role, which may read every merchant."""
    engine = create_async_engine(owner_url)
    try:
        async with AsyncSession(engine) as session:
            return await queries.prove(session, merchant_id=merchant_id)
    finally:
        await engine.dispose()


def described(proof: Proof) -> str:
    """What was found, for people."""
    lines = []
    for outcome in proof.invariants:
        mark = click.style("✓", fg="green") if outcome.holds else click.style("✗", fg="red")
        lines.append(f"{mark} {outcome.name}")
        lines += [f"    {found.merchant}  {found.subject}: {found.detail}" for found in outcome.violations]
    return "\n".join([*lines, f"Checked in {proof.milliseconds} ms."])
