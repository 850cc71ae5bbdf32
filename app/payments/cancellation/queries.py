"""Reads for cancelling an order."""

from collections.abc import Sequence

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import AttemptId, MerchantId, OrderId, PaymentId
from app.core.money import Money
from app.orders import queries as orders
from app.orders.domain import OrderStatus
from app.payments import service
from app.payments.cancellation.domain import Declined, OrderNotCancellable, Plan, Progress, SellerShare, Step
from app.payments.domain import IN_FLIGHT, OVER, UNDECIDED, Operation, OperationStatus, PaymentStatus, refund_shares
from app.payments.models import Payment, PaymentAttempt, PaymentOperation

CLOSED = (OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REFUNDED)


async def cancellation_plan(session: AsyncSession, *, merchant_id: MerchantId, order_id: OrderId) -> Plan:
    """What it takes to cancel the order now; an order that cannot be cancelled says why."""
    order = await orders.order(session, merchant_id=merchant_id, order_id=order_id)
    if order.status in CLOSED:
        raise OrderNotCancellable(f"The order is {order.status.replace('_', ' ')} already.")
    payment = await _live_payment(session, merchant_id, order_id)
    nothing = Money.zero(order.currency)
    if payment is None:
        return Plan(steps=[Step.CLOSE], payment_id=None, released=nothing, refunded=nothing, shares=[])
    _refuse_undecided(payment)
    released = nothing if payment.rest_released else Money(payment.amount_minor - payment.captured_minor, payment.currency)
    refunded = Money(payment.captured_minor - payment.refund_reserved_minor, payment.currency)
    shares = refund_shares(await service.parts_of(session, payment), refunded) if refunded.is_positive else []
    steps = [Step.RELEASE] if released.is_positive else []
    steps += [Step.REFUND] if refunded.is_positive else []
    steps += [Step.CLOSE] if order.status == OrderStatus.OPEN else []
    return Plan(
        steps=steps,
        payment_id=PaymentId(payment.id),
        released=released,
        refunded=refunded,
        shares=[SellerShare(seller_id=share.seller_id, amount=Money(share.amount_minor, payment.currency)) for share in shares],
    )


async def outcome(session: AsyncSession, *, merchant_id: MerchantId, attempt_ids: Sequence[AttemptId]) -> Progress:
    """What became of the steps of a cancellation: what the provider declined, and whether anything waits for its word."""
    mine = (PaymentAttempt.merchant_id == merchant_id, PaymentAttempt.id.in_(attempt_ids))
    together = (PaymentOperation.merchant_id == PaymentAttempt.merchant_id, PaymentOperation.attempt_id == PaymentAttempt.id)
    whose = (Payment.merchant_id == PaymentAttempt.merchant_id, Payment.id == PaymentAttempt.payment_id)
    asked = select(PaymentOperation, PaymentAttempt.code, PaymentAttempt.message, Payment.currency)
    asked = asked.join(PaymentAttempt, and_(*together)).join(Payment, and_(*whose)).where(*mine).order_by(PaymentAttempt.id)
    declined, waits = [], False
    for operation, code, message, currency in await session.execute(asked):
        waits = waits or operation.status in IN_FLIGHT
        if operation.status == OperationStatus.FAILED:
            step = Step.REFUND if operation.kind == Operation.REFUND else Step.RELEASE
            said = message or (code or "").replace("_", " ")
            declined.append(Declined(step=step, amount=Money(operation.amount_minor, currency), said=said))
    return Progress(declined=declined, waits=waits)


async def _live_payment(session: AsyncSession, merchant_id: MerchantId, order_id: OrderId) -> Payment | None:
    of_order = (Payment.merchant_id == merchant_id, Payment.order_id == order_id)
    return (await session.execute(select(Payment).where(*of_order, Payment.status.not_in(OVER)))).scalar_one_or_none()


def _refuse_undecided(payment: Payment) -> None:
    in_flight = payment.capture_reserved_minor > payment.captured_minor or payment.refund_reserved_minor > payment.refunded_minor
    if PaymentStatus(payment.status) in (*UNDECIDED, PaymentStatus.CONFLICTED) or in_flight:
        raise OrderNotCancellable("Its payment is undecided. Ask the PSP first, or wait until the buyer has finished, then cancel.")
