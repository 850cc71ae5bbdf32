"""Captures, voids and refunds at the simulated provider: at once, or settled later."""

import msgspec

from app.psp.simulator.domain import Account, Fault, Operation, OperationStatus, Payment, PaymentStatus, Refusal
from app.psp.simulator.payments import fee
from app.psp.simulator.world import World

CAPTURABLE = (PaymentStatus.AUTHORIZED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.PARTIALLY_REFUNDED)
CANCELLABLE = (*CAPTURABLE, PaymentStatus.REQUIRES_ACTION, PaymentStatus.REVIEW, PaymentStatus.PROCESSING)
REFUNDABLE = (PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.CAPTURED, PaymentStatus.PARTIALLY_REFUNDED)


class OperationRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a merchant sends to capture, void or refund."""

    reference: str
    amount: int = 0
    currency: str | None = None
    payment: str | None = None
    final: bool = False
    metadata: dict[str, str] = {}


def capture(world: World, payment: Payment, request: OperationRequest, *, fault: Fault | None = None) -> Operation:
    """Take an authorised amount, or a part of it; several captures are allowed, and a final one releases what is left."""
    _allowed(payment, CAPTURABLE, "captured")
    _amount(payment, request, _capturable(world, payment))
    code = payment.capture_fails or ("generic_decline" if fault is Fault.REFUSE else None)
    return _start(world, payment, "capture", request, fails_with=code, later=world.scenario(payment.account).async_captures)


def void(world: World, payment: Payment, request: OperationRequest, *, fault: Fault | None = None) -> Operation:
    """Release what is authorised and not captured."""
    _allowed(payment, CANCELLABLE, "cancelled")
    whole = OperationRequest(reference=request.reference, amount=_capturable(world, payment))
    return _start(world, payment, "void", whole, fails_with="generic_decline" if fault is Fault.REFUSE else None)


def refund(world: World, payment: Payment, request: OperationRequest, *, fault: Fault | None = None) -> Operation:
    """Give back a captured amount, or a part of it."""
    _allowed(payment, REFUNDABLE, "refunded")
    _amount(payment, request, payment.amount_captured - payment.amount_refunded - _waiting(world, payment, "refund"))
    code = "generic_decline" if fault is Fault.REFUSE else None
    return _start(world, payment, "refund", request, fails_with=code, later=world.scenario(payment.account).async_refunds)


def later(world: World, operation: Operation) -> None:
    """A pending operation is settled."""
    if operation.status is OperationStatus.PENDING:
        _finish(world, world.store.payments[operation.payment], operation)


def account_of(world: World, account: Account, payment_id: str) -> Payment:
    """The account's payment of this id; another account's is not found."""
    payment = world.store.payments.get(payment_id)
    if payment is None or payment.account != account.name:
        raise Refusal(404, "not_found", "There is no such payment.")
    return payment


def _start(
    world: World, payment: Payment, kind: str, request: OperationRequest, *, fails_with: str | None, later: bool = False
) -> Operation:
    now = world.clock.now()
    operation = Operation(
        id=world.store.next_id({"capture": "cp", "void": "vd", "refund": "rf"}[kind]),
        kind=kind,
        account=payment.account,
        payment=payment.id,
        reference=request.reference,
        amount=request.amount,
        currency=payment.currency,
        status=OperationStatus.PENDING,
        created_at=now,
        fails_with=fails_with,
        final=request.final,
    )
    if later:
        operation.due_at = now + world.scenario(payment.account).settle_seconds
        world.at(operation.due_at, operation.id)
        world.store.save(operation)
    else:
        _finish(world, payment, operation)
    return operation


def _finish(world: World, payment: Payment, operation: Operation) -> None:
    operation.due_at = None
    if operation.fails_with is not None:
        operation.status = OperationStatus.FAILED
    else:
        operation.status = OperationStatus.SUCCEEDED
        _apply(world, payment, operation)
    world.store.save(payment, operation)
    outcome = "failed" if operation.fails_with else "succeeded"
    world.publish(f"{operation.kind}.{outcome}", operation)


def _apply(world: World, payment: Payment, operation: Operation) -> None:
    match operation.kind:
        case "capture":
            payment.amount_captured += operation.amount
            operation.fee = fee(world, payment.account, operation.amount)
            payment.fee += operation.fee
            payment.amount_cancelled += _capturable(world, payment) if operation.final else 0
        case "void":
            payment.amount_cancelled += operation.amount
        case _:
            payment.amount_refunded += operation.amount
    payment.status = _status(payment)


def _status(payment: Payment) -> PaymentStatus:
    if payment.amount_captured == 0:
        return PaymentStatus.CANCELLED if payment.amount_cancelled else PaymentStatus.AUTHORIZED
    if payment.amount_refunded:
        full = payment.amount_refunded >= payment.amount_captured
        return PaymentStatus.REFUNDED if full else PaymentStatus.PARTIALLY_REFUNDED
    closed = payment.amount_captured + payment.amount_cancelled >= payment.amount
    return PaymentStatus.CAPTURED if closed else PaymentStatus.PARTIALLY_CAPTURED


def _capturable(world: World, payment: Payment) -> int:
    return payment.amount - payment.amount_captured - payment.amount_cancelled - _waiting(world, payment, "capture")


def _waiting(world: World, payment: Payment, kind: str) -> int:
    return sum(
        operation.amount
        for operation in world.store.operations_of(payment)
        if operation.kind == kind and operation.status is OperationStatus.PENDING
    )


def _allowed(payment: Payment, statuses: tuple[PaymentStatus, ...], verb: str) -> None:
    if payment.status not in statuses:
        raise Refusal(409, "not_allowed", f"The payment is {payment.status}; it cannot be {verb}.")


def _amount(payment: Payment, request: OperationRequest, left: int) -> None:
    if request.currency not in (None, payment.currency):
        raise Refusal(422, "currency_invalid", f"The payment is in {payment.currency}.")
    if request.amount <= 0:
        raise Refusal(422, "amount_invalid", "The amount must be a positive number of minor units.")
    if request.amount > left:
        raise Refusal(422, "amount_too_large", f"At most {left} minor units are left.")
