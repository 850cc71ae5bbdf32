"""Reads for the rules of payouts and the list of batches."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import MerchantId, public_id
from app.core.money import Money, exponent
from app.core.paging import fetch_page
from app.payouts import queries
from app.payouts.domain import Rail
from app.payouts.domain.calendars import CALENDARS
from app.payouts.models import FundingAccount, PayoutBatch
from app.payouts.schemas.rules import RAIL_NAMES, BatchListPage, BatchRow, FundingRow, RulesPage
from app.psp import queries as psp

USUAL = ["EUR", "USD", "GBP"]


async def rules_page(session: AsyncSession, actor: Actor, *, currency: str = "") -> RulesPage:
    """The rules in one currency, and the accounts that are paid from."""
    merchant_id = actor.merchant
    funding = await queries.funding_accounts(session, merchant_id=merchant_id)
    used = [row.currency for row in funding]
    chosen = currency or next(iter(used), "EUR")
    exponent(chosen)
    names = await psp.connection_names(session, merchant_id=merchant_id)
    return RulesPage(
        currency=chosen,
        currencies=list(dict.fromkeys([*used, *USUAL, chosen])),
        limits=await queries.limits(session, merchant_id=merchant_id, currency=chosen),
        thresholds=await queries.thresholds(session, merchant_id=merchant_id, currency=chosen),
        funding=[_funding(row) for row in funding],
        connections=[(public_id("con", connection_id), name) for connection_id, name in names.items()],
        may_set=actor.can("rules.write"),
    )


def _funding(row: FundingAccount) -> FundingRow:
    return FundingRow(
        currency=row.currency,
        name=row.name,
        rail=RAIL_NAMES[Rail(row.rail)],
        account=f"•••• {row.last4}" if row.last4 else "",
        calendar=CALENDARS[row.calendar],
        cutoff=row.cutoff,
        timezone=row.timezone,
    )


async def batch_list_page(session: AsyncSession, *, merchant_id: MerchantId, after: str | None = None) -> BatchListPage:
    """All batches, newest first."""
    statement = (
        select(PayoutBatch.id, PayoutBatch, FundingAccount.name)
        .join(
            FundingAccount,
            (FundingAccount.merchant_id == PayoutBatch.merchant_id) & (FundingAccount.id == PayoutBatch.funding_account_id),
        )
        .where(PayoutBatch.merchant_id == merchant_id)
    )
    found = await fetch_page(session, statement, keys=[PayoutBatch.id], after=after)
    rows = [
        BatchRow(
            id=public_id("pob", row.PayoutBatch.id),
            rail=RAIL_NAMES[Rail(row.PayoutBatch.rail)],
            status=row.PayoutBatch.status,
            total=Money(row.PayoutBatch.total_minor, row.PayoutBatch.currency),
            payouts=row.PayoutBatch.payouts,
            value_on=f"{row.PayoutBatch.value_on:%d %b %Y}",
            funding=row.name,
        )
        for row in found.items
    ]
    return BatchListPage(batches=rows, next=found.next, previous=found.previous)
