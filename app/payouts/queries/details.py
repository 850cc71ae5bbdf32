"""Reads for the page of one payout and the dialogs about it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId, SellerId, path_id, public_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.ledger import queries as ledger
from app.payouts import queries
from app.payouts.domain import UNUSED, BatchNotFound, FundingAccountId, HoldNotFound, PayoutBatchId, PayoutHoldId, PayoutId
from app.payouts.domain.approvals import WEEK
from app.payouts.models import Payout, PayoutAttempt, PayoutBatch, PayoutHistory, PayoutHold
from app.payouts.queries.lists import rows_of, waiting_row
from app.payouts.schemas import PayoutView, bank_of, masked
from app.payouts.schemas.details import (
    BatchPage,
    ChooseSellerPage,
    HoldListPage,
    HoldListRow,
    HoldRow,
    MoreHeldPage,
    PayoutDetailPage,
    PayoutFormPage,
    attempts_of,
    step_of,
)
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import BankAccountId, Destination, Verification
from app.sellers.queries import bank_accounts
from app.wallets import queries as wallets

MOST_STEPS = 200


def batch_id(text: str) -> PayoutBatchId:
    """The id in an address; one that is malformed names no batch."""
    return PayoutBatchId(path_id("pob", text, otherwise=BatchNotFound("There is no batch with this id for this merchant.")))


def hold_id(text: str) -> PayoutHoldId:
    """The id in an address; one that is malformed names no hold."""
    return PayoutHoldId(path_id("poh", text, otherwise=HoldNotFound("There is no hold with this id for this merchant.")))


async def hold_list_page(session: AsyncSession, *, merchant_id: MerchantId, after: str | None = None) -> HoldListPage:
    """Everything that stops payouts now, newest first."""
    statement = select(PayoutHold.id, PayoutHold).where(
        PayoutHold.merchant_id == merchant_id,
        PayoutHold.released_at.is_(None),
        or_(PayoutHold.expires_at.is_(None), PayoutHold.expires_at > now()),
    )
    found = await fetch_page(session, statement, keys=[PayoutHold.id], after=after)
    rows = [row.PayoutHold for row in found.items]
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(row.seller_id) for row in rows})
    shown = [
        HoldListRow(
            hold=HoldRow.of(row),
            seller_id=public_id("sel", row.seller_id),
            seller=names[SellerId(row.seller_id)],
            payout_id=public_id("po", row.payout_id) if row.payout_id else None,
            payment_id=public_id("pay", row.payment_id) if row.payment_id else None,
            account_id=public_id("ba", row.bank_account_id) if row.bank_account_id else None,
        )
        for row in rows
    ]
    return HoldListPage(holds=shown, next=found.next, previous=found.previous)


async def seller_hold_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> MoreHeldPage:
    """The question before payouts of a seller are held."""
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    owned = await wallets.wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id])
    currency = next((wallet.currency for wallet in owned[seller_id]), "EUR")
    return MoreHeldPage(seller_id=public_id("sel", seller_id), seller=seller.name, currency=currency)


async def destination_hold_page(session: AsyncSession, *, merchant_id: MerchantId, account_id: BankAccountId) -> MoreHeldPage:
    """The question before everything to one bank account is held."""
    account = await bank_accounts.destination(session, merchant_id=merchant_id, account_id=account_id)
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=account.seller_id)
    shown = f"{bank_of(account)}, {masked(account)}"
    return MoreHeldPage(
        seller_id=public_id("sel", account.seller_id), seller=seller.name, account_id=public_id("ba", account_id), account=shown
    )


async def payout_view(session: AsyncSession, *, merchant_id: MerchantId, payout_id: PayoutId) -> PayoutView:
    """One payout as the API shows it."""
    row = await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)
    account = await bank_accounts.destination(session, merchant_id=merchant_id, account_id=BankAccountId(row.bank_account_id))
    return PayoutView.of(row, account.last4)


async def payout_detail_page(session: AsyncSession, actor: Actor, *, payout_id: PayoutId) -> PayoutDetailPage:
    """One payout with its history, orders, approvals, what holds it, what it covers and what it wrote into the ledger."""
    merchant_id = actor.merchant
    payout = await queries.payout(session, merchant_id=merchant_id, payout_id=payout_id)
    row = (await rows_of(session, merchant_id=merchant_id, payouts=[payout]))[0]
    account = await bank_accounts.destination(session, merchant_id=merchant_id, account_id=BankAccountId(payout.bank_account_id))
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(payout.funding_account_id))
    signed = waiting_row(actor, payout, row, await queries.approvals(session, merchant_id=merchant_id, payout_id=payout_id))
    steps = select(PayoutHistory).where(PayoutHistory.merchant_id == merchant_id, PayoutHistory.payout_id == payout_id)
    attempts = select(PayoutAttempt).where(PayoutAttempt.merchant_id == merchant_id, PayoutAttempt.payout_id == payout_id)
    child = select(Payout.id).where(Payout.merchant_id == merchant_id, Payout.parent_id == payout_id)
    child_id = (await session.execute(child)).scalar_one_or_none()
    books = None
    if actor.can("ledger.read"):
        books = await ledger.transactions_of(session, merchant_id=merchant_id, source_type="payout", source_id=payout_id)
    return PayoutDetailPage(
        row=row,
        seller_id=public_id("sel", payout.seller_id),
        fee=Money(payout.fee_minor, payout.currency),
        holder=account.holder_name,
        bank_account_id=public_id("ba", account.id),
        funding=funding.name,
        end_to_end_id=payout.end_to_end_id,
        provider_reference=payout.provider_reference,
        statement_text=payout.statement_text,
        requested_by=payout.requested_by_name,
        batch_id=public_id("pob", payout.batch_id) if payout.batch_id else None,
        parent_id=public_id("po", payout.parent_id) if payout.parent_id else None,
        child_id=public_id("po", child_id) if child_id else None,
        paid_at=payout.paid_at,
        sent_at=payout.sent_at,
        digest=signed.digest,
        may_decide=signed.may_decide,
        signatures=signed.signatures,
        steps=[step_of(step) for step in (await session.execute(steps.order_by(PayoutHistory.id.desc()).limit(MOST_STEPS))).scalars()],
        attempts=attempts_of(list((await session.execute(attempts.order_by(PayoutAttempt.number))).scalars())),
        holds=[HoldRow.of(hold) for hold in (await queries.active_holds(session, merchant_id=merchant_id, payouts=[payout]))[payout_id]],
        covers=await _covers(session, payout),
        available=await _available(session, merchant_id, SellerId(payout.seller_id), payout.currency),
        warnings=await _warnings(session, payout, account),
        ledger=books,
    )


async def _covers(session: AsyncSession, payout: Payout) -> list[tuple[str, Money]]:
    """The payments whose funds became available since the seller's payout before this one."""
    merchant_id, seller_id = MerchantId(payout.merchant_id), SellerId(payout.seller_id)
    before = (
        select(Payout.created_at)
        .where(
            Payout.merchant_id == merchant_id,
            Payout.seller_id == seller_id,
            Payout.currency == payout.currency,
            Payout.status.not_in(UNUSED),
            Payout.id < payout.id,
        )
        .order_by(Payout.id.desc())
        .limit(1)
    )
    since = (await session.execute(before)).scalar_one_or_none() or datetime(2000, 1, 1, tzinfo=UTC)
    found = await wallets.released_between(
        session, merchant_id=merchant_id, seller_id=seller_id, currency=payout.currency, since=since, until=payout.created_at
    )
    return [(public_id("pay", payment_id), amount) for payment_id, amount in found]


