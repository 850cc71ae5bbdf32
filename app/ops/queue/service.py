"""Rehearsals of what an operator may do about what waits, and setting something aside. One transaction each, no network."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries as approvals
from app.approvals.domain import Act as ApprovalAct
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import AttemptId, MerchantId, PaymentId
from app.ops import service as repairs
from app.ops.console.service import at, note_act
from app.ops.queue.domain import SETTABLE, Item, Kind, NothingToRepair, StillNeedsAnAnswer
from app.payments import queries as payments
from app.payments import service as payment_service
from app.payments.attempts import queries as attempts
from app.payments.attempts.service import is_decided
from app.payments.domain import Operation, OperationStatus
from app.payments.retries import service as retries
from app.payments.retries.domain import PERMISSIONS, Again
from app.payouts import queries as payouts
from app.payouts.domain import PayoutId, PayoutStatus
from app.psp.domain import Outcome

JOB = "payments.apply_psp_event"
_SET_ASIDE = text(
    "insert into set_aside (merchant_id, kind, object_id, reason, by_name, at) values (:merchant, :kind, :id, :reason, :name, :at)"
    " on conflict do nothing"
)


async def note(session: AsyncSession, actor: Actor, item: Item, *, what: str, reason: str) -> None:
    """Write into the merchant's audit trail what an operator is about to do with which payment or payout, and why."""
    noun, about = ("payout", item.id) if item.kind is Kind.PAYOUT else ("payment", await payment_of(session, item))
    await note_act(session, actor, object_type=noun, object_id=about, what=what, reason=reason)


async def payment_of(session: AsyncSession, item: Item) -> UUID:
    """The payment that an item is about."""
    if item.kind in {Kind.OPERATION, Kind.FAILED}:
        return (await retries.operation(session, merchant_id=item.merchant_id, operation_id=item.id)).payment_id
    if item.kind is Kind.UNANSWERED:
        return (await attempts.attempt(session, merchant_id=item.merchant_id, attempt_id=AttemptId(item.id))).payment_id
    return (await payments.payment(session, merchant_id=item.merchant_id, payment_id=PaymentId(item.id))).id


async def to_try_again(session: AsyncSession, item: Item) -> Again:
    """The failed operation of an item, ready to be asked for once more."""
    return await retries.to_try_again(session, merchant_id=item.merchant_id, operation_id=item.id)


async def attempt_of(session: AsyncSession, item: Item) -> AttemptId:
    """The attempt to ask about; refused when its answer is known meanwhile."""
    attempt_id = AttemptId(item.id)
    if item.kind is Kind.OPERATION:
        operation = await retries.operation(session, merchant_id=item.merchant_id, operation_id=item.id)
        if operation.status != OperationStatus.UNKNOWN:
            raise NothingToRepair(f"It is {operation.status} meanwhile.")
        attempt_id = AttemptId(operation.attempt_id)
    if is_decided(await attempts.attempt(session, merchant_id=item.merchant_id, attempt_id=attempt_id)):
        raise NothingToRepair("It was answered meanwhile.")
    return attempt_id


async def outcome_of(session: AsyncSession, *, merchant_id: MerchantId, attempt_id: AttemptId) -> str:
    """The provider's word on an attempt as it was recorded; without one it is still unknown."""
    found = await attempts.attempt(session, merchant_id=merchant_id, attempt_id=attempt_id)
    return found.outcome or Outcome.UNKNOWN


async def try_repair(session: AsyncSession, actor: Actor, item: Item, *, reason: str) -> str:
    """What a repair would do. The real step is taken in the caller's savepoint, which is taken back: it is refused where the act would be."""
    match item.kind:
        case Kind.UNKNOWN:
            payment_id = PaymentId(item.id)
            if not await attempts.undecided_attempts(session, merchant_id=item.merchant_id, payment_id=payment_id):
                raise NothingToRepair("Nothing about it is undecided any more.")
            return "The provider is asked how it ended; nothing is charged"
        case Kind.UNANSWERED | Kind.OPERATION:
            await attempt_of(session, item)
            return "The provider is asked; what it certainly does not know is sent again under the same key"
        case Kind.CONFLICTED:
            here = at(actor, item.merchant_id, "payments.void")
            await payment_service.begin_void(session, here, payment_id=PaymentId(item.id), reason=reason)
            return "The provider is asked to release it"
        case Kind.LATE:
            raise NothingToRepair("These books never had this money: give it back at the provider, then set it aside.")
        case Kind.FAILED:
            return await _try_again(session, actor, item, reason)
        case Kind.WEBHOOK:
            here = at(actor, item.merchant_id, "jobs.repair")
            await repairs.requeue_jobs(session, here, event=item.id, job=JOB, reason=reason)
            return "It is applied again, with five new tries"
        case Kind.PAYOUT:
            payout = await payouts.payout(session, merchant_id=item.merchant_id, payout_id=PayoutId(item.id))
            if payout.status != PayoutStatus.UNKNOWN:
                raise NothingToRepair(f"It is {payout.status.replace('_', ' ')} meanwhile.")
            return "The bank is asked; nothing is sent twice"


async def _try_again(session: AsyncSession, actor: Actor, item: Item, reason: str) -> str:
    again = await to_try_again(session, item)
    here = at(actor, item.merchant_id, PERMISSIONS[again.kind])
    others = (
        await approvals.approvers_needed(session, here, act=ApprovalAct.REFUND, amount=again.amount)
        if again.kind is Operation.REFUND
        else 0
    )
    if others:
        return f"{others} at the merchant {'is' if others == 1 else 'are'} asked to agree; nothing moves before"
    await retries.begin_again(session, here, again, reason=reason)
    return f"The {again.kind} of {again.amount.format()} is asked for once more"


async def set_aside(session: AsyncSession, actor: Actor, item: Item, *, reason: str) -> str:
    """Leave something as it is, so that it no longer waits. What is unknown is never set aside."""
    if item.kind is Kind.WEBHOOK:
        here = at(actor, item.merchant_id, "jobs.repair")
        await repairs.discard_jobs(session, here, event=item.id, job=JOB, reason=reason)
        return "It is not applied; the merchant finds it among the discarded jobs"
    if item.kind not in SETTABLE:
        raise StillNeedsAnAnswer("It is asked about until it is known; only then can it be left as it is.")
    here = at(actor, item.merchant_id, "payments.read")
    values = {"merchant": item.merchant_id, "kind": item.kind, "id": item.id, "reason": reason, "name": actor.name, "at": now()}
    await session.execute(_SET_ASIDE, values)
    await note(session, here, item, what="set_aside", reason=reason)
    return "It leaves the queue as it is; nothing moves"
