"""Reads about wallets. What a wallet holds is the ledger's word; nothing here is estimated."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Date, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries as approvals
from app.approvals.domain import Act
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.db import read, unit_of_work
from app.core.ids import MerchantId, PaymentId, SellerId, first_id_at, parse_id, public_id
from app.core.money import Money
from app.core.paging import Page
from app.ledger.domain import AccountRef, Code
from app.ledger.owners import queries as ledger
from app.ledger.owners.queries import Booking, Bookings, OwnedTotal
from app.sellers import queries as sellers
from app.wallets.domain import ACCOUNT_OF, BUCKET_OF, DEFAULT_AVAILABILITY_DAYS, Bucket, ReleaseStatus, WalletNotFound
from app.wallets.models import FundsRelease, WalletPolicy
from app.wallets.schemas import (
    BUCKET_NAMES,
    BookingRow,
    CurrencyCard,
    PolicyPage,
    StatementPage,
    Tab,
    Wallet,
    WalletListPage,
    WalletOwner,
    WalletRow,
    WalletSummaryPage,
    WalletsView,
    WalletView,
    WriteOffPage,
    address,
    by_day,
)
from app.web.charts import ColumnChart

SELLER = "seller"
CODES = list(ACCOUNT_OF.values())
SHOWN_DAYS, HISTORY_DAYS = 5, 30
ALWAYS_SHOWN = (Bucket.AVAILABLE, Bucket.PENDING)


async def policy(session: AsyncSession, *, merchant_id: MerchantId) -> WalletPolicy:
    """The merchant's rules for its sellers' wallets; a merchant that set none has the usual ones."""
    found = await session.get(WalletPolicy, merchant_id)
    # never added to the session: reading the rules must not write them
    return found or _usual(merchant_id)


def _usual(merchant_id: MerchantId) -> WalletPolicy:
    return WalletPolicy(
        merchant_id=merchant_id, availability_days=DEFAULT_AVAILABILITY_DAYS, timezone="UTC", allow_negative=True, updated_at=now()
    )


async def policy_page(session: AsyncSession, *, merchant_id: MerchantId) -> PolicyPage:
    """The rules for all wallets."""
    found = await read(session, _POLICY, {"merchant": merchant_id})
    return PolicyPage.of(found[0] if found else _usual(merchant_id))


_POLICY = text("select availability_days, timezone, allow_negative from wallet_policy where merchant_id = :merchant")


async def wallets_of(session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId]) -> dict[SellerId, list[Wallet]]:
    """What sellers have, in every currency they ever sold in."""
    found = await ledger.balances(session, merchant_id=merchant_id, owner_type=SELLER, codes=CODES, owners=seller_ids)
    buckets: dict[tuple[UUID, str], dict[Bucket, Money]] = {}
    for owned in found:
        buckets.setdefault((owned.owner_id, owned.balance.currency), {})[BUCKET_OF[owned.code]] = owned.balance
    wallets: dict[SellerId, list[Wallet]] = {seller_id: [] for seller_id in seller_ids}
    for (owner_id, currency), parts in buckets.items():
        wallets[SellerId(owner_id)].append(Wallet(currency=currency, buckets=parts))
    return wallets


async def debts(session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId]) -> dict[tuple[SellerId, str], int]:
    """What sellers owe the platform, in minor units of each currency; those who owe nothing are left out."""
    codes = [ACCOUNT_OF[Bucket.RECEIVABLE]]
    found = await ledger.balances(session, merchant_id=merchant_id, owner_type=SELLER, codes=codes, owners=seller_ids)
    return {(SellerId(owed.owner_id), owed.balance.currency): owed.balance.minor for owed in found if owed.balance.is_positive}


async def released_since(
    session: AsyncSession, *, merchant_id: MerchantId, currency: str, moments: Mapping[SellerId, datetime]
) -> dict[SellerId, int]:
    """How much of each seller's available funds was captured at or after a moment of its own, in minor units."""
    sellers, since = list(moments), [first_id_at(moment) for moment in moments.values()]
    found = await read(session, _RELEASED, {"merchant": merchant_id, "currency": currency, "sellers": sellers, "since": since})
    return {SellerId(row.seller_id): int(row.minor) for row in found}


# captures are named by time
_RELEASED = text(
    "select f.seller_id, sum(f.amount_minor - f.taken_minor) as minor from unnest(cast(:sellers as uuid[]), cast(:since as uuid[])) as asked (seller_id, since)"
    " join funds_release f on f.merchant_id = :merchant and f.seller_id = asked.seller_id and f.currency = :currency"
    " and f.status = 'released' and f.capture_id >= asked.since group by f.seller_id"
)


