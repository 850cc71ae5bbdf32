"""Recording what a PSP answered: the attempt, the payment, the order, the sellers' parts and the ledger change in one transaction.

A result may come from the call itself, from a webhook, from asking later, twice or out of order. The attempt's row decides: its first
final word counts, and a later one that says the same changes nothing. A late answer never moves a payment back.
"""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import AttemptId, CaptureId, MerchantId, OrderId, new_id
from app.core.money import Money
from app.orders import service as orders
from app.payments import service
from app.payments.attempts import service as attempts
from app.payments.domain import (
    AUTHORISATION_LASTS,
    IN_FLIGHT,
    LATE_SUCCESS,
    OPERATION,
    OVER,
    PAYMENT,
    UNDECIDED,
    CaptureMode,
    Operation,
    OperationStatus,
    Part,
    PaymentAuthorised,
    PaymentChanged,
    PaymentConflicted,
    PaymentFailed,
    PaymentMoved,
    PaymentRefunded,
    PaymentRequiresAction,
    PaymentStatus,
    PaymentUnknown,
    PaymentVoided,
    RefundFailed,
    capture_shares,
    money_event,
)
from app.payments.history import service as history
from app.payments.hot import service as hot
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.payments.postings import service as postings
from app.psp.domain import Outcome, ProviderStatus, Result

log = structlog.get_logger()

Told = type[PaymentChanged] | None
ENDED = (ProviderStatus.FAILED, ProviderStatus.EXPIRED, ProviderStatus.VOIDED)
"""The PSP knows the payment, and nothing can come of it any more."""


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

    @property
    def details(self) -> dict[str, str]:
        """What the PSP said, for the history."""
        said = (("code", self.result.code), ("message", self.result.message))
        return {name: text for name, text in said if text}


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
    answer = Answer(session, actor, payment, attempt, _believed(payment, operation, result))
    taking = await _taking(answer, operation)
    if taking is not None:
        await _take(answer, taking)
        return payment
    attempts.finish_attempt(attempt, answer.result)
    payment.updated_at = now()
    if operation is None:
        await _authorised(answer)
    else:
        await _RECORDERS[Operation(attempt.operation)](answer, operation)
    await session.flush()
    return payment


async def _operation(session: AsyncSession, attempt: PaymentAttempt) -> PaymentOperation:
    statement = select(PaymentOperation).where(
        PaymentOperation.merchant_id == attempt.merchant_id, PaymentOperation.attempt_id == attempt.id
    )
    return (await session.execute(statement.execution_options(populate_existing=True))).scalar_one()


def _believed(payment: Payment, operation: PaymentOperation | None, result: Result) -> Result:
    """What an answer is worth. A promise that has ended meanwhile is a no; a capture or refund of another amount than asked for stays unknown."""
    if result.outcome is not Outcome.SUCCEEDED or (operation is not None and operation.kind == Operation.VOID):
        return result
    if operation is None:
        ended = result.status in ENDED
        return msgspec.structs.replace(result, outcome=Outcome.DECLINED, code=result.code or str(result.status)) if ended else result
    asked = Money(operation.amount_minor, payment.currency)
    if result.amount is None or result.amount == asked:
        return result
    message = f"Asked for {asked.format()}, the PSP reports {result.amount.format()}."
    return msgspec.structs.replace(result, outcome=Outcome.UNKNOWN, code="amount_differs", message=message)


def _is_late_yes(answer: Answer) -> bool:
    """The PSP has taken or promised money for a payment that we had given up: its money counts, whatever we believed."""
    over = PaymentStatus(answer.payment.status) in (PaymentStatus.FAILED, PaymentStatus.EXPIRED)
    said_yes = answer.result.outcome is Outcome.SUCCEEDED and answer.result.status not in ENDED
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
    answer.attempt.outcome = None
    await history.move(session, answer.actor, payment=payment, event="revive", kind="payment.revived", attempt_id=answer.attempt.id)
    return True


async def _second_word(answer: Answer) -> None:
    """A final answer came before. A refund may still fail after it succeeded; any other contradiction is kept for a person to see."""
    attempt, result = answer.attempt, answer.result
    said_no = attempt.outcome in (Outcome.DECLINED, Outcome.NOT_SENT)
    if not (said_no and result.outcome is Outcome.SUCCEEDED) and not (not said_no and result.outcome is Outcome.DECLINED):
        return
    if attempt.operation == Operation.REFUND and not said_no:
        operation = await _operation(answer.session, attempt)
        if operation.status == OperationStatus.SUCCEEDED:
            await _refund_came_back(answer, operation)
        return
    await _remark(answer, "psp.contradicted", "The PSP contradicts its earlier answer.")


