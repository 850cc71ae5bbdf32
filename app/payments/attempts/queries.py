"""Reads about attempts."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Invalid
from app.core.ids import AttemptId, ConnectionId, MerchantId, PaymentId, parse_id
from app.payments.domain import AttemptNotFound
from app.payments.models import PaymentAttempt
from app.psp.domain import Outcome, PspEvent


async def attempt(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: AttemptId) -> PaymentAttempt:
    """One attempt."""
    found = await session.get(PaymentAttempt, (merchant_id, attempt_id))
    if found is None:
        raise AttemptNotFound("There is no attempt with this id for this merchant.")
    return found


async def undecided_attempts(session: AsyncSession, *, merchant_id: MerchantId, payment_id: PaymentId) -> list[AttemptId]:
    """The attempts of a payment on which the PSP's final word is missing."""
    statement = select(PaymentAttempt.id).where(
        PaymentAttempt.merchant_id == merchant_id,
        PaymentAttempt.payment_id == payment_id,
        or_(PaymentAttempt.outcome.is_(None), PaymentAttempt.outcome.in_((Outcome.PENDING, Outcome.UNKNOWN))),
    )
    return [AttemptId(found) for found in (await session.execute(statement.order_by(PaymentAttempt.id))).scalars()]


async def attempt_of_event(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId, event: PspEvent) -> PaymentAttempt | None:
    """The attempt a PSP's event is about: by our reference, else by the PSP's own; never one of another connection."""
    where = [PaymentAttempt.merchant_id == merchant_id, PaymentAttempt.connection_id == connection_id]
    try:
        where.append(PaymentAttempt.id == parse_id("att", event.our_reference or ""))
    except Invalid:
        where.append(PaymentAttempt.provider_reference == event.provider_reference)
    return (await session.execute(select(PaymentAttempt).where(*where).order_by(PaymentAttempt.id).limit(1))).scalar_one_or_none()
