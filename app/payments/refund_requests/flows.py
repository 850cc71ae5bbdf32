"""Refunds that others have to agree to: asking, what waits, and carrying one out once they did."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries, service
from app.approvals.domain import EVERYTHING, Act, ApprovalStatus, Asked, Part, Waiting
from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import PaymentId, SellerId, public_id
from app.core.money import Money
from app.payments import flows
from app.payments.conflicts import flows as conflicts
from app.payments.decisions import flows as decisions
from app.payments.instructions.domain import is_given_back, refund_instruction, split_of
from app.payments.verdicts.domain import decision_in

KIND = "refund"


async def others_needed(actor: Actor, amount: Money) -> int:
    """How many others have to agree to a refund of this amount by this person."""
    async with unit_of_work(actor.merchant) as session:
        return await queries.approvers_needed(session, actor, act=Act.REFUND, amount=amount)


async def ask(
    actor: Actor, *, payment_id: PaymentId, amount: Money, split: Mapping[SellerId, int] | None, reason: str, keep_fee: bool
) -> None:
    """Ask others to agree to a refund; nothing moves before they did."""
    told = refund_instruction(payment_id=payment_id, amount=amount, split=split, reason=reason, keep_fee=keep_fee)
    async with unit_of_work(actor.merchant) as session:
        await service.request_approval(session, actor, act=Act.REFUND, object_id=payment_id, instruction=told, amount=amount, reason=reason)


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many refunds wait for a yes or no."""
    return await queries.how_many_wait(session, actor, act=Act.REFUND)


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Refunds that wait for a yes or no."""
    return [_shown(asked) for asked in await queries.waiting(session, actor, act=Act.REFUND, part=part)]


async def requested(actor: Actor) -> list[Waiting]:
    """Refunds that this person asked for and that still wait."""
    async with unit_of_work(actor.merchant) as session:
        return [_shown(asked) for asked in await queries.waiting(session, actor, act=Act.REFUND, requested_by=actor.id)]


async def withdraw(actor: Actor, *, item: str) -> None:
    """Take one's own request back."""
    async with unit_of_work(actor.merchant) as session:
        await service.withdraw(session, actor, approval_id=queries.approval_id(item))


def _shown(asked: Asked) -> Waiting:
    payment = public_id("pay", asked.object_id)
    yes = f"{len(asked.agreed)} of {asked.approvers} agreed" + (f": {', '.join(asked.agreed)}" if asked.agreed else "")
    title, special = _special(asked)
    fee = "Kept" if asked.instruction["keep_fee"] else "Given back in part"
    facts = [("Payment", payment), *(special or [("Our fee", fee)]), ("Others", yes)]
    if split := split_of(asked.instruction):
        facts += [(public_id("sel", seller), Money(minor, asked.amount.currency).format()) for seller, minor in split.items()]
    return Waiting(
        kind=KIND,
        id=public_id("apr", asked.id),
        title=title,
        detail=payment,
        href=f"/payments/{payment}",
        digest=asked.digest,
        requested_by=asked.requested_by_name,
        requested_at=asked.requested_at,
        may_decide=asked.may_decide,
        amount=asked.amount,
        expires_at=asked.expires_at,
        reason=asked.reason,
        facts=facts,
    )


def _special(asked: Asked) -> tuple[str, list[tuple[str, str]]]:
    """What is asked for, and what it is about when it is no ordinary refund."""
    amount, decision = asked.amount.format(), decision_in(asked.instruction)
    if decision is not None:
        found = [("Found out", decision.verdict.replace("_", " ")), ("Attempt", public_id("att", decision.attempt_id))]
        return f"What became of {amount}", found + ([("PSP’s reference", decision.reference)] if decision.reference else [])
    if is_given_back(asked.instruction):
        return f"Give back {amount} in full", [("Why", "The PSP took another amount than was asked for")]
    return f"Refund of {amount}", []


async def approve(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    """Agree to a refund as it was shown; with the last yes it is carried out at once."""
    approval_id = queries.approval_id(item)
    async with unit_of_work(actor.merchant) as session:
        await service.decide(session, actor, approval_id=approval_id, digest=digest, decision="approved", reason=reason)
        asked = await queries.asked(session, actor, approval_id=approval_id)
    if asked.status is not ApprovalStatus.APPROVED:
        return "Approved; others have to agree too"
    await _carry_out(actor, asked, approval_id)
    return "Approved, and on its way"


async def _carry_out(actor: Actor, asked: Asked, approval_id: UUID) -> None:
    key = f"approval:{approval_id}"
    decision = decision_in(asked.instruction)
    if decision is not None:
        await decisions.decide(actor, payment_id=PaymentId(asked.object_id), decision=decision, approval_id=approval_id)
        return
    if is_given_back(asked.instruction):
        await conflicts.give_back(
            actor,
            payment_id=PaymentId(asked.object_id),
            amount=asked.amount,
            reason=str(asked.instruction["reason"]),
            approval_id=approval_id,
            key=key,
            request=idempotency.fingerprint("approval", asked.digest),
        )
        return
    await flows.refund(
        actor,
        payment_id=PaymentId(asked.object_id),
        amount=asked.amount,
        split=split_of(asked.instruction),
        reason=str(asked.instruction["reason"]),
        keep_fee=bool(asked.instruction["keep_fee"]),
        approval_id=approval_id,
        key=key,
        request=idempotency.fingerprint("approval", asked.digest),
    )


async def reject(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    """Refuse a refund; nothing moves."""
    async with unit_of_work(actor.merchant) as session:
        await service.decide(session, actor, approval_id=queries.approval_id(item), digest=digest, decision="rejected", reason=reason)
    return "Refused; nothing was moved"
