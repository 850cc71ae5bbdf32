"""Sellers: who is owed money, and what the platform keeps of each sale."""

import re
from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.events import Event
from app.core.money import Money
from app.core.state import Machine

MAX_BASIS_POINTS = 10_000
_PERCENT = re.compile(r"(\d{1,3})(?:[.,](\d{1,2}))?", re.ASCII)


class SellerStatus(StrEnum):
    ACTIVE = "active"
    BLOCKED = "blocked"


SELLER = Machine(
    "seller",
    states=SellerStatus,
    initial=SellerStatus.ACTIVE,
    transitions={
        "block": ((SellerStatus.ACTIVE,), SellerStatus.BLOCKED),
        "unblock": ((SellerStatus.BLOCKED,), SellerStatus.ACTIVE),
    },
)


class SellerNotFound(NotFound):
    """The seller does not exist, or belongs to another merchant."""

    code = "seller_not_found"
    title = "There is no such seller"


class SellerReferenceTaken(Conflict):
    """Another seller of this merchant already has the reference."""

    code = "seller_reference_taken"
    title = "Another seller has this reference"


class SellerBlocked(Conflict):
    """A blocked seller takes no new orders."""

    code = "seller_blocked"
    title = "This seller is blocked"


class FeeOutOfRange(Invalid):
    """A platform fee is between 0 and 100 percent, and its fixed part is not negative."""

    code = "fee_out_of_range"
    title = "This platform fee is not possible"


class SellerAdded(Event, frozen=True):
    """A seller was added and can be named in orders."""

    topic: ClassVar[str] = "seller.added"
    seller_id: str
    reference: str


def basis_points(percent: str) -> int:
    """Read a percentage as people write it: ``2.9`` is 290 basis points. More than two decimals are refused, never rounded."""
    found = _PERCENT.fullmatch(percent.strip().removesuffix("%").strip())
    if found is None:
        detail = "Write a percentage from 0 to 100 with at most two decimals, like 2.9."
        raise FeeOutOfRange(detail, fields={"percent": detail})
    return int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))


class FeeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform keeps of one sale: a share in basis points and a fixed amount."""

    basis_points: int = 0
    fixed_minor: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.basis_points <= MAX_BASIS_POINTS or self.fixed_minor < 0:
            detail = "Use 0 to 100 percent and a fixed part that is not negative."
            raise FeeOutOfRange(detail, fields={"fixed" if self.fixed_minor < 0 else "percent": detail})

    def of(self, sale: Money) -> Money:
        """The fee on a sale, never more than the sale itself."""
        return Money(min(sale.percent(self.basis_points).minor + self.fixed_minor, sale.minor), sale.currency)
