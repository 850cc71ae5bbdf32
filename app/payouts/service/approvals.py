"""Approvals: other people's yes or no to exactly what they saw."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec
from sqlalchemy import and_, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import AppError
from app.core.ids import MerchantId, new_id
from app.core.money import Money
from app.payouts import queries
from app.payouts.domain import PAYOUT, PayoutId, PayoutIsStale, PayoutNeedsSecondPerson, PayoutNotFound, PayoutStatus
from app.payouts.models import Payout, PayoutApproval
from app.payouts.service import history, sheets, steps

Decision = Literal["approved", "rejected"]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A payout that somebody decides about, as it was shown."""

    payout_id: PayoutId
    digest: str


async def approve_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, digest: str, reason: str = "") -> Payout:
    """Agree to a payout exactly as it was shown; the last of the people needed sends it on its way."""
    await queries.payout(session, merchant_id=actor.merchant, payout_id=payout_id)
    return _or_raise((await approve_all(session, actor, choices=[Choice(payout_id=payout_id, digest=digest)], reason=reason))[0])


async def approve_all(session: AsyncSession, actor: Actor, *, choices: Sequence[Choice], reason: str = "") -> list[Payout | AppError]:
    """Agree to several payouts with one statement for each table; for each the payout, or why it could not be agreed to."""
    async with sheets.together(session, actor.merchant):
        decided = await _decide(session, actor, choices=choices, decision="approved", reason=reason)
        payouts = [payout for payout in decided if isinstance(payout, Payout)]
        given = await _agreed(session, actor.merchant, payouts)
        for payout in payouts:
            if given[payout.id] >= payout.approvals_required:
                await steps.approve(session, actor, payout=payout)
    return decided


async def _agreed(session: AsyncSession, merchant_id: MerchantId, payouts: Sequence[Payout]) -> dict[UUID, int]:
    """How many people agreed to each payout as it is now."""
    statement = (
        select(PayoutApproval.payout_id, func.count())
        .join(Payout, and_(Payout.merchant_id == PayoutApproval.merchant_id, Payout.id == PayoutApproval.payout_id))
        .where(
            PayoutApproval.merchant_id == merchant_id,
            PayoutApproval.payout_id.in_([payout.id for payout in payouts]),
            PayoutApproval.version == Payout.version,
            PayoutApproval.decision == "approved",
        )
    )
    return {row[0]: int(row[1]) for row in await session.execute(statement.group_by(PayoutApproval.payout_id))}


def _or_raise(found: Payout | AppError) -> Payout:
    if isinstance(found, AppError):
        raise found
    return found


async def reject_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, digest: str, reason: str) -> Payout:
    """Refuse a payout; one no is enough, and the money goes back to the wallet."""
    await queries.payout(session, merchant_id=actor.merchant, payout_id=payout_id)
    choices = [Choice(payout_id=payout_id, digest=digest)]
    payout = _or_raise((await _decide(session, actor, choices=choices, decision="rejected", reason=reason))[0])
    await steps.stop(session, actor, payout=payout, event="reject", reason=reason)
    return payout


async def _decide(
    session: AsyncSession, actor: Actor, *, choices: Sequence[Choice], decision: Decision, reason: str
) -> list[Payout | AppError]:
    """Write down what somebody says of payouts; for each the payout, or why it is not for that person to say."""
    payouts = await history.lock_all(session, merchant_id=actor.merchant, payout_ids=[choice.payout_id for choice in choices])
    answers: list[Payout | AppError] = []
    for choice in choices:
        try:
            answers.append(_checked(actor, payouts.get(choice.payout_id), choice.digest, decision))
        except AppError as refused:
            answers.append(refused)
    rows = [_approval(actor, payout, decision, reason) for payout in answers if isinstance(payout, Payout)]
    new = await _insert(session, rows)
    twice = PayoutNeedsSecondPerson("You decided about this payout already; somebody else is needed.")
    decided = [twice if isinstance(payout, Payout) and payout.id not in new else payout for payout in answers]
    async with sheets.together(session, actor.merchant):
        for payout in decided:
            if isinstance(payout, Payout):
                await _note(session, actor, payout, decision, reason)
    return decided


def _checked(actor: Actor, payout: Payout | None, digest: str, decision: Decision) -> Payout:
    if payout is None:
        raise PayoutNotFound(queries.MISSING)
    PAYOUT.next(PayoutStatus(payout.status), "approve")
    if actor.id is None or actor.id in queries.had_a_hand_in(payout):
        raise PayoutNeedsSecondPerson(
            "You requested this payout, know the key that did, changed it or set its bank account; somebody else has to decide."
        )
    if decision == "approved":
        if payout.expires_at is not None and payout.expires_at <= now():
            raise PayoutIsStale("Nobody decided in time; it can no longer be approved. Request it again.")
        actor.require_within("payouts.approve", Money(payout.amount_minor, payout.currency))
    if digest != steps.digest(payout):
        raise PayoutIsStale("The payout is not what you were shown. Look again, then decide.")
    return payout


def _approval(actor: Actor, payout: Payout, decision: Decision, reason: str) -> dict[str, object]:
    return {
        "merchant_id": actor.merchant,
        "id": new_id(),
        "payout_id": payout.id,
        "requested_by": payout.requested_by,
        "destination_by": payout.destination_by,
        "version": payout.version,
        "digest": steps.digest(payout),
        "decision": decision,
        "approver_id": actor.id,
        "approver_name": actor.name,
        "reason": reason,
        "at": now(),
    }


async def _insert(session: AsyncSession, rows: Sequence[dict[str, object]]) -> set[UUID]:
    """Write approvals down; the payouts about which the person had not decided before."""
    if not rows:
        return set()
    once = ["merchant_id", "payout_id", "version", "approver_id"]
    statement = upsert(PayoutApproval).on_conflict_do_nothing(index_elements=once).returning(PayoutApproval.payout_id)
    return set((await session.execute(statement, rows)).scalars())


async def _note(session: AsyncSession, actor: Actor, payout: Payout, decision: Decision, reason: str) -> None:
    await history.note(session, actor, payout=payout, kind=f"approval.{decision}", before=payout.status, reason=reason)
    after = {
        "digest": steps.digest(payout),
        "version": payout.version,
        "amount_minor": payout.amount_minor,
        "currency": payout.currency,
    }
    entry = audit.Entry(
        actor=actor,
        action=f"payout.approval_{decision}",
        object_type="payout",
        object_id=payout.id,
        after=after,
        reason=reason or None,
    )
    await sheets.audited(session, entry)
