"""Writes about attempts: the row that is committed before a PSP is called, and what came back."""

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import AttemptId, MerchantId, new_id
from app.payments.domain import AttemptNotFound, Operation, next_ask_at
from app.payments.models import Payment, PaymentAttempt
from app.psp.domain import Outcome, Result

UNDECIDED = (None, Outcome.PENDING, Outcome.UNKNOWN)
_DUE = text("select merchant_id, id from attempts_due(:moment, :most)")


async def begin_attempt(
    session: AsyncSession, actor: Actor, *, payment: Payment, operation: Operation, amount_minor: int
) -> PaymentAttempt:
    """Write down what is about to be asked of the PSP. If we die before the answer is recorded, the attempt is due and gets asked about."""
    moment = now()
    attempt = PaymentAttempt(
        merchant_id=payment.merchant_id,
        id=new_id(),
        payment_id=payment.id,
        connection_id=payment.connection_id,
        operation=operation,
        amount_minor=amount_minor,
        outcome=None,
        evidence={},
        asked_times=0,
        next_ask_at=next_ask_at(0, moment),
        created_by=actor.name,
        created_at=moment,
    )
    session.add(attempt)
    await session.flush()
    return attempt


async def lock_attempt(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: AttemptId) -> tuple[Payment, PaymentAttempt]:
    """The attempt and its payment, the payment locked first: whoever records a result is alone with both."""
    where = (PaymentAttempt.merchant_id == merchant_id, PaymentAttempt.id == attempt_id)
    owner = select(PaymentAttempt.payment_id).where(*where).scalar_subquery()
    locked = select(Payment).where(Payment.merchant_id == merchant_id, Payment.id == owner).with_for_update()
    payment = (await session.execute(locked.execution_options(populate_existing=True))).scalar_one_or_none()
    if payment is None:
        raise AttemptNotFound("There is no attempt with this id for this merchant.")
    fresh = select(PaymentAttempt).where(*where).execution_options(populate_existing=True)
    return payment, (await session.execute(fresh)).scalar_one()


def is_decided(attempt: PaymentAttempt) -> bool:
    """Whether the PSP's final word on the attempt was recorded already."""
    return attempt.outcome not in UNDECIDED


def answered(attempt: PaymentAttempt, result: Result, moment: datetime) -> dict[str, object]:
    """What the answer makes of the attempt; one that is not final is asked about later."""
    open_still = result.outcome in UNDECIDED
    return {
        "outcome": result.outcome,
        "provider_reference": result.provider_reference or attempt.provider_reference,
        "code": result.code,
        "network_code": result.network_code,
        "message": result.message,
        "evidence": result.evidence,
        "latency_ms": result.latency_ms,
        "next_ask_at": next_ask_at(attempt.asked_times, moment) if open_still else None,
        "finished_at": attempt.finished_at if open_still else moment,
    }


def finish_attempt(attempt: PaymentAttempt, result: Result) -> None:
    """Record the answer."""
    for name, value in answered(attempt, result, now()).items():
        setattr(attempt, name, value)


async def count_question(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: AttemptId) -> PaymentAttempt:
    """Note that the PSP is being asked about the attempt, before it is asked: a question that kills its worker is counted too.

    Only a question that was due counts. A page that asks every few seconds would use up within a minute what is meant to last for days.
    """
    _, attempt = await lock_attempt(session, merchant_id=merchant_id, attempt_id=attempt_id)
    moment = now()
    if not is_decided(attempt) and attempt.next_ask_at is not None and attempt.next_ask_at <= moment:
        attempt.asked_times += 1
        attempt.next_ask_at = next_ask_at(attempt.asked_times, moment)
    return attempt


async def due_attempts(session: AsyncSession, *, moment: datetime, most: int = 500) -> list[tuple[MerchantId, AttemptId]]:
    """Attempts of all merchants whose outcome is not known and which are due to be asked about."""
    rows = await session.execute(_DUE, {"moment": moment, "most": most})
    return [(MerchantId(row.merchant_id), AttemptId(row.id)) for row in rows]
