"""Reads about the accounts of owners: what each has, and the statement of one account. Exact, because balances and entries are read in one statement."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec
from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import read
from app.core.ids import MerchantId
from app.core.money import Money
from app.core.paging import Cursor, MalformedCursor
from app.ledger.domain import AccountRef, Code, Owner
from app.ledger.models import Account

# What was posted: rows of balance plus deltas that wait to be folded into them. `sign` makes it positive on the account's normal side.
_POSTED = """
select a.id, a.code, a.owner_id, a.currency,
       -a.normal_side * (coalesce(b.credits, 0) - coalesce(b.debits, 0) + coalesce(d.credits, 0) - coalesce(d.debits, 0)) as minor
from ledger.account a
left join lateral (select sum(debits_posted) as debits, sum(credits_posted) as credits from ledger.balance
                   where merchant_id = a.merchant_id and account_id = a.id) b on true
left join lateral (select sum(debits) as debits, sum(credits) as credits from ledger.balance_delta
                   where merchant_id = a.merchant_id and account_id = a.id and a.contention = 2) d on true
where a.merchant_id = :merchant and a.owner_type = :owner_type and a.code = any(:codes)
"""
_BALANCES = text(f"{_POSTED} and a.owner_id = any(:owners) order by a.owner_id, a.currency, a.code")
# The same for everybody at once: each table is read through once, instead of once for every account.
_TOTALS = text("""
select a.code, a.currency, sum(-a.normal_side * (coalesce(b.net, 0) + coalesce(d.net, 0)))::bigint as minor, count(*) as accounts
from ledger.account a
left join (select account_id, sum(credits_posted - debits_posted) as net from ledger.balance where merchant_id = :merchant group by 1) b
  on b.account_id = a.id
left join (select account_id, sum(credits - debits) as net from ledger.balance_delta where merchant_id = :merchant group by 1) d
  on d.account_id = a.id and a.contention = 2
where a.merchant_id = :merchant and a.owner_type = :owner_type and a.code = any(:codes)
group by a.code, a.currency order by a.currency, a.code
""")


class OwnedBalance(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner has on one account."""

    owner_id: UUID
    code: str
    balance: Money


class OwnedTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What all owners together have on the accounts of one code."""

    code: str
    balance: Money
    accounts: int


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an account: more (`amount` above zero) or less, and the balance after it."""

    transaction_id: int
    line: int
    at: datetime
    effective_on: date
    kind: str
    source_type: str
    source_id: UUID
    event_key: str
    description: str | None
    amount: Money
    balance: Money