async def _available(session: AsyncSession, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> Money:
    owned = await wallets.wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id])
    return next((wallet.payable for wallet in owned[seller_id] if wallet.currency == currency), Money.zero(currency))


async def _warnings(session: AsyncSession, payout: Payout, account: Destination) -> list[tuple[bool, str]]:
    """What an approver should know: good signs and warnings."""
    found = []
    if account.decided_at is not None:
        days = (now() - account.decided_at).days
        found.append((days >= 7, f"Account last changed {days} days ago" if days else "Account changed today"))
    verified = account.verification is Verification.VERIFIED
    found.append((verified, "Account is verified" if verified else "Account is not verified"))
    earlier = select(Payout.amount_minor).where(
        Payout.merchant_id == payout.merchant_id,
        Payout.seller_id == payout.seller_id,
        Payout.currency == payout.currency,
        Payout.status.not_in(UNUSED),
        Payout.id < payout.id,
        Payout.created_at > payout.created_at - 8 * WEEK - timedelta(days=1),
    )
    amounts = list((await session.execute(earlier.order_by(Payout.id.desc()).limit(200))).scalars())
    if not amounts:
        found.append((False, "First payout to this seller in eight weeks"))
    elif (more := payout.amount_minor * len(amounts) * 100 // sum(amounts) - 100) > 25:
        found.append((False, f"{more}% above the 8-week average"))
    return found


async def payout_form_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str = "") -> PayoutFormPage:
    """The form of a new payout: what can be paid out, and where to."""
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    owned = (await wallets.wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id]))[seller_id]
    held = await queries.held_parts(session, merchant_id=merchant_id, seller_ids=[seller_id])
    accounts = {
        each.currency: each for each in await bank_accounts.active_destinations(session, merchant_id=merchant_id, seller_id=seller_id)
    }
    choices = [
        (
            wallet.currency,
            wallet.payable - Money(held.get((seller_id, wallet.currency), 0), wallet.currency),
            f"{bank_of(accounts[wallet.currency])}, {masked(accounts[wallet.currency])}",
        )
        for wallet in owned
        if wallet.currency in accounts
    ]
    chosen = currency if currency in accounts else next((each[0] for each in choices if each[1].is_positive), "")
    return PayoutFormPage(
        seller_id=public_id("sel", seller_id),
        seller=seller.name,
        currencies=choices,
        currency=chosen or next((c[0] for c in choices), "EUR"),
    )


