"""What payouts write into the ledger, each in the transaction of the state it explains."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import today
from app.core.ids import MerchantId, public_id
from app.core.money import Money
from app.ledger.domain import Kind, Line, Owner, Posting
from app.ledger.domain import payouts as journals
from app.payouts.domain import BANK
from app.payouts.models import Payout
from app.payouts.service import sheets


def seller(payout: Payout) -> Owner:
    """The wallet's owner."""
    return Owner("seller", payout.seller_id)


def bank(payout: Payout) -> Owner:
    """Our own bank account from which it is paid."""
    return Owner(BANK, payout.funding_account_id)


def amount(payout: Payout) -> Money:
    """What the seller's bank receives."""
    return Money(payout.amount_minor, payout.currency)


def fee(payout: Payout) -> Money:
    """What the platform keeps for it."""
    return Money(payout.fee_minor, payout.currency)


def _key(payout: Payout) -> str:
    return public_id("po", payout.id)


async def post_request(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Set the money aside. The database refuses more than the wallet holds, whoever asks at the same time."""
    lines = journals.request_payout(payout=_key(payout), seller=seller(payout), reserved=amount(payout) + fee(payout))
    await _post(session, actor, payout, Kind.PAYOUT_REQUESTED, _versioned("requested", payout), lines)


async def post_release(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Give back what was set aside."""
    lines = journals.release_payout(payout=_key(payout), seller=seller(payout), reserved=amount(payout) + fee(payout))
    await _post(session, actor, payout, Kind.PAYOUT_RELEASED, _versioned("released", payout), lines)


async def post_sent(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """The order is about to leave."""
    lines = journals.send_payout(payout=_key(payout), seller=seller(payout), rail=bank(payout), amount=amount(payout), fee=fee(payout))
    await _post(session, actor, payout, Kind.PAYOUT_SENT, "sent", lines)


async def post_paid(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """The money left our bank account."""
    lines = journals.pay_payout(payout=_key(payout), rail=bank(payout), bank=bank(payout), amount=amount(payout))
    await _post(session, actor, payout, Kind.PAYOUT_PAID, "paid", lines)


async def post_failed(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """The bank refused the order."""
    lines = journals.fail_payout(payout=_key(payout), seller=seller(payout), rail=bank(payout), amount=amount(payout), fee=fee(payout))
    await _post(session, actor, payout, Kind.PAYOUT_FAILED, "failed", lines)


async def post_returned(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """The money came back."""
    lines = journals.return_payout(payout=_key(payout), seller=seller(payout), rail=bank(payout), bank=bank(payout), amount=amount(payout))
    await _post(session, actor, payout, Kind.PAYOUT_RETURNED, "returned", lines)


async def post_freed(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Money that came back may be paid out again."""
    lines = journals.free_returned(seller=seller(payout), amount=amount(payout))
    await _post(session, actor, payout, Kind.PAYOUT_FREED, "freed", lines)


def _versioned(key: str, payout: Payout) -> str:
    return key if payout.version == 1 else f"{key}:{payout.version}"


async def _post(session: AsyncSession, actor: Actor, payout: Payout, kind: Kind, key: str, lines: Sequence[Line]) -> None:
    posting = Posting(
        kind=kind,
        source_type="payout",
        source_id=payout.id,
        event_key=f"payout:{_key(payout)}:{key}",
        effective_on=today(),
        lines=list(lines),
        actor=actor,
    )
    async with sheets.sheet(session, MerchantId(payout.merchant_id)) as sheet:
        sheet.postings.append(posting)
