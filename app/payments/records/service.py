"""Recording what a PSP answered: the attempt, the payment, the order, the sellers' parts and the ledger change in one transaction.

A result may come from the call itself, from a webhook, from asking later, twice or out of order. The attempt's row decides: its first
final word counts, and a later one that says the same changes nothing. A late answer never moves a payment back.
"""

from collections.abc import Awaitable, Callable

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
    OPERATION,
    PAYMENT,
    UNDECIDED,
    CaptureMode,
    Operation,
    OperationStatus,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentChanged,
    PaymentConflicted,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequiresAction,
    PaymentStatus,
    PaymentUnknown,
    PaymentVoided,
    RefundFailed,
    Share,
    capture_shares,
    money_event,
)
from app.payments.history import service as history
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.payments.postings import service as postings
from app.psp.domain import Outcome, ProviderStatus, Result

log = structlog.get_logger()

FAILED_STATUSES = (ProviderStatus.FAILED, ProviderStatus.EXPIRED, ProviderStatus.VOIDED)


async def record_result(session: AsyncSession, actor: Actor, *, merchant_id: MerchantId, attempt_id: AttemptId, result: Result) -> Payment:
    """Record what the PSP answered about an attempt, with everything that follows from it."""
    payment, attempt = await attempts.lock_attempt(session, merchant_id=merchant_id, attempt_id=attempt_id)
    if attempts.is_decided(attempt):
        await _note_second_word(session, actor, payment, attempt, result)
        return payment
    attempts.finish_attempt(attempt, result)
    payment.updated_at = now()
    if attempt.operation == Operation.AUTHORISE:
        await _authorised(session, actor, payment, attempt, result)
    else:
        operation = await _operation(session, attempt)
        await _RECORDERS[Operation(attempt.operation)](session, actor, payment, attempt, operation, result)
    await session.flush()
    return payment


async def _operation(session: AsyncSession, attempt: PaymentAttempt) -> PaymentOperation:
    statement = select(PaymentOperation).where(
        PaymentOperation.merchant_id == attempt.merchant_id, PaymentOperation.attempt_id == attempt.id
    )
    return (await session.execute(statement.execution_options(populate_existing=True))).scalar_one()


