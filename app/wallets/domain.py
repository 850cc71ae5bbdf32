"""Wallets: what a seller has. Pending until the funds are safe, then available; every bucket is an account of the ledger."""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Invalid, NotFound
from app.core.events import Event
from app.core.state import Machine

MAX_AVAILABILITY_DAYS = 90
DEFAULT_AVAILABILITY_DAYS = 2


class Bucket(StrEnum):
    """Where a seller's money stands."""

    PENDING = "pending"
    AVAILABLE = "available"
    RESERVE = "reserve"
    DISPUTE_HOLD = "dispute_hold"
    PAYOUT_RESERVED = "payout_reserved"
    PAYOUT_RETURNED = "payout_returned"
    RECEIVABLE = "receivable"


ACCOUNT_OF: dict[Bucket, str] = {
    Bucket.PENDING: "2100",
    Bucket.AVAILABLE: "2110",
    Bucket.RESERVE: "2120",
    Bucket.DISPUTE_HOLD: "2130",
    Bucket.PAYOUT_RESERVED: "2140",
    Bucket.PAYOUT_RETURNED: "2180",
    Bucket.RECEIVABLE: "1300",
}
BUCKET_OF = {code: bucket for bucket, code in ACCOUNT_OF.items()}


class ReleaseStatus(StrEnum):
    WAITING = "waiting"
    RELEASED = "released"
    USED_UP = "used_up"


RELEASE = Machine(
    "release of funds",
    states=ReleaseStatus,
    initial=ReleaseStatus.WAITING,
    transitions={
        "release": ((ReleaseStatus.WAITING,), ReleaseStatus.RELEASED),
        "use_up": ((ReleaseStatus.WAITING,), ReleaseStatus.USED_UP),
    },
)


class WalletNotFound(NotFound):
    """The seller has no wallet in this currency yet."""

    code = "wallet_not_found"
    title = "There is no such wallet"


class AvailabilityOutOfRange(Invalid):
    """Funds become available 0 to 90 days after the capture."""

    code = "availability_out_of_range"
    title = "This waiting time is not possible"


class NoSuchDebt(Conflict):
    """The seller does not owe so much, or what is available repays it first: never more than the debt is written off."""

    code = "no_such_debt"
    title = "The seller does not owe so much"


class FundsReleased(Event, frozen=True):
    """A seller's pending funds became available."""

    topic: ClassVar[str] = "wallet.funds_released"
    seller_id: str
    amount_minor: int
    currency: str


class DebtRecovered(Event, frozen=True):
    """What a seller owed was taken from what became available."""

    topic: ClassVar[str] = "wallet.debt_recovered"
    seller_id: str
    amount_minor: int
    currency: str


class DebtWrittenOff(Event, frozen=True):
    """What a seller owed and will not repay became the platform's loss."""

    topic: ClassVar[str] = "wallet.debt_written_off"
    seller_id: str
    amount_minor: int
    currency: str


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an amount is taken from funds that are still pending, and how much from available ones."""

    pending_minor: int
    available_minor: int


class PendingFunds(msgspec.Struct, frozen=True, kw_only=True):
    """What is left, in minor units, of funds that a capture brought a seller and that are not available yet."""

    id: UUID
    seller_id: UUID
    left: int


def spread(left: Sequence[int], minor: int) -> list[int]:
    """How much of an amount comes from each of several that are left, the first one first; the sum may be less than was wanted."""
    parts = []
    for one in left:
        parts.append(max(0, min(minor, one)))
        minor -= parts[-1]
    return parts
