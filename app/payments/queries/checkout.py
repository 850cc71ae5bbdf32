"""Reads about payments beside their order, and the search over everything a merchant sells."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import MerchantId, OrderId, public_id
from app.core.money import Money
from app.orders import queries as orders
from app.payments.models import Payment, PaymentEvent
from app.payments.queries import lists
from app.payments.schemas.checkout import Found, OrderPaymentsPage, SearchPage, order_payments
from app.payments.schemas.lists import MIN_QUERY, PaymentFilters
from app.sellers import queries as sellers

MOST = 5


async def order_payments_page(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> OrderPaymentsPage:
    """The payments of an order. They are found by its reference, which has an index; the id tells them apart from nothing else."""
    order = await orders.order(session, merchant_id=merchant_id, order_id=order_id)
    of_order = (Payment.merchant_id == merchant_id, Payment.order_reference == order.reference, Payment.order_id == order_id)
    found = list((await session.execute(select(Payment).where(*of_order).order_by(Payment.id.desc()).limit(20))).scalars())
    ids = [payment.id for payment in found]
    events = (
        select(PaymentEvent)
        .where(PaymentEvent.merchant_id == merchant_id, PaymentEvent.payment_id.in_(ids))
        .order_by(PaymentEvent.id)
        .limit(200)
    )
    return order_payments(public_id("ord", order_id), found, list((await session.execute(events)).scalars()) if ids else [])


async def search_page(session: AsyncSession, actor: Actor, *, query: str) -> SearchPage:
    """Payments, orders and sellers that the text may mean, as far as the person may see them."""
    text = query.strip()[:200]
    if len(text) < MIN_QUERY:
        return SearchPage(query=text, found=[])
    found: list[Found] = []
    if actor.can("payments.read"):
        page = await lists.payments(session, merchant_id=actor.merchant, filters=PaymentFilters(q=text), size=MOST)
        found += [_payment(row) for row in page.items]
    if actor.can("orders.read"):
        found += await _orders(session, actor.merchant, text)
    if actor.can("sellers.read"):
        found += await _sellers(session, actor.merchant, text)
    return SearchPage(query=text, found=found)


async def _orders(session: AsyncSession, merchant_id: MerchantId, text: str) -> list[Found]:
    page = await orders.orders(session, merchant_id=merchant_id, query=text, size=MOST)
    return [
        Found(
            icon="receipt-text",
            label=f"Order {row.reference}",
            detail=f"{row.total.format()}, {row.buyer}".rstrip(", "),
            href=f"/orders/{row.id}",
        )
        for row in page.items
    ]


async def _sellers(session: AsyncSession, merchant_id: MerchantId, text: str) -> list[Found]:
    page = await sellers.sellers(session, merchant_id=merchant_id, query=text, size=MOST)
    return [Found(icon="store", label=row.name, detail=row.reference, href=f"/sellers/{row.id}") for row in page.items]


def _payment(row: Row[Any]) -> Found:
    amount = Money(row.amount_minor, row.currency).format()
    return Found(
        icon="credit-card",
        label=f"{amount} from {row.buyer_name or row.buyer_email or 'a buyer without a name'}",
        detail=f"{row.status.replace('_', ' ')}, {row.order_reference}",
        href=f"/payments/{public_id('pay', row.id)}",
    )