async def captured_since(
    session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId], currency: str, moment: datetime
) -> dict[SellerId, int]:
    """How much captures have brought each seller from a moment on, less what was given back, in minor units."""
    values = {"merchant": merchant_id, "currency": currency, "sellers": list(seller_ids), "since": first_id_at(moment)}
    return {SellerId(row.seller_id): int(row.minor) for row in await read(session, _CAPTURED, values)}


_CAPTURED = text(
    "select seller_id, sum(amount_minor - taken_minor) as minor from funds_release where merchant_id = :merchant and currency = :currency"
    " and seller_id = any(:sellers) and capture_id >= :since group by seller_id"
)


async def part_of_payment(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, payment_id: PaymentId) -> Money | None:
    """What a payment brought a seller, less what was given back; None when it brought nothing."""
    statement = select(FundsRelease.currency, func.sum(FundsRelease.amount_minor - FundsRelease.taken_minor)).where(
        FundsRelease.merchant_id == merchant_id, FundsRelease.payment_id == payment_id, FundsRelease.seller_id == seller_id
    )
    found = (await session.execute(statement.group_by(FundsRelease.currency))).one_or_none()
    return Money(int(found[1]), found[0]) if found and found[1] else None


async def released_between(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str, since: datetime, until: datetime, most: int = 50
) -> list[tuple[PaymentId, Money]]:
    """Which payments' funds became available to a seller within a span, newest first."""
    statement = select(FundsRelease.payment_id, FundsRelease.amount_minor, FundsRelease.taken_minor).where(
        FundsRelease.merchant_id == merchant_id,
        FundsRelease.seller_id == seller_id,
        FundsRelease.currency == currency,
        FundsRelease.status == ReleaseStatus.RELEASED,
        FundsRelease.released_at > since,
        FundsRelease.released_at <= until,
    )
    rows = await session.execute(statement.order_by(FundsRelease.released_at.desc(), FundsRelease.id.desc()).limit(most))
    return [(PaymentId(row.payment_id), Money(row.amount_minor - row.taken_minor, currency)) for row in rows]


async def wallet_totals(session: AsyncSession, *, merchant_id: MerchantId) -> list[CurrencyCard]:
    """What all sellers have together, per currency; currencies are never added up."""
    found = await ledger.totals(session, merchant_id=merchant_id, owner_type=SELLER, codes=CODES)
    by_currency: dict[str, list[OwnedTotal]] = {}
    for part in found:
        by_currency.setdefault(part.balance.currency, []).append(part)
    return [_card(currency, parts) for currency, parts in by_currency.items()]


def _card(currency: str, parts: Sequence[OwnedTotal]) -> CurrencyCard:
    buckets = {BUCKET_OF[part.code]: part.balance for part in parts}
    return CurrencyCard(wallet=Wallet(currency=currency, buckets=buckets), sellers=max(part.accounts for part in parts))


async def wallet_list_page(
    session: AsyncSession, *, merchant_id: MerchantId, query: str = "", currency: str = "", after: str | None = None
) -> WalletListPage:
    """Every seller's wallets, found by the seller's name, reference or id."""
    found = await _sellers_with_wallets(session, merchant_id=merchant_id, query=query, currency=currency, after=after)
    return WalletListPage(
        cards=await wallet_totals(session, merchant_id=merchant_id),
        rows=await _rows(session, merchant_id=merchant_id, found=found.items, currency=currency),
        policy=await policy_page(session, merchant_id=merchant_id),
        query=query,
        currency=currency,
        next=found.next,
        previous=found.previous,
    )


async def _sellers_with_wallets(
    session: AsyncSession, *, merchant_id: MerchantId, query: str, currency: str, after: str | None, size: int = 25
) -> Page[WalletOwner]:
    # every wallet begins with pending funds, so the pending account is what makes a wallet
    among = ledger.owners_of(merchant_id=merchant_id, owner_type=SELLER, code=Code.SELLER_PENDING, currency=currency or None)
    found = await sellers.sellers(session, merchant_id=merchant_id, query=query, after=after, among=among, size=size)
    return found.map(lambda seller: WalletOwner(id=seller.id, name=seller.name, reference=seller.reference, status=seller.status))


