"""Reads about payouts that everything else here is built on."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.clock import now
from app.core.ids import MerchantId, SellerId, first_id_at, path_id
from app.payouts.domain import UNUSED, FundingAccountId, FundingAccountNotFound, NoFundingAccount, PayoutId, PayoutNotFound, PayoutStatus
from app.payouts.domain.approvals import DAY, WEEK, Limits, Threshold, Usage
from app.payouts.models import ApprovalThreshold, FundingAccount, Payout, PayoutApproval, PayoutHold, PayoutPolicy

MISSING = "There is no payout with this id for this merchant."


def payout_id(text: str) -> PayoutId:
    """The id in an address; one that is malformed names no payout, like any other that is not there."""
    return PayoutId(path_id("po", text, otherwise=PayoutNotFound(MISSING)))


async def payout(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> Payout:
    """One payout."""
    found = await session.get(Payout, (merchant_id, payout_id))
    if found is None:
        raise PayoutNotFound(MISSING)
    return found


def had_a_hand_in(payout: Payout) -> set[UUID]:
    """Who requested a payout, changed it or set its destination: none of them decides about it."""
    return {payout.requested_by, payout.destination_by, *payout.edited_by}


async def payout_of_order(session: AsyncSession, *, merchant_id: MerchantId, end_to_end_id: str) -> Payout | None:
    """The payout that a bank's message is about."""
    statement = select(Payout).where(Payout.merchant_id == merchant_id, Payout.end_to_end_id == end_to_end_id)
    return (await session.execute(statement)).scalar_one_or_none()


async def limits(session: AsyncSession, *, merchant_id: MerchantId, currency: str) -> Limits:
    """The merchant's limits in a currency; without any, everything that is there may be paid out."""
    found = await session.get(PayoutPolicy, (merchant_id, currency))
    if found is None:
        return Limits()
    return Limits(
        min_minor=found.min_minor,
        max_minor=found.max_minor,
        fee_minor=found.fee_minor,
        day_count=found.day_count,
        day_minor=found.day_minor,
        week_minor=found.week_minor,
        first_payouts=found.first_payouts,
        change_hours=found.change_hours,
        capture_percent=found.capture_percent,
        max_hold_days=found.max_hold_days,
    )


async def thresholds(session: AsyncSession, *, merchant_id: MerchantId, currency: str) -> list[Threshold]:
    """From which amounts how many people must agree."""
    statement = select(ApprovalThreshold).where(ApprovalThreshold.merchant_id == merchant_id, ApprovalThreshold.currency == currency)
    rows = (await session.execute(statement.order_by(ApprovalThreshold.from_minor))).scalars()
    return [Threshold(from_minor=row.from_minor, approvals=row.approvals) for row in rows]


async def usage(session: AsyncSession, *, merchant_id: MerchantId, payouts: Sequence[Payout], moment: datetime) -> dict[PayoutId, Usage]:
    """What the sellers of some payouts, or whoever else has the same bank account, were paid lately beside them, and how often it ever was.

    Read with the wallets locked, so that two requests see each other. The payouts are in one currency and of a seller each.
    """
    of_seller = await _lately(session, Payout.seller_id, merchant_id, payouts, moment)
    of_account = await _lately(session, Payout.destination_fingerprint, merchant_id, payouts, moment)
    before = select(Payout.bank_account_id, func.count()).where(
        Payout.merchant_id == merchant_id,
        Payout.bank_account_id.in_([payout.bank_account_id for payout in payouts]),
        Payout.status == PayoutStatus.PAID,
    )
    paid = {row[0]: int(row[1]) for row in await session.execute(before.group_by(Payout.bank_account_id))}
    found = {}
    for payout in payouts:
        both = (of_seller.get(payout.seller_id, NOTHING), of_account.get(payout.destination_fingerprint, NOTHING))
        count, day_minor, week_minor = (max(values) for values in zip(*both, strict=True))
        before_it = paid.get(payout.bank_account_id, 0)
        found[PayoutId(payout.id)] = Usage(day_count=count, day_minor=day_minor, week_minor=week_minor, paid_before=before_it)
    return found


NOTHING = (0, 0, 0)


