"""Accounts and their balances."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger

from app.core.errors import Invalid
from app.core.ids import MerchantId, parse_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.ledger.domain import AccountClass, AccountId, AccountNotFound, AccountRef, AccountStatus, Balance, Owner
from app.ledger.models import Account
from app.ledger.schemas import PUBLIC_PREFIXES, AccountListPage, AccountRow, Party

NOBODY = UUID(int=0)

# One statement, one snapshot: a roll-up in between can neither hide a change nor show it twice.
SUMS = """
  select a.*, a.class as class_of, c.name,
         b.debits + coalesce(d.debits, 0) as debits, b.credits + coalesce(d.credits, 0) as credits,
         b.debits_pending + coalesce(d.debits_pending, 0) as debits_pending,
         b.credits_pending + coalesce(d.credits_pending, 0) as credits_pending, b.least
    from ledger.account a join ledger.chart c on c.code = a.code
    join lateral (select sum(debits_posted)::bigint as debits, sum(credits_posted)::bigint as credits,
                         sum(debits_pending)::bigint as debits_pending, sum(credits_pending)::bigint as credits_pending,
                         min(min_available) as least
                    from ledger.balance where merchant_id = a.merchant_id and account_id = a.id) b on true
    left join lateral (select sum(debits)::bigint as debits, sum(credits)::bigint as credits,
                              sum(debits_pending)::bigint as debits_pending, sum(credits_pending)::bigint as credits_pending
                         from ledger.balance_delta where merchant_id = a.merchant_id and account_id = a.id) d on true
"""
_BY_IDS = text(SUMS + " where a.merchant_id = :merchant and a.id = any(:ids) order by a.code, a.id").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger))
)
_BY_NAME = text(
    SUMS + " where a.merchant_id = :merchant and a.code = :code and a.owner_type = :owner_type and a.owner_id = :owner_id"
    " and a.currency = :currency"
)
_BY_OWNER = text(
    SUMS + " where a.merchant_id = :merchant and a.code = any(:codes) and a.owner_type = :owner_type and a.owner_id = :owner_id"
    " order by a.currency, a.code"
)


async def balance(session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str) -> Balance:
    """What an account holds at this moment; an account that was never used holds nothing."""
    values = {"code": str(account.code), "owner_type": account.owner_type or "", "owner_id": account.owner_id or NOBODY}
    row = (await session.execute(_BY_NAME, {"merchant": merchant_id, "currency": currency, **values})).one_or_none()
    return _balance(row) if row is not None else Balance(0, 0, 0, 0, Money.zero(currency), Money.zero(currency))


async def balances(session: AsyncSession, *, merchant_id: MerchantId, owner: Owner, codes: Sequence[str]) -> dict[str, dict[str, Balance]]:
    """What an owner's accounts hold: by currency, then by code; accounts never used are left out."""
    values = {"merchant": merchant_id, "codes": [str(code) for code in codes], "owner_type": owner.type, "owner_id": owner.id}
    found: dict[str, dict[str, Balance]] = {}
    for row in await session.execute(_BY_OWNER, values):
        found.setdefault(row.currency, {})[row.code] = _balance(row)
    return found


async def account(session: AsyncSession, *, merchant_id: MerchantId, account_id: AccountId) -> AccountRow:
    """One account with its balance."""
    row = (await session.execute(_BY_IDS, {"merchant": merchant_id, "ids": [account_id]})).one_or_none()
    if row is None:
        raise AccountNotFound("There is no account with this number in your book.")
    return account_row(row)


async def account_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", currency: str = "", after: str | None = None
) -> AccountListPage:
    """The accounts of a book by code, with their balances."""
    statement = select(Account.code, Account.id).where(Account.merchant_id == merchant_id)
    if currency:
        statement = statement.where(Account.currency == currency)
    if query:
        statement = _matching(statement, query)
    page = await fetch_page(session, statement, keys=[Account.code, Account.id], after=after, descending=False, size=50)
    found = await session.execute(_BY_IDS, {"merchant": merchant_id, "ids": [row.id for row in page.items]})
    rows = {row.id: account_row(row) for row in found}
    about = (await session.execute(_ABOUT, {"merchant": merchant_id})).one()
    return AccountListPage(
        accounts=page.map(lambda row: rows[row.id]),
        query=query,
        currency=currency,
        currencies=list(about.currencies or []),
        waiting=about.waiting,
        closed_through=about.closed_through,
    )


_ABOUT = text(
    "select (select array_agg(distinct currency order by currency) from ledger.account where merchant_id = :merchant) as currencies,"
    " (select count(*) from (select 1 from ledger.balance_delta where merchant_id = :merchant limit 10000) waiting) as waiting,"
    " (select closed_through from ledger.book where merchant_id = :merchant) as closed_through"
)


def _matching(statement: Select[str, int], query: str) -> Select[str, int]:
    """By code, by the owner's public id, or by a part of the account's name in the chart."""
    if query.isdigit():
        return statement.where(Account.code.startswith(query, autoescape=True))
    for prefix in PUBLIC_PREFIXES.values():
        if query.startswith(f"{prefix}_"):
            try:
                return statement.where(Account.owner_id == parse_id(prefix, query))
            except Invalid:
                break
    named = text("exists (select from ledger.chart where chart.code = account.code and strpos(lower(chart.name), lower(:part)) > 0)")
    return statement.where(named.bindparams(part=query))


def party(owner_type: str, owner_id: UUID) -> Party | None:
    """An owner, or nobody for the book's own accounts."""
    return Party(owner_type, owner_id) if owner_type else None


def account_row(row: Row[Any]) -> AccountRow:
    """An account as pages show it."""
    held = _balance(row)
    currency = row.currency
    return AccountRow(
        id=AccountId(row.id),
        code=row.code,
        name=row.name,
        owner=party(row.owner_type, row.owner_id),
        currency=currency,
        class_=AccountClass(row.class_of),
        normal_side=row.normal_side,
        status=AccountStatus(row.status),
        debits=Money(held.debits, currency),
        credits=Money(held.credits, currency),
        pending=held.balance - held.available,
        balance=held.balance,
        least=row.least,
    )


def _balance(row: Row[Any]) -> Balance:
    net = (row.debits - row.credits) * row.normal_side
    held = row.debits_pending if row.normal_side == -1 else row.credits_pending
    money = Money(net, row.currency)
    return Balance(row.debits, row.credits, row.debits_pending, row.credits_pending, money, Money(net - held, row.currency))
