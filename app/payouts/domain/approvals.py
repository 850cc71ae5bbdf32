"""Who must agree to a payout, and how much may go out how fast. Pure."""

import hashlib
import itertools
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from app.core.money import MAX_MINOR, Money
from app.payouts.domain import HoldKind, PolicyInvalid

MAX_APPROVALS = 5
DEFAULT_APPROVALS = 1
"""Without a rule of the merchant's own, one other person approves every payout."""
MAX_HOLD_DAYS, MOST_HOLD_DAYS = 90, 730
"""Without a rule of the merchant's own, a hold that stands so long is somebody's task: money that is owed cannot be kept for ever."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """From this amount on so many people other than the requester must agree. Minor units."""

    from_minor: int
    approvals: int


def required_approvals(thresholds: Sequence[Threshold], minor: int) -> int:
    """How many people must agree to an amount: what the highest threshold that it reaches asks for."""
    reached = [threshold for threshold in thresholds if threshold.from_minor <= minor]
    return max(reached, key=lambda threshold: threshold.from_minor).approvals if reached else DEFAULT_APPROVALS


def check_thresholds(thresholds: Sequence[Threshold]) -> None:
    """Refuse thresholds that contradict each other: two for one amount, or fewer people for more money."""
    ordered = sorted(thresholds, key=lambda threshold: threshold.from_minor)
    if len({threshold.from_minor for threshold in ordered}) < len(ordered):
        raise PolicyInvalid("Two thresholds begin at the same amount.", fields={"thresholds": "Two thresholds begin at the same amount."})
    if any(not 0 <= threshold.from_minor <= MAX_MINOR or not 0 <= threshold.approvals <= MAX_APPROVALS for threshold in ordered):
        detail = f"Use amounts that are not negative and 0 to {MAX_APPROVALS} people."
        raise PolicyInvalid(detail, fields={"thresholds": detail})
    if any(later.approvals < earlier.approvals for earlier, later in itertools.pairwise(ordered)):
        detail = "A larger amount cannot need fewer people."
        raise PolicyInvalid(detail, fields={"thresholds": detail})


def digest_of(*, payout: str, amount: Money, destination: str, version: int) -> str:
    """What an approver was shown, as a hash: another amount, destination or version is another hash, so a yes never covers an edit."""
    seen = (payout, amount.minor, amount.currency, destination, version)
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be paid out in one currency; None is no limit. Amounts in minor units."""

    min_minor: int = 1
    max_minor: int | None = None
    fee_minor: int = 0
    day_count: int | None = None
    day_minor: int | None = None
    week_minor: int | None = None
    first_payouts: int = 0
    change_hours: int = 0
    capture_percent: int | None = None
    max_hold_days: int = MAX_HOLD_DAYS

    @property
    def counts_together(self) -> bool:
        """Whether payouts of several sellers to the same bank account count together."""
        return (self.day_count, self.day_minor, self.week_minor, self.capture_percent) != (None, None, None, None)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a seller or a destination was paid, or is about to be paid, before this payout, and what was captured for the seller within 7 days.

    Amounts in minor units.
    """

    day_count: int = 0
    day_minor: int = 0
    week_minor: int = 0
    paid_before: int = 0
    captured_minor: int = 0


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """Why a payout has to wait for somebody to look at it."""

    kind: HoldKind
    reason: str


DAY, WEEK = timedelta(days=1), timedelta(days=7)


def breaches(limits: Limits, usage: Usage, *, amount: Money, since_change: timedelta | None) -> list[Breach]:
    """What speaks against sending a payout unseen. ``since_change`` is how long ago the destination was approved."""
    found = []
    if limits.day_count is not None and usage.day_count + 1 > limits.day_count:
        found.append(Breach(kind=HoldKind.VELOCITY, reason=f"More than {limits.day_count} payouts within 24 hours"))
    if limits.day_minor is not None and usage.day_minor + amount.minor > limits.day_minor:
        found.append(Breach(kind=HoldKind.VELOCITY, reason=f"More than {_text(limits.day_minor, amount)} within 24 hours"))
    if limits.week_minor is not None and usage.week_minor + amount.minor > limits.week_minor:
        found.append(Breach(kind=HoldKind.VELOCITY, reason=f"More than {_text(limits.week_minor, amount)} within 7 days"))
    if limits.capture_percent is not None and (usage.week_minor + amount.minor) * 100 > usage.captured_minor * limits.capture_percent:
        reason = f"More than {limits.capture_percent}% of what was captured within 7 days"
        found.append(Breach(kind=HoldKind.VELOCITY, reason=reason))
    if usage.paid_before < limits.first_payouts:
        found.append(Breach(kind=HoldKind.FIRST_PAYOUT, reason=f"One of the first {limits.first_payouts} payouts to this account"))
    if since_change is not None and since_change < timedelta(hours=limits.change_hours):
        found.append(Breach(kind=HoldKind.RECENT_CHANGE, reason=f"The bank account changed less than {limits.change_hours} hours ago"))
    return found


def _text(minor: int, like: Money) -> str:
    return Money(minor, like.currency).format()


def check_limits(limits: Limits) -> None:
    """Refuse limits that are negative or contradict each other."""
    amounts = (limits.min_minor, limits.max_minor, limits.fee_minor, limits.day_minor, limits.week_minor)
    numbers = (limits.day_count, limits.first_payouts, limits.change_hours, limits.capture_percent, limits.max_hold_days)
    if any(value is not None and not 0 <= value <= MAX_MINOR for value in (*amounts, *numbers)):
        raise PolicyInvalid("Limits are not negative.", fields={"min": "Limits are not negative."})
    if not 1 <= limits.max_hold_days <= MOST_HOLD_DAYS:
        detail = f"Use 1 to {MOST_HOLD_DAYS} days."
        raise PolicyInvalid(detail, fields={"max_hold_days": detail})
    if limits.max_minor is not None and limits.max_minor < limits.min_minor:
        detail = "The most is less than the least."
        raise PolicyInvalid(detail, fields={"max": detail})
