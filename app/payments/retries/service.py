"""Reads of what failed, and a rehearsal of trying it again. One transaction each, no network."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import AttemptId, MerchantId, PaymentId
from app.core.money import Money
from app.payments import queries, service
from app.payments.attempts import queries as attempts
from app.payments.domain import Operation, OperationStatus
from app.payments.instructions.domain import is_given_back
from app.payments.models import PaymentOperation
from app.payments.postings import service as postings
from app.payments.retries.domain import Again, OperationNotFound, OperationNotRetryable
from app.psp.domain import Outcome

CERTAINLY_NOT = (Outcome.DECLINED, Outcome.NOT_SENT)


async def operation(session: AsyncSession, *, merchant_id: MerchantId, operation_id: UUID) -> PaymentOperation:
    """One capture, refund or release."""
    found = await session.get(PaymentOperation, (merchant_id, operation_id), populate_existing=True)
    if found is None:
        raise OperationNotFound("There is no such operation at this merchant.")
    return found


async def to_try_again(session: AsyncSession, *, merchant_id: MerchantId, operation_id: UUID) -> Again:
    """What failed, ready to be asked for once more; refused unless the PSP certainly did not do it and nobody tried again since."""
    row = await operation(session, merchant_id=merchant_id, operation_id=operation_id)
    payment_id = PaymentId(row.payment_id)
    attempt = await attempts.attempt(session, merchant_id=merchant_id, attempt_id=AttemptId(row.attempt_id))
    if row.status != OperationStatus.FAILED:
        raise OperationNotRetryable(f"It did not fail: it is {row.status}.")
    if attempt.outcome not in CERTAINLY_NOT:
        raise OperationNotRetryable("The PSP did it, and the money came back. Another try would move other money.")
    if is_given_back(row.split):
        raise OperationNotRetryable("It gave back a payment in conflict: that is decided anew on the payment’s page.")
    done = await queries.operations(session, merchant_id=merchant_id, payment_id=payment_id)
    if any(other.kind == row.kind and other.number > row.number for other in done):
        raise OperationNotRetryable("It was tried again already.")
    payment = await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id)
    shares = postings.shares_of(row)
    return Again(
        operation_id=row.id,
        payment_id=payment_id,
        kind=Operation(row.kind),
        amount=Money(row.amount_minor, payment.currency),
        split={share.seller_id: share.amount_minor for share in shares},
        is_final=row.is_final,
        keep_fee=bool(shares) and not any(share.fee_minor for share in shares),
    )


async def begin_again(session: AsyncSession, actor: Actor, again: Again, *, reason: str) -> service.Asked:
    """Ask for it once more. Within a savepoint that is taken back it is a rehearsal: it says what the real try would say."""
    match again.kind:
        case Operation.CAPTURE:
            return await service.begin_capture(
                session, actor, payment_id=again.payment_id, amount=again.amount, is_final=again.is_final, split=again.split
            )
        case Operation.REFUND:
            return await service.begin_refund(
                session,
                actor,
                payment_id=again.payment_id,
                amount=again.amount,
                split=again.split,
                reason=reason,
                keep_fee=again.keep_fee,
            )
        case Operation.VOID:
            return await service.begin_void(session, actor, payment_id=again.payment_id, reason=reason)
        case Operation.AUTHORISE:
            raise OperationNotRetryable("The card is not kept: the buyer pays again.")
