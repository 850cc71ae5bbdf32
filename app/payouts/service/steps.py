"""The steps of a payout between its request and the bank: to the approvers, to a value date, or to its early end."""

from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, public_id
from app.payouts import queries
from app.payouts.domain import (
    APPROVAL_LASTS,
    FundingAccountId,
    PayoutApproved,
    PayoutStopped,
    PayoutWaits,
    PayoutWasSent,
)
from app.payouts.domain.approvals import digest_of, required_approvals
from app.payouts.domain.calendars import BankDays
from app.payouts.domain.schedules import send_moment
from app.payouts.models import FundingAccount, Payout
from app.payouts.queries.calendars import bank_days
from app.payouts.service import history, postings, sheets

_PAST: Final = {"cancel": "cancelled", "reject": "rejected", "expire": "expired"}


async def submit(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Nothing speaks against it: ask as many people as its amount needs, or nobody."""
    merchant_id = MerchantId(payout.merchant_id)
    currency = payout.currency
    rules = await sheets.known(
        session, ("thresholds", currency), lambda: queries.thresholds(session, merchant_id=merchant_id, currency=currency)
    )
    payout.approvals_required = required_approvals(rules, payout.amount_minor)
    payout.expires_at = now() + APPROVAL_LASTS
    needs = {"approvals": payout.approvals_required}
    await history.move(session, actor, payout=payout, event="submit", tells=PayoutWaits, details=needs)
    if payout.approvals_required == 0:
        await approve(session, Actor.system(merchant_id, "the rules for payouts"), payout=payout)


async def approve(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Enough people agreed: date it."""
    await history.move(session, actor, payout=payout, event="approve", tells=PayoutApproved)
    await schedule(session, actor, payout=payout)


async def _bank(session: AsyncSession, payout: Payout) -> tuple[FundingAccount, BankDays]:
    """The account a payout is made from, and the days on which its bank works."""
    merchant_id = MerchantId(payout.merchant_id)
    funding_id = FundingAccountId(payout.funding_account_id)

    async def load() -> tuple[FundingAccount, BankDays]:
        funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=funding_id)
        return funding, await bank_days(session, merchant_id=merchant_id, codes=[funding.calendar])

    return await sheets.known(session, ("bank days", funding_id), load)


async def date_anew(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Give a payout that is leaving a value date to come, should something have kept it back past its own: no bank takes an order for yesterday."""
    funding, days = await _bank(session, payout)
    if payout.value_on is None or payout.value_on >= now().astimezone(ZoneInfo(funding.timezone)).date():
        return
    payout.value_on, _ = send_moment(days, after=now(), cutoff=funding.cutoff, timezone=funding.timezone)
    payout.calendar_version = days.version
    details = {"value_on": payout.value_on.isoformat(), "calendar": days.version}
    await history.note(session, actor, payout=payout, kind="payout.date", before=payout.status, details=details)


async def schedule(session: AsyncSession, actor: Actor, *, payout: Payout) -> None:
    """Date the payout: today before the bank's cut-off on a bank day, else the next bank day."""
    funding, days = await _bank(session, payout)
    payout.value_on, payout.send_at = send_moment(days, after=now(), cutoff=funding.cutoff, timezone=funding.timezone)
    payout.calendar_version, payout.expires_at, payout.batch_id = days.version, None, None
    details = {"value_on": payout.value_on.isoformat(), "calendar": days.version}
    await history.move(session, actor, payout=payout, event="schedule", details=details)


async def stop(session: AsyncSession, actor: Actor, *, payout: Payout, event: str, reason: str = "") -> None:
    """End a payout before the bank hears of it, and give the money back to the wallet. ``event`` is cancel, reject or expire."""
    if payout.sent_at is not None:
        raise PayoutWasSent("The bank was asked before and may have carried it out; it can only be followed now.")
    before = payout.status
    await history.move(session, actor, payout=payout, event=event, tells=PayoutStopped, reason=reason)
    payout.send_at = payout.expires_at = None
    await postings.post_release(session, actor, payout=payout)
    entry = audit.Entry(
        actor=actor,
        action=f"payout.{_PAST[event]}",
        object_type="payout",
        object_id=payout.id,
        before={"status": before},
        after={"status": payout.status},
        reason=reason or None,
    )
    await sheets.audited(session, entry)


def digest(payout: Payout) -> str:
    """What an approver sees of the payout, as a hash."""
    return digest_of(
        payout=public_id("po", payout.id),
        amount=postings.amount(payout),
        destination=payout.destination_fingerprint,
        version=payout.version,
    )
