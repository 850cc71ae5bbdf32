"""Does everything hold? The invariants of the books and of reconciliation, from the command line."""

import asyncio

import click
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.cli.installation import attached
from app.cli.output import emit
from app.core.actors import Actor
from app.core.db import dispose, unit_of_work
from app.core.ids import MerchantId, parse_id
from app.core.settings import settings
from app.reconciliation.balances import flows as balances
from app.reconciliation.invariants import queries, service
from app.reconciliation.invariants.queries import Proof


@click.group()
def check() -> None:
    """Prove that everything holds."""


@check.command()
@click.option("--merchant", metavar="MERCHANT", help="Public id of one merchant; all otherwise.")
@click.option("--ask", is_flag=True, help="Ask every provider that can be asked what it owes.")
@click.pass_context
def invariants(context: click.Context, merchant: str | None, ask: bool) -> None:
    """Check every invariant of the books, the matches and the sources.

    \b
    Examples:
      countinghouse check invariants
      countinghouse check invariants --ask
      countinghouse check invariants --merchant mer_01k… --json
    Exit code 1 when something does not hold.
    """
    merchant_id = MerchantId(parse_id("mer", merchant)) if merchant else None
    with attached(context.obj["data"]):
        proof = asyncio.run(prove(settings().owner_database_url or settings().database_url, merchant_id, ask=ask))
    emit(proof, described(proof))
    if not proof.is_sound:
        context.exit(1)


async def prove(owner_url: str, merchant_id: MerchantId | None, *, ask: bool = False) -> Proof:
    """Ask as the owner role, which may read every merchant; try as each merchant, and take it back."""
    engine = create_async_engine(owner_url)
    try:
        async with AsyncSession(engine) as session:
            asked = await queries.prove(session, merchant_id=merchant_id)
            merchants = await queries.merchants(session, merchant_id=merchant_id)
        tried = [await _try(each) for each in merchants]
        told = [await balances.ask(merchant_id=each) for each in merchants] if ask else [queries.nobody_asked()]
    finally:
        await engine.dispose()
        await dispose()
    return queries.merged([asked, *told, *tried])


async def _try(merchant_id: MerchantId) -> Proof:
    async with unit_of_work(merchant_id) as session:
        return await service.trial(session, Actor.system(merchant_id, "countinghouse check invariants"))


def described(proof: Proof) -> str:
    """What was found, for people."""
    lines = []
    for outcome in proof.invariants:
        mark = click.style("✓", fg="green") if outcome.holds else click.style("✗", fg="red")
        lines.append(f"{mark} {outcome.name}")
        lines += [f"    {found.merchant}  {found.subject}: {found.detail}" for found in outcome.violations]
        lines += [f"    {note}" for note in outcome.notes]
    return "\n".join([*lines, f"Checked in {proof.milliseconds} ms."])
