"""Reads about payments."""

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import ConnectionId, MerchantId, PaymentId, public_id
from app.payments.domain import PaymentNotFound, PaymentStatus
from app.payments.models import Payment, PaymentOperation, PaymentPart
from app.payments.schemas import PaymentRoutingView, PaymentView
from app.routing import queries as routing

MISSING = "There is no payment with this id for this merchant."


async def payment(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId, lock: bool = False) -> Payment:
    """One payment as it stands now; ``lock`` keeps others from changing it until the transaction ends."""
    statement = select(Payment).where(Payment.merchant_id == merchant_id, Payment.id == payment_id)
    fresh = (statement.with_for_update() if lock else statement).execution_options(populate_existing=True)
    found = (await session.execute(fresh)).scalar_one_or_none()
    if found is None:
        raise PaymentNotFound(MISSING)
    return found


async def parts(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> list[PaymentPart]:
    """What the payment holds for each seller, always in the same order."""
    of_payment = (PaymentPart.merchant_id == merchant_id, PaymentPart.payment_id == payment_id)
    return list((await session.execute(select(PaymentPart).where(*of_payment).order_by(PaymentPart.seller_id))).scalars())


async def operations(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> list[PaymentOperation]:
    """The captures, voids and refunds of a payment, oldest first."""
    of_payment = (PaymentOperation.merchant_id == merchant_id, PaymentOperation.payment_id == payment_id)
    return list((await session.execute(select(PaymentOperation).where(*of_payment).order_by(PaymentOperation.id))).scalars())


async def in_flight(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> dict[str, int]:
    """What the provider may have taken or given back that nobody has heard of yet, in minor units of each currency."""
    open_states = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN, PaymentStatus.CONFLICTED)
    asked = case((Payment.status.in_(open_states), Payment.amount_minor), else_=0)
    open_ones = Payment.capture_reserved_minor - Payment.captured_minor + Payment.refund_reserved_minor - Payment.refunded_minor
    statement = select(Payment.currency, func.sum(asked + open_ones)).where(
        Payment.merchant_id == merchant_id, Payment.connection_id == connection_id
    )
    return {str(currency): int(minor) for currency, minor in await session.execute(statement.group_by(Payment.currency))}


async def payment_view(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> PaymentView:
    """One payment with its parts, captures and refunds."""
    row = await payment(session, merchant_id=merchant_id, payment_id=payment_id)
    return view_of(
        row,
        await parts(session, merchant_id=merchant_id, payment_id=payment_id),
        await operations(session, merchant_id=merchant_id, payment_id=payment_id),
    )


async def routing_view(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> PaymentRoutingView:
    """How the connection of a payment was chosen, as it was decided when the payment began."""
    row = await payment(session, merchant_id=merchant_id, payment_id=payment_id)
    decided = await routing.decision(session, merchant_id=merchant_id, payment_id=payment_id)
    return PaymentRoutingView(payment=public_id("pay", row.id), connection=public_id("con", row.connection_id), routing=decided)


def view_of(row: Payment, of: list[PaymentPart], done: list[PaymentOperation]) -> PaymentView:
    """A payment that is at hand, as callers see it; its parts are given in the order of their sellers."""
    return PaymentView.of(row, of, done)
