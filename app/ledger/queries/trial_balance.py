"""The trial balance: every code of the chart on its side, per currency."""

from datetime import date
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId
from app.core.money import Money
from app.ledger.domain import AccountClass
from app.ledger.schemas import TrialBalance, TrialBalancePage, TrialBalanceRow

_BY_CODE = """
  with {sums}
  select a.currency, a.code, c.name, a.class as class_of, count(distinct a.id) as accounts, sum(s.debits - s.credits)::bigint as net
    from sums s join ledger.account a on a.merchant_id = :merchant and a.id = s.account_id join ledger.chart c on c.code = a.code
   group by a.currency, a.code, c.name, a.class order by a.currency, a.code
"""
_NOW = """sums as (
    select account_id, debits_posted as debits, credits_posted as credits from ledger.balance where merchant_id = :merchant
    union all select account_id, debits, credits from ledger.balance_delta where merchant_id = :merchant)
"""
# A closed day's sums are kept, so only what came after the last closed day is added up.
_AS_OF = """
  kept as (select max(as_of) as as_of from ledger.balance_snapshot where merchant_id = :merchant and as_of <= :as_of),
  sums as (
    select account_id, debits, credits from ledger.balance_snapshot join kept using (as_of) where merchant_id = :merchant
    union all select account_id, case when side = 1 then amount else 0 end, case when side = -1 then amount else 0 end
      from ledger.entry, kept where merchant_id = :merchant and phase in (0, 2) and effective_on <= :as_of
       and effective_on > coalesce(kept.as_of, '-infinity'))
"""


async def trial_balance_page(session: AsyncSession, *, merchant_id: MerchantId, as_of: date | None = None) -> TrialBalancePage:
    """Every currency's trial balance, now or by effective date at the end of a day."""
    values = {"merchant": merchant_id}
    statement = text(_BY_CODE.replace("{sums}", _AS_OF if as_of else _NOW))
    rows = await session.execute(statement, {**values, "as_of": as_of} if as_of else values)
    by_currency: dict[str, list[TrialBalanceRow]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(_row(row))
    closed: date | None = await session.scalar(text("select closed_through from ledger.book where merchant_id = :merchant"), values)
    balances = [_balance(currency, found) for currency, found in by_currency.items()]
    return TrialBalancePage(balances=balances, as_of=as_of, closed_through=closed)


def _row(row: Row[Any]) -> TrialBalanceRow:
    return TrialBalanceRow(
        code=row.code,
        name=row.name,
        class_=AccountClass(row.class_of),
        accounts=row.accounts,
        debit=Money(row.net, row.currency) if row.net > 0 else None,
        credit=Money(-row.net, row.currency) if row.net < 0 else None,
    )


def _balance(currency: str, rows: list[TrialBalanceRow]) -> TrialBalance:
    nothing = Money.zero(currency)
    debits = sum((row.debit or nothing for row in rows), nothing)
    credits_ = sum((row.credit or nothing for row in rows), nothing)
    return TrialBalance(currency=currency, rows=rows, debits=debits, credits=credits_)
