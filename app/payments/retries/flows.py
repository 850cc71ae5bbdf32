"""Trying again what certainly did not happen: a new attempt of the payment, under a key that follows from the failed one."""

from uuid import UUID

from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.payments import flows
from app.payments.domain import Operation
from app.payments.refund_requests import flows as refund_requests
from app.payments.retries import service
from app.payments.retries.domain import PERMISSIONS, Again, OperationNotRetryable


async def try_again(actor: Actor, *, operation_id: UUID, reason: str) -> flows.Answered | None:
    """Try a failed capture, refund or release again, once; nothing is returned where the merchant's rules want others to agree first.

    What was agreed to for the failed one is used up: an approval is good for one act.
    """
    async with unit_of_work(actor.merchant) as session:
        again = await service.to_try_again(session, merchant_id=actor.merchant, operation_id=operation_id)
    actor.require(PERMISSIONS[again.kind])
    if again.kind is Operation.REFUND and await refund_requests.others_needed(actor, again.amount):
        await refund_requests.ask(
            actor, payment_id=again.payment_id, amount=again.amount, split=again.split, reason=reason, keep_fee=again.keep_fee
        )
        return None
    return await _send(actor, again, reason)


async def _send(actor: Actor, again: Again, reason: str) -> flows.Answered:
    key, request = again.key, idempotency.fingerprint("retry", str(again.operation_id))
    match again.kind:
        case Operation.CAPTURE:
            return await flows.capture(
                actor,
                payment_id=again.payment_id,
                amount=again.amount,
                is_final=again.is_final,
                split=again.split,
                reason=reason,
                key=key,
                request=request,
            )
        case Operation.REFUND:
            return await flows.refund(
                actor,
                payment_id=again.payment_id,
                amount=again.amount,
                split=again.split,
                reason=reason,
                keep_fee=again.keep_fee,
                key=key,
                request=request,
            )
        case Operation.VOID:
            return await flows.void(actor, payment_id=again.payment_id, reason=reason, key=key, request=request)
        case Operation.AUTHORISE:
            raise OperationNotRetryable("The card is not kept: the buyer pays again.")
