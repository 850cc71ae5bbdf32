"""What crosses the edge about wallets."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from app.approvals.domain import Waiting
from app.core.clock import timezones
from app.core.ids import public_id
from app.core.money import Money, total
from app.ledger.owners.queries import Booking
from app.wallets.domain import MAX_AVAILABILITY_DAYS, Bucket
from app.wallets.models import WalletPolicy
from app.web.charts import ColumnChart, shares

BUCKET_NAMES: dict[Bucket, str] = {
    Bucket.AVAILABLE: "Available",
    Bucket.PENDING: "Pending",
    Bucket.RESERVE: "Reserve",
    Bucket.DISPUTE_HOLD: "Held for disputes",
    Bucket.PAYOUT_RESERVED: "Reserved for payouts",
    Bucket.PAYOUT_RETURNED: "Payouts that came back",
    Bucket.RECEIVABLE: "Owed by the seller",
}
_SET_ASIDE = (Bucket.RESERVE, Bucket.DISPUTE_HOLD, Bucket.PAYOUT_RESERVED, Bucket.PAYOUT_RETURNED)
_HELD = (Bucket.AVAILABLE, Bucket.PENDING, *_SET_ASIDE)


class PolicyForm(msgspec.Struct, kw_only=True):
    """The rules for all wallets as a person sets them."""

    availability_days: Annotated[int, msgspec.Meta(ge=0, le=MAX_AVAILABILITY_DAYS)]
    timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    allow_negative: bool = False


class PolicyPage(msgspec.Struct, kw_only=True):
    """The rules for all wallets."""

    availability_days: int
    timezone: str
    allow_negative: bool

    @classmethod
    def of(cls, policy: WalletPolicy) -> "PolicyPage":
        """Show the rules."""
        return cls(availability_days=policy.availability_days, timezone=policy.timezone, allow_negative=policy.allow_negative)

    @property
    def zones(self) -> list[tuple[str, str]]:
        """Time zones to choose from."""
        names = {name for name in timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "US/"))}
        return [(name, name.replace("_", " ")) for name in ["UTC", *sorted(names)]]

    @property
    def sentence(self) -> str:
        """When funds become available, in words."""
        days = {0: "on the day of the capture", 1: "the day after the capture"}.get(
            self.availability_days, f"{self.availability_days} days after the capture"
        )
        return f"{days}, at the start of the day in {self.timezone.replace('_', ' ')}"


class Wallet(msgspec.Struct, kw_only=True):
    """What one seller has in one currency, bucket by bucket."""

    currency: str
    buckets: dict[Bucket, Money]

    def __getitem__(self, bucket: Bucket) -> Money:
        """What the bucket holds; one that was never used holds nothing."""
        return self.buckets.get(bucket) or Money.zero(self.currency)

    @property
    def available(self) -> Money:
        """What could be paid out."""
        return self[Bucket.AVAILABLE]

    @property
    def pending(self) -> Money:
        """Captured, and not safe to pay out yet."""
        return self[Bucket.PENDING]

    @property
    def reserved(self) -> Money:
        """Set aside for disputes, for payouts under way or that came back, and as a reserve."""
        return total([self.buckets[bucket] for bucket in _SET_ASIDE if bucket in self.buckets], self.currency)

    @property
    def owed(self) -> Money:
        """What the seller owes the platform, because a refund was more than the wallet held."""
        return self[Bucket.RECEIVABLE]

    @property
    def payable(self) -> Money:
        """What may be paid out: what is available, less what is owed."""
        return max(self.available - self.owed, Money.zero(self.currency))

    @property
    def held(self) -> Money:
        """Everything that is the seller's."""
        return total([self.buckets[bucket] for bucket in _HELD if bucket in self.buckets], self.currency)


