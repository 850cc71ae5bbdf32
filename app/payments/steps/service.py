"""What follows from a PSP's answer, decided by the payment as it stands. Nothing is read or written here: a result may be recorded in one call at once,
or be found out later by a webhook or a question, and means the same."""

from collections.abc import Mapping, Sequence

import msgspec

from app.core.clock import now
from app.core.ids import CaptureId, new_id
from app.core.money import Money
from app.payments.domain import (
    AUTHORISATION_LASTS,
    IN_FLIGHT,
    OPERATION,
    PAYMENT,
    UNDECIDED,
    CaptureMode,
    Operation,
    OperationStatus,
    Part,
    PaymentAuthorised,
    PaymentChanged,
    PaymentConflicted,
    PaymentExpired,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequiresAction,
    PaymentStatus,
    PaymentUnknown,
    PaymentVoided,
    RefundFailed,
    capture_shares,
    money_event,
)
from app.payments.hot import service as hot
from app.payments.instructions.domain import is_given_back
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.payments.postings import service as postings
from app.psp.domain import Outcome, ProviderStatus, Result

ENDED = (ProviderStatus.FAILED, ProviderStatus.EXPIRED, ProviderStatus.VOIDED)
"""The PSP knows the payment, and nothing can come of it any more."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer makes of a payment: what changes in its row, which event of the table of states happens, what the history says and who is told,
    what the ledger writes, and whether the order follows."""

    changes: Mapping[str, object] = {}
    event: str | None = None
    kind: str | None = None
    tells: type[PaymentChanged] | None = None
    entries: Sequence[postings.Entry] = ()
    moves_order: bool = False


NOTHING = Step()


def details_of(result: Result) -> dict[str, str]:
    """What the PSP said, for the history."""
    said = (("code", result.code), ("message", result.message))
    return {name: text for name, text in said if text}


def believed(payment: Payment, operation: PaymentOperation | None, result: Result) -> Result:
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


def taking_asked_for(payment: Payment, attempt: PaymentAttempt, operation: PaymentOperation, result: Result) -> hot.Taking | None:
    """What a capture that was asked for brought, if the answer says that it succeeded."""
    if result.outcome is not Outcome.SUCCEEDED or operation.kind != Operation.CAPTURE or operation.status not in IN_FLIGHT:
        return None
    left, amount = payment.amount_minor - payment.captured_minor, Money(operation.amount_minor, payment.currency)
    return hot.Taking(
        payment=payment,
        attempt=attempt,
        operation_id=CaptureId(operation.id),
        amount=amount,
        shares=postings.shares_of(operation),
        released=Money(left, payment.currency) if operation.is_final else amount,
        is_final=operation.is_final,
        at_once=False,
        result=result,
        moment=now(),
    )


def of_authorisation(payment: Payment, result: Result) -> Step:
    """What the answer to an authorisation makes of the payment."""
    told = _remembered(payment, result)
    if PaymentStatus(payment.status) not in UNDECIDED:
        return Step(changes=told)
    match result.outcome:
        case Outcome.SUCCEEDED:
            return _accepted(payment, result, told)
        case Outcome.PENDING:
            return _waiting(payment, result, told)
        case Outcome.UNKNOWN:
            return Step(changes=told, event="lose", kind="payment.unknown", tells=PaymentUnknown)
        case Outcome.DECLINED | Outcome.NOT_SENT:
            why = {"failure_code": result.code or result.outcome.value, "failure_message": result.message}
            return Step(changes=told | why, event="fail", kind="payment.failed", tells=PaymentFailed)


def _remembered(payment: Payment, result: Result) -> dict[str, object]:
    told: dict[str, object] = {
        "provider_reference": result.provider_reference or payment.provider_reference,
        "redirect_url": result.redirect_url or payment.redirect_url,
    }
    if (method := result.method) is not None:
        told |= {"method_kind": method.kind, "method_brand": method.brand, "last4": method.last4}
        told |= {"method_expiry": method.expiry, "method_fingerprint": method.fingerprint}
    return told


def _waiting(payment: Payment, result: Result, told: dict[str, object]) -> Step:
    if result.status is ProviderStatus.IN_REVIEW:
        step = Step(changes=told, event="review", kind="payment.in_review")
    elif result.redirect_url or result.status is ProviderStatus.REQUIRES_ACTION:
        step = Step(changes=told, event="require_action", kind="payment.requires_action", tells=PaymentRequiresAction)
    else:
        step = Step(changes=told, event="process", kind="payment.processing")
    status = PaymentStatus(payment.status)
    return Step(changes=told) if step.event and PAYMENT.next(status, step.event) is status else step