async def choose_seller_page(session: AsyncSession, *, merchant_id: MerchantId, query: str = "") -> ChooseSellerPage:
    """Sellers to pay out, with what they have."""
    found = await sellers.sellers(session, merchant_id=merchant_id, query=query, size=25)
    ids = {seller.id: sellers.seller_id(seller.id) for seller in found.items}
    owned = await wallets.wallets_of(session, merchant_id=merchant_id, seller_ids=list(ids.values()))
    rows = [
        (seller.id, seller.name, [wallet.payable for wallet in owned[ids[seller.id]] if wallet.payable.is_positive])
        for seller in found.items
    ]
    return ChooseSellerPage(sellers=rows, query=query)


async def batch_page(session: AsyncSession, *, merchant_id: MerchantId, batch_id: PayoutBatchId, after: str | None = None) -> BatchPage:
    """One batch with its payouts."""
    batch = await session.get(PayoutBatch, (merchant_id, batch_id))
    if batch is None:
        raise BatchNotFound("There is no batch with this id for this merchant.")
    funding = await queries.funding_account(session, merchant_id=merchant_id, funding_id=FundingAccountId(batch.funding_account_id))
    statement = select(Payout.id, Payout).where(Payout.merchant_id == merchant_id, Payout.batch_id == batch_id)
    found = await fetch_page(session, statement, keys=[Payout.id], after=after)
    return BatchPage(
        id=public_id("pob", batch.id),
        rail=batch.rail,
        status=batch.status,
        total=Money(batch.total_minor, batch.currency),
        payouts=batch.payouts,
        value_on=batch.value_on,
        funding=funding.name,
        digest=batch.digest,
        created_at=batch.created_at,
        downloaded_at=batch.downloaded_at,
        downloaded_by=batch.downloaded_by_name,
        sent_at=batch.sent_at,
        rows=await rows_of(session, merchant_id=merchant_id, payouts=[row.Payout for row in found.items]),
        next=found.next,
        previous=found.previous,
    )
