"""The history of payouts: each step with its cause, and the events the rest of the house hears."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, new_id, public_id
from app.payouts import queries
from app.payouts.domain import PAYOUT, PayoutEvent, PayoutId, PayoutStatus
from app.payouts.models import Payout
from app.payouts.service import sheets


async def lock(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> Payout:
    """The payout, with nobody else writing to it until the transaction ends."""
    statement = select(Payout).where(Payout.merchant_id == merchant_id, Payout.id == payout_id).with_for_update()
    found = (await session.execute(statement.execution_options(populate_existing=True))).scalar_one_or_none()
    return found or await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)


async def lock_all(session: AsyncSession, *, merchant_id: MerchantId, payout_ids: Sequence[PayoutId]) -> dict[PayoutId, Payout]:
    """Several payouts, as ``lock`` locks one; unknown ones are left out. Locked in one order, so that two transactions cannot block each other."""
    statement = (
        select(Payout).where(Payout.merchant_id == merchant_id, Payout.id.in_(list(payout_ids))).order_by(Payout.id).with_for_update()
    )
    found = (await session.execute(statement.execution_options(populate_existing=True))).scalars()
    return {PayoutId(row.id): row for row in found}


async def note(
    session: AsyncSession,
    actor: Actor,
    *,
    payout: Payout,
    kind: str,
    before: str | None,
    reason: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add a step to the payout's history."""
    row: dict[str, object] = {
        "merchant_id": payout.merchant_id,
        "id": new_id(),
        "payout_id": payout.id,
        "at": now(),
        "kind": kind,
        "from_status": before,
        "to_status": payout.status,
        "actor_kind": actor.kind,
        "actor_name": actor.name,
        "reason": reason or None,
        "details": dict(details or {}),
    }
    async with sheets.sheet(session, MerchantId(payout.merchant_id)) as sheet:
        sheet.steps.append(row)


async def move(
    session: AsyncSession,
    actor: Actor,
    *,
    payout: Payout,
    event: str,
    tells: type[PayoutEvent] | None = None,
    reason: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Take the payout one step by the table of states, write it into the history and tell the house."""
    before = payout.status
    payout.status, payout.updated_at = PAYOUT.next(PayoutStatus(before), event), now()
    async with sheets.together(session, MerchantId(payout.merchant_id)):
        await note(session, actor, payout=payout, kind=f"payout.{event}", before=before, reason=reason, details=details)
        if tells is not None:
            await tell(session, payout, tells)


async def tell(session: AsyncSession, payout: Payout, event: type[PayoutEvent]) -> None:
    """Publish what happened to the payout."""
    message = event(
        payout_id=public_id("po", payout.id),
        seller_id=public_id("sel", payout.seller_id),
        status=payout.status,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
    )
    async with sheets.sheet(session, MerchantId(payout.merchant_id)) as sheet:
        sheet.events.append((message, payout.id))
