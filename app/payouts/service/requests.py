"""Requesting payouts: everything that decides whether money may leave is decided with the wallet locked, in the transaction that sets it aside."""

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import AppError
from app.core.ids import MerchantId, SellerId, new_id, public_id
from app.core.money import CurrencyMismatch, Money
from app.ledger.domain import InsufficientFunds
from app.payouts import queries
from app.payouts.domain import (
    EDITABLE,
    MOST_IN_FILE,
    RETRYABLE,
    DestinationNotUsable,
    FundingAccountId,
    HoldKind,
    NoFundingAccount,
    PayoutId,
    PayoutRequested,
    PayoutRetried,
    PayoutScheduleId,
    PayoutStatus,
    PayoutTooLarge,
    PayoutTooSmall,
    PayoutWasSent,
    Rail,
    Source,
    end_to_end_id,
)
from app.payouts.domain.approvals import WEEK, Breach, Limits, breaches
from app.payouts.models import FundingAccount, Payout
from app.payouts.service import history, holds, postings, sheets, steps
from app.payouts.service.available import lock_destinations, lock_wallets
from app.sellers import queries as sellers
from app.sellers.domain import SellerStatus
from app.sellers.domain.bank_accounts import BankAccountKind, BankAccountNeedsPerson, Destination, Verification
from app.sellers.queries import bank_accounts
from app.wallets import queries as wallets

_EXPIRING = text("select merchant_id, id from payouts_expiring(:moment, :most)")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What asked for a payout, beside the actor: a schedule's run, or a payout that is repeated."""

    source: Source = Source.PERSON
    requested_by: UUID | None = None
    requested_by_name: str = ""
    schedule_id: PayoutScheduleId | None = None
    run_on: date | None = None
    parent_id: PayoutId | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One payout that is wanted."""

    seller_id: SellerId
    amount: Money
    cause: Cause
    statement_text: str = ""
    only_to: UUID | None = None
    """The one account that may be paid to, when whoever asks does not want to follow a change."""


async def request_payout(
    session: AsyncSession, actor: Actor, *, seller_id: SellerId, amount: Money, statement_text: str = "", cause: Cause | None = None
) -> Payout:
    """Set a seller's money aside for its bank account in that currency. The wallet is locked first, so that two requests see each other."""
    actor.require_within("payouts.request", amount)
    cause = cause or Cause(source=Source.PROGRAM if actor.kind.is_program else Source.PERSON)
    await sellers.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    asked = Ask(seller_id=seller_id, amount=amount, statement_text=statement_text, cause=cause)
    found = (await request_all(session, actor, currency=amount.currency, asks=[asked]))[0]
    if isinstance(found, AppError):
        raise found
    return found


async def request_all(session: AsyncSession, actor: Actor, *, currency: str, asks: Sequence[Ask]) -> list[Payout | AppError]:
    """Request payouts in one currency, of a seller each, with one statement for each table; for each the payout, or why it cannot be."""
    merchant_id, ids = actor.merchant, [ask.seller_id for ask in asks]
    available = await lock_wallets(session, merchant_id=merchant_id, seller_ids=ids, currency=currency)
    accounts = await bank_accounts.destinations_in(session, merchant_id=merchant_id, seller_ids=ids, currency=currency)
    limits = await queries.limits(session, merchant_id=merchant_id, currency=currency)
    funding = await _funding(session, merchant_id, currency)
    answers: list[Payout | AppError] = []
    for ask in asks:
        try:
            account = usable(accounts.get(ask.seller_id), currency)
            if ask.only_to not in (None, account.id):
                raise DestinationNotUsable(f"It pays only to the account it was set for; the seller’s account is •••• {account.last4} now.")
            _check_amount(limits, ask.amount, available.get(ask.seller_id, 0))
            if isinstance(funding, NoFundingAccount):
                raise funding
            check_way(Rail(funding.rail), account.kind, ask.amount)
            answers.append(_draft(actor, ask, account=account, limits=limits, funding_id=funding.id))
        except AppError as refused:
            answers.append(refused)
    known = await _insert(session, [draft for draft in answers if isinstance(draft, Payout)])
    again = PayoutRetried("It was done already, by somebody else or by another run.")
    made = [known.get(draft.id, again) if isinstance(draft, Payout) else draft for draft in answers]
    async with sheets.together(session, merchant_id):
        payouts = [payout for payout in made if isinstance(payout, Payout)]
        for payout in payouts:
            await _set_aside(session, actor, payout, accounts[SellerId(payout.seller_id)])
        await _look_at(session, actor, payouts=payouts, accounts=accounts, limits=limits)
    return made


