"""Reads about orders."""

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Invalid
from app.core.ids import MerchantId, OrderId, SellerId, parse_id, public_id
from app.core.money import Money
from app.core.paging import Page, fetch_page
from app.orders.domain import ORDER, OrderNotFound, OrderStatus
from app.orders.models import Order, OrderLine
from app.orders.schemas import LineView, OrderDetailPage, OrderListPage, OrderRow, OrderView, SellerPart
from app.sellers import queries as sellers

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


async def order_detail_page(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> OrderDetailPage:
    """One order with what it holds for each seller."""
    view = await order_view(session, merchant_id=merchant_id, order_id=order_id)
    parts: dict[str, SellerPart] = {}
    for line in view.lines:
        part = parts.setdefault(
            line.seller, SellerPart(seller=line.seller, seller_name=line.seller_name, amount=Money.zero(view.total.currency))
        )
        part.amount += line.amount
    return OrderDetailPage(order=view, parts=list(parts.values()), can_cancel=ORDER.can(view.status, "cancel"))


async def order_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "", after: str | None = None
) -> OrderListPage:
    """The list of orders, found by id, reference or the buyer's e-mail."""
    return OrderListPage(
        orders=await orders(session, merchant_id=merchant_id, query=query, status=status, after=after), query=query, status=status
    )


async def orders(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", status: str = "", after: str | None = None, size: int = 25
) -> Page[OrderRow]:
    """A page of orders, newest first."""
    statement = select(Order.id, Order).where(Order.merchant_id == merchant_id)
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
    return page.map(lambda row: OrderRow.of(row.Order))


def _id_or_nothing(text: str) -> OrderId | None:
    try:
        return OrderId(parse_id("ord", text))
    except Invalid:
        return None
