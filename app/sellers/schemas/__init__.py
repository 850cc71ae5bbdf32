"""What crosses the edge about sellers."""

from datetime import datetime
from functools import cache
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from babel import Locale

from app.core.audit import AuditEntry
from app.core.ids import public_id
from app.core.money import Money
from app.core.paging import Page
from app.sellers.domain import FeeTerms, SellerStatus
from app.sellers.models import PlatformFee, Seller

COUNTRY = "^([A-Z]{2})?$"
EMAIL = r"^([^@\s]+@[^@\s]+)?$"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class SellerRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A seller as an API client adds it."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    name: Name
    email: Annotated[str, msgspec.Meta(max_length=254, pattern=EMAIL)] = ""
    country: Annotated[str, msgspec.Meta(pattern=COUNTRY)] = ""


class SellerForm(msgspec.Struct, kw_only=True):
    """A seller as a person adds or edits it; the reference stays as it was first given."""

    name: Name
    reference: Annotated[str, msgspec.Meta(max_length=100)] = ""
    email: Annotated[str, msgspec.Meta(max_length=254, pattern=EMAIL)] = ""
    country: Annotated[str, msgspec.Meta(pattern=COUNTRY)] = ""


class FeeForm(msgspec.Struct, kw_only=True):
    """A platform fee as a person sets it: a percentage and a fixed amount per sale, whose currency is the rule's."""

    percent: Annotated[str, msgspec.Meta(min_length=1, max_length=8)]
    fixed: Money


class ReasonForm(msgspec.Struct, kw_only=True):
    """Why a seller is blocked, or may sell again."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class CurrencyForm(msgspec.Struct, kw_only=True):
    """The currency of a rule that is taken away."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class SellerView(msgspec.Struct, kw_only=True):
    """A seller as the API shows it."""

    id: str
    reference: str
    name: str
    email: str
    country: str
    status: SellerStatus
    created_at: datetime

    @classmethod
    def of(cls, seller: Seller) -> "SellerView":
        """Show a row."""
        return cls(
            id=public_id("sel", seller.id),
            reference=seller.reference,
            name=seller.name,
            email=seller.email,
            country=seller.country,
            status=SellerStatus(seller.status),
            created_at=seller.created_at,
        )


class ChangeRow(msgspec.Struct, kw_only=True):
    """One change of a seller, from the audit trail."""

    at: datetime
    icon: str
    title: str
    who: str
    text: str | None

    @classmethod
    def of(cls, entry: AuditEntry) -> "ChangeRow":
        """Show an entry."""
        icon, title = CHANGES.get(entry.action, ("activity", entry.action.removeprefix("seller.").replace("_", " ").capitalize()))
        if entry.action in {"seller.fee_set", "seller.fee_removed"} and entry.after:
            title = f"{title}, {entry.after.get('currency', '')}"
        return cls(at=entry.at, icon=icon, title=title, who=entry.actor_name, text=entry.reason)


CHANGES = {
    "seller.added": ("plus", "Added"),
    "seller.edited": ("pencil", "Details changed"),
    "seller.blocked": ("ban", "Blocked from new orders"),
    "seller.unblocked": ("check", "May sell again"),
    "seller.fee_set": ("receipt-text", "Own fee set"),
    "seller.fee_removed": ("undo-2", "Own fee removed"),
    "seller.bank_account_proposed": ("landmark", "Bank account proposed"),
    "seller.bank_account_approved": ("check", "Bank account approved"),
    "seller.bank_account_rejected": ("ban", "Bank account not accepted"),
    "seller.bank_account_retired": ("ban", "Bank account retired"),
    "seller.bank_account_verified": ("shield-check", "Bank account verified"),
    "seller.bank_account_verification_failed": ("triangle-alert", "A bank sent money back"),
}


class FeeRow(msgspec.Struct, kw_only=True):
    """One rule of what the platform keeps, with what it comes to for a sale of a hundred."""

    currency: str
    percent: str
    fixed: Money
    is_own: bool
    sale: Money
    fee: Money

    @classmethod
    def of(cls, rule: PlatformFee) -> "FeeRow":
        """Show a rule."""
        sale = Money.parse("100", rule.currency)
        terms = FeeTerms(basis_points=rule.basis_points, fixed_minor=rule.fixed_minor)
        return cls(
            currency=rule.currency,
            percent=percent_text(rule.basis_points),
            fixed=Money(rule.fixed_minor, rule.currency),
            is_own=rule.seller_id is not None,
            sale=sale,
            fee=terms.of(sale),
        )


def percent_text(basis_points: int) -> str:
    """Basis points as people write them: 290 is ``2.9``."""
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".")


class SellerListPage(msgspec.Struct, kw_only=True):
    """The list of sellers."""

    sellers: Page[SellerView]
    query: str
    status: str
    fees: list[FeeRow]

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list."""
        return bool(self.query or self.status)

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        asked = {"q": self.query, "status": self.status, **change}
        text = urlencode({name: value for name, value in asked.items() if value})
        return f"/sellers?{text}" if text else "/sellers"


class SellerDetailPage(msgspec.Struct, kw_only=True):
    """One seller with its terms and what was changed about it."""

    seller: SellerView
    fees: list[FeeRow]
    events: list[str]
    changes: list[ChangeRow]

    @property
    def country(self) -> str:
        """The seller's country by name."""
        return country_name(self.seller.country)


class SellerFormPage(msgspec.Struct, kw_only=True):
    """The form of a new seller, or of one that is there."""

    seller: SellerView | None = None

    @property
    def action(self) -> str:
        """Where the form goes."""
        return f"/sellers/{self.seller.id}/edit" if self.seller else "/sellers"

    @property
    def countries(self) -> list[tuple[str, str]]:
        """Countries by name, to choose from."""
        return countries()


class SellerStatusPage(msgspec.Struct, kw_only=True):
    """The question before a seller is blocked or let sell again."""

    seller: SellerView
    event: str


class FeeFormPage(msgspec.Struct, kw_only=True):
    """The form of one fee rule: the merchant's own, or a seller's."""

    seller: SellerView | None
    rule: FeeRow | None
    currencies: list[str]

    @property
    def base(self) -> str:
        """Where the rules are."""
        return f"/sellers/{self.seller.id}/fees" if self.seller else "/sellers/fees"

    @property
    def back(self) -> str:
        """Where the form was opened."""
        return f"/sellers/{self.seller.id}" if self.seller else "/sellers"


@cache
def countries() -> list[tuple[str, str]]:
    """Every country with its two letters, by name."""
    names = Locale("en").territories
    return sorted(
        ((code, name) for code, name in names.items() if len(code) == 2 and code.isalpha() and code not in _NOT_COUNTRIES),
        key=lambda item: item[1],
    )


def country_name(code: str) -> str:
    """A country's name; letters nobody knows stay as they are."""
    return str(Locale("en").territories.get(code, code))


_NOT_COUNTRIES = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})