class Bookings(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an account's entries, newest first, between its opening and closing balance."""

    items: list[Booking]
    opening: Money
    closing: Money
    older: str | None = None
    newer: str | None = None


async def balances(
    session: AsyncSession, *, merchant_id: MerchantId, owner_type: str, codes: Sequence[str], owners: Collection[UUID]
) -> list[OwnedBalance]:
    """What these owners have on the accounts of these codes, in every currency."""
    values = {"merchant": merchant_id, "owner_type": owner_type, "codes": list(codes), "owners": list(owners)}
    found = await read(session, _BALANCES, values)
    return [OwnedBalance(owner_id=row.owner_id, code=row.code, balance=Money(int(row.minor), row.currency)) for row in found]


async def written(
    session: AsyncSession, *, merchant_id: MerchantId, owner: Owner, kinds: Collection[str], code: Code, currency: str
) -> int:
    """What transactions of some kinds about one owner wrote into an account of the book, debits less credits, in minor units."""
    values = {"merchant": merchant_id, "type": owner.type, "id": owner.id, "kinds": list(kinds), "code": code, "currency": currency}
    return int((await read(session, _WRITTEN, values))[0].minor)


_WRITTEN = text(
    "select coalesce(sum(e.side * e.amount), 0)::bigint as minor from ledger.txn t"
    " join ledger.entry e on e.merchant_id = t.merchant_id and e.txn_id = t.id"
    " join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id and a.code = :code"
    " where t.merchant_id = :merchant and t.source_type = :type and t.source_id = :id and t.kind = any(:kinds) and e.currency = :currency"
)


async def totals(session: AsyncSession, *, merchant_id: MerchantId, owner_type: str, codes: Sequence[str]) -> list[OwnedTotal]:
    """What all owners of a kind have together, by code and currency."""
    found = await read(session, _TOTALS, {"merchant": merchant_id, "owner_type": owner_type, "codes": list(codes)})
    return [OwnedTotal(code=row.code, balance=Money(row.minor, row.currency), accounts=row.accounts) for row in found]


def owners_of(*, merchant_id: MerchantId, owner_type: str, code: str, currency: str | None = None) -> Select[UUID]:
    """A selection of the owners that have such an account, for use inside another query."""
    statement = select(Account.owner_id).where(Account.merchant_id == merchant_id, Account.code == code, Account.owner_type == owner_type)
    return statement if currency is None else statement.where(Account.currency == currency)


# The row comparison over the whole index, with the account in the order, keeps the planner on (merchant, account, txn, line):
# with a plain `account_id = …` it walked the primary key of a busy account instead, 200 times slower.
_PAGE = """
with account as (
  select p.id, p.minor, a.normal_side from ({posted} and a.owner_id = :owner and a.currency = :currency) p
  join ledger.account a on a.merchant_id = :merchant and a.id = p.id),
page as (
  select e.txn_id, e.line, e.side * account.normal_side * e.amount as minor from account, ledger.entry e
  where e.merchant_id = :merchant and e.phase in (0, 2)
    and (e.account_id, e.txn_id, e.line) {beyond} (account.id, :txn, :line) and e.account_id {within} account.id
  order by e.account_id {order}, e.txn_id {order}, e.line {order} limit :size),
top as (select txn_id, line from page order by txn_id desc, line desc limit 1),
above as (
  select coalesce(sum(e.side * account.normal_side * e.amount), 0) as minor from account, top, ledger.entry e
  where e.merchant_id = :merchant and e.account_id = account.id and e.phase in (0, 2) and (e.txn_id, e.line) > (top.txn_id, top.line))
select account.minor as now_minor, above.minor as above_minor, page.txn_id, page.line, page.minor,
       t.posted_at, t.effective_on, t.kind, t.source_type, t.source_id, t.event_key, t.description
from account cross join above
left join page on true
left join ledger.txn t on t.merchant_id = :merchant and t.id = page.txn_id
order by page.txn_id desc, page.line desc
"""
_OLDER = text(_PAGE.format(posted=_POSTED, beyond="<", within=">=", order="desc"))
_NEWER = text(_PAGE.format(posted=_POSTED, beyond=">", within="<=", order="asc"))
_END = (2**63 - 1, 32767)


async def bookings(
    session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str, after: str | None = None, size: int = 25
) -> Bookings | None:
    """A page of an account's statement with the running balance; None when the account was never opened."""
    cursor = Cursor.decode(after) if after else None
    backwards = cursor is not None and cursor.backwards
    txn, line = _position(cursor) if cursor else _END
    values = {
        "merchant": merchant_id,
        "owner_type": account.owner_type,
        "codes": [str(account.code)],
        "owner": account.owner_id,
        "currency": currency,
        "txn": txn,
        "line": line,
        "size": size + 1,
    }
    rows = list((await session.execute(_NEWER if backwards else _OLDER, values)).all())
    if not rows:
        return None
    now = int(rows[0].now_minor)
    found = [row for row in rows if row.txn_id is not None]
    more = len(found) > size
    dropped = found[0].minor if more and backwards else 0
    shown = found[1:] if more and backwards else found[:size]
    closing = now - int(rows[0].above_minor) - int(dropped)
    older, newer = more or backwards, (more if backwards else cursor is not None)
    return _page(shown, closing, currency, older=older, newer=newer)


def _position(cursor: Cursor) -> tuple[int, int]:
    match cursor.values:
        case (int(txn), int(line)) if 0 <= txn <= _END[0] and 0 <= line <= _END[1]:
            return txn, line
    raise MalformedCursor("Go back to the first page of the statement.")


def _page(rows: Sequence[object], closing: int, currency: str, *, older: bool, newer: bool) -> Bookings:
    items: list[Booking] = []
    balance = closing
    for row in rows:
        booking = _booking(row, balance, currency)
        items.append(booking)
        balance -= booking.amount.minor
    return Bookings(
        items=items,
        opening=Money(balance, currency),
        closing=Money(closing, currency),
        older=Cursor((items[-1].transaction_id, items[-1].line)).encode() if older and items else None,
        newer=Cursor((items[0].transaction_id, items[0].line), backwards=True).encode() if newer and items else None,
    )


def _booking(row: object, balance: int, currency: str) -> Booking:
    entry = msgspec.convert(row, _EntryRow, from_attributes=True)
    return Booking(
        transaction_id=entry.txn_id,
        line=entry.line,
        at=entry.posted_at,
        effective_on=entry.effective_on,
        kind=entry.kind,
        source_type=entry.source_type,
        source_id=entry.source_id,
        event_key=entry.event_key,
        description=entry.description,
        amount=Money(int(entry.minor), currency),
        balance=Money(balance, currency),
    )


class _EntryRow(msgspec.Struct):
    txn_id: int
    line: int
    minor: int
    posted_at: datetime
    effective_on: date
    kind: str
    source_type: str
    source_id: UUID
    event_key: str
    description: str | None


_ALL = text(
    "select e.txn_id, e.line, e.side * a.normal_side * e.amount as minor, t.posted_at, t.effective_on, t.kind, t.source_type, t.source_id,"
    " t.event_key, t.description"
    " from ledger.account a join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)"
    " join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id"
    " where a.merchant_id = :merchant and a.code = :code and a.owner_type = :owner_type and a.owner_id = :owner and a.currency = :currency"
    " order by e.txn_id, e.line"
)


async def every_booking(
    session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str, batch: int = 2000
) -> AsyncIterator[list[Booking]]:
    """The whole statement in batches, oldest first, without holding it in memory."""
    values = {
        "merchant": merchant_id,
        "code": str(account.code),
        "owner_type": account.owner_type,
        "owner": account.owner_id,
        "currency": currency,
    }
    balance = 0
    result = await session.stream(_ALL, values)
    async for rows in result.partitions(batch):
        items = []
        for row in rows:
            balance += int(row.minor)
            items.append(_booking(row, balance, currency))
        yield items


# Reads at most the newest `most` entries, so that a busy account costs no more than a quiet one; older days are then left out.
_DAYS = text(
    "select e.effective_on as day, sum(e.side * e.normal_side * e.amount)::bigint as minor, count(*) as entries from ("
    "select e.effective_on, e.side, a.normal_side, e.amount from ledger.account a"
    " join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)"
    " where a.merchant_id = :merchant and a.code = :code and a.owner_type = :owner_type and a.owner_id = :owner and a.currency = :currency"
    " order by e.txn_id desc limit :most) e where e.effective_on > :since group by 1 order by 1"
)


async def changes_by_day(
    session: AsyncSession, *, merchant_id: MerchantId, account: AccountRef, currency: str, since: date, most: int = 5000
) -> dict[date, int]:
    """How much an account changed on each day after `since`, in minor units, as far as its newest entries tell."""
    values = {
        "merchant": merchant_id,
        "code": str(account.code),
        "owner_type": account.owner_type,
        "owner": account.owner_id,
        "currency": currency,
        "since": since,
        "most": most,
    }
    return {row.day: row.minor for row in await session.execute(_DAYS, values)}
