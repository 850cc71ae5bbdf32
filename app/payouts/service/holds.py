"""Holds: what stops payouts until somebody has looked, or until a time."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, SellerId, new_id, public_id
from app.payouts import queries
from app.payouts.domain import (
    PAYOUT,
    HoldKind,
    HoldNotFound,
    HoldScope,
    PayoutHeld,
    PayoutHoldId,
    PayoutId,
    PayoutStatus,
    PolicyInvalid,
)
from app.payouts.models import Payout, PayoutHold
from app.payouts.service import history, sheets, steps
from app.sellers.domain.bank_accounts import BankAccountId

_EXPIRING = text("select merchant_id, id from payout_holds_expiring(:moment, :most)")


async def place_hold(
    session: AsyncSession,
    actor: Actor,
    *,
    seller_id: SellerId,
    payout_id: PayoutId | None = None,
    account_id: BankAccountId | None = None,
    kind: HoldKind = HoldKind.MANUAL,
    reason: str,
    expires_at: datetime | None = None,
) -> PayoutHold:
    """Stop payouts of a seller, to one of its accounts, or one payout: nothing that it covers is sent until it is released or its time is over."""
    if expires_at is not None and expires_at <= now():
        raise PolicyInvalid("A hold ends in the future.", fields={"expires_on": "Choose a day to come."})
    scope = HoldScope.PAYOUT if payout_id else HoldScope.DESTINATION if account_id else HoldScope.SELLER
    hold = PayoutHold(
        merchant_id=actor.merchant,
        id=new_id(),
        scope=scope,
        seller_id=seller_id,
        payout_id=payout_id,
        bank_account_id=account_id,
        kind=kind,
        reason=reason,
        placed_by_name=actor.name,
        placed_at=now(),
        expires_at=expires_at,
    )
    session.add(hold)
    await _audit(session, actor, hold, "placed", reason)
    return hold


async def hold_payout(
    session: AsyncSession, actor: Actor, *, payout_id: PayoutId, kind: HoldKind = HoldKind.MANUAL, reason: str, expires_at: datetime | None
) -> PayoutHold:
    """Stop one payout. One that waits for approval keeps its state, and is not sent while the hold stands."""
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    hold = await place_hold(
        session, actor, seller_id=SellerId(payout.seller_id), payout_id=payout_id, kind=kind, reason=reason, expires_at=expires_at
    )
    await apply(session, actor, payout=payout, reason=reason)
    return hold


async def apply(session: AsyncSession, actor: Actor, *, payout: Payout, reason: str) -> None:
    """Show that a hold stands in a payout's way."""
    if PAYOUT.can(PayoutStatus(payout.status), "hold"):
        await history.move(session, actor, payout=payout, event="hold", tells=PayoutHeld, reason=reason)
    else:
        await history.note(session, actor, payout=payout, kind="payout.hold_placed", before=payout.status, reason=reason)


async def release_hold(session: AsyncSession, actor: Actor, *, hold_id: PayoutHoldId, reason: str = "") -> PayoutHold:
    """End a hold; payouts that nothing else stops go on."""
    statement = select(PayoutHold).where(PayoutHold.merchant_id == actor.merchant, PayoutHold.id == hold_id).with_for_update()
    hold = (await session.execute(statement)).scalar_one_or_none()
    if hold is None:
        raise HoldNotFound("There is no hold with this id for this merchant.")
    if hold.released_at is None:
        hold.released_at, hold.released_by_name = now(), actor.name
        await session.flush()
        await _audit(session, actor, hold, "released", reason)
        await _let_go_on(session, actor, hold, reason)
    return hold


async def _let_go_on(session: AsyncSession, actor: Actor, hold: PayoutHold, reason: str) -> None:
    waiting = select(Payout).where(
        Payout.merchant_id == hold.merchant_id, Payout.seller_id == hold.seller_id, Payout.status == PayoutStatus.ON_HOLD
    )
    merchant_id = MerchantId(hold.merchant_id)
    payouts = list((await session.execute(waiting.order_by(Payout.id).with_for_update())).scalars())
    standing = await queries.active_holds(session, merchant_id=merchant_id, payouts=payouts)
    async with sheets.together(session, merchant_id):
        for payout in payouts:
            if not standing[PayoutId(payout.id)]:
                await history.move(session, actor, payout=payout, event="release", reason=reason)
                await steps.submit(session, actor, payout=payout)


async def expiring_holds(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutHoldId]]:
    """Holds of all merchants whose time is over."""
    rows = await session.execute(_EXPIRING, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutHoldId(row.id)) for row in rows]


async def _audit(session: AsyncSession, actor: Actor, hold: PayoutHold, action: str, reason: str) -> None:
    of: UUID = hold.payout_id or hold.bank_account_id or hold.seller_id
    after = {"scope": hold.scope, "kind": hold.kind, "seller": public_id("sel", hold.seller_id)}
    kind = {"payout": "payout", "destination": "bank_account", "seller": "seller"}[hold.scope]
    entry = audit.Entry(actor=actor, action=f"payout.hold_{action}", object_type=kind, object_id=of, after=after, reason=reason or None)
    await sheets.audited(session, entry)
