"""Holds that stand so long that somebody has to say whether they still have to."""

from sqlalchemy import Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.approvals.domain import EVERYTHING, Part, Waiting
from app.approvals.queries import part_of
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import SellerId, public_id
from app.core.money import Money
from app.payouts.domain.approvals import MAX_HOLD_DAYS
from app.payouts.models import Payout, PayoutHold, PayoutPolicy
from app.sellers import queries as sellers

COVERS = {"seller": "All payouts", "payout": "One payout", "destination": "One bank account", "payment": "What one payment brought"}


def _long(actor: Actor) -> Select[PayoutHold]:
    """Holds that have stood for longer than the merchant's rule says; one without a currency goes by the shortest rule."""
    of_currency, of_merchant = aliased(PayoutPolicy), aliased(PayoutPolicy)
    shortest = select(func.min(of_merchant.max_hold_days)).where(of_merchant.merchant_id == actor.merchant).scalar_subquery()
    days = func.coalesce(of_currency.max_hold_days, shortest, MAX_HOLD_DAYS)
    since = func.coalesce(PayoutHold.kept_at, PayoutHold.placed_at)
    return (
        select(PayoutHold)
        .outerjoin(Payout, (Payout.merchant_id == PayoutHold.merchant_id) & (Payout.id == PayoutHold.payout_id))
        .outerjoin(
            of_currency,
            (of_currency.merchant_id == PayoutHold.merchant_id)
            & (of_currency.currency == func.coalesce(PayoutHold.currency, Payout.currency)),
        )
        .where(PayoutHold.merchant_id == actor.merchant, PayoutHold.released_at.is_(None))
        .where(since + days * literal_column("interval '1 day'") <= now())
    )


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many holds have stood for longer than the merchant's rule says."""
    return await session.scalar(select(func.count()).select_from(_long(actor).subquery())) or 0


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Holds that have stood for longer than the merchant's rule says, oldest first."""
    holds = list(await session.scalars(part_of(_long(actor), PayoutHold.id, part)))
    names = await sellers.seller_names(session, merchant_id=actor.merchant, ids={SellerId(hold.seller_id) for hold in holds})
    return [_waiting(actor, hold, names[SellerId(hold.seller_id)]) for hold in holds]


def _waiting(actor: Actor, hold: PayoutHold, seller: str) -> Waiting:
    held = Money(hold.amount_minor, hold.currency) if hold.amount_minor is not None and hold.currency is not None else None
    return Waiting(
        kind="hold",
        id=public_id("poh", hold.id),
        title=f"Release the hold on {held.format() if held else 'payouts'} of {seller}",
        detail=hold.reason,
        href=f"/payouts/{public_id('po', hold.payout_id)}" if hold.payout_id else "/payouts/holds",
        digest=(hold.kept_at or hold.placed_at).isoformat(),
        requested_by=hold.placed_by_name,
        requested_at=hold.kept_at or hold.placed_at,
        may_decide=actor.can("payouts.approve"),
        amount=held,
        reason=hold.reason,
        facts=[
            ("Covers", COVERS[hold.scope]),
            ("Held since", f"{hold.placed_at:%d %b %Y}"),
            ("If refused", "It stands on, and is asked about again"),
        ],
    )
