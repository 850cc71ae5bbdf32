"""Reads about payments in conflict."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, PaymentId
from app.payments import queries
from app.payments.domain import Operation, PaymentStatus
from app.payments.models import Payment, PaymentAttempt
from app.payments.reported.domain import PaymentNotConflicted


async def conflicted(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> Payment:
    """A payment of which the PSP reports another amount than was asked for."""
    payment = await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id)
    if payment.status != PaymentStatus.CONFLICTED:
        raise PaymentNotConflicted(f"The payment is {payment.status.replace('_', ' ')}.")
    return payment


async def first_attempt(session: AsyncSession, payment: Payment) -> PaymentAttempt:
    """The attempt by which the PSP knows the payment itself."""
    of_payment = (PaymentAttempt.merchant_id == payment.merchant_id, PaymentAttempt.payment_id == payment.id)
    statement = select(PaymentAttempt).where(*of_payment, PaymentAttempt.operation == Operation.AUTHORISE)
    return (await session.execute(statement.order_by(PaymentAttempt.id).limit(1))).scalar_one()


async def is_booked(session: AsyncSession, payment: Payment) -> bool:
    """Whether the books have the money already: from the first time on that it was to be given back."""
    done = await queries.operations(session, merchant_id=MerchantId(payment.merchant_id), payment_id=PaymentId(payment.id))
    return any(operation.kind == Operation.REFUND for operation in done)