class WalletView(msgspec.Struct, kw_only=True):
    """A wallet as the API shows it."""

    seller: str
    currency: str
    available: Money
    pending: Money
    reserve: Money
    dispute_hold: Money
    payout_reserved: Money
    payout_returned: Money
    receivable: Money

    @classmethod
    def of(cls, seller: str, wallet: Wallet) -> "WalletView":
        """Show a wallet."""
        return cls(seller=seller, currency=wallet.currency, **{bucket.value: wallet[bucket] for bucket in Bucket})


class WalletsView(msgspec.Struct, kw_only=True):
    """The wallets of one seller as the API shows them."""

    items: list[WalletView]


class WalletOwner(msgspec.Struct, kw_only=True):
    """Whose wallet it is."""

    id: str
    name: str
    reference: str
    status: str


class CurrencyCard(msgspec.Struct, kw_only=True):
    """What all sellers have in one currency."""

    wallet: Wallet
    sellers: int


class WalletRow(msgspec.Struct, kw_only=True):
    """One wallet in the list."""

    seller: WalletOwner
    wallet: Wallet

    @property
    def href(self) -> str:
        """The wallet's page."""
        return f"/wallets/{self.seller.id}?currency={self.wallet.currency}"


class WalletListPage(msgspec.Struct, kw_only=True):
    """Every seller's wallets."""

    cards: list[CurrencyCard]
    rows: list[WalletRow]
    policy: PolicyPage
    query: str
    currency: str
    next: str | None
    previous: str | None

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list."""
        return bool(self.query or self.currency)

    def href(self, *, base: str = "/wallets", **change: str | None) -> str:
        """This list with something changed in its address."""
        return address(base, {"q": self.query, "currency": self.currency, **change})


class BookingRow(msgspec.Struct, kw_only=True):
    """One line of a statement."""

    at: datetime
    on: date
    title: str
    text: str
    icon: str
    href: str | None
    reference: str
    money_in: Money | None
    money_out: Money | None
    balance: Money

    @classmethod
    def of(cls, booking: Booking) -> "BookingRow":
        """Show an entry of the ledger as the seller's bank would."""
        title, icon, text = _TITLES.get(booking.kind, (booking.kind.partition(".")[2].replace("_", " ").capitalize(), "columns-3", ""))
        comes_in = booking.amount.is_positive
        prefix = {"payment": "pay", "payout": "po"}.get(booking.source_type)
        public = public_id(prefix, booking.source_id) if prefix else ""
        return cls(
            at=booking.at,
            on=booking.effective_on,
            title=title,
            text=booking.description or text,
            icon=icon,
            href=f"/{booking.source_type}s/{public}" if public else None,
            reference=f"{prefix}_…{public[-6:]}" if public else "",
            money_in=booking.amount if comes_in else None,
            money_out=None if comes_in else -booking.amount,
            balance=booking.balance,
        )


_TITLES: dict[str, tuple[str, str, str]] = {
    "payment.captured": ("Payment", "credit-card", "The seller's part, after the platform fee"),
    "payment.available": ("Became available", "calendar", "The waiting time is over"),
    "payment.psp_fee": ("PSP fee", "receipt-text", ""),
    "payment.platform_fee": ("Platform fee", "receipt-text", ""),
    "refund.requested": ("Refund", "undo-2", "On its way back to the buyer"),
    "refund.failed": ("Refund failed", "rotate-ccw", "The money is back in the wallet"),
    "refund.returned": ("Refund came back", "rotate-ccw", ""),
    "debt.recovered": ("Debt repaid", "scale", "What was owed, taken from what became available"),
    "debt.written_off": ("Debt written off", "scale", "Will not be repaid; the platform bears it"),
    "debt.restored": ("Write-off undone", "rotate-ccw", "A refund that failed gave the money back"),
    "payout.requested": ("Payout", "landmark", "Set aside for the bank account"),
    "payout.released": ("Payout stopped", "rotate-ccw", "The money is back in the wallet"),
    "payout.sent": ("Payout sent", "arrow-right", "On its way to the bank"),
    "payout.failed": ("Payout refused", "rotate-ccw", "The money is back in the wallet"),
    "payout.returned": ("Payout came back", "undo-2", "Parked until the bank account is put right"),
    "payout.freed": ("Returned payout freed", "undo-2", "To be paid out again"),
    "reserve.held": ("Reserve held", "lock-keyhole", ""),
    "reserve.released": ("Reserve released", "lock-keyhole", ""),
    "ledger.reversed": ("Reversal", "undo-2", ""),
    "ledger.adjusted": ("Adjustment", "pencil", ""),
}


