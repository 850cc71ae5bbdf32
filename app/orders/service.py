"""Writes about orders."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, OrderId, new_id, public_id
from app.core.money import exponent
from app.orders import queries
from app.orders.domain import ORDER, NewLine, OrderCancelled, OrderCreated, OrderReferenceTaken, OrderStatus, check_expiry, order_total
from app.orders.models import Order, OrderLine
from app.sellers import queries as sellers
from app.sellers.domain import SellerBlocked, SellerStatus


async def create_order(
    session: AsyncSession,
    actor: Actor,
    *,
    reference: str,
    currency: str,
    lines: list[NewLine],
    buyer_name: str = "",
    buyer_email: str = "",
    description: str = "",
    details: Mapping[str, str] | None = None,
    expires_at: datetime | None = None,
) -> Order:
    """Create an order: what a buyer owes for things of one or several sellers."""
    exponent(currency)
    total = order_total(lines, currency)
    await _check_sellers(session, actor.merchant, lines)
    moment = now()
    check_expiry(expires_at, moment)
    order = Order(
        merchant_id=actor.merchant,
        id=new_id(),
        reference=reference,
        status=OrderStatus.OPEN,
        currency=currency,
        total_minor=total.minor,
        captured_minor=0,
        refunded_minor=0,
        buyer_name=buyer_name,
        buyer_email=buyer_email,
        buyer_email_lc=buyer_email.lower(),
        description=description,
        details=dict(details or {}),
        created_at=moment,
        updated_at=moment,
        expires_at=expires_at,
    )
    await _insert(session, order, lines)
    event = OrderCreated(order_id=public_id("ord", order.id), reference=reference)
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=order.id)
    after = {"reference": reference, "currency": currency, "total_minor": total.minor}
    await audit.record(session, actor, action="order.created", object_type="order", object_id=order.id, after=after)
    return order


async def _check_sellers(session: AsyncSession, merchant_id: MerchantId, lines: list[NewLine]) -> None:
    known = await sellers.sellers_by_id(session, merchant_id=merchant_id, ids={line.seller_id for line in lines})
    blocked = next((seller for seller in known.values() if seller.status == SellerStatus.BLOCKED), None)
    if blocked is not None:
        raise SellerBlocked(f"{blocked.name} is blocked and takes no new orders.")


async def _insert(session: AsyncSession, order: Order, lines: list[NewLine]) -> None:
    try:
        async with session.begin_nested():
            session.add(order)
    except IntegrityError as error:
        detail = f"An order with the reference “{order.reference}” exists already."
        raise OrderReferenceTaken(detail, fields={"reference": "This reference is taken."}) from error
    rows = [
        {
            "merchant_id": order.merchant_id,
            "order_id": order.id,
            "position": position,
            "seller_id": line.seller_id,
            "description": line.description,
            "quantity": line.quantity,
            "amount_minor": line.amount.minor,
        }
        for position, line in enumerate(lines)
    ]
    await session.execute(insert(OrderLine), rows)


async def record_collected(
    session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId, captured_minor: int, refunded_minor: int
) -> None:
    """Bring the order to where the money of its payment stands."""
    values = {"merchant": merchant_id, "order": [order_id], "captured": [captured_minor], "refunded": [refunded_minor], "at": now()}
    await session.execute(_COLLECTED, values)


async def cancel_order(session: AsyncSession, actor: Actor, *, order_id: OrderId, reason: str = "") -> Order:
    """Cancel an order that nobody has paid; it can then no longer be paid."""
    order = await queries.order(session, merchant_id=actor.merchant, order_id=order_id, lock=True)
    before = order.status
    order.status, order.updated_at = ORDER.next(OrderStatus(before), "cancel"), now()
    event = OrderCancelled(order_id=public_id("ord", order.id))
    await outbox.publish(session, merchant_id=actor.merchant, event=event, object_id=order.id)
    await audit.record(
        session,
        actor,
        action="order.cancelled",
        object_type="order",
        object_id=order_id,
        before={"status": before},
        after={"status": order.status},
        reason=reason or None,
    )
    return order


async def expire_order(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> bool:
    """Close an open order whose time has passed; an order that was paid meanwhile stays as it is."""
    order = await queries.order(session, merchant_id=merchant_id, order_id=order_id, lock=True)
    if order.status != OrderStatus.OPEN or order.expires_at is None or order.expires_at > now():
        return False
    order.status, order.updated_at = ORDER.next(OrderStatus.OPEN, "expire"), now()
    return True


async def due_to_expire(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, OrderId]]:
    """Open orders of all merchants whose time has passed."""
    rows = await session.execute(_EXPIRED, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), OrderId(row.id)) for row in rows]


_COLLECTED = text(
    "select orders_record_collected(:merchant, cast(:order as uuid[]), cast(:captured as bigint[]), cast(:refunded as bigint[]), :at)"
)
_EXPIRED = text("select merchant_id, id from orders_expired(:moment, :most)")