async def _lately(
    session: AsyncSession, column: InstrumentedAttribute[Any], merchant_id: MerchantId, payouts: Sequence[Payout], moment: datetime
) -> dict[object, tuple[int, int, int]]:
    """Payouts of 24 hours, and amounts of 24 hours and 7 days, in minor units, by a column that they share with some payouts."""
    day, counts = first_id_at(moment - DAY), Payout.status.not_in(UNUSED)
    lately = select(
        column,
        func.count().filter(Payout.id >= day),
        func.coalesce(func.sum(Payout.amount_minor).filter(Payout.id >= day), 0),
        func.coalesce(func.sum(Payout.amount_minor), 0),
    ).where(
        Payout.merchant_id == merchant_id,
        column.in_({getattr(payout, column.key) for payout in payouts}),
        Payout.currency == payouts[0].currency,
        Payout.id >= first_id_at(moment - WEEK),
        Payout.id.not_in([payout.id for payout in payouts]),
        counts,
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in await session.execute(lately.group_by(column))}


async def funding_account(session: AsyncSession, *, merchant_id: MerchantId, funding_id: FundingAccountId) -> FundingAccount:
    """One of the merchant's accounts from which payouts are made."""
    found = await session.get(FundingAccount, (merchant_id, funding_id))
    if found is None:
        raise FundingAccountNotFound("There is no account to pay from with this id for this merchant.")
    return found


async def funding_in_use(session: AsyncSession, *, merchant_id: MerchantId, currency: str) -> FundingAccount:
    """The account from which payouts in a currency are made."""
    statement = select(FundingAccount).where(
        FundingAccount.merchant_id == merchant_id, FundingAccount.currency == currency, FundingAccount.is_used
    )
    found = (await session.execute(statement)).scalar_one_or_none()
    if found is None:
        raise NoFundingAccount(f"Choose first from which account payouts in {currency} are made, under Payouts, Rules.")
    return found


async def active_holds(session: AsyncSession, *, merchant_id: MerchantId, payouts: Sequence[Payout]) -> dict[PayoutId, list[PayoutHold]]:
    """What stops each of some payouts now: holds on itself, on its seller, on its destination."""
    statement = select(PayoutHold).where(
        PayoutHold.merchant_id == merchant_id,
        PayoutHold.seller_id.in_({payout.seller_id for payout in payouts}),
        PayoutHold.released_at.is_(None),
        or_(PayoutHold.expires_at.is_(None), PayoutHold.expires_at > now()),
    )
    of_seller: dict[UUID, list[PayoutHold]] = {}
    for hold in (await session.execute(statement.order_by(PayoutHold.id))).scalars():
        of_seller.setdefault(hold.seller_id, []).append(hold)
    return {PayoutId(payout.id): [hold for hold in of_seller.get(payout.seller_id, []) if _stops(hold, payout)] for payout in payouts}


def _stops(hold: PayoutHold, payout: Payout) -> bool:
    if hold.amount_minor is not None:
        return False
    return hold.payout_id in (None, payout.id) and hold.bank_account_id in (None, payout.bank_account_id)


async def held_parts(
    session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId]
) -> dict[tuple[SellerId, str], int]:
    """How much of each wallet is held back, in minor units."""
    statement = select(PayoutHold.seller_id, PayoutHold.currency, func.sum(PayoutHold.amount_minor)).where(
        PayoutHold.merchant_id == merchant_id,
        PayoutHold.seller_id.in_(list(seller_ids)),
        PayoutHold.released_at.is_(None),
        PayoutHold.amount_minor.is_not(None),
        or_(PayoutHold.expires_at.is_(None), PayoutHold.expires_at > now()),
    )
    rows = await session.execute(statement.group_by(PayoutHold.seller_id, PayoutHold.currency))
    return {(SellerId(row[0]), str(row[1])): int(row[2] or 0) for row in rows}


async def approvals(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> list[PayoutApproval]:
    """Every yes and no to a payout, also those that an edit made void."""
    statement = select(PayoutApproval).where(PayoutApproval.merchant_id == merchant_id, PayoutApproval.payout_id == payout_id)
    return list((await session.execute(statement.order_by(PayoutApproval.id))).scalars())


async def funding_accounts(session: AsyncSession, *, merchant_id: MerchantId) -> list[FundingAccount]:
    """The accounts that are paid from, one a currency."""
    statement = select(FundingAccount).where(FundingAccount.merchant_id == merchant_id, FundingAccount.is_used)
    return list((await session.execute(statement.order_by(FundingAccount.currency))).scalars())


def funding_context(merchant_id: MerchantId, funding_id: FundingAccountId) -> str:
    """The place a number of an own account is sealed for."""
    return f"funding_account.number:{merchant_id}:{funding_id}"
