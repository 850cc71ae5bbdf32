"""What crosses the edge about sellers' bank accounts. No number in clear ever leaves."""

from datetime import datetime
from typing import Annotated, NewType
from urllib.parse import urlencode

import msgspec

from app.core.clock import now
from app.core.ids import public_id
from app.core.paging import Page
from app.sellers.domain.bank_accounts import COOL_OFF, BankAccountKind, BankAccountStatus, Verification, VerifiedBy
from app.sellers.models import BankAccount
from app.sellers.schemas import SellerView, country_name

AccountNumber = NewType("AccountNumber", str)
"""Not a plain text for forms, which would take some account numbers for card numbers; the domain checks every character."""

KIND_NAMES = {
    BankAccountKind.IBAN: "IBAN",
    BankAccountKind.US: "US account (ABA routing number)",
    BankAccountKind.UK: "UK account (sort code)",
}
VERIFIED_BY_NAMES = {
    VerifiedBy.BANK_LETTER: "Letter or statement of the bank",
    VerifiedBy.CALL_BACK: "Call back on a known number",
    VerifiedBy.TEST_TRANSFER: "Test transfer confirmed",
    VerifiedBy.NAME_CHECK: "The bank confirmed the holder’s name",
}


class BankAccountForm(msgspec.Struct, kw_only=True):
    """A bank account as a person types it."""

    kind: BankAccountKind
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    holder_name: Annotated[str, msgspec.Meta(min_length=1, max_length=70)]
    number: AccountNumber
    routing: AccountNumber | None = None


class ApproveForm(msgspec.Struct, kw_only=True):
    """A second person's yes to exactly what was shown."""

    digest: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    verified_by: VerifiedBy | None = None


class VerifyForm(msgspec.Struct, kw_only=True):
    """How somebody made sure that the account is the seller's."""

    verified_by: VerifiedBy


class BankAccountRow(msgspec.Struct, kw_only=True):
    """One bank account as pages show it."""

    id: str
    seller_id: str
    seller: str
    status: BankAccountStatus
    verification: Verification
    verified_by: str
    kind: BankAccountKind
    country: str
    currency: str
    holder_name: str
    bank_name: str
    bic: str
    routing: str
    last4: str
    fingerprint: str
    requested_by_name: str
    requested_at: datetime
    decided_by_name: str | None
    decided_at: datetime | None
    usable_from: datetime | None

    @classmethod
    def of(cls, row: BankAccount, seller: str) -> "BankAccountRow":
        """Show a row."""
        return cls(
            id=public_id("ba", row.id),
            seller_id=public_id("sel", row.seller_id),
            seller=seller,
            status=BankAccountStatus(row.status),
            verification=Verification(row.verification),
            verified_by=VERIFIED_BY_NAMES[VerifiedBy(row.verified_by)] if row.verified_by else "",
            kind=BankAccountKind(row.kind),
            country=row.country,
            currency=row.currency,
            holder_name=row.holder_name,
            bank_name=row.bank_name,
            bic=row.bic,
            routing=row.routing,
            last4=row.last4,
            fingerprint=row.fingerprint,
            requested_by_name=row.requested_by_name,
            requested_at=row.requested_at,
            decided_by_name=row.decided_by_name,
            decided_at=row.decided_at,
            usable_from=row.usable_from,
        )

    @property
    def masked(self) -> str:
        """The number as far as it may be shown."""
        start = self.country if self.kind is BankAccountKind.IBAN else self.routing
        return f"{start} •••• {self.last4}"

    @property
    def bank(self) -> str:
        """The bank by its name, else by its code, else by its country."""
        return self.bank_name or self.bic or country_name(self.country)

    @property
    def is_cooling(self) -> bool:
        """Whether the account is approved but nothing may be paid to it yet."""
        return self.status is BankAccountStatus.ACTIVE and self.usable_from is not None and self.usable_from > now()


class BankAccountListPage(msgspec.Struct, kw_only=True):
    """All sellers' bank accounts."""

    accounts: Page[BankAccountRow]
    waiting: list[BankAccountRow]
    status: str

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        text = urlencode({name: value for name, value in {"status": self.status, **change}.items() if value})
        return f"/bank-accounts?{text}" if text else "/bank-accounts"


class BankAccountPage(msgspec.Struct, kw_only=True):
    """One bank account, and what a second person should look at."""

    account: BankAccountRow
    digest: str
    shared_with: list[str]
    replaces: BankAccountRow | None
    is_mine: bool

    @property
    def methods(self) -> list[tuple[str, str]]:
        """How an account can be verified."""
        return [(method.value, name) for method, name in VERIFIED_BY_NAMES.items()]

    @property
    def cool_off_hours(self) -> int:
        """How long after its approval an account receives nothing."""
        return int(COOL_OFF.total_seconds() // 3600)


class BankAccountFormPage(msgspec.Struct, kw_only=True):
    """The form of a new bank account."""

    seller: SellerView

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The ways in which an account can be addressed."""
        return [(kind.value, name) for kind, name in KIND_NAMES.items()]


class SellerBankAccountsPage(msgspec.Struct, kw_only=True):
    """The bank accounts of one seller."""

    seller: SellerView
    accounts: list[BankAccountRow]
