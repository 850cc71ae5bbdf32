"""Requesting payouts: everything that decides whether money may leave is decided with the wallet locked, in the transaction that sets it aside."""

from datetime import date
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, SellerId, new_id, public_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import InsufficientFunds, Owner
from app.ledger.domain.journals import wallet_available
from app.payouts import queries
from app.payouts.domain import (
    EDITABLE,
    RETRYABLE,
    DestinationNotUsable,
    HoldKind,
    PayoutId,
    PayoutRequested,
    PayoutRetried,
    PayoutScheduleId,
    PayoutStatus,
    PayoutTooLarge,
    PayoutTooSmall,
    PayoutWasSent,
    Source,
    end_to_end_id,
)
from app.payouts.domain.approvals import Breach, Limits, breaches
from app.payouts.models import Payout
from app.payouts.service import history, holds, postings, steps
from app.sellers import queries as sellers
from app.sellers.domain import SellerStatus
from app.sellers.domain.bank_accounts import BankAccountNeedsPerson, Destination, Verification
from app.sellers.queries import bank_accounts

_EXPIRING = text("select merchant_id, id from payouts_expiring(:moment, :most)")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What asked for a payout, beside the actor: a schedule's run, or a payout that is repeated."""

    source: Source = Source.PERSON
    requested_by: UUID | None = None
    requested_by_name: str = ""
    schedule_id: PayoutScheduleId | None = None
    run_on: date | None = None
    parent_id: PayoutId | None = None


async def request_payout(
    session: AsyncSession, actor: Actor, *, seller_id: SellerId, amount: Money, statement_text: str = "", cause: Cause | None = None
) -> Payout:
    """Set a seller's money aside for its bank account in that currency. The wallet is locked first, so that two requests see each other."""
    cause = cause or Cause(source=Source.PROGRAM if actor.kind.is_program else Source.PERSON)
    await sellers.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    available = await lock_wallet(session, merchant_id=actor.merchant, seller_id=seller_id, currency=amount.currency)
    account = await destination(session, merchant_id=actor.merchant, seller_id=seller_id, currency=amount.currency)
    limits = await queries.limits(session, merchant_id=actor.merchant, currency=amount.currency)
    _check_amount(limits, amount, available)
    payout = await _draft(session, actor, account=account, amount=amount, limits=limits, statement_text=statement_text, cause=cause)
    await history.move(session, actor, payout=payout, event="request", tells=PayoutRequested)
    await postings.post_request(session, actor, payout=payout)
    after = {"amount_minor": amount.minor, "currency": amount.currency, "seller": public_id("sel", seller_id), "last4": account.last4}
    await audit.record(session, actor, action="payout.requested", object_type="payout", object_id=payout.id, after=after)
    await _look_at(session, actor, payout=payout, account=account, limits=limits)
    return payout


