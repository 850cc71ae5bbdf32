"""Recording what a PSP answered: the attempt, the payment, the order, the sellers' parts and the ledger change in one transaction.

A result may come from the call itself, from a webhook, from asking later, twice or out of order. The attempt's row decides: its first
final word counts, and a later one that says the same changes nothing. A late answer never moves a payment back.
"""

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import AttemptId, MerchantId, OrderId
from app.core.money import Money
from app.orders import service as orders
from app.payments import service
from app.payments.attempts import service as attempts
from app.payments.domain import (
    IN_FLIGHT,
    LATE_SUCCESS,
    OPERATION,
    OVER,
    Operation,
    OperationStatus,
    PaymentMoved,
    PaymentStatus,
    RefundFailed,
)
from app.payments.fees.domain import CAME_BACK
from app.payments.history import service as history
from app.payments.hot import service as hot
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.payments.postings import service as postings
from app.payments.steps import service as steps
from app.payments.verdicts.domain import CONTRADICTED, DECIDED_BY
from app.psp.domain import Outcome, Result

log = structlog.get_logger()


class Answer(msgspec.Struct, frozen=True):
    """An answer about to be recorded: by whom, about which attempt of which payment, both locked."""

    session: AsyncSession
    actor: Actor
    payment: Payment
    attempt: PaymentAttempt
    result: Result

    @property
    def merchant_id(self) -> MerchantId:
        """Whose payment it is."""
        return MerchantId(self.payment.merchant_id)


async def record_result(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, attempt_id: AttemptId, result: Result) -> Payment:
    """Record what the PSP answered about an attempt, with everything that follows from it."""
    payment, attempt = await attempts.lock_attempt(session, merchant_id=merchant_id, attempt_id=attempt_id)
    first = Answer(session, actor, payment, attempt, result)
    if _is_late_yes(first):
        if not await _revive(first):
            return payment
    elif attempts.is_decided(attempt):
        await _second_word(first)
        return payment
    operation = None if attempt.operation == Operation.AUTHORISE else await _operation(session, attempt)
    answer = Answer(session, actor, payment, attempt, steps.believed(payment, operation, result))
    taking = await _taking(answer, operation)
    if taking is not None:
        await _take(answer, taking)
        return payment
    attempts.finish_attempt(attempt, answer.result)
    payment.updated_at = now()
    if operation is None:
        await _apply(answer, steps.of_authorisation(payment, answer.result))
    else:
        await _advance(answer, operation)
    await session.flush()
    return payment


async def _operation(session: AsyncSession, attempt: PaymentAttempt) -> PaymentOperation:
    statement = select(PaymentOperation).where(
        PaymentOperation.merchant_id == attempt.merchant_id, PaymentOperation.attempt_id == attempt.id
    )
    return (await session.execute(statement.execution_options(populate_existing=True))).scalar_one()


def _is_late_yes(answer: Answer) -> bool:
    """The PSP has taken or promised money for a payment that we had given up: its money counts, whatever we believed."""
    over = PaymentStatus(answer.payment.status) in (PaymentStatus.FAILED, PaymentStatus.EXPIRED)
    said_yes = answer.result.outcome is Outcome.SUCCEEDED and answer.result.status not in steps.ENDED
    return answer.attempt.operation == Operation.AUTHORISE and over and said_yes


async def _revive(answer: Answer) -> bool:
    """Take a given-up payment up again, unless the order is being paid by another one; then a person has to give one of them back."""
    payment, session = answer.payment, answer.session
    same_order = (Payment.merchant_id == payment.merchant_id, Payment.order_id == payment.order_id)
    if (await session.execute(select(Payment.id).where(*same_order, Payment.status.not_in(OVER)))).first() is not None:
        if payment.failure_code != LATE_SUCCESS:
            payment.failure_code = LATE_SUCCESS
            payment.failure_message = (
                "The PSP took this payment after it was given up, and the order is paid by another one. Give it back at the PSP."
            )
            await _remark(answer, "psp.late_success", payment.failure_message)
        return False
    payment.failure_code = payment.failure_message = None
    payment.rest_released = False  # what ended with our patience has not ended at the PSP
    answer.attempt.outcome = None
    await history.move(session, answer.actor, payment=payment, event="revive", kind="payment.revived", attempt_id=answer.attempt.id)
    return True


async def _second_word(answer: Answer) -> None:
    """A final answer came before. A promise may end and a refund may still fail after it succeeded; any other contradiction is kept for a person."""
    attempt, result = answer.attempt, answer.result
    if attempt.operation == Operation.AUTHORISE and await _nothing_under_way(answer):
        await _apply(answer, steps.of_ended_promise(answer.payment, result))
    said_no = attempt.outcome in (Outcome.DECLINED, Outcome.NOT_SENT)
    if not (said_no and result.outcome is Outcome.SUCCEEDED) and not (not said_no and result.outcome is Outcome.DECLINED):
        if _is_other_than_decided(answer):
            await _contradicted(answer)
        return
    if attempt.operation == Operation.REFUND and not said_no:
        operation = await _operation(answer.session, attempt)
        if operation.status == OperationStatus.SUCCEEDED:
            await _refund_came_back(answer, operation)
        return
    await _contradicted(answer)


def _is_other_than_decided(answer: Answer) -> bool:
    """Whether the PSP did another amount than a person found out."""
    asked = Money(answer.attempt.amount_minor, answer.payment.currency)
    amount = answer.result.amount if answer.result.outcome is Outcome.SUCCEEDED else None
    return DECIDED_BY in answer.attempt.evidence and amount is not None and amount != asked