async def _set_aside(session: AsyncSession, actor: Actor, payout: Payout, account: Destination) -> None:
    await history.move(session, actor, payout=payout, event="request", tells=PayoutRequested)
    await postings.post_request(session, actor, payout=payout)
    after = {
        "amount_minor": payout.amount_minor,
        "currency": payout.currency,
        "seller": public_id("sel", payout.seller_id),
        "last4": account.last4,
    }
    entry = audit.Entry(actor=actor, action="payout.requested", object_type="payout", object_id=payout.id, after=after)
    await sheets.audited(session, entry)


async def destination(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> Destination:
    """The seller's account in a currency, if it may be paid to now."""
    account = await bank_accounts.active_destination(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    return usable(account, currency)


def usable(account: Destination | None, currency: str) -> Destination:
    """The account, if it may be paid to now."""
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


def check_way(rail: Rail, kind: BankAccountKind, amount: Money) -> None:
    """Refuse what could not be written into the file that carries it: it would keep back everybody else in that file."""
    if rail is Rail.ACH and kind is not BankAccountKind.US:
        raise DestinationNotUsable("Payouts in USD leave as an ACH file, which reaches US accounts only. Add the seller’s US account.")
    most = MOST_IN_FILE.get(rail)
    if most is not None and amount.minor > most:
        detail = f"One order of a file of this kind is at most {Money(most, amount.currency).format()}."
        raise PayoutTooLarge(detail, fields={"amount": detail})


async def _funding(session: AsyncSession, merchant_id: MerchantId, currency: str) -> FundingAccount | NoFundingAccount:
    try:
        return await queries.funding_in_use(session, merchant_id=merchant_id, currency=currency)
    except NoFundingAccount as refused:
        return refused


def _draft(actor: Actor, ask: Ask, *, account: Destination, limits: Limits, funding_id: UUID) -> Payout:
    cause, amount = ask.cause, ask.amount
    requested_by = cause.requested_by or actor.id
    if requested_by is None:
        raise BankAccountNeedsPerson("A payout is requested by somebody, or by a schedule that somebody set.")
    moment, payout_id = now(), PayoutId(new_id())
    return Payout(
        merchant_id=actor.merchant,
        id=payout_id,
        seller_id=account.seller_id,
        bank_account_id=account.id,
        funding_account_id=funding_id,
        currency=amount.currency,
        amount_minor=amount.minor,
        fee_minor=limits.fee_minor,
        status=PayoutStatus.DRAFT,
        source=cause.source,
        version=1,
        end_to_end_id=end_to_end_id(payout_id),
        statement_text=ask.statement_text,
        destination_fingerprint=account.fingerprint,
        destination_by=account.requested_by,
        requested_by=requested_by,
        requested_by_name=cause.requested_by_name or actor.name,
        edited_by=[],
        approvals_required=0,
        schedule_id=cause.schedule_id,
        run_on=cause.run_on,
        parent_id=cause.parent_id,
        created_at=moment,
        updated_at=moment,
    )


async def _insert(session: AsyncSession, drafts: Sequence[Payout]) -> dict[UUID, Payout]:
    """Write drafts down; what a schedule's run or another repetition did already is left out."""
    if not drafts:
        return {}
    rows = [{column.key: getattr(draft, column.key) for column in Payout.__table__.columns} for draft in drafts]
    statement = upsert(Payout).on_conflict_do_nothing().returning(Payout)
    return {payout.id: payout for payout in (await session.execute(statement, rows)).scalars()}


async def _look_at(
    session: AsyncSession, actor: Actor, *, payouts: Sequence[Payout], accounts: Mapping[SellerId, Destination], limits: Limits
) -> None:
    """What speaks against sending them holds them; for the others people are asked."""
    if not payouts:
        return
    merchant_id, house = actor.merchant, Actor.system(actor.merchant, "the rules for payouts")
    known = await sellers.sellers_by_id(session, merchant_id=merchant_id, ids={SellerId(payout.seller_id) for payout in payouts})
    if limits.counts_together:
        fingerprints = {payout.destination_fingerprint for payout in payouts}
        await lock_destinations(session, merchant_id=merchant_id, fingerprints=fingerprints)
    used = await queries.usage(session, merchant_id=merchant_id, payouts=payouts, moment=now())
    captured = await _captured(session, merchant_id, payouts) if limits.capture_percent is not None else {}
    for payout in payouts:
        seller_id, payout_id = SellerId(payout.seller_id), PayoutId(payout.id)
        decided_at = accounts[seller_id].decided_at
        since = now() - decided_at if decided_at else None
        usage = msgspec.structs.replace(used[payout_id], captured_minor=captured.get(seller_id, 0))
        found = breaches(limits, usage, amount=postings.amount(payout), since_change=since)
        if known[seller_id].status == SellerStatus.BLOCKED:
            found.append(Breach(kind=HoldKind.SELLER_BLOCKED, reason="The seller is blocked"))
        for breach in found:
            await holds.place_hold(session, house, seller_id=seller_id, payout_id=payout_id, kind=breach.kind, reason=breach.reason)
    standing = await queries.active_holds(session, merchant_id=merchant_id, payouts=payouts)
    for payout in payouts:
        if holding := standing[PayoutId(payout.id)]:
            await holds.apply(session, house, payout=payout, reason="; ".join(hold.reason for hold in holding))
        else:
            await steps.submit(session, actor, payout=payout)


async def _captured(session: AsyncSession, merchant_id: MerchantId, payouts: Sequence[Payout]) -> dict[SellerId, int]:
    ids = {SellerId(payout.seller_id) for payout in payouts}
    return await wallets.captured_since(session, merchant_id=merchant_id, seller_ids=ids, currency=payouts[0].currency, moment=now() - WEEK)


async def edit_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, amount: Money, statement_text: str) -> Payout:
    """Change a payout that nobody has approved in full: what was approved so far is void, and limits are looked at anew.

    Whoever changes it cannot approve it, as if it were requested by them.
    """
    actor.require_within("payouts.request", amount)
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    if amount.currency != payout.currency:
        detail = f"It is paid in {payout.currency}. Cancel it and request another one."
        raise CurrencyMismatch(detail, fields={"amount": detail})
    seller_id = SellerId(payout.seller_id)
    available = await lock_wallets(session, merchant_id=actor.merchant, seller_ids=[seller_id], currency=payout.currency)
    if payout.status not in EDITABLE:
        raise PayoutWasSent("It was approved already. Cancel it and request another one.")
    account = await destination(session, merchant_id=actor.merchant, seller_id=seller_id, currency=payout.currency)
    if account.id != payout.bank_account_id:
        raise DestinationNotUsable("The seller’s bank account changed since. Cancel this payout and request another one.")
    limits = await queries.limits(session, merchant_id=actor.merchant, currency=payout.currency)
    _check_amount(limits, amount, available.get(seller_id, 0) + payout.amount_minor + payout.fee_minor)
    funding = await queries.funding_account(session, merchant_id=actor.merchant, funding_id=FundingAccountId(payout.funding_account_id))
    check_way(Rail(funding.rail), account.kind, amount)
    before = {"amount_minor": payout.amount_minor, "text": payout.statement_text}
    await postings.post_release(session, actor, payout=payout)
    payout.version += 1
    if actor.id is not None and actor.id not in payout.edited_by:
        payout.edited_by = [*payout.edited_by, actor.id]
    payout.amount_minor, payout.statement_text, payout.fee_minor = amount.minor, statement_text, limits.fee_minor
    await session.flush()
    await postings.post_request(session, actor, payout=payout)
    after = {"amount_minor": amount.minor, "text": statement_text, "version": payout.version}
    await history.move(session, actor, payout=payout, event="edit", details=after)
    await audit.record(session, actor, action="payout.edited", object_type="payout", object_id=payout.id, before=before, after=after)
    await _look_at(session, actor, payouts=[payout], accounts={seller_id: account}, limits=limits)
    return payout


async def cancel_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId, reason: str = "") -> Payout:
    """Take a payout back before the bank hears of it."""
    payout = await history.lock(session, merchant_id=actor.merchant, payout_id=payout_id)
    await steps.stop(session, actor, payout=payout, event="cancel", reason=reason)
    return payout


