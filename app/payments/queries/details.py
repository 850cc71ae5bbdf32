"""Reads for the page of one payment."""

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import Base, read
from app.core.ids import PaymentId, SellerId
from app.ledger import queries as ledger
from app.payments.domain import PaymentNotFound
from app.payments.models import Payment, PaymentAttempt, PaymentEvent, PaymentOperation, PaymentPart
from app.payments.queries import MISSING
from app.payments.schemas.details import PaymentDetailPage, detail_page
from app.psp import queries as psp
from app.routing import queries as routing
from app.sellers import queries as sellers

MOST_EVENTS = 200


def _select(model: type[Base], rest: str, *, more: str = "") -> TextClause:
    # every column by name: a prepared ``select *`` fails from the moment on when a migration adds one
    return text(f"select {', '.join(model.__table__.c.keys())}{more} from {model.__tablename__} where merchant_id = :merchant and {rest}")  # noqa: S608 - our own names


_PAYMENT = _select(Payment, "id = :payment", more=f", {routing.DECISION_OF_PAYMENT} as routing")
_PARTS = _select(PaymentPart, "payment_id = :payment order by seller_id")
_OPERATIONS = _select(PaymentOperation, "payment_id = :payment order by id")
_ATTEMPTS = _select(PaymentAttempt, f"payment_id = :payment order by id limit {MOST_EVENTS}")
_EVENTS = _select(PaymentEvent, f"payment_id = :payment order by id desc limit {MOST_EVENTS}")


async def payment_detail_page(session: AsyncSession, actor: Actor, *, payment_id: PaymentId) -> PaymentDetailPage:
    """One payment with its history, reasons, sellers' parts, attempts and what it wrote into the ledger."""
    merchant_id = actor.merchant
    of_payment = {"merchant": merchant_id, "payment": payment_id}
    payments = await read(session, _PAYMENT, of_payment)
    if not payments:
        raise PaymentNotFound(MISSING)
    parts = await read(session, _PARTS, of_payment)
    transactions = (
        await ledger.transactions_of(session, merchant_id=merchant_id, source_type="payment", source_id=payment_id)
        if actor.can("ledger.read")
        else None
    )
    return detail_page(
        payments[0],
        parts=parts,
        operations=await read(session, _OPERATIONS, of_payment),
        attempts=await read(session, _ATTEMPTS, of_payment),
        events=(await read(session, _EVENTS, of_payment))[::-1],
        ledger=transactions,
        sellers=dict(
            (await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(part.seller_id) for part in parts})).items()
        ),
        connections=dict((await psp.connection_names(session, merchant_id=merchant_id)).items()),
        routing=routing.decision_from(payments[0].routing),
    )