async def _contradicted(answer: Answer) -> None:
    """Two words that do not agree: both are kept, nothing moves. What the books then have and the PSP has not, or the other way round, is a break."""
    evidence = answer.attempt.evidence
    if DECIDED_BY not in evidence:
        await _remark(answer, "psp.contradicted", "The PSP contradicts its earlier answer.")
        return
    said = f"{answer.result.outcome}{f' {answer.result.amount.format()}' if answer.result.amount else ''}"
    if evidence.get(CONTRADICTED) != said:
        answer.attempt.evidence = {**evidence, CONTRADICTED: said}
        await _remark(answer, "psp.contradicted", f"{evidence[DECIDED_BY]} had decided otherwise.")


async def _nothing_under_way(answer: Answer) -> bool:
    """Whether every capture and release has its answer; one that has not yet says itself what became of the promise."""
    of_payment = (PaymentOperation.merchant_id == answer.payment.merchant_id, PaymentOperation.payment_id == answer.payment.id)
    under_way = select(PaymentOperation.id).where(*of_payment, PaymentOperation.status.in_(IN_FLIGHT)).limit(1)
    return (await answer.session.execute(under_way)).first() is None


async def _remark(answer: Answer, kind: str, message: str) -> None:
    """Keep what does not fit for a person to see; never dropped silently, never acted on blindly."""
    details = {"recorded": answer.attempt.outcome or "", "reported": str(answer.result.outcome), "message": message} | steps.details_of(
        answer.result
    )
    payment = answer.payment
    await history.note(
        answer.session, answer.actor, payment=payment, kind=kind, before=payment.status, attempt_id=answer.attempt.id, details=details
    )
    log.error(kind, payment=str(payment.id), attempt=str(answer.attempt.id), status=payment.status)


async def _taking(answer: Answer, operation: PaymentOperation | None) -> hot.Taking | None:
    """What was collected, if this answer says so."""
    payment, result = answer.payment, answer.result
    if operation is not None:
        return steps.taking_asked_for(payment, answer.attempt, operation, result)
    if result.outcome is not Outcome.SUCCEEDED:
        return None
    return steps.taking_at_once(payment, answer.attempt, await service.parts_of(answer.session, payment), result)


async def _take(answer: Answer, taking: hot.Taking) -> None:
    if not await hot.take_within(answer.session, answer.actor, taking):
        raise PaymentMoved("The payment changed while the PSP's answer was recorded; it is asked about again.")
    await answer.session.refresh(taking.payment)
    await answer.session.refresh(taking.attempt)


async def _apply(answer: Answer, step: steps.Step) -> None:
    """Write what follows from the answer."""
    session, actor, payment = answer.session, answer.actor, answer.payment
    for name, value in step.changes.items():
        setattr(payment, name, value)
    if step.entries:
        await postings.post(session, actor, payment, *step.entries)
    if step.kind is not None:
        await _say(answer, step, step.kind)
    if step.moves_order:
        await orders.record_collected(
            session,
            merchant_id=answer.merchant_id,
            order_id=OrderId(payment.order_id),
            captured_minor=payment.captured_minor,
            refunded_minor=payment.refunded_minor,
        )


async def _say(answer: Answer, step: steps.Step, kind: str) -> None:
    """Write the step into the history; what became of an operation may leave the payment as it is."""
    session, actor, payment = answer.session, answer.actor, answer.payment
    attempt_id, amount, details = answer.attempt.id, answer.attempt.amount_minor, steps.details_of(answer.result)
    if step.event is not None:
        await history.move(
            session,
            actor,
            payment=payment,
            event=step.event,
            kind=kind,
            tells=step.tells,
            attempt_id=attempt_id,
            amount_minor=amount,
            details=details,
        )
        return
    await session.flush()
    await history.note(
        session, actor, payment=payment, kind=kind, before=payment.status, attempt_id=attempt_id, amount_minor=amount, details=details
    )
    if step.tells is not None:
        await history.tell(session, payment, step.tells)


async def _advance(answer: Answer, operation: PaymentOperation) -> None:
    """Move a capture, void or refund by the answer; what a failed refund had set aside is put back."""
    step = steps.of_operation(answer.payment, operation, answer.result)
    operation.status, operation.updated_at = steps.status_of(operation, answer.result), now()
    if operation.kind == Operation.REFUND and operation.status == OperationStatus.FAILED:
        await postings.fail_refund(answer.session, answer.actor, payment=answer.payment, refund=operation, was_confirmed=False)
        await service.move_parts(answer.session, answer.payment, postings.shares_of(operation), sign=-1)
    await _apply(answer, step)


async def _refund_came_back(answer: Answer, operation: PaymentOperation) -> None:
    """The PSP paid the buyer, and the money came back: it is still the buyer's, and waits in an account of its own."""
    operation.status, operation.updated_at = OPERATION.next(OperationStatus(operation.status), "fail"), now()
    operation.split = operation.split | {CAME_BACK: True}
    answer.payment.updated_at = now()  # whoever looked at the payment before looks again
    await postings.fail_refund(answer.session, answer.actor, payment=answer.payment, refund=operation, was_confirmed=True)
    await _apply(answer, steps.Step(kind="refund.failed", tells=RefundFailed))
