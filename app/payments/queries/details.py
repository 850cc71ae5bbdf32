"""Reads for the page of one payment."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import PaymentId, SellerId
from app.ledger import queries as ledger
from app.payments import queries
from app.payments.models import PaymentAttempt, PaymentEvent
from app.payments.schemas.details import PaymentDetailPage, detail_page
from app.psp import queries as psp
from app.sellers import queries as sellers

MOST_EVENTS = 200


async def payment_detail_page(session: AsyncSession, actor: Actor, *, payment_id: PaymentId) -> PaymentDetailPage:
    """One payment with its history, reasons, sellers' parts, attempts and what it wrote into the ledger."""
    merchant_id = actor.merchant
    payment = await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id)
    parts = await queries.parts(session, merchant_id=merchant_id, payment_id=payment_id)
    attempts = select(PaymentAttempt).where(PaymentAttempt.merchant_id == merchant_id, PaymentAttempt.payment_id == payment_id)
    events = select(PaymentEvent).where(PaymentEvent.merchant_id == merchant_id, PaymentEvent.payment_id == payment_id)
    may_see_books = actor.can("ledger.read")
    return detail_page(
        payment,
        parts=parts,
        operations=await queries.operations(session, merchant_id=merchant_id, payment_id=payment_id),
        attempts=list((await session.execute(attempts.order_by(PaymentAttempt.id).limit(MOST_EVENTS))).scalars()),
        events=list((await session.execute(events.order_by(PaymentEvent.id.desc()).limit(MOST_EVENTS))).scalars())[::-1],
        ledger=await ledger.transactions_of(session, merchant_id=merchant_id, source_type="payment", source_id=payment_id)
        if may_see_books
        else None,
        sellers=dict(
            (await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(part.seller_id) for part in parts})).items()
        ),
        connections=dict((await psp.connection_names(session, merchant_id=merchant_id)).items()),
    )