async def _note_second_word(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    """A final answer came before. A refund may still fail after it succeeded; any other contradiction is kept for a person to see."""
    if attempt.operation == Operation.REFUND and attempt.outcome == Outcome.SUCCEEDED and result.outcome is Outcome.DECLINED:
        operation = await _operation(session, attempt)
        if operation.status == OperationStatus.SUCCEEDED:
            await _refund_came_back(session, actor, payment, attempt, operation, result)
        return
    contradicts = {attempt.outcome, result.outcome} == {Outcome.SUCCEEDED, Outcome.DECLINED}
    if contradicts:
        details = {"recorded": attempt.outcome, "reported": result.outcome, "code": result.code}
        await history.note(
            session, actor, payment=payment, kind="psp.contradicted", before=payment.status, attempt_id=attempt.id, details=details
        )
        log.warning("psp contradicts its earlier answer", payment=str(payment.id), attempt=str(attempt.id), **details)


async def _authorised(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    _remember(payment, result)
    status = PaymentStatus(payment.status)
    if status not in UNDECIDED:
        late = result.outcome is Outcome.SUCCEEDED
        if late:
            await _late_success(session, actor, payment, attempt, result)
        return
    if result.outcome is Outcome.SUCCEEDED:
        await _accept(session, actor, payment, attempt, result)
    elif result.outcome is Outcome.PENDING:
        await _wait(session, actor, payment, attempt, result)
    elif result.outcome is Outcome.UNKNOWN:
        await _step(session, actor, payment, attempt, "lose", "payment.unknown", PaymentUnknown, result)
    else:
        payment.failure_code, payment.failure_message = result.code or result.outcome, result.message
        await _step(session, actor, payment, attempt, "fail", "payment.failed", PaymentFailed, result)


def _remember(payment: Payment, result: Result) -> None:
    payment.provider_reference = result.provider_reference or payment.provider_reference
    payment.redirect_url = result.redirect_url or payment.redirect_url
    if result.method is not None:
        payment.method_kind, payment.method_brand, payment.last4 = result.method.kind, result.method.brand, result.method.last4
        payment.method_expiry, payment.method_fingerprint = result.method.expiry, result.method.fingerprint


async def _step(
    session: AsyncSession,
    actor: Actor,
    payment: Payment,
    attempt: PaymentAttempt,
    event: str,
    kind: str,
    tells: type[PaymentChanged] | None,
    result: Result,
) -> None:
    details = {key: value for key, value in (("code", result.code), ("message", result.message)) if value}
    await history.move(
        session,
        actor,
        payment=payment,
        event=event,
        kind=kind,
        tells=tells,
        attempt_id=attempt.id,
        amount_minor=payment.amount_minor,
        details=details,
    )


async def _wait(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    if result.status is ProviderStatus.IN_REVIEW:
        step: tuple[str, str, type[PaymentChanged] | None] = ("review", "payment.in_review", None)
    elif result.redirect_url or result.status is ProviderStatus.REQUIRES_ACTION:
        step = ("require_action", "payment.requires_action", PaymentRequiresAction)
    else:
        step = ("process", "payment.processing", None)
    if PAYMENT.next(PaymentStatus(payment.status), step[0]) != payment.status:
        await _step(session, actor, payment, attempt, *step, result)


async def _late_success(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    """The PSP says yes after we closed the payment (it expired, or was declared failed): kept as it is and shown, never dropped silently."""
    details = {"status": result.status or "", "message": "The PSP reports success for a payment that was closed before."}
    await history.note(
        session, actor, payment=payment, kind="psp.late_success", before=payment.status, attempt_id=attempt.id, details=details
    )
    log.error("psp reports success for a closed payment", payment=str(payment.id), status=payment.status)


async def _accept(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    """The PSP said yes. Another amount or currency than asked for is never silently accepted."""
    asked = Money(payment.amount_minor, payment.currency)
    payment.failure_code = payment.failure_message = None
    if result.amount is not None and result.amount != asked:
        payment.failure_code = "amount_differs"
        payment.failure_message = f"Asked for {asked.format()}, the PSP reports {result.amount.format()}."
        await _step(session, actor, payment, attempt, "conflict", "payment.conflicted", PaymentConflicted, result)
        return
    payment.authorised_minor = payment.amount_minor
    if result.status is ProviderStatus.CAPTURED or (result.status is None and payment.capture_mode == CaptureMode.AUTOMATIC):
        await _captured_at_once(session, actor, payment, attempt, result)
        return
    payment.expires_at = now() + service.AUTHORISATION_LASTS
    await postings.authorise(session, actor, payment=payment)
    await _step(session, actor, payment, attempt, "authorise", "payment.authorised", PaymentAuthorised, result)


async def _captured_at_once(session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, result: Result) -> None:
    """Authorised and taken in one step: no memo of a promise, the whole plan is captured."""
    whole, moment = Money(payment.amount_minor, payment.currency), now()
    shares = capture_shares(await service.parts_of(session, payment), whole)
    payment.capture_reserved_minor = payment.amount_minor
    operation = PaymentOperation(
        merchant_id=payment.merchant_id,
        id=new_id(),
        payment_id=payment.id,
        attempt_id=attempt.id,
        kind=Operation.CAPTURE,
        number=1,
        status=OperationStatus.SUCCEEDED,
        amount_minor=whole.minor,
        split={
            "shares": [{"seller_id": str(s.seller_id), "amount_minor": s.amount_minor, "fee_minor": s.fee_minor} for s in shares],
            "taken": {},
        },
        is_final=True,
        reason="",
        created_by=actor.name,
        created_at=moment,
        updated_at=moment,
    )
    session.add(operation)
    await _take(session, actor, payment, attempt, operation, shares, released=Money.zero(payment.currency), result=result)


async def _take(
    session: AsyncSession,
    actor: Actor,
    payment: Payment,
    attempt: PaymentAttempt,
    operation: PaymentOperation,
    shares: list[Share],
    *,
    released: Money,
    result: Result,
) -> None:
    payment.captured_minor += operation.amount_minor
    payment.platform_fee_minor += sum(share.fee_minor for share in shares)
    payment.psp_fee_minor += result.fee.minor if result.fee else 0
    if operation.is_final:
        payment.rest_released, payment.expires_at = True, None
    await service.move_parts(session, payment, shares, "captured_minor", "fee_captured_minor")
    fee = result.fee
    await postings.capture(
        session, actor, payment=payment, capture_id=CaptureId(operation.id), shares=shares, released=released, psp_fee=fee
    )
    await _follow_the_money(session, actor, payment, attempt, "payment.captured", PaymentCaptured, operation.amount_minor, result)


async def _follow_the_money(
    session: AsyncSession,
    actor: Actor,
    payment: Payment,
    attempt: PaymentAttempt,
    kind: str,
    tells: type[PaymentChanged],
    minor: int,
    result: Result,
) -> None:
    """Payment and order go where their money stands."""
    event = money_event(
        amount_minor=payment.amount_minor,
        captured_minor=payment.captured_minor,
        refunded_minor=payment.refunded_minor,
        rest_released=payment.rest_released,
    )
    fee = result.fee.minor if result.fee else None
    details = {key: value for key, value in (("code", result.code), ("message", result.message), ("psp_fee_minor", fee)) if value}
    await history.move(
        session, actor, payment=payment, event=event, kind=kind, tells=tells, attempt_id=attempt.id, amount_minor=minor, details=details
    )
    await orders.record_collected(
        session,
        merchant_id=MerchantId(payment.merchant_id),
        order_id=OrderId(payment.order_id),
        captured_minor=payment.captured_minor,
        refunded_minor=payment.refunded_minor,
    )


async def _capture(
    session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, operation: PaymentOperation, result: Result
) -> None:
    if not _advance(operation, result):
        return
    if operation.status == OperationStatus.FAILED:
        payment.capture_reserved_minor -= operation.amount_minor
        await _failed(session, actor, payment, attempt, operation, result)
        return
    left = payment.amount_minor - payment.captured_minor
    released = Money(left if operation.is_final else operation.amount_minor, payment.currency)
    await _take(session, actor, payment, attempt, operation, postings.shares_of(operation), released=released, result=result)


async def _refund(
    session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, operation: PaymentOperation, result: Result
) -> None:
    if not _advance(operation, result):
        return
    if operation.status == OperationStatus.FAILED:
        await postings.fail_refund(session, actor, payment=payment, refund=operation, was_confirmed=False)
        await service.move_parts(session, payment, postings.shares_of(operation), "refunded_minor", "fee_returned_minor", sign=-1)
        payment.refund_reserved_minor -= operation.amount_minor
        await _failed(session, actor, payment, attempt, operation, result, RefundFailed)
        return
    payment.refunded_minor += operation.amount_minor
    await postings.confirm_refund(session, actor, payment=payment, refund=operation)
    await _follow_the_money(session, actor, payment, attempt, "payment.refunded", PaymentRefunded, operation.amount_minor, result)


async def _refund_came_back(
    session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, operation: PaymentOperation, result: Result
) -> None:
    """The PSP paid the buyer, and the money came back: it is still the buyer's, and waits in an account of its own."""
    operation.status, operation.updated_at = OPERATION.next(OperationStatus(operation.status), "fail"), now()
    await postings.fail_refund(session, actor, payment=payment, refund=operation, was_confirmed=True)
    await _failed(session, actor, payment, attempt, operation, result, RefundFailed)


async def _void(
    session: AsyncSession, actor: Actor, payment: Payment, attempt: PaymentAttempt, operation: PaymentOperation, result: Result
) -> None:
    if not _advance(operation, result):
        return
    if operation.status == OperationStatus.FAILED:
        await _failed(session, actor, payment, attempt, operation, result)
        return
    payment.rest_released, payment.expires_at = True, None
    if payment.authorised_minor:
        amount = Money(operation.amount_minor, payment.currency)
        await postings.release_authorisation(session, actor, payment=payment, amount=amount, how="void")
    if payment.captured_minor:
        await _follow_the_money(session, actor, payment, attempt, "payment.rest_released", PaymentVoided, operation.amount_minor, result)
    else:
        await _step(session, actor, payment, attempt, "void", "payment.voided", PaymentVoided, result)


def _advance(operation: PaymentOperation, result: Result) -> bool:
    """Move the operation by the result; says whether it came to an end."""
    events = {
        Outcome.SUCCEEDED: "succeed",
        Outcome.PENDING: "wait",
        Outcome.UNKNOWN: "lose",
        Outcome.DECLINED: "fail",
        Outcome.NOT_SENT: "fail",
    }
    operation.status, operation.updated_at = OPERATION.next(OperationStatus(operation.status), events[result.outcome]), now()
    return operation.status in (OperationStatus.SUCCEEDED, OperationStatus.FAILED)


async def _failed(
    session: AsyncSession,
    actor: Actor,
    payment: Payment,
    attempt: PaymentAttempt,
    operation: PaymentOperation,
    result: Result,
    tells: type[PaymentChanged] | None = None,
) -> None:
    """A later operation failed: the last success of the payment stays."""
    details = {key: value for key, value in (("code", result.code), ("message", result.message)) if value}
    kind = f"{operation.kind}.failed"
    await session.flush()
    await history.note(
        session,
        actor,
        payment=payment,
        kind=kind,
        before=payment.status,
        attempt_id=attempt.id,
        amount_minor=operation.amount_minor,
        details=details,
    )
    if tells is not None:
        await history.tell(session, payment, tells)


Recorder = Callable[[AsyncSession, Actor, Payment, PaymentAttempt, PaymentOperation, Result], Awaitable[None]]
_RECORDERS: dict[Operation, Recorder] = {Operation.CAPTURE: _capture, Operation.REFUND: _refund, Operation.VOID: _void}
