"""Reads for the list of payments. Every statement ends after a page of index entries, whatever the size of the table."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import db
from app.core.db import Record
from app.core.ids import MerchantId, public_id
from app.core.money import Money
from app.core.paging import PAGE_SIZE, Cursor, MalformedCursor, Page
from app.payments.domain import PaymentStatus
from app.payments.queries.conditions import any_state, conditions, one_state
from app.payments.schemas.lists import COUNTED, VIEWS, PaymentFilters, PaymentListPage, PaymentRow, Sort, chips, tabs
from app.psp import queries as psp

MOST_MATCHING = 1000

_SHOWN = (
    "select id, amount_minor, currency, status, failure_code, failure_message, method_kind, method_brand, last4,"
    " buyer_name, buyer_email, order_reference, connection_id, created_at from payment"
)
_WAITING = [(label, statuses) for label, statuses, is_counted in VIEWS if is_counted]
_COUNT = "(select count(*) from (select from payment where {} limit {}) as matching)"
_COUNTS = [
    _COUNT.format(f"merchant_id = %(merchant)s and status in ({', '.join(repr(status.value) for status in statuses)})", COUNTED + 1)
    for _, statuses in _WAITING
]


async def payment_list_page(session: AsyncSession, *, merchant_id: MerchantId, filters: PaymentFilters) -> PaymentListPage:
    """One page of payments with the saved views, the filters that are set and how many match."""
    names = await psp.connection_names(session, merchant_id=merchant_id)
    connections = {public_id("con", connection_id): name for connection_id, name in names.items()}
    rows = await payments(session, merchant_id=merchant_id, filters=filters)
    waiting, matching = await _counts(session, merchant_id, filters, rows)
    return PaymentListPage(
        filters=filters,
        rows=rows.map(lambda row: _row(row, connections)),
        tabs=tabs(filters, waiting),
        chips=chips(filters, connections),
        connections=list(connections.items()),
        matching=matching,
    )


async def payments(session: AsyncSession, *, merchant_id: MerchantId, filters: PaymentFilters, size: int = PAGE_SIZE) -> Page[Record]:
    """A page of payments by keyset: the page at row 500,000 costs what the first one costs."""
    keys = ("amount_minor", "id") if filters.sort is Sort.AMOUNT else ("id",)
    cursor = Cursor.decode(filters.after) if filters.after else None
    backwards = cursor is not None and cursor.backwards
    downwards = filters.ascending == backwards
    where = conditions(merchant_id, filters)
    if cursor is not None:
        places = _places(cursor, keys)
        where.add(f"({', '.join(keys)}) {'<' if downwards else '>'} ({', '.join(f'%({key}_here)s' for key in keys)})", **places)
    tail = f"order by {', '.join(key + (' desc' if downwards else '') for key in keys)} limit {size + 1}"
    statement = _page_sql(where.sql(), filters, keys, tail)
    found = await db.read(session, statement, where.values)
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    return _page(found, keys, has_next=more or backwards, has_previous=more if backwards else cursor is not None)


def _page_sql(where: str, filters: PaymentFilters, keys: tuple[str, ...], tail: str) -> str:
    """Several states are several index scans, each ended by its own limit: ``status in (…)`` would read and sort all rows of all of them."""
    if len(filters.statuses) < 2:
        return f"{_SHOWN} where {' and '.join([where, *map(one_state, filters.statuses)])} {tail}"
    scans = [
        f"(select {', '.join(keys)} from payment where {where} and {one_state(status)} {tail})"  # noqa: S608 - fixed words of our own
        for status in filters.statuses
    ]
    return f"{_SHOWN} where merchant_id = %(merchant)s and id = any(array(select id from ({' union all '.join(scans)}) as found {tail})) {tail}"  # noqa: S608


def _places(cursor: Cursor, keys: tuple[str, ...]) -> dict[str, object]:
    kinds = {"id": UUID, "amount_minor": int}
    if len(cursor.values) != len(keys):
        raise MalformedCursor("Go back to the first page of the list.")
    try:
        return {f"{key}_here": kinds[key](str(value)) for key, value in zip(keys, cursor.values, strict=True)}
    except ValueError:
        raise MalformedCursor("Go back to the first page of the list.") from None


def _page(rows: list[Record], keys: tuple[str, ...], *, has_next: bool, has_previous: bool) -> Page[Record]:
    def pointer(row: Record, *, backwards: bool) -> str:
        values = (getattr(row, key) for key in keys)
        return Cursor(tuple(value if isinstance(value, int) else str(value) for value in values), backwards).encode()

    if not rows:
        return Page([])
    return Page(rows, pointer(rows[-1], backwards=False) if has_next else None, pointer(rows[0], backwards=True) if has_previous else None)


async def _counts(
    session: AsyncSession, merchant_id: MerchantId, filters: PaymentFilters, rows: Page[Record]
) -> tuple[dict[str, int], str]:
    """How many wait in each view and how many match: as far as an index can tell cheaply, else nothing is said."""
    where = conditions(merchant_id, filters)
    known = f"{len(rows.items):,}" if not filters.after and rows.next is None else ""
    counts = list(_COUNTS)
    if not known and filters.counts_cheaply:
        counts.append(_COUNT.format(where.sql(*any_state(filters.statuses)), MOST_MATCHING + 1))
    numbered = ", ".join(f"{count} as n{place}" for place, count in enumerate(counts))
    (found,) = await db.read(session, f"select {numbered}", where.values)
    waiting = {label: found[place] for place, (label, _) in enumerate(_WAITING)}
    if len(found) == len(_WAITING):
        return waiting, known
    return waiting, f"{MOST_MATCHING:,}+" if found[-1] > MOST_MATCHING else f"{found[-1]:,}"


def _row(row: Record, connections: dict[str, str]) -> PaymentRow:
    failed = row.status == PaymentStatus.FAILED
    return PaymentRow(
        id=public_id("pay", row.id),
        amount=Money(row.amount_minor, row.currency),
        status=row.status,
        why=(row.failure_message or row.failure_code or "") if failed else "",
        method=row.method_brand or row.method_kind,
        last4=row.last4,
        buyer=row.buyer_name or row.buyer_email or "No name given",
        email=row.buyer_email if row.buyer_name else "",
        order_reference=row.order_reference,
        connection=connections.get(public_id("con", row.connection_id), "–"),
        created_at=row.created_at,
    )
