"""An account's statement: newest first, each line with the balance after it, equally fast at any depth.

A page does not add up what lies before it. The first page starts from the exact balance and walks back; the pointer to the next page
carries the balance reached and the snapshot it was reached in. Later pages show what that snapshot saw, so a transaction that becomes
visible between two pages, even one with a lower number, cannot shift the balances.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId
from app.core.money import Money
from app.core.paging import Cursor, MalformedCursor
from app.ledger.domain import AccountId, TransactionId
from app.ledger.queries.accounts import account
from app.ledger.schemas import Party, StatementPage, StatementRow

PAGE = 50
LAST = (9_223_372_036_854_775_807, 32_767)

# A row comparison over the whole index: with "account_id = … and txn_id < …" the planner walks the primary key of a busy account instead.
_ROWS = """
  select e.txn_id, e.line, e.side, e.amount, e.currency, e.effective_on, e.clear_key, t.posted_at, t.description, t.source_type, t.source_id,
         k.name as kind
    from ledger.entry e join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id join ledger.txn_kind k on k.code = t.kind
   where e.merchant_id = :merchant and e.account_id >= :account and (e.account_id, e.txn_id, e.line) < (:account, :txn, :line)
     and e.phase in (0, 2) {seen}
   order by e.account_id desc, e.txn_id desc, e.line desc limit :size
"""
_SEEN = "and (pg_visible_in_snapshot(t.xid, cast(:snapshot as pg_snapshot)) or t.xid = pg_current_xact_id_if_assigned())"
# The balance and the lines are read in one statement, hence in one snapshot.
_FIRST = text(
    f"""with rows as ({_ROWS.format(seen="")}),
    held as (select (sum(debits) - sum(credits))::bigint as net from (
      select debits_posted as debits, credits_posted as credits from ledger.balance where merchant_id = :merchant and account_id = :account
      union all select debits, credits from ledger.balance_delta where merchant_id = :merchant and account_id = :account) sums)
    select held.net, pg_current_snapshot()::text as snapshot, rows.* from held left join rows on true order by txn_id desc, line desc"""  # noqa: S608
)
_NEXT = text(_ROWS.format(seen=_SEEN))


async def statement_page(
    session: AsyncSession, *, merchant_id: MerchantId, account_id: AccountId, after: str | None = None, size: int = PAGE
) -> StatementPage:
    """The lines of an account, newest first."""
    owner = await account(session, merchant_id=merchant_id, account_id=account_id)
    at = Cursor.decode(after) if after else None
    values = {"merchant": merchant_id, "account": account_id, "size": size + 1}
    if at is None:
        found = (await session.execute(_FIRST, {**values, "txn": LAST[0], "line": LAST[1]})).all()
        held, snapshot = found[0].net * owner.normal_side, found[0].snapshot
        lines = [row for row in found if row.txn_id is not None]
    else:
        transaction, line, held, snapshot = _position(at)
        lines = list((await session.execute(_NEXT, {**values, "txn": transaction, "line": line, "snapshot": snapshot})).all())
    rows = _with_balances(lines[:size], Money(held, owner.currency), owner.normal_side)
    following = _pointer(rows[-1], lines[size - 1], owner.normal_side, snapshot) if len(lines) > size else None
    return StatementPage(account=owner, rows=rows, next=following, is_first=at is None)


async def statement_rows(session: AsyncSession, *, merchant_id: MerchantId, account_id: AccountId) -> AsyncIterator[list[StatementRow]]:
    """The whole statement in batches, for an export; memory stays flat."""
    after: str | None = None
    while True:
        page = await statement_page(session, merchant_id=merchant_id, account_id=account_id, after=after, size=1000)
        yield page.rows
        after = page.next
        if after is None:
            return


def _with_balances(lines: list[Row[Any]], held: Money, sign: int) -> list[StatementRow]:
    rows = []
    for line in lines:
        rows.append(_row(line, held))
        held -= Money(line.side * line.amount * sign, held.currency)
    return rows


def _pointer(row: StatementRow, line: Row[Any], sign: int, snapshot: str) -> str:
    before = row.balance.minor - line.side * line.amount * sign
    return Cursor((row.transaction_id, row.line, before, snapshot)).encode()


def _position(cursor: Cursor) -> tuple[int, int, int, str]:
    match cursor.values:
        case (int(transaction), int(line), int(held), str(snapshot)) if _is_snapshot(snapshot):
            return transaction, line, held, snapshot
    raise MalformedCursor("Go back to the first page of the statement.")


def _is_snapshot(snapshot: str) -> bool:
    """PostgreSQL's form xmin:xmax:list, so that a pointer somebody made up is refused here and not by the database."""
    parts = re.fullmatch(r"(\d{1,18}):(\d{1,18}):((?:\d{1,18})(?:,\d{1,18})*)?", snapshot, re.ASCII)
    if parts is None or len(snapshot) > 10_000:
        return False
    low, high = int(parts[1]), int(parts[2])
    running = [int(number) for number in parts[3].split(",")] if parts[3] else []
    return 0 < low <= high and all(low <= number < high for number in running) and running == sorted(set(running))


def _row(line: Row[Any], held: Money) -> StatementRow:
    amount = Money(line.amount, line.currency)
    return StatementRow(
        transaction_id=TransactionId(line.txn_id),
        line=line.line,
        at=line.posted_at,
        effective_on=line.effective_on,
        kind=line.kind,
        description=line.description,
        source=Party(line.source_type, line.source_id),
        clear_key=line.clear_key,
        debit=amount if line.side == 1 else None,
        credit=amount if line.side == -1 else None,
        balance=held,
    )