async def retry_payout(session: AsyncSession, actor: Actor, *, payout_id: PayoutId) -> Payout:
    """Pay again what the bank refused or what came back, to the seller's present account: a new payout with its own approvals.

    The fee of an order that came back was earned. Where the wallet has nothing else for that of the next one, so much less is paid.
    """
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
        amount=await _again(session, actor.merchant, old),
        statement_text=old.statement_text,
        cause=Cause(source=Source.RETRY, parent_id=payout_id),
    )
    details = {"payout": public_id("po", fresh.id)}
    await history.note(session, actor, payout=old, kind="payout.retried", before=old.status, details=details)
    return fresh


async def _again(session: AsyncSession, merchant_id: MerchantId, old: Payout) -> Money:
    """How much is paid again: all of it, less what the fee lacks. Money that is held back is no reason to pay less."""
    seller_id, currency = SellerId(old.seller_id), old.currency
    available = await lock_wallets(session, merchant_id=merchant_id, seller_ids=[seller_id], currency=currency)
    spare = available.get(seller_id, 0) - old.amount_minor
    fee = (await queries.limits(session, merchant_id=merchant_id, currency=currency)).fee_minor
    return Money(old.amount_minor - max(0, fee - spare) if spare >= 0 else old.amount_minor, currency)


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
