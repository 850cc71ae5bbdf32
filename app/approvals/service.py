"""Writes of approvals: asking, agreeing, refusing, carrying out, and the rules of who has to agree. Each in one transaction and audited."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries
from app.approvals.domain import (
    APPROVAL,
    LASTS,
    AboveLimit,
    Act,
    AlreadyAsked,
    ApprovalExpired,
    ApprovalIsStale,
    ApprovalLapsed,
    ApprovalRequired,
    ApprovalStatus,
    RuleImpossible,
    SecondPersonNeeded,
    digest_of,
)
from app.approvals.models import Approval, ApprovalPolicy, ApprovalRule, ApprovalVote
from app.core import audit, outbox
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.ids import MerchantId, new_id, public_id
from app.core.money import Money

Decision = Literal["approved", "rejected"]


async def request_approval(
    session: AsyncSession, actor: Actor, *, act: Act, object_id: UUID, instruction: Mapping[str, object], amount: Money, reason: str
) -> Approval:
    """Ask others to agree to an act exactly as it is described."""
    if actor.kind not in {ActorKind.USER, ActorKind.OPERATOR} or actor.id is None:
        raise SecondPersonNeeded("Only a person can ask for an approval.")
    needed = await queries.approvers_needed(session, actor, act=act, amount=amount)
    permission, _ = await queries.policy(session, actor, act=act)
    moment = now()
    row = Approval(
        merchant_id=actor.merchant,
        id=new_id(),
        act=act,
        object_id=object_id,
        instruction=dict(instruction),
        digest=digest_of(act, instruction),
        currency=amount.currency,
        amount_minor=amount.minor,
        permission=permission,
        approvers=max(needed, 1),
        reason=reason,
        status=APPROVAL.initial,
        requested_by=actor.id,
        requested_by_name=actor.name,
        requested_at=moment,
        expires_at=moment + LASTS,
        decided_at=None,
    )
    await _lapse(session, actor, object_id=object_id, digest=row.digest)
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise AlreadyAsked() from None
    await _note(session, actor, row, "requested", reason=reason)
    return row


async def _lapse(session: AsyncSession, actor: Actor, *, object_id: UUID, digest: str) -> None:
    """Close an earlier request of the same thing that nobody decided about in time."""
    earlier = select(Approval).where(
        Approval.merchant_id == actor.merchant,
        Approval.object_id == object_id,
        Approval.digest == digest,
        Approval.status.in_([ApprovalStatus.PENDING, ApprovalStatus.APPROVED]),
        Approval.expires_at <= now(),
    )
    row = await session.scalar(earlier.with_for_update())
    if row is not None:
        await _expire(session, actor, row)


async def _expire(session: AsyncSession, actor: Actor, row: Approval) -> None:
    await _move(session, actor, row, "expire", reason="")
    event = ApprovalLapsed(approval_id=public_id("apr", row.id), act=row.act, object_id=str(row.object_id))
    await outbox.publish(session, merchant_id=MerchantId(row.merchant_id), event=event, object_id=row.id)


async def due_to_expire(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, UUID]]:
    """Requests of all merchants whose time has passed."""
    rows = await session.execute(_EXPIRED, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), row.id) for row in rows]


_EXPIRED = text("select merchant_id, id from approvals_expired(:moment, :most)")


async def expire(session: AsyncSession, actor: Actor, *, approval_id: UUID) -> bool:
    """End a request whose time has passed; one that was decided meanwhile stays as it is."""
    row = await queries.approval(session, actor, approval_id=approval_id, lock=True)
    if row.expires_at > now() or not APPROVAL.can(ApprovalStatus(row.status), "expire"):
        return False
    await _expire(session, actor, row)
    return True


async def decide(session: AsyncSession, actor: Actor, *, approval_id: UUID, digest: str, decision: Decision, reason: str) -> Approval:
    """Say yes or no to a request as it was shown. The last yes that is needed frees it; one no closes it."""
    row = await queries.approval(session, actor, approval_id=approval_id, lock=True)
    actor.require(row.permission)
    if actor.id is None or actor.id == row.requested_by:
        raise SecondPersonNeeded("You asked for this; somebody else has to decide.")
    if digest != row.digest:
        raise ApprovalIsStale()
    if now() >= row.expires_at:
        raise ApprovalExpired()
    if row.status == ApprovalStatus.APPROVED and decision == "approved":
        return row
    APPROVAL.next(ApprovalStatus(row.status), "approve" if decision == "approved" else "reject")
    await _vote(session, actor, row, decision, reason)
    if decision == "rejected":
        await _move(session, actor, row, "reject", reason=reason)
    elif await _agreed(session, row) >= row.approvers:
        await _move(session, actor, row, "approve", reason=reason)
    else:
        await _note(session, actor, row, "agreed", reason=reason)
    return row


async def _vote(session: AsyncSession, actor: Actor, row: Approval, decision: Decision, reason: str) -> None:
    vote = ApprovalVote(
        merchant_id=row.merchant_id,
        approval_id=row.id,
        approver_id=actor.id,
        approver_name=actor.name,
        requested_by=row.requested_by,
        digest=row.digest,
        decision=decision,
        reason=reason,
        at=now(),
    )
    try:
        async with session.begin_nested():
            session.add(vote)
    except IntegrityError:
        raise SecondPersonNeeded("You decided about this already; somebody else is needed.") from None


async def _agreed(session: AsyncSession, row: Approval) -> int:
    yes = select(func.count()).where(
        ApprovalVote.merchant_id == row.merchant_id, ApprovalVote.approval_id == row.id, ApprovalVote.decision == "approved"
    )
    return int(await session.scalar(yes) or 0)


async def withdraw(session: AsyncSession, actor: Actor, *, approval_id: UUID) -> Approval:
    """Take one's own request back."""
    row = await queries.approval(session, actor, approval_id=approval_id, lock=True)
    if actor.id != row.requested_by:
        raise SecondPersonNeeded("Only whoever asked takes a request back; others refuse it.")
    await _move(session, actor, row, "withdraw", reason="")
    return row


