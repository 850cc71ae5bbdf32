"""Reads about payouts that everything else here is built on."""

from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import MerchantId, SellerId, first_id_at, path_id
from app.payouts.domain import UNUSED, FundingAccountId, FundingAccountNotFound, NoFundingAccount, PayoutId, PayoutNotFound, PayoutStatus
from app.payouts.domain.approvals import DAY, WEEK, Limits, Threshold, Usage
from app.payouts.models import ApprovalThreshold, FundingAccount, Payout, PayoutApproval, PayoutHold, PayoutPolicy
from app.sellers.domain.bank_accounts import BankAccountId

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
    )


async def thresholds(session: AsyncSession, *, merchant_id: MerchantId, currency: str) -> list[Threshold]:
    """From which amounts how many people must agree."""
    statement = select(ApprovalThreshold).where(ApprovalThreshold.merchant_id == merchant_id, ApprovalThreshold.currency == currency)
    rows = (await session.execute(statement.order_by(ApprovalThreshold.from_minor))).scalars()
    return [Threshold(from_minor=row.from_minor, approvals=row.approvals) for row in rows]


async def usage(
    session: AsyncSession,
    *,
    merchant_id: MerchantId,
    seller_id: SellerId,
    account_id: BankAccountId,
    currency: str,
    moment: datetime,
    without: PayoutId | None = None,
) -> Usage:
    """What the seller was paid lately, and how often its account ever was. Read with the wallet locked, so that two requests see each other."""
    day, counts = first_id_at(moment - DAY), Payout.status.not_in(UNUSED)
    lately = select(
        func.count().filter(Payout.id >= day),
        func.coalesce(func.sum(Payout.amount_minor).filter(Payout.id >= day), 0),
        func.coalesce(func.sum(Payout.amount_minor), 0),
    ).where(Payout.merchant_id == merchant_id, Payout.seller_id == seller_id, Payout.currency == currency, counts)
    if without is not None:
        lately = lately.where(Payout.id != without)
    count, day_minor, week_minor = (await session.execute(lately.where(Payout.id >= first_id_at(moment - WEEK)))).one()
    before = select(func.count()).where(
        Payout.merchant_id == merchant_id, Payout.bank_account_id == account_id, Payout.status == PayoutStatus.PAID
    )
    paid = int((await session.execute(before)).scalar_one())
    return Usage(day_count=int(count), day_minor=int(day_minor), week_minor=int(week_minor), paid_before=paid)


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


async def active_holds(session: AsyncSession, *, merchant_id: MerchantId, payout: Payout) -> list[PayoutHold]:
    """What stops a payout now: holds on itself, on its seller, on its destination."""
    statement = select(PayoutHold).where(
        PayoutHold.merchant_id == merchant_id,
        PayoutHold.seller_id == payout.seller_id,
        PayoutHold.released_at.is_(None),
        or_(PayoutHold.expires_at.is_(None), PayoutHold.expires_at > now()),
        or_(PayoutHold.payout_id.is_(None), PayoutHold.payout_id == payout.id),
        or_(PayoutHold.bank_account_id.is_(None), PayoutHold.bank_account_id == payout.bank_account_id),
    )
    return list((await session.execute(statement.order_by(PayoutHold.id))).scalars())


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
