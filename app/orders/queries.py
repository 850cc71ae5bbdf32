"""Reads about orders."""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Invalid
from app.core.exports import copied, decimal, harmless
from app.core.ids import MerchantId, OrderId, SellerId, parse_id, public_id
from app.core.money import CURRENCIES, Money
from app.core.paging import MAX_PAGE_SIZE, Page, fetch_page
from app.orders.domain import NewLine, OrderNotFound, OrderStatus
from app.orders.models import Order, OrderLine
from app.orders.schemas import (
    FIRST_CURRENCIES,
    LineForm,
    LineView,
    OrderDetailPage,
    OrderFormPage,
    OrderListPage,
    OrderRow,
    OrderView,
    SellerPart,
    lines_typed,
)
from app.sellers import queries as sellers
from app.sellers.domain import SellerStatus

CLOSED = (OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REFUNDED)
"""Nothing is left of such an order that could be cancelled."""
MISSING = "There is no order with this id for this merchant."
LAST = "\U0010ffff"
"""Sorts after every other character: ``text <= x < text + LAST`` is a prefix search that row security lets into the index, which LIKE is not."""


async def order(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId, lock: bool = False) -> Order:
    """One order; ``lock`` keeps others from changing it until the transaction ends."""
    statement = select(Order).where(Order.merchant_id == merchant_id, Order.id == order_id)
    found = (await session.execute(statement.with_for_update() if lock else statement)).scalar_one_or_none()
    if found is None:
        raise OrderNotFound(MISSING)
    return found


async def amounts_by_seller(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> dict[SellerId, int]:
    """What the order holds for each seller, in minor units, in the order of the lines."""
    lines = (await session.execute(_lines(merchant_id, order_id))).scalars()
    amounts: dict[SellerId, int] = {}
    for line in lines:
        seller_id = SellerId(line.seller_id)
        amounts[seller_id] = amounts.get(seller_id, 0) + line.amount_minor
    return amounts


def _lines(merchant_id: MerchantId, order_id: OrderId) -> Select[OrderLine]:
    return select(OrderLine).where(OrderLine.merchant_id == merchant_id, OrderLine.order_id == order_id).order_by(OrderLine.position)


async def order_view(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> OrderView:
    """One order with its lines."""
    row = await order(session, merchant_id=merchant_id, order_id=order_id)
    lines = list((await session.execute(_lines(merchant_id, order_id))).scalars())
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(line.seller_id) for line in lines})
    return OrderView.of(row, [_line_view(line, names[SellerId(line.seller_id)], row.currency) for line in lines])


def _line_view(line: OrderLine, name: str, currency: str) -> LineView:
    return LineView(
        seller=public_id("sel", line.seller_id),
        seller_name=name,
        description=line.description,
        quantity=line.quantity,
        amount=Money(line.amount_minor, currency),
    )


_GAP = "\0"
"""No text that is kept holds this character."""


def answer_of(row: Order, lines: Sequence[NewLine]) -> list[str]:
    """A new order as ``order_view`` shows it, in pieces of JSON: after each but the last belongs the name of a line's seller."""
    views = [
        LineView(
            seller=public_id("sel", line.seller_id),
            seller_name=_GAP,
            description=line.description,
            quantity=line.quantity,
            amount=line.amount,
        )
        for line in lines
    ]
    return msgspec.json.encode(OrderView.of(row, views)).decode().split('"\\u0000"')


async def order_detail_page(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> OrderDetailPage:
    """One order with what it holds for each seller."""
    view = await order_view(session, merchant_id=merchant_id, order_id=order_id)
    parts: dict[str, SellerPart] = {}
    for line in view.lines:
        part = parts.setdefault(
            line.seller, SellerPart(seller=line.seller, seller_name=line.seller_name, amount=Money.zero(view.total.currency))
        )
        part.amount += line.amount
    return OrderDetailPage(order=view, parts=list(parts.values()), can_cancel=view.status not in CLOSED)


async def order_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "", after: str | None = None
) -> OrderListPage:
    """The list of orders, found by id, reference or the buyer's e-mail."""
    status = status if status in set(OrderStatus) else ""
    found = await orders(session, merchant_id=merchant_id, query=query, status=status, after=after)
    return OrderListPage(orders=found, query=query, status=status, after=after or "")


