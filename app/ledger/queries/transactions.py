"""Transactions with their lines."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Record, read
from app.core.errors import Invalid
from app.core.ids import MerchantId, parse_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.ledger.domain import AccountId, TransactionId, TransactionNotFound
from app.ledger.models import Transaction, TransactionKind
from app.ledger.queries.accounts import party
from app.ledger.schemas import PUBLIC_PREFIXES, EntryRow, Filters, JournalPage, Party, TransactionPage, TransactionView

_LINES = text(
    "select e.txn_id, e.line, e.account_id, e.currency, e.side, e.amount, e.clear_key, a.code, a.owner_type, a.owner_id, c.name"
    "  from ledger.entry e join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id"
    "  join ledger.chart c on c.code = a.code where e.merchant_id = :merchant and e.txn_id = any(:ids) order by e.txn_id, e.line"
)
_HEADERS_SQL = (
    "select t.id, t.kind, t.source_type, t.source_id, t.event_key, t.phase, t.effective_on, t.posted_at, t.actor_kind, t.actor_id, t.request_id,"
    "  t.description, t.reverses_txn_id, k.name as kind_name, r.id as reversed_by from ledger.txn t join ledger.txn_kind k on k.code = t.kind"
    "  left join ledger.txn r on r.merchant_id = t.merchant_id and r.reverses_txn_id = t.id"
    " where t.merchant_id = :merchant and {} order by t.id"
)
_HEADERS = text(_HEADERS_SQL.format("t.id = any(:ids)"))
_HEADERS_OF_SOURCE = text(_HEADERS_SQL.format("t.source_type = :source_type and t.source_id = :source_id") + " limit :most")


async def transaction_page(session: AsyncSession, *, merchant_id: MerchantId, transaction_id: TransactionId) -> TransactionPage:
    """One transaction, and the others of the same source."""
    found = await views(session, merchant_id=merchant_id, ids=[transaction_id])
    if not found:
        raise TransactionNotFound("There is no transaction with this number in your book.")
    source = found[0].source
    others = await transactions_of(session, merchant_id=merchant_id, source_type=source.type, source_id=source.id)
    return TransactionPage(transaction=found[0], related=[other for other in others if other.id != transaction_id])


async def transactions_of(
    session: AsyncSession, *, merchant_id: MerchantId, source_type: str, source_id: UUID, limit: int = 100
) -> list[TransactionView]:
    """What one business object caused, oldest first."""
    values = {"merchant": merchant_id, "source_type": source_type, "source_id": source_id, "most": limit}
    return await _with_lines(session, merchant_id, await read(session, _HEADERS_OF_SOURCE, values))


async def journal_page(session: AsyncSession, *, merchant_id: MerchantId, filters: Filters, after: str | None = None) -> JournalPage:
    """The transactions of a book, newest first."""
    statement = _narrowed(select(Transaction.id).where(Transaction.merchant_id == merchant_id), filters)
    page = await fetch_page(session, statement, keys=[Transaction.id], after=after)
    found = {view.id: view for view in await views(session, merchant_id=merchant_id, ids=[row.id for row in page.items])}
    kinds = await session.execute(select(TransactionKind.code, TransactionKind.name).order_by(TransactionKind.name))
    return JournalPage(transactions=page.map(lambda row: found[row.id]), filters=filters, kinds=[(row.code, row.name) for row in kinds])


async def views(session: AsyncSession, *, merchant_id: MerchantId, ids: Sequence[int]) -> list[TransactionView]:
    """Transactions by number, in the order of their numbers."""
    return await _with_lines(session, merchant_id, await read(session, _HEADERS, {"merchant": merchant_id, "ids": list(ids)}))


async def _with_lines(session: AsyncSession, merchant_id: MerchantId, headers: Sequence[Record]) -> list[TransactionView]:
    lines: dict[int, list[EntryRow]] = {}
    ids = [header.id for header in headers]
    for row in await read(session, _LINES, {"merchant": merchant_id, "ids": ids}) if ids else []:
        lines.setdefault(row.txn_id, []).append(_entry(row))
    return [_view(header, lines.get(header.id, [])) for header in headers]


def _narrowed(statement: Select[int], filters: Filters) -> Select[int]:
    if filters.since:
        statement = statement.where(Transaction.effective_on >= filters.since)
    if filters.until:
        statement = statement.where(Transaction.effective_on <= filters.until)
    if filters.kind:
        statement = statement.where(Transaction.kind == filters.kind)
    if filters.source:
        source = parse_source(filters.source)
        statement = statement.where(Transaction.source_type == source.type, Transaction.source_id == source.id)
    return statement


def parse_source(text: str) -> Party:
    """Read a source from its public id, such as pay_01…"""
    for kind, prefix in PUBLIC_PREFIXES.items():
        if text.startswith(f"{prefix}_"):
            return Party(kind, parse_id(prefix, text))
    raise Invalid("Write the id of a payment, order or seller, such as pay_01…", fields={"source": "This is not an id we know."})


def _entry(row: Record) -> EntryRow:
    amount = Money(row.amount, row.currency)
    return EntryRow(
        line=row.line,
        account_id=AccountId(row.account_id),
        account=row.name,
        code=row.code,
        owner=party(row.owner_type, row.owner_id),
        debit=amount if row.side == 1 else None,
        credit=amount if row.side == -1 else None,
        clear_key=row.clear_key,
    )


def _view(row: Record, lines: list[EntryRow]) -> TransactionView:
    return TransactionView(
        id=TransactionId(row.id),
        kind_code=row.kind,
        kind=row.kind_name,
        source=Party(row.source_type, row.source_id),
        event_key=row.event_key,
        phase=row.phase,
        effective_on=row.effective_on,
        at=row.posted_at,
        actor_kind=row.actor_kind,
        actor_id=row.actor_id,
        request_id=row.request_id,
        description=row.description,
        reverses=TransactionId(row.reverses_txn_id) if row.reverses_txn_id else None,
        reversed_by=TransactionId(row.reversed_by) if row.reversed_by else None,
        lines=lines,
    )
