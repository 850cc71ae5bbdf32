"""The history of payments: each step with its cause, and the events the rest of the house hears."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, new_id, public_id
from app.payments.domain import PAYMENT, PaymentChanged, PaymentStatus
from app.payments.models import Payment, PaymentEvent


async def note(
    session: AsyncSession,
    actor: Actor,
    *,
    payment: Payment,
    kind: str,
    before: str | None,
    attempt_id: UUID | None = None,
    amount_minor: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add a step to the payment's history."""
    row = {
        "merchant_id": payment.merchant_id,
        "id": new_id(),
        "payment_id": payment.id,
        "at": now(),
        "kind": kind,
        "from_status": before,
        "to_status": payment.status,
        "amount_minor": amount_minor,
        "actor_kind": actor.kind,
        "actor_name": actor.name,
        "attempt_id": attempt_id,
        "details": dict(details or {}),
    }
    await session.execute(insert(PaymentEvent).values(row))


async def tell(session: AsyncSession, payment: Payment, event: type[PaymentChanged]) -> None:
    """Publish what happened to the payment."""
    message = event(
        payment_id=public_id("pay", payment.id),
        order_id=public_id("ord", payment.order_id),
        status=payment.status,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
    )
    await outbox.publish(session, merchant_id=MerchantId(payment.merchant_id), event=message, object_id=payment.id)


async def move(
    session: AsyncSession,
    actor: Actor,
    *,
    payment: Payment,
    event: str,
    kind: str,
    tells: type[PaymentChanged] | None = None,
    attempt_id: UUID | None = None,
    amount_minor: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Take the payment one step by the table of states, write it into the history and tell the house."""
    before = payment.status
    payment.status = PAYMENT.next(PaymentStatus(before), event)
    payment.updated_at = now()
    await session.flush()
    await note(session, actor, payment=payment, kind=kind, before=before, attempt_id=attempt_id, amount_minor=amount_minor, details=details)
    if tells is not None:
        await tell(session, payment, tells)
