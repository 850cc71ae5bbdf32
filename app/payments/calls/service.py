"""One call to a PSP: what is sent, to whom, and under which attempt."""

from datetime import datetime

import msgspec

from app.core.ids import AttemptId, ConnectionId, MerchantId, PaymentId, public_id
from app.core.money import Money
from app.core.settings import settings
from app.payments.attempts import service as attempts
from app.payments.domain import CaptureMode, Operation, return_path
from app.payments.models import Payment, PaymentAttempt
from app.psp.domain import Instruction


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


def prepare(payment: Payment, attempt: PaymentAttempt, *, token: str | None = None, is_final: bool = False) -> Call:
    """The call that the attempt was written down for; ``is_final`` is what the operation says that it was written down with."""
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
        is_final=is_final,
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