async def _remark(answer: Answer, kind: str, message: str) -> None:
    """Keep what does not fit for a person to see; never dropped silently, never acted on blindly."""
    details = {"recorded": answer.attempt.outcome or "", "reported": str(answer.result.outcome), "message": message} | answer.details
    payment = answer.payment
    await history.note(
        answer.session, answer.actor, payment=payment, kind=kind, before=payment.status, attempt_id=answer.attempt.id, details=details
    )
    log.error(kind, payment=str(payment.id), attempt=str(answer.attempt.id), status=payment.status)


async def _taking(answer: Answer, operation: PaymentOperation | None) -> hot.Taking | None:
    """What was collected, if this answer says so."""
    payment, result = answer.payment, answer.result
    if result.outcome is not Outcome.SUCCEEDED:
        return None
    if operation is None:
        return taking_at_once(payment, answer.attempt, await service.parts_of(answer.session, payment), result)
    if operation.kind != Operation.CAPTURE or operation.status not in IN_FLIGHT:
        return None
    left, amount = payment.amount_minor - payment.captured_minor, Money(operation.amount_minor, payment.currency)
    return hot.Taking(
        payment=payment,
        attempt=answer.attempt,
        operation_id=CaptureId(operation.id),
        amount=amount,
        shares=postings.shares_of(operation),
        released=Money(left, payment.currency) if operation.is_final else amount,
        is_final=operation.is_final,
        at_once=False,
        result=result,
        moment=now(),
    )


def taking_at_once(payment: Payment, attempt: PaymentAttempt, parts: list[Part], result: Result) -> hot.Taking | None:
    """Authorised and taken in one step, if that is what the answer says: no memo of a promise, the whole plan is captured."""
    whole = Money(payment.amount_minor, payment.currency)
    taken = result.status is ProviderStatus.CAPTURED or (result.status is None and payment.capture_mode == CaptureMode.AUTOMATIC)
    expected = result.outcome is Outcome.SUCCEEDED and result.amount in (None, whole) and PaymentStatus(payment.status) in UNDECIDED
    if not (taken and expected):
        return None
    return hot.Taking(
        payment=payment,
        attempt=attempt,
        operation_id=CaptureId(new_id()),
        amount=whole,
        shares=capture_shares(parts, whole),
        released=Money.zero(payment.currency),
        is_final=True,
        at_once=True,
        result=result,
        moment=now(),
    )


async def _take(answer: Answer, taking: hot.Taking) -> None:
    if not await hot.take_within(answer.session, answer.actor, taking):
        raise PaymentMoved("The payment changed while the PSP's answer was recorded; it is asked about again.")
    await answer.session.refresh(taking.payment)
    await answer.session.refresh(taking.attempt)


async def _authorised(answer: Answer) -> None:
    payment, result = answer.payment, answer.result
    _remember(payment, result)
    if PaymentStatus(payment.status) not in UNDECIDED:
        return
    match result.outcome:
        case Outcome.SUCCEEDED:
            await _accept(answer)
        case Outcome.PENDING:
            await _wait(answer)
        case Outcome.UNKNOWN:
            await _step(answer, "lose", "payment.unknown", PaymentUnknown)
        case Outcome.DECLINED | Outcome.NOT_SENT:
            payment.failure_code, payment.failure_message = result.code or result.outcome, result.message
            await _step(answer, "fail", "payment.failed", PaymentFailed)


def _remember(payment: Payment, result: Result) -> None:
    payment.provider_reference = result.provider_reference or payment.provider_reference
    payment.redirect_url = result.redirect_url or payment.redirect_url
    if result.method is not None:
        payment.method_kind, payment.method_brand, payment.last4 = result.method.kind, result.method.brand, result.method.last4
        payment.method_expiry, payment.method_fingerprint = result.method.expiry, result.method.fingerprint


async def _step(answer: Answer, event: str, kind: str, tells: Told) -> None:
    await history.move(
        answer.session,
        answer.actor,
        payment=answer.payment,
        event=event,
        kind=kind,
        tells=tells,
        attempt_id=answer.attempt.id,
        amount_minor=answer.attempt.amount_minor,
        details=answer.details,
    )


async def _wait(answer: Answer) -> None:
    status, result = PaymentStatus(answer.payment.status), answer.result
    if result.status is ProviderStatus.IN_REVIEW:
        step: tuple[str, str, Told] = ("review", "payment.in_review", None)
    elif result.redirect_url or result.status is ProviderStatus.REQUIRES_ACTION:
        step = ("require_action", "payment.requires_action", PaymentRequiresAction)
    else:
        step = ("process", "payment.processing", None)
    if PAYMENT.next(status, step[0]) is not status:
        await _step(answer, *step)


async def _accept(answer: Answer) -> None:
    """The PSP said yes. Another amount or currency than asked for is never silently accepted."""
    payment, reported = answer.payment, answer.result.amount
    asked = Money(payment.amount_minor, payment.currency)
    if reported is not None and reported != asked:
        payment.failure_code, payment.failure_message = (
            "amount_differs",
            f"Asked for {asked.format()}, the PSP reports {reported.format()}.",
        )
        await _step(answer, "conflict", "payment.conflicted", PaymentConflicted)
        return
    payment.authorised_minor = payment.amount_minor
    payment.expires_at = now() + AUTHORISATION_LASTS
    payment.failure_code = payment.failure_message = None
    await postings.authorise(answer.session, answer.actor, payment=payment)
    await _step(answer, "authorise", "payment.authorised", PaymentAuthorised)