async def _owner(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> WalletOwner:
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    return WalletOwner(id=public_id("sel", seller.id), name=seller.name, reference=seller.reference, status=seller.status)


async def _rows(session: AsyncSession, *, merchant_id: MerchantId, found: Iterable[WalletOwner], currency: str) -> list[WalletRow]:
    ids = {seller.id: SellerId(parse_id("sel", seller.id)) for seller in found}
    wallets = await wallets_of(session, merchant_id=merchant_id, seller_ids=ids.values())
    return [
        WalletRow(seller=seller, wallet=wallet)
        for seller in found
        for wallet in wallets[ids[seller.id]]
        if currency in ("", wallet.currency)
    ]


async def every_wallet(merchant_id: MerchantId, *, query: str = "", currency: str = "") -> AsyncIterator[list[list[object]]]:
    """The list of wallets as rows of a file, in one snapshot per hundred sellers."""
    after: str | None = None
    while True:
        async with unit_of_work(merchant_id) as session:
            found = await _sellers_with_wallets(session, merchant_id=merchant_id, query=query, currency=currency, after=after, size=100)
            rows = await _rows(session, merchant_id=merchant_id, found=found.items, currency=currency)
        yield [[row.seller.id, row.seller.reference, row.seller.name, row.wallet.currency, *_amounts(row.wallet)] for row in rows]
        after = found.next
        if after is None:
            return


def _amounts(wallet: Wallet) -> list[object]:
    shown = [wallet[bucket] for bucket in Bucket]
    return [cell for amount in shown for cell in (amount.minor, amount.decimal())]


async def statement_page(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str = "", bucket: str = "", after: str | None = None
) -> StatementPage:
    """One wallet: what it holds, its statement with the running balance, and what is to come."""
    seller = await _owner(session, merchant_id=merchant_id, seller_id=seller_id)
    wallets = (await wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id]))[seller_id]
    wallet, chosen = _chosen(wallets, currency, bucket)
    page = await _bookings(session, merchant_id=merchant_id, seller_id=seller_id, wallet=wallet, bucket=chosen, after=after)
    rules = await policy_page(session, merchant_id=merchant_id)
    upcoming, later = await _upcoming(session, merchant_id=merchant_id, seller_id=seller_id, wallet=wallet, timezone=rules.timezone)
    history = await _history(session, merchant_id=merchant_id, seller_id=seller_id, wallet=wallet, bucket=chosen)
    nothing = Money.zero(wallet.currency)
    return StatementPage(
        seller=seller,
        wallets=wallets,
        wallet=wallet,
        bucket=chosen,
        tabs=_tabs(seller.id, wallet, chosen),
        days=by_day(BookingRow.of(booking) for booking in page.items),
        opening=page.opening,
        closing=page.closing,
        money_in=sum((b.amount for b in page.items if b.amount.is_positive), nothing),
        money_out=sum((-b.amount for b in page.items if b.amount.is_negative), nothing),
        bookings=len(page.items),
        older=page.older,
        newer=page.newer,
        upcoming=upcoming,
        later=later,
        history=[float(minor) for minor in history],
        change=Money(history[-1] - history[0], wallet.currency),
        policy=rules,
    )


def _chosen(wallets: Sequence[Wallet], currency: str, bucket: str) -> tuple[Wallet, Bucket]:
    filled = [wallet for wallet in wallets if not wallet.held.is_zero] or list(wallets)
    wallet = next((wallet for wallet in wallets if wallet.currency == currency), None) if currency else next(iter(filled), None)
    if wallet is None:
        raise WalletNotFound("This seller has sold nothing in this currency yet, so it has no wallet in it.")
    if bucket in set(Bucket):
        return wallet, Bucket(bucket)
    return wallet, Bucket.AVAILABLE if Bucket.AVAILABLE in wallet.buckets else Bucket.PENDING


async def write_off_page(session: AsyncSession, actor: Actor, *, seller_id: SellerId, currency: str) -> WriteOffPage:
    """What a seller owes in a currency, and from which amount on others have to agree to writing it off."""
    seller = await _owner(session, merchant_id=actor.merchant, seller_id=seller_id)
    wallets = (await wallets_of(session, merchant_id=actor.merchant, seller_ids=[seller_id]))[seller_id]
    wallet, _ = _chosen(wallets, currency, "")
    most = await approvals.alone(session, actor, act=Act.WRITE_OFF, currency=wallet.currency)
    return WriteOffPage(seller=seller, wallet=wallet, alone=most)


def _tabs(seller: str, wallet: Wallet, chosen: Bucket) -> list[Tab]:
    shown = [bucket for bucket in BUCKET_NAMES if bucket in ALWAYS_SHOWN or bucket in wallet.buckets or bucket is chosen]
    return [
        Tab(
            name=BUCKET_NAMES[bucket],
            href=address(f"/wallets/{seller}", {"currency": wallet.currency, "bucket": bucket.value}),
            is_current=bucket is chosen,
        )
        for bucket in shown
    ]


