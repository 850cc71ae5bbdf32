"""What crosses the edge about sellers."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.core.paging import Page
from app.sellers.domain import SellerStatus
from app.sellers.models import PlatformFee, Seller

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class SellerRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A seller as an API client adds it."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    name: Name
    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    country: Annotated[str, msgspec.Meta(pattern="^([A-Z]{2})?$")] = ""


class SellerForm(msgspec.Struct, kw_only=True):
    """A seller as a person adds it."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    name: Name
    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    country: Annotated[str, msgspec.Meta(max_length=2)] = ""


class FeeForm(msgspec.Struct, kw_only=True):
    """A platform fee as a person sets it: a percentage and a fixed amount per sale."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    percent: Annotated[str, msgspec.Meta(max_length=8)] = "0"
    fixed: Annotated[str, msgspec.Meta(max_length=20)] = "0"


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


class FeeRow(msgspec.Struct, kw_only=True):
    """One rule of what the platform keeps."""

    currency: str
    percent: str
    fixed: Money
    is_own: bool

    @classmethod
    def of(cls, fee: PlatformFee) -> "FeeRow":
        """Show a rule."""
        percent = f"{fee.basis_points / 100:.2f}"
        return cls(currency=fee.currency, percent=percent, fixed=Money(fee.fixed_minor, fee.currency), is_own=fee.seller_id is not None)


class SellerListPage(msgspec.Struct, kw_only=True):
    """The list of sellers."""

    sellers: Page[SellerView]
    query: str
    status: str
    fees: list[FeeRow]


class SellerDetailPage(msgspec.Struct, kw_only=True):
    """One seller with its terms."""

    seller: SellerView
    fees: list[FeeRow]
    events: list[str]