class Tab(msgspec.Struct, kw_only=True):
    """One bucket to choose."""

    name: str
    href: str
    is_current: bool


class StatementPage(msgspec.Struct, kw_only=True):
    """One wallet: what it holds, its statement, and what is to come."""

    seller: WalletOwner
    wallets: list[Wallet]
    wallet: Wallet
    bucket: Bucket
    tabs: list[Tab]
    days: list[tuple[str, list[BookingRow]]]
    opening: Money
    closing: Money
    money_in: Money
    money_out: Money
    bookings: int
    older: str | None
    newer: str | None
    upcoming: ColumnChart | None
    later: Money
    history: list[float]
    change: Money
    policy: PolicyPage
    asked: list[Waiting] = []

    @property
    def base(self) -> str:
        """The wallet's page."""
        return f"/wallets/{self.seller.id}"

    def href(self, *, base: str | None = None, **change: str | None) -> str:
        """This page with something changed in its address."""
        return address(base or self.base, {"currency": self.wallet.currency, "bucket": self.bucket.value, **change})

    @property
    def bucket_name(self) -> str:
        """The bucket shown, in words."""
        return BUCKET_NAMES[self.bucket]

    @property
    def parts(self) -> list[tuple[float, str]]:
        """The buckets as one bar."""
        wallet = self.wallet
        return shares([max(0, part.minor) for part in (wallet.available, wallet.pending, wallet.reserved)], ["c-f1", "c-f5", "c-f3"])

    @property
    def parts_label(self) -> str:
        """The bar in words."""
        wallet = self.wallet
        return f"Available {wallet.available.format()}, pending {wallet.pending.format()}, reserved {wallet.reserved.format()}"


class WriteOffForm(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a debt is written off, and why."""

    amount: Money
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=200)]
    idempotency_key: Annotated[str, msgspec.Meta(max_length=200)] = ""


class WriteOffPage(msgspec.Struct, frozen=True, kw_only=True):
    """The question before a debt is written off."""

    seller: WalletOwner
    wallet: Wallet
    alone: Money

    @property
    def most(self) -> Money:
        """As much as may be written off: what is owed and cannot be taken from what is available."""
        return max(self.wallet.owed - max(self.wallet.available, Money.zero(self.wallet.currency)), Money.zero(self.wallet.currency))

    @property
    def path(self) -> str:
        """The wallet's page."""
        return address(f"/wallets/{self.seller.id}", {"currency": self.wallet.currency})

    @property
    def action(self) -> str:
        """Where the form goes."""
        return address(f"/wallets/{self.seller.id}/write-off", {"currency": self.wallet.currency})


class WalletSummaryPage(msgspec.Struct, kw_only=True):
    """The wallets of one seller in a few lines."""

    seller: WalletOwner
    wallets: list[Wallet]


def address(base: str, query: dict[str, str | None]) -> str:
    """An address with what is asked for."""
    text = urlencode({name: value for name, value in query.items() if value})
    return f"{base}?{text}" if text else base


def by_day(rows: Iterable[BookingRow]) -> list[tuple[str, list[BookingRow]]]:
    """Lines under the day they count for, in the order they come."""
    days: list[tuple[str, list[BookingRow]]] = []
    for row in rows:
        label = f"{row.on:%a} {row.on.day} {row.on:%B %Y}"
        if not days or days[-1][0] != label:
            days.append((label, []))
        days[-1][1].append(row)
    return days
