"""Approvals: other people's yes or no to exactly what they saw."""

from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import new_id
from app.core.money import Money
from app.payouts.domain import PAYOUT, PayoutId, PayoutIsStale, PayoutNeedsSecondPerson, PayoutStatus
from app.payouts.models import Payout, PayoutApproval
from app.payouts.service import history, steps

Decision = Literal["approved", "rejected"]


async def approve_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, digest: str, reason: str = "") -> Payout:
    """Agree to a payout exactly as it was shown; the last of the people needed sends it on its way."""
    payout = await _decide(session, actor, payout_id=payout_id, digest=digest, decision="approved", reason=reason)
    given = select(func.count()).where(
        PayoutApproval.merchant_id == actor.merchant,
        PayoutApproval.payout_id == payout_id,
        PayoutApproval.version == payout.version,
        PayoutApproval.decision == "approved",
    )
    if int((await session.execute(given)).scalar_one()) >= payout.approvals_required:
        await steps.approve(session, actor, payout=payout)
    return payout


async def reject_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, digest: str, reason: str) -> Payout:
    """Refuse a payout; one no is enough, and the money goes back to the wallet."""
    payout = await _decide(session, actor, payout_id=payout_id, digest=digest, decision="rejected", reason=reason)
    await steps.stop(session, actor, payout=payout, event="reject", reason=reason)
    return payout


async def _decide(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, digest: str, decision: Decision, reason: str) -> Payout:
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    PAYOUT.next(PayoutStatus(payout.status), "approve")
    if actor.id is None or actor.id in (payout.requested_by, payout.destination_by):
        raise PayoutNeedsSecondPerson("You requested this payout or set its bank account; somebody else has to decide.")
    if decision == "approved":
        actor.require_within("payouts.approve", Money(payout.amount_minor, payout.currency))
    if digest != steps.digest(payout):
        raise PayoutIsStale("The payout is not what you were shown. Look again, then decide.")
    approval = PayoutApproval(
        merchant_id=actor.merchant,
        id=new_id(),
        payout_id=payout_id,
        requested_by=payout.requested_by,
        destination_by=payout.destination_by,
        version=payout.version,
        digest=digest,
        decision=decision,
        approver_id=actor.id,
        approver_name=actor.name,
        reason=reason,
        at=now(),
    )
    try:
        async with session.begin_nested():
            session.add(approval)
    except IntegrityError as error:
        raise PayoutNeedsSecondPerson("You decided about this payout already; somebody else is needed.") from error
    await history.note(session, actor, payout=payout, kind=f"approval.{decision}", before=payout.status, reason=reason)
    await audit.record(
        session,
        actor,
        action=f"payout.approval_{decision}",
        object_type="payout",
        object_id=payout_id,
        after={"digest": digest, "version": payout.version, "amount_minor": payout.amount_minor, "currency": payout.currency},
        reason=reason or None,
    )
    return payout