async def order_form_page(
    session: AsyncSession, *, merchant_id: MerchantId, values: Mapping[str, Sequence[str]] | None = None
) -> OrderFormPage:
    """The form of a new order, with the sellers to choose from and the lines typed so far."""
    given = values or {}
    active = await sellers.sellers(session, merchant_id=merchant_id, status=SellerStatus.ACTIVE, size=MAX_PAGE_SIZE)
    return OrderFormPage(
        sellers=sorted(((seller.id, seller.name) for seller in active.items), key=lambda choice: choice[1].lower()),
        lines=lines_typed(given) or [LineForm(number=0), LineForm(number=1)],
        currencies=[(code, code) for code in (*FIRST_CURRENCIES, *sorted(set(CURRENCIES) - set(FIRST_CURRENCIES)))],
        values={name: texts[-1] for name, texts in given.items() if texts},
    )


_EXPORTED = {
    "order": "id",
    "created_at_utc": "created_at at time zone 'UTC'",
    "reference": harmless("reference"),
    "status": "status",
    "currency": "currency",
    "total_minor": "total_minor",
    "total": decimal("total_minor"),
    "captured_minor": "captured_minor",
    "captured": decimal("captured_minor"),
    "refunded_minor": "refunded_minor",
    "refunded": decimal("refunded_minor"),
    "buyer_name": harmless("buyer_name"),
    "buyer_email": harmless("buyer_email"),
    "description": harmless("description"),
}


async def order_rows(session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "") -> AsyncIterator[bytes]:
    """The orders that match as CSV, in the order of the list."""
    where, values = ["merchant_id = %(merchant)s"], dict[str, object](merchant=merchant_id)
    if status in set(OrderStatus):
        where.append("status = %(status)s")
        values["status"] = status
    text = query.strip()
    if text.startswith("ord_"):
        where.append("id = %(id)s")
        values["id"] = _id_or_nothing(text)
    elif text:
        where.append(
            "((reference >= %(text)s and reference < %(text_last)s) or (buyer_email_lc >= %(lower)s and buyer_email_lc < %(lower_last)s))"
        )
        values |= {"text": text, "text_last": text + LAST, "lower": text.lower(), "lower_last": text.lower() + LAST}
    rest = f"from sales_order where {' and '.join(where)} order by id desc"
    async for rows in copied(session, _EXPORTED, rest, values, prefix="ord"):
        yield rows


_LISTED = (
    Order.id,
    Order.reference,
    Order.status,
    Order.currency,
    Order.total_minor,
    Order.buyer_name,
    Order.buyer_email,
    Order.created_at,
)


async def orders(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "", after: str | None = None, size: int = 25
) -> Page[OrderRow]:
    """A page of orders, newest first."""
    statement = select(*_LISTED).where(Order.merchant_id == merchant_id)
    if status in set(OrderStatus):
        statement = statement.where(Order.status == status)
    text = query.strip()
    if text.startswith("ord_"):
        statement = statement.where(Order.id == _id_or_nothing(text))
    elif text:
        lower = text.lower()
        email = (Order.buyer_email_lc >= lower) & (Order.buyer_email_lc < lower + LAST)
        statement = statement.where(or_((Order.reference >= text) & (Order.reference < text + LAST), email))
    page = await fetch_page(session, statement, keys=[Order.id], after=after, size=size)
    return page.map(OrderRow.of)


def _id_or_nothing(text: str) -> OrderId | None:
    try:
        return OrderId(parse_id("ord", text))
    except Invalid:
        return None
