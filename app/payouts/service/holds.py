"""Holds: what stops payouts until somebody has looked, or until a time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, PaymentId, SellerId, new_id, public_id
from app.core.money import Money
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
from app.payouts.models import Payout, PayoutBatch, PayoutHold
from app.payouts.service import history, sheets, steps
from app.payouts.service.available import lock_wallets
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.queries import bank_accounts
from app.wallets import queries as wallets

HELD_FOR = timedelta(minutes=10)
"""When a payout that a hold keeps back is looked at again."""
_EXPIRING = text("select merchant_id, id from payout_holds_expiring(:moment, :most)")


async def place_hold(
    session: AsyncSession,
    actor: Actor,
    *,
    seller_id: SellerId,
    payout_id: PayoutId | None = None,
    account_id: BankAccountId | None = None,
    payment_id: PaymentId | None = None,
    amount: Money | None = None,
    kind: HoldKind = HoldKind.MANUAL,
    reason: str,
    expires_at: datetime | None = None,
) -> PayoutHold:
    """Stop payouts of a seller, to one of its accounts, or one payout: nothing that it covers is sent until it is released or its time is over.

    With an amount nothing is stopped: so much of the seller's money is kept back.
    """
    if expires_at is not None and expires_at <= now():
        raise PolicyInvalid("A hold ends in the future.", fields={"expires_on": "Choose a day to come."})
    narrow = (
        HoldScope.PAYOUT if payout_id else HoldScope.DESTINATION if account_id else HoldScope.PAYMENT if payment_id else HoldScope.SELLER
    )
    hold = PayoutHold(
        merchant_id=actor.merchant,
        id=new_id(),
        scope=narrow,
        seller_id=seller_id,
        payout_id=payout_id,
        bank_account_id=account_id,
        payment_id=payment_id,
        currency=amount.currency if amount else None,
        amount_minor=amount.minor if amount else None,
        kind=kind,
        reason=reason,
        placed_by_name=actor.name,
        placed_at=now(),
        expires_at=expires_at,
    )
    session.add(hold)
    await _audit(session, actor, hold, "placed", reason)
    return hold


async def hold_part(
    session: AsyncSession,
    actor: Actor,
    *,
    seller_id: SellerId,
    payment_id: PaymentId | None = None,
    amount: Money | None = None,
    reason: str,
    expires_at: datetime | None = None,
) -> PayoutHold:
    """Keep a part of a seller's money from being paid out: an amount, or what a payment brought. The rest goes on as it was."""
    if payment_id is not None:
        brought = await wallets.part_of_payment(session, merchant_id=actor.merchant, seller_id=seller_id, payment_id=payment_id)
        if brought is None:
            raise PolicyInvalid("It brought this seller nothing.", fields={"payment": "This payment brought the seller nothing."})
        if amount is not None and (amount.currency != brought.currency or amount > brought):
            detail = f"It brought the seller {brought.format()}."
            raise PolicyInvalid(detail, fields={"amount": detail})
        amount = amount or brought
    if amount is None or not amount.is_positive:
        raise PolicyInvalid("Name an amount.", fields={"amount": "Hold more than nothing."})
    # a request of the same moment sees the hold, or is over before it is placed
    await lock_wallets(session, merchant_id=actor.merchant, seller_ids=[seller_id], currency=amount.currency)
    return await place_hold(session, actor, seller_id=seller_id, payment_id=payment_id, amount=amount, reason=reason, expires_at=expires_at)


async def hold_destination(
    session: AsyncSession, actor: Actor, *, account_id: BankAccountId, reason: str, expires_at: datetime | None
) -> PayoutHold:
    """Stop everything that would be paid to a bank account."""
    account = await bank_accounts.destination(session, merchant_id=actor.merchant, account_id=account_id)
    return await place_hold(session, actor, seller_id=account.seller_id, account_id=account_id, reason=reason, expires_at=expires_at)


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
    hold = await _locked(session, actor, hold_id)
    if hold.released_at is None:
        hold.released_at, hold.released_by_name = now(), actor.name
        await session.flush()
        await _audit(session, actor, hold, "released", reason)
        await _let_go_on(session, actor, hold, reason)
    return hold


async def keep_hold(session: AsyncSession, actor: Actor, *, hold_id: PayoutHoldId, reason: str) -> PayoutHold:
    """Say that a hold that stands long has to stand on; whether it still has to is asked again after as many days."""
    hold = await _locked(session, actor, hold_id)
    if hold.released_at is None:
        hold.kept_at = now()
        await session.flush()
        await _audit(session, actor, hold, "kept", reason)
    return hold


async def _locked(session: AsyncSession, actor: Actor, hold_id: PayoutHoldId) -> PayoutHold:
    statement = select(PayoutHold).where(PayoutHold.merchant_id == actor.merchant, PayoutHold.id == hold_id).with_for_update()
    hold = (await session.execute(statement)).scalar_one_or_none()
    if hold is None:
        raise HoldNotFound("There is no hold with this id for this merchant.")
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


async def take_out_held(session: AsyncSession, merchant_id: MerchantId, payouts: Sequence[Payout]) -> list[Payout]:
    """Of payouts that are about to leave in a batch those that nothing keeps back.

    The others leave the batch: they can be stopped again, and are looked at again later.
    """
    standing = await queries.active_holds(session, merchant_id=merchant_id, payouts=payouts)
    held = [payout for payout in payouts if standing[PayoutId(payout.id)]]
    await _shrink_batches(session, merchant_id, held)
    actor = Actor.system(merchant_id, "the rules for payouts")
    async with sheets.together(session, merchant_id):
        for payout in held:
            payout.batch_id, payout.send_at = None, now() + HELD_FOR
            reason = "; ".join(hold.reason for hold in standing[PayoutId(payout.id)])
            await history.move(session, actor, payout=payout, event="take_out", reason=reason)
    return [payout for payout in payouts if not standing[PayoutId(payout.id)]]


async def _shrink_batches(session: AsyncSession, merchant_id: MerchantId, leaving: Sequence[Payout]) -> None:
    """Batches are no longer about the payouts that leave them; locked in one order."""
    wanted = select(PayoutBatch).where(PayoutBatch.merchant_id == merchant_id, PayoutBatch.id.in_({payout.batch_id for payout in leaving}))
    if not leaving:
        return
    for batch in (await session.execute(wanted.order_by(PayoutBatch.id).with_for_update())).scalars():
        gone = [payout for payout in leaving if payout.batch_id == batch.id]
        batch.payouts -= len(gone)
        batch.total_minor -= sum(payout.amount_minor for payout in gone)


async def expiring_holds(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutHoldId]]:
    """Holds of all merchants whose time is over."""
    rows = await session.execute(_EXPIRING, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutHoldId(row.id)) for row in rows]


async def _audit(session: AsyncSession, actor: Actor, hold: PayoutHold, action: str, reason: str) -> None:
    of: UUID = hold.payout_id or hold.bank_account_id or hold.payment_id or hold.seller_id
    after: dict[str, object] = {"scope": hold.scope, "kind": hold.kind, "seller": public_id("sel", hold.seller_id)}
    if hold.amount_minor is not None:
        after |= {"amount_minor": hold.amount_minor, "currency": hold.currency}
    kind = "bank_account" if hold.scope == HoldScope.DESTINATION else hold.scope
    entry = audit.Entry(actor=actor, action=f"payout.hold_{action}", object_type=kind, object_id=of, after=after, reason=reason or None)
    await sheets.audited(session, entry)