async def refuse_unapproved(session: AsyncSession, actor: Actor, *, act: Act, amount: Money) -> None:
    """Stop an act that nobody agreed to and that needs others."""
    needed = await queries.approvers_needed(session, actor, act=act, amount=amount)
    if needed:
        raise ApprovalRequired(f"{amount.format()} needs the agreement of {needed} other{'' if needed == 1 else 's'}.", approvers=needed)


async def use(
    session: AsyncSession, actor: Actor, *, approval_id: UUID, act: Act, object_id: UUID, instruction: Mapping[str, object]
) -> None:
    """Spend an approval on exactly what it was given for, in the transaction of the act; it is good for one act."""
    row = await queries.approval(session, actor, approval_id=approval_id, lock=True)
    if row.act != act or row.object_id != object_id or row.digest != digest_of(act, instruction):
        raise ApprovalIsStale("The approval was given for something else.")
    if now() >= row.expires_at:
        raise ApprovalExpired()
    await _move(session, actor, row, "carry_out", reason="")


async def _move(session: AsyncSession, actor: Actor, row: Approval, event: str, *, reason: str) -> None:
    before = row.status
    row.status, row.decided_at = APPROVAL.next(ApprovalStatus(before), event), now()
    await session.flush()
    await _note(session, actor, row, row.status, reason=reason, before=before)


async def _note(session: AsyncSession, actor: Actor, row: Approval, word: str, *, reason: str, before: str | None = None) -> None:
    after = {"act": row.act, "digest": row.digest, "amount_minor": row.amount_minor, "currency": row.currency, "status": row.status}
    await audit.record(
        session,
        actor,
        action=f"approval.{word}",
        object_type="approval",
        object_id=row.id,
        before={"status": before} if before else None,
        after=after,
        reason=reason or None,
    )


async def set_rule(session: AsyncSession, actor: Actor, *, act: Act, start: Money, approvers: int) -> None:
    """Say how many others have to agree from an amount on; none takes the rule of that amount away."""
    if start.is_negative or not 0 <= approvers <= 5:
        problem = "Enter zero or more." if start.is_negative else "Enter a number from 0 to 5."
        raise RuleImpossible(fields={"start" if start.is_negative else "approvers": problem})
    key = (ApprovalRule.merchant_id == actor.merchant, ApprovalRule.act == act, ApprovalRule.currency == start.currency)
    before = await session.scalar(select(ApprovalRule.approvers).where(*key, ApprovalRule.from_minor == start.minor))
    if approvers == 0:
        await session.execute(delete(ApprovalRule).where(*key, ApprovalRule.from_minor == start.minor))
    else:
        row = {"merchant_id": actor.merchant, "act": act, "currency": start.currency, "from_minor": start.minor, "approvers": approvers}
        index = ["merchant_id", "act", "currency", "from_minor"]
        await session.execute(upsert(ApprovalRule).values(row).on_conflict_do_update(index_elements=index, set_={"approvers": approvers}))
    old, new = ({start.format(): count} if count else None for count in (before, approvers))
    await audit.record(session, actor, action="approval.rule_set", object_type="merchant", object_id=actor.merchant, before=old, after=new)


async def set_policy(session: AsyncSession, actor: Actor, *, act: Act, permission: str, above_limit: AboveLimit) -> None:
    """Say who decides about an act, and whether somebody above their own limit may ask or is refused."""
    if permission not in queries.DECIDERS:
        raise RuleImpossible(fields={"permission": "Choose one of the options."})
    held, above = await queries.policy(session, actor, act=act)
    values = {"permission": permission, "above_limit": above_limit}
    row = {"merchant_id": actor.merchant, "act": act} | values
    await session.execute(upsert(ApprovalPolicy).values(row).on_conflict_do_update(index_elements=["merchant_id", "act"], set_=values))
    before = {"permission": held, "above_limit": above}
    await audit.record(
        session, actor, action="approval.policy_set", object_type="merchant", object_id=actor.merchant, before=before, after=values
    )
