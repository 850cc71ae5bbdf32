"""Writing down what a person found out about an attempt that the PSP never settled. One transaction, no network."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core import audit
from app.core.actors import Actor
from app.core.ids import AttemptId, PaymentId, public_id
from app.core.money import Money
from app.payments.attempts import service as attempts
from app.payments.domain import AttemptNotFound, CaptureMode, Operation, PaymentStatus
from app.payments.models import Payment, PaymentAttempt
from app.payments.records import service as records
from app.payments.verdicts.domain import AlreadyKnown, Decision, StillAskedAbout, result_of


async def to_decide(
    session: AsyncSession, actor: Actor, *, payment_id: PaymentId, attempt_id: AttemptId
) -> tuple[Payment, PaymentAttempt, Money]:
    """An attempt that a person may decide about, with its payment, both locked, and its amount."""
    payment, attempt = await attempts.lock_attempt(session, merchant_id=actor.merchant, attempt_id=attempt_id)
    if payment.id != payment_id:
        raise AttemptNotFound("There is no attempt with this id of this payment.")
    if attempts.is_decided(attempt):
        raise AlreadyKnown(f"The PSP’s word is there: {attempt.outcome}.")
    if attempt.next_ask_at is not None:
        raise StillAskedAbout(
            f"It is asked again by itself, {attempt.next_ask_at:%d %B at %H:%M} UTC. Decide when it was asked often enough."
        )
    if payment.status == PaymentStatus.REQUIRES_ACTION:
        raise StillAskedAbout("The buyer may still finish on the PSP’s page; what nobody finishes expires by itself.")
    return payment, attempt, Money(attempt.amount_minor, payment.currency)


async def decide(
    session: AsyncSession, actor: Actor, *, payment_id: PaymentId, decision: Decision, approval_id: UUID | None = None
) -> Payment:
    """Record what a person found out, with all that would follow had the PSP said it. Where refunds of the amount need others, so does this."""
    decision.check()
    payment, attempt, amount = await to_decide(session, actor, payment_id=payment_id, attempt_id=decision.attempt_id)
    if approval_id is None:
        await approvals.refuse_unapproved(session, actor, act=Act.REFUND, amount=amount)
    else:
        told = decision.instruction(payment_id=payment_id, amount=amount)
        await approvals.use(session, actor, approval_id=approval_id, act=Act.REFUND, object_id=payment_id, instruction=told)
    await _note(session, actor, payment, attempt, decision)
    operation, mode = Operation(attempt.operation), CaptureMode(payment.capture_mode)
    result = result_of(decision, operation=operation, mode=mode, amount=amount, by=actor.name)
    return await records.record_result(session, actor, merchant_id=actor.merchant, attempt_id=decision.attempt_id, result=result)


async def _note(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, decision: Decision) -> None:
    about = {"attempt": public_id("att", attempt.id), "operation": attempt.operation, "amount_minor": attempt.amount_minor}
    await audit.record(
        session,
        actor,
        action="payment.outcome_decided",
        object_type="payment",
        object_id=payment.id,
        before=about | {"outcome": attempt.outcome, "asked_times": attempt.asked_times},
        after=about | {"verdict": decision.verdict, "reference": decision.reference or None},
        reason=decision.reason,
    )