async def lock_wallet(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> int:
    """Keep every other payout of the wallet out until the transaction ends; returns what is available, in minor units."""
    wallet = wallet_available(Owner("seller", seller_id))
    return await ledger.lock_available(session, merchant_id=merchant_id, account=wallet, currency=currency) or 0


async def destination(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> Destination:
    """The seller's account in a currency, if it may be paid to now."""
    account = await bank_accounts.active_destination(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    if account is None or account.usable_from is None:
        raise DestinationNotUsable(f"The seller has no approved bank account for {currency}. Add one on the seller’s page.")
    if account.verification != Verification.VERIFIED:
        raise DestinationNotUsable("Nobody has verified the seller’s bank account yet.")
    if account.usable_from > now():
        raise DestinationNotUsable(f"The bank account was changed lately; it can be paid to from {account.usable_from:%d %B %H:%M} UTC on.")
    return account


def _check_amount(limits: Limits, amount: Money, available: int) -> None:
    least = Money(max(1, limits.min_minor), amount.currency)
    if amount < least:
        raise PayoutTooSmall(f"At least {least.format()} is paid out.", fields={"amount": f"At least {least.format()} is paid out."})
    if limits.max_minor is not None and amount.minor > limits.max_minor:
        most = Money(limits.max_minor, amount.currency).format()
        raise PayoutTooLarge(f"One payout is at most {most}.", fields={"amount": f"One payout is at most {most}."})
    left = Money(max(0, available - limits.fee_minor), amount.currency)
    if amount > left:
        detail = f"At most {left.format()} can be paid out now."
        raise InsufficientFunds(detail, fields={"amount": detail})


async def _draft(
    session: AsyncSession, actor: Actor, *, account: Destination, amount: Money, limits: Limits, statement_text: str, cause: Cause
) -> Payout:
    requested_by = cause.requested_by or actor.id
    if requested_by is None:
        raise BankAccountNeedsPerson("A payout is requested by somebody, or by a schedule that somebody set.")
    funding = await queries.funding_in_use(session, merchant_id=actor.merchant, currency=amount.currency)
    moment, payout_id = now(), PayoutId(new_id())
    payout = Payout(
        merchant_id=actor.merchant,
        id=payout_id,
        seller_id=account.seller_id,
        bank_account_id=account.id,
        funding_account_id=funding.id,
        currency=amount.currency,
        amount_minor=amount.minor,
        fee_minor=limits.fee_minor,
        status=PayoutStatus.DRAFT,
        source=cause.source,
        version=1,
        end_to_end_id=end_to_end_id(payout_id),
        statement_text=statement_text,
        destination_fingerprint=account.fingerprint,
        destination_by=account.requested_by,
        requested_by=requested_by,
        requested_by_name=cause.requested_by_name or actor.name,
        approvals_required=0,
        schedule_id=cause.schedule_id,
        run_on=cause.run_on,
        parent_id=cause.parent_id,
        created_at=moment,
        updated_at=moment,
    )
    try:
        async with session.begin_nested():
            session.add(payout)
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise PayoutRetried("It was done already, by somebody else or by another run.") from error
    return payout


async def _look_at(session: AsyncSession, actor: Actor, *, payout: Payout, account: Destination, limits: Limits) -> None:
    """What speaks against sending it holds it; otherwise people are asked."""
    merchant_id, seller_id = MerchantId(payout.merchant_id), SellerId(payout.seller_id)
    usage = await queries.usage(
        session,
        merchant_id=merchant_id,
        seller_id=seller_id,
        account_id=account.id,
        currency=payout.currency,
        moment=now(),
        without=PayoutId(payout.id),
    )
    since = now() - account.decided_at if account.decided_at else None
    found = breaches(limits, usage, amount=postings.amount(payout), since_change=since)
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    if seller.status == SellerStatus.BLOCKED:
        found.append(Breach(kind=HoldKind.SELLER_BLOCKED, reason="The seller is blocked"))
    house = Actor.system(merchant_id, "the rules for payouts")
    for breach in found:
        await holds.place_hold(session, house, seller_id=seller_id, payout_id=PayoutId(payout.id), kind=breach.kind, reason=breach.reason)
    standing = await queries.active_holds(session, merchant_id=merchant_id, payout=payout)
    if standing:
        await holds.apply(session, house, payout=payout, reason="; ".join(hold.reason for hold in standing))
    else:
        await steps.submit(session, actor, payout=payout)


async def edit_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, amount: Money, statement_text: str) -> Payout:
    """Change a payout that nobody has approved in full: what was approved so far is void, and limits are looked at anew."""
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    seller_id = SellerId(payout.seller_id)
    available = await lock_wallet(session, merchant_id=actor.merchant, seller_id=seller_id, currency=payout.currency)
    if payout.status not in EDITABLE:
        raise PayoutWasSent("It was approved already. Cancel it and request another one.")
    account = await destination(session, merchant_id=actor.merchant, seller_id=seller_id, currency=payout.currency)
    if account.id != payout.bank_account_id:
        raise DestinationNotUsable("The seller’s bank account changed since. Cancel this payout and request another one.")
    limits = await queries.limits(session, merchant_id=actor.merchant, currency=payout.currency)
    _check_amount(limits, amount, available + payout.amount_minor + payout.fee_minor)
    before = {"amount_minor": payout.amount_minor, "text": payout.statement_text}
    await postings.post_release(session, actor, payout=payout)
    payout.version += 1
    payout.amount_minor, payout.statement_text, payout.fee_minor = amount.minor, statement_text, limits.fee_minor
    await session.flush()
    await postings.post_request(session, actor, payout=payout)
    after = {"amount_minor": amount.minor, "text": statement_text, "version": payout.version}
    await history.move(session, actor, payout=payout, event="edit", details=after)
    await audit.record(session, actor, action="payout.edited", object_type="payout", object_id=payout.id, before=before, after=after)
    await _look_at(session, actor, payout=payout, account=account, limits=limits)
    return payout


async def cancel_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, reason: str = "") -> Payout:
    """Take a payout back before the bank hears of it."""
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    await steps.stop(session, actor, payout=payout, event="cancel", reason=reason)
    return payout


async def retry_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId) -> Payout:
    """Pay again what the bank refused or what came back, to the seller's present account: a new payout with its own approvals."""
    old = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    if old.status not in RETRYABLE:
        raise PayoutWasSent("Only a payout that failed or came back is paid again.")
    if old.status == PayoutStatus.RETURNED:
        await destination(session, merchant_id=actor.merchant, seller_id=SellerId(old.seller_id), currency=old.currency)
        await postings.post_freed(session, actor, payout=old)
    fresh = await request_payout(
        session,
        actor,
        seller_id=SellerId(old.seller_id),
        amount=postings.amount(old),
        statement_text=old.statement_text,
        cause=Cause(source=Source.RETRY, parent_id=payout_id),
    )
    details = {"payout": public_id("po", fresh.id)}
    await history.note(session, actor, payout=old, kind="payout.retried", before=old.status, details=details)
    return fresh


async def expire_payout(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> bool:
    """Close a payout for which nobody decided in time; one that was decided meanwhile is left."""
    payout = await history.lock(session, merchant_id=merchant_id, payout_id=payout_id)
    if payout.expires_at is None or payout.expires_at > now():
        return False
    await steps.stop(session, Actor.system(merchant_id, "the clock"), payout=payout, event="expire", reason="Nobody decided in time")
    return True


async def expiring_payouts(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutId]]:
    """Payouts of all merchants for which nobody decided in time."""
    rows = await session.execute(_EXPIRING, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutId(row.id)) for row in rows]
