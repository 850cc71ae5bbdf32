"""Writes that end a conflict: accept what was taken, ask to give it back, or close what the PSP let go of. One transaction each, no network."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import CaptureId, PaymentId, RefundId, new_id
from app.core.money import Money
from app.payments import service
from app.payments.conflicts import queries
from app.payments.domain import Operation, PaymentMoved, PaymentStatus, PaymentVoided, capture_shares
from app.payments.history import service as history
from app.payments.hot import service as hot
from app.payments.instructions.domain import GIVEN_BACK, give_back_instruction
from app.payments.models import Payment
from app.payments.operations.service import Held, Wanted, part_of
from app.payments.postings import service as postings
from app.payments.reported.domain import PaymentNotConflicted, Report, Way


async def _held(session: AsyncSession, actor: Actor, payment_id: PaymentId) -> Held:
    held = await service.hold(session, actor, payment_id)
    if held.payment.status != PaymentStatus.CONFLICTED:
        raise PaymentNotConflicted(f"The payment is {held.payment.status.replace('_', ' ')}.")
    held.refuse_undecided(Operation.CAPTURE, Operation.VOID, Operation.REFUND)
    return held


async def accept(session: AsyncSession, actor: Actor, *, payment_id: PaymentId, report: Report, amount: Money, reason: str) -> None:
    """Accept less than was asked for: the sellers get their parts of what was taken, and nothing more can be taken."""
    held = await _held(session, actor, payment_id)
    report.check(Way.ACCEPT, amount)
    payment, attempt = held.payment, await queries.first_attempt(session, held.payment)
    await _note(session, actor, payment, "payment.conflict_accepted", amount=amount, reason=reason)
    await history.move(
        session,
        actor,
        payment=payment,
        event="accept",
        kind="payment.conflict_accepted",
        amount_minor=amount.minor,
        details={"reason": reason},
    )
    attempt.outcome = None  # its first word was not believed; now it is
    await session.flush()
    taking = hot.Taking(
        payment=payment,
        attempt=attempt,
        operation_id=CaptureId(new_id()),
        amount=amount,
        shares=capture_shares([part_of(part) for part in held.parts], amount),
        released=Money.zero(amount.currency),
        is_final=True,
        at_once=True,
        result=report.result,
        moment=now(),
    )
    if not await hot.take_within(session, actor, taking):
        raise PaymentMoved("The payment changed meanwhile; look at it again.")
    await session.refresh(payment)
    payment.capture_reserved_minor = payment.captured_minor  # nothing else is being captured, nor will be
    await session.flush()


async def begin_give_back(
    session: AsyncSession,
    actor: Actor,
    *,
    payment_id: PaymentId,
    report: Report,
    amount: Money,
    reason: str,
    approval_id: UUID | None = None,
) -> service.Asked:
    """Ask to give back all that was taken. From here on the books say what the PSP says: it has the money, and the money is the buyer's."""
    held = await _held(session, actor, payment_id)
    report.check(Way.GIVE_BACK, amount)
    if approval_id is None:
        await approvals.refuse_unapproved(session, actor, act=Act.REFUND, amount=amount)
    else:
        told = give_back_instruction(payment_id=payment_id, amount=amount, reason=reason)
        await approvals.use(session, actor, approval_id=approval_id, act=Act.REFUND, object_id=payment_id, instruction=told)
    payment, refund_id, entries = held.payment, RefundId(new_id()), []
    if not report.is_booked:
        attempt = await queries.first_attempt(session, payment)
        entries = postings.taken_unasked(payment, attempt, amount=amount, fee=report.result.fee)
        payment.psp_fee_minor += report.result.fee.minor if report.result.fee else 0
    await postings.post(session, actor, payment, *entries, postings.give_back_requested(payment, refund_id, amount))
    wanted = Wanted(kind=Operation.REFUND, operation_id=refund_id, amount=amount, reason=reason, taken={}, marks={GIVEN_BACK: True})
    return await service.begin(session, actor, held, wanted)


async def close(session: AsyncSession, actor: Actor, *, payment_id: PaymentId, report: Report, reason: str) -> None:
    """Close a payment of which the PSP holds nothing any more; the order can be paid again."""
    held = await _held(session, actor, payment_id)
    report.check(Way.CLOSE, None)
    payment = held.payment
    tried = [operation for operation in held.operations if operation.kind == Operation.REFUND]
    if tried:
        await postings.post(session, actor, payment, postings.given_back_elsewhere(payment, tried[-1]))
    payment.rest_released, payment.expires_at = True, None
    await _note(session, actor, payment, "payment.conflict_closed", amount=None, reason=reason)
    await history.move(
        session, actor, payment=payment, event="void", kind="payment.conflict_closed", tells=PaymentVoided, details={"reason": reason}
    )


async def _note(session: AsyncSession, actor: Actor, payment: Payment, action: str, *, amount: Money | None, reason: str) -> None:
    after = {"amount_minor": amount.minor, "currency": amount.currency} if amount else {"status": str(PaymentStatus.VOIDED)}
    before = {"status": payment.status, "asked_minor": payment.amount_minor}
    await audit.record(
        session, actor, action=action, object_type="payment", object_id=payment.id, before=before, after=after, reason=reason or None
    )
