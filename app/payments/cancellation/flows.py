"""Cancelling an order: release, refund and close, each step exactly once per key, so that a try that broke off is continued by the next."""

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import OrderId
from app.orders import queries as order_queries
from app.orders import service as orders
from app.orders.domain import OrderStatus
from app.payments import flows
from app.payments.cancellation import queries
from app.payments.cancellation.domain import Plan, Step

PERMISSIONS = {Step.CLOSE: "orders.write", Step.RELEASE: "payments.void", Step.REFUND: "payments.refund"}


async def cancel_order(actor: Actor, *, order_id: OrderId, reason: str = "", key: str) -> Plan:
    """Cancel an order: what is authorised is released, what was captured is refunded, and it can no longer be paid. Returns what was done."""
    async with unit_of_work(actor.merchant) as session:
        plan = await queries.cancellation_plan(session, merchant_id=actor.merchant, order_id=order_id)
    for step in plan.steps:
        actor.require(PERMISSIONS[step])
    request = idempotency.fingerprint("cancel", str(order_id))
    if plan.payment_id is not None and Step.RELEASE in plan.steps:
        await flows.void(actor, payment_id=plan.payment_id, reason=reason, key=f"{key}:release", request=request)
    if plan.payment_id is not None and Step.REFUND in plan.steps:
        await flows.refund(actor, payment_id=plan.payment_id, reason=reason or "Order cancelled", key=f"{key}:refund", request=request)
    await _close(actor, order_id=order_id, reason=reason)
    return plan


async def _close(actor: Actor, *, order_id: OrderId, reason: str) -> None:
    """Close what is still open; an order whose money was taken ends as refunded, by the refund itself."""
    async with unit_of_work(actor.merchant) as session:
        order = await order_queries.order(session, merchant_id=actor.merchant, order_id=order_id, lock=True)
        if order.status == OrderStatus.OPEN:
            plan = await queries.cancellation_plan(session, merchant_id=actor.merchant, order_id=order_id)
            if plan.steps == [Step.CLOSE]:
                await orders.cancel_order(session, actor, order_id=order_id, reason=reason)
