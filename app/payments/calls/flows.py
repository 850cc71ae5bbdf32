"""One call to a PSP: what is sent, to whom, and under which attempt."""

from datetime import datetime

import msgspec

from app.core.ids import AttemptId, ConnectionId, MerchantId, PaymentId, public_id
from app.core.money import Money
from app.core.settings import settings
from app.payments.attempts import service as attempts
from app.payments.domain import CaptureMode, Operation, return_path
from app.payments.models import Payment, PaymentAttempt
from app.psp.domain import Instruction, Outcome, PspAdapter, Result


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call that is ready to be made: to whom, what, and under which attempt the answer is recorded."""

    merchant_id: MerchantId
    payment_id: PaymentId
    attempt_id: AttemptId
    connection_id: ConnectionId
    operation: Operation
    instruction: Instruction
    has_answer: bool
    was_heard: bool
    begun_at: datetime


def prepare(payment: Payment, attempt: PaymentAttempt, *, token: str | None = None) -> Call:
    """The call that the attempt was written down for."""
    reference = public_id("att", attempt.id)
    merchant_id, payment_id = MerchantId(payment.merchant_id), PaymentId(payment.id)
    instruction = Instruction(
        amount=Money(attempt.amount_minor, payment.currency),
        reference=reference,
        idempotency_key=reference,
        token=token,
        return_url=payment.return_url or settings().public_url + return_path(merchant_id, payment_id),
        capture=attempt.operation == Operation.CAPTURE
        or (attempt.operation == Operation.AUTHORISE and payment.capture_mode == CaptureMode.AUTOMATIC),
        original=payment.provider_reference if attempt.operation != Operation.AUTHORISE else None,
        description=payment.order_reference,
        metadata={"payment": public_id("pay", payment.id), "order": payment.order_reference},
    )
    return Call(
        merchant_id=merchant_id,
        payment_id=payment_id,
        attempt_id=AttemptId(attempt.id),
        connection_id=ConnectionId(attempt.connection_id),
        operation=Operation(attempt.operation),
        instruction=instruction,
        has_answer=attempts.is_decided(attempt),
        was_heard=attempt.outcome is not None,
        begun_at=attempt.created_at,
    )


async def send(adapter: PspAdapter, call: Call) -> Result:
    """Make the call."""
    match call.operation:
        case Operation.AUTHORISE:
            return await (adapter.authorise if call.instruction.token else adapter.start_redirect)(call.instruction)
        case Operation.CAPTURE:
            return await adapter.capture(call.instruction)
        case Operation.REFUND:
            return await adapter.refund(call.instruction)
        case Operation.VOID:
            return await adapter.void(call.instruction)


async def resume(adapter: PspAdapter, call: Call) -> Result:
    """Continue a request whose process died: ask first; only what the PSP certainly does not know is sent, under the same key."""
    found = await adapter.lookup(call.instruction.reference)
    return await send(adapter, call) if found.outcome is Outcome.NOT_SENT and is_certain(found) else found


def is_certain(result: Result) -> bool:
    """Whether “not sent” means that the PSP answered it has no such operation, not that the question failed to reach it."""
    return result.code == "not_found"