def _accepted(payment: Payment, result: Result, told: dict[str, object]) -> Step:
    """The PSP said yes. Another amount or currency than asked for is never silently accepted."""
    asked = Money(payment.amount_minor, payment.currency)
    if result.amount is not None and result.amount != asked:
        why = {
            "failure_code": "amount_differs",
            "failure_message": f"Asked for {asked.format()}, the PSP reports {result.amount.format()}.",
        }
        return Step(changes=told | why, event="conflict", kind="payment.conflicted", tells=PaymentConflicted)
    changes = {"authorised_minor": payment.amount_minor, "expires_at": now() + AUTHORISATION_LASTS}
    return Step(
        changes=told | changes | {"failure_code": None, "failure_message": None},
        event="authorise",
        kind="payment.authorised",
        tells=PaymentAuthorised,
        entries=[postings.authorised(payment)],
    )


def status_of(operation: PaymentOperation, result: Result) -> OperationStatus:
    """Where the answer brings the operation."""
    return OPERATION.next(OperationStatus(operation.status), _EVENTS[result.outcome])


def of_operation(payment: Payment, operation: PaymentOperation, result: Result) -> Step:
    """What the answer to a capture, void or refund makes of the payment: nothing, until it is final. A capture that succeeded is a taking, and what a
    failed refund had set aside is put back by whoever records it."""
    status = status_of(operation, result)
    if status is OperationStatus.FAILED:
        # a later operation failed: the last success of the payment stays
        told = RefundFailed if operation.kind == Operation.REFUND else None
        return Step(changes=_unreserved(payment, operation), kind=f"{operation.kind}.failed", tells=told)
    if status is not OperationStatus.SUCCEEDED:
        return NOTHING
    return _released(payment, operation) if operation.kind == Operation.VOID else _refunded(payment, operation)


def _unreserved(payment: Payment, operation: PaymentOperation) -> dict[str, object]:
    match Operation(operation.kind):
        case Operation.CAPTURE:
            return {"capture_reserved_minor": payment.capture_reserved_minor - operation.amount_minor}
        case Operation.REFUND if not is_given_back(operation.split):
            return {"refund_reserved_minor": payment.refund_reserved_minor - operation.amount_minor}
        case _:
            return {}


def _released(payment: Payment, operation: PaymentOperation) -> Step:
    if payment.rest_released or (not payment.captured_minor and not PAYMENT.can(PaymentStatus(payment.status), "void")):
        # the payment failed, or its promise expired, while we did not know: nothing is left that could be released
        return Step(kind="void.succeeded")
    amount = Money(operation.amount_minor, payment.currency)
    return Step(
        changes={"rest_released": True, "expires_at": None},
        event=_money_event(payment, payment.refunded_minor, rest_released=True) if payment.captured_minor else "void",
        kind="payment.rest_released" if payment.captured_minor else "payment.voided",
        tells=PaymentVoided,
        entries=[postings.released(payment, amount=amount, how="void")] if payment.authorised_minor else [],
        moves_order=payment.captured_minor > 0,
    )


def _refunded(payment: Payment, operation: PaymentOperation) -> Step:
    if is_given_back(operation.split):
        return Step(
            changes={"rest_released": True, "expires_at": None},
            event="void",
            kind="payment.given_back",
            tells=PaymentVoided,
            entries=[postings.given_back(payment, operation)],
        )
    refunded = payment.refunded_minor + operation.amount_minor
    return Step(
        changes={"refunded_minor": refunded},
        event=_money_event(payment, refunded, rest_released=payment.rest_released),
        kind="payment.refunded",
        tells=PaymentRefunded,
        entries=[postings.refund_confirmed(payment, operation)],
        moves_order=True,
    )


def of_ended_promise(payment: Payment, result: Result) -> Step:
    """What it makes of an authorised payment that the PSP lets go of its promise: by its own clock, or because somebody released it there."""
    ended = result.outcome is Outcome.SUCCEEDED and result.status in (ProviderStatus.EXPIRED, ProviderStatus.VOIDED)
    in_capture = payment.capture_reserved_minor > 0
    if not ended or in_capture or PaymentStatus(payment.status) is not PaymentStatus.AUTHORISED or payment.expires_at is None:
        return NOTHING
    voided = result.status is ProviderStatus.VOIDED
    how = f"{result.status}:{payment.expires_at.isoformat()}"
    return Step(
        changes={"rest_released": True, "expires_at": None},
        event="void" if voided else "expire",
        kind="payment.voided" if voided else "payment.expired",
        tells=PaymentVoided if voided else PaymentExpired,
        entries=[postings.released(payment, amount=Money(payment.amount_minor, payment.currency), how=how)],
    )


def _money_event(payment: Payment, refunded_minor: int, *, rest_released: bool) -> str:
    return money_event(
        amount_minor=payment.amount_minor,
        captured_minor=payment.captured_minor,
        refunded_minor=refunded_minor,
        rest_released=rest_released,
    )


_EVENTS = {
    Outcome.SUCCEEDED: "succeed",
    Outcome.PENDING: "wait",
    Outcome.UNKNOWN: "lose",
    Outcome.DECLINED: "fail",
    Outcome.NOT_SENT: "fail",
}