def account(seller_id: SellerId, bucket: Bucket) -> AccountRef:
    """The ledger account behind a bucket."""
    return AccountRef(Code(ACCOUNT_OF[bucket]), SELLER, seller_id)


async def _bookings(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, wallet: Wallet, bucket: Bucket, after: str | None
) -> Bookings:
    found = await ledger.bookings(
        session, merchant_id=merchant_id, account=account(seller_id, bucket), currency=wallet.currency, after=after
    )
    return found or Bookings(items=[], opening=Money.zero(wallet.currency), closing=Money.zero(wallet.currency))


async def every_booking(
    merchant_id: MerchantId, *, seller_id: SellerId, currency: str, bucket: Bucket
) -> AsyncIterator[list[list[object]]]:
    """A bucket's whole statement as rows of a file, oldest first, in one snapshot."""
    async with unit_of_work(merchant_id) as session:
        async for batch in ledger.every_booking(session, merchant_id=merchant_id, account=account(seller_id, bucket), currency=currency):
            yield [_line(booking) for booking in batch]


def _line(booking: Booking) -> list[object]:
    prefix = {"payment": "pay", "payout": "po"}.get(booking.source_type)
    source = public_id(prefix, booking.source_id) if prefix else str(booking.source_id)
    amount, balance = booking.amount, booking.balance
    return [
        f"txn_{booking.transaction_id}",
        f"{booking.at:%Y-%m-%dT%H:%M:%S.%fZ}",
        booking.effective_on.isoformat(),
        booking.kind,
        source,
        booking.event_key,
        booking.description,
        amount.minor,
        amount.decimal(),
        balance.minor,
        balance.decimal(),
        amount.currency,
    ]


async def _upcoming(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, wallet: Wallet, timezone: str
) -> tuple[ColumnChart | None, Money]:
    day = cast(func.timezone(timezone, FundsRelease.due_at), Date)
    statement = (
        select(day.label("day"), func.sum(FundsRelease.amount_minor - FundsRelease.taken_minor).label("minor"))
        .where(FundsRelease.merchant_id == merchant_id, FundsRelease.seller_id == seller_id, FundsRelease.status == ReleaseStatus.WAITING)
        .where(FundsRelease.currency == wallet.currency)
        .group_by(day)
    )
    due: dict[date, int] = {row.day: int(row.minor) for row in await session.execute(statement)}
    if not any(due.values()):
        return None, Money.zero(wallet.currency)
    first = today(timezone)
    days = [first + timedelta(days=i) for i in range(SHOWN_DAYS)]
    # what is due and not yet released is on its way today
    amounts = [sum(minor for day, minor in due.items() if day <= first)] + [due.get(day, 0) for day in days[1:]]
    later = sum(minor for day, minor in due.items() if day > days[-1])
    return _columns(days, amounts, wallet.currency), Money(later, wallet.currency)


def _columns(days: Sequence[date], amounts: Sequence[int], currency: str) -> ColumnChart:
    whole = [float(Money(minor, currency).decimal()) for minor in amounts]
    return ColumnChart(
        title="Pending funds by the day they become available",
        labels=["Today" if i == 0 else f"{day:%a} {day.day}" for i, day in enumerate(days)],
        stacks=[[(value, "c-f5")] for value in whole],
        texts=[Money(minor, currency).format() for minor in amounts],
    )


async def _history(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, wallet: Wallet, bucket: Bucket) -> list[int]:
    """The bucket's balance at the end of each of the last days, the last one as it is now."""
    last = today()
    since = last - timedelta(days=HISTORY_DAYS)
    changes = await ledger.changes_by_day(
        session, merchant_id=merchant_id, account=account(seller_id, bucket), currency=wallet.currency, since=since
    )
    closings = [wallet[bucket].minor]
    for back in range(HISTORY_DAYS):
        closings.append(closings[-1] - changes.get(last - timedelta(days=back), 0))
    return closings[::-1]


async def wallet_summary_page(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> WalletSummaryPage:
    """The wallets of one seller in a few lines."""
    seller = await _owner(session, merchant_id=merchant_id, seller_id=seller_id)
    wallets = await wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id])
    return WalletSummaryPage(seller=seller, wallets=wallets[seller_id])


async def wallets_view(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId) -> WalletsView:
    """The wallets of one seller as the API shows them."""
    page = await wallet_summary_page(session, merchant_id=merchant_id, seller_id=seller_id)
    return WalletsView(items=[WalletView.of(page.seller.id, wallet) for wallet in page.wallets])