async def _follow_the_money(answer: Answer, kind: str, tells: Told) -> None:
    """Payment and order go where their money stands."""
    payment = answer.payment
    event = money_event(
        amount_minor=payment.amount_minor,
        captured_minor=payment.captured_minor,
        refunded_minor=payment.refunded_minor,
        rest_released=payment.rest_released,
    )
    await _step(answer, event, kind, tells)
    await orders.record_collected(
        answer.session,
        merchant_id=answer.merchant_id,
        order_id=OrderId(payment.order_id),
        captured_minor=payment.captured_minor,
        refunded_minor=payment.refunded_minor,
    )


async def _capture(answer: Answer, operation: PaymentOperation) -> None:
    """A capture that did not succeed; one that did was taken already. The payment stays as authorised as it was."""
    if _advance(operation, answer.result):
        answer.payment.capture_reserved_minor -= operation.amount_minor
        await _failed(answer, operation, None)


async def _refund(answer: Answer, operation: PaymentOperation) -> None:
    payment = answer.payment
    if not _advance(operation, answer.result):
        return
    if operation.status == OperationStatus.FAILED:
        await postings.fail_refund(answer.session, answer.actor, payment=payment, refund=operation, was_confirmed=False)
        await service.move_parts(answer.session, payment, postings.shares_of(operation), sign=-1)
        payment.refund_reserved_minor -= operation.amount_minor
        await _failed(answer, operation, RefundFailed)
        return
    payment.refunded_minor += operation.amount_minor
    await postings.confirm_refund(answer.session, answer.actor, payment=payment, refund=operation)
    await _follow_the_money(answer, "payment.refunded", PaymentRefunded)


async def _refund_came_back(answer: Answer, operation: PaymentOperation) -> None:
    """The PSP paid the buyer, and the money came back: it is still the buyer's, and waits in an account of its own."""
    operation.status, operation.updated_at = OPERATION.next(OperationStatus(operation.status), "fail"), now()
    await postings.fail_refund(answer.session, answer.actor, payment=answer.payment, refund=operation, was_confirmed=True)
    await _failed(answer, operation, RefundFailed)


async def _void(answer: Answer, operation: PaymentOperation) -> None:
    payment = answer.payment
    if not _advance(operation, answer.result):
        return
    if operation.status == OperationStatus.FAILED:
        await _failed(answer, operation, None)
        return
    if payment.rest_released or (not payment.captured_minor and not PAYMENT.can(PaymentStatus(payment.status), "void")):
        # the payment failed, or its promise expired, while we did not know: nothing is left that could be released
        await _note(answer, operation, "void.succeeded")
        return
    payment.rest_released, payment.expires_at = True, None
    if payment.authorised_minor:
        amount = Money(operation.amount_minor, payment.currency)
        await postings.release_authorisation(answer.session, answer.actor, payment=payment, amount=amount, how="void")
    if payment.captured_minor:
        await _follow_the_money(answer, "payment.rest_released", PaymentVoided)
    else:
        await _step(answer, "void", "payment.voided", PaymentVoided)


def _advance(operation: PaymentOperation, result: Result) -> bool:
    """Move the operation by the result; says whether it came to an end."""
    operation.status, operation.updated_at = OPERATION.next(OperationStatus(operation.status), _EVENTS[result.outcome]), now()
    return operation.status in (OperationStatus.SUCCEEDED, OperationStatus.FAILED)


async def _failed(answer: Answer, operation: PaymentOperation, tells: Told) -> None:
    """A later operation failed: the last success of the payment stays."""
    await _note(answer, operation, f"{operation.kind}.failed")
    if tells is not None:
        await history.tell(answer.session, answer.payment, tells)


async def _note(answer: Answer, operation: PaymentOperation, kind: str) -> None:
    """Write into the history what became of an operation that leaves the payment as it is."""
    session, payment, amount, details = answer.session, answer.payment, operation.amount_minor, answer.details
    await session.flush()
    attempt_id, before = answer.attempt.id, payment.status
    await history.note(
        session, answer.actor, payment=payment, kind=kind, before=before, attempt_id=attempt_id, amount_minor=amount, details=details
    )


_EVENTS = {
    Outcome.SUCCEEDED: "succeed",
    Outcome.PENDING: "wait",
    Outcome.UNKNOWN: "lose",
    Outcome.DECLINED: "fail",
    Outcome.NOT_SENT: "fail",
}
Recorder = Callable[[Answer, PaymentOperation], Awaitable[None]]
_RECORDERS: dict[Operation, Recorder] = {Operation.CAPTURE: _capture, Operation.REFUND: _refund, Operation.VOID: _void}
