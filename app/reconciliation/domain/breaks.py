"""Breaks: what the sources do not agree on, how fast somebody has to look, and what may be done about it."""

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import ClassVar

import msgspec

from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.core.events import Event
from app.core.state import Machine


class BreakKind(StrEnum):
    """What is wrong. Money that is merely on its way is no break: it is awaited until its day has passed."""

    MISSING_IN_PSP = "missing_in_psp"
    MISSING_IN_LEDGER = "missing_in_ledger"
    MISSING_IN_BANK = "missing_in_bank"
    BANK_UNIDENTIFIED = "bank_unidentified"
    AMOUNT = "amount"
    FEE = "fee"
    CURRENCY = "currency"
    ROUNDING = "rounding"
    DUPLICATE_PSP = "duplicate_psp"
    DUPLICATE_LEDGER = "duplicate_ledger"
    STATUS = "status"
    ORPHAN_REFUND = "orphan_refund"
    ORPHAN_DISPUTE = "orphan_dispute"
    UNKNOWN_TYPE = "unknown_type"
    UNREADABLE = "unreadable"
    RESTATED = "restated"
    BATCH_TOTAL = "batch_total"
    FILE_GAP = "file_gap"
    PAYOUT_RETURNED = "payout_returned"
    DUPLICATE_BANK = "duplicate_bank"
    CUTOFF = "cutoff"
    FX = "fx"
    FILE_MISSING = "file_missing"


class BreakStatus(StrEnum):
    """Where a break stands. Cleared ones went away by themselves: the missing side arrived."""

    OPEN = "open"
    PARKED = "parked"
    AWAITING_APPROVAL = "awaiting_approval"
    RESOLVED = "resolved"
    CLEARED = "cleared"


B = BreakStatus
UNSETTLED = (B.OPEN, B.PARKED, B.AWAITING_APPROVAL)

BREAK = Machine(
    "break",
    states=BreakStatus,
    initial=B.OPEN,
    transitions={
        "park": ((B.OPEN,), B.PARKED),
        "unpark": ((B.PARKED,), B.OPEN),
        "request": ((B.OPEN, B.PARKED), B.AWAITING_APPROVAL),
        "reject": ((B.AWAITING_APPROVAL,), B.OPEN),
        "approve": ((B.AWAITING_APPROVAL,), B.RESOLVED),
        "resolve": ((B.OPEN, B.PARKED), B.RESOLVED),
        "clear": (UNSETTLED, B.CLEARED),
        "recur": ((B.CLEARED,), B.OPEN),
        "reopen": ((B.RESOLVED,), B.OPEN),
    },
)


class Action(StrEnum):
    """What somebody, or a rule, did about a break."""

    CLAIM = "claim"
    ASSIGN = "assign"
    LINK = "link"
    UNLINK = "unlink"
    ADJUST = "adjust"
    SPLIT = "split"
    WRITE_OFF = "write_off"
    REQUEST = "request"
    APPROVE = "approve"
    REJECT = "reject"
    PARK = "park"
    UNPARK = "unpark"
    REOPEN = "reopen"
    SETTLE = "settle"
    """A rule settled it, with what another part of the house wrote; there is nothing of its own to take back."""


RESOLVING = (Action.LINK, Action.ADJUST, Action.SPLIT, Action.WRITE_OFF, Action.APPROVE, Action.SETTLE)
"""What closes a break; taking a resolution back is about the last of these."""


class BulkAction(StrEnum):
    """What may be done about several breaks at once."""

    CLAIM = "claim"
    ASSIGN = "assign"
    PARK = "park"
    UNPARK = "unpark"
    WRITE_OFF = "write_off"
    MOVE = "move"


def parts_text(parts: Mapping[str, int] | None) -> str:
    """Where a request wants what is left over to go, as one word to compare with what was seen; nothing when it is written off."""
    return ",".join(f"{target}={minor}" for target, minor in sorted((parts or {}).items()))


MONEY_ACTIONS = frozenset({BulkAction.WRITE_OFF, BulkAction.MOVE})
MOST_AT_ONCE = 100


SLA_DAYS: dict[BreakKind, int] = {
    BreakKind.MISSING_IN_PSP: 2,
    BreakKind.MISSING_IN_LEDGER: 1,
    BreakKind.MISSING_IN_BANK: 3,
    BreakKind.BANK_UNIDENTIFIED: 2,
    BreakKind.AMOUNT: 1,
    BreakKind.FEE: 2,
    BreakKind.CURRENCY: 2,
    BreakKind.ROUNDING: 1,
    BreakKind.DUPLICATE_PSP: 0,
    BreakKind.DUPLICATE_LEDGER: 0,
    BreakKind.STATUS: 1,
    BreakKind.ORPHAN_REFUND: 1,
    BreakKind.ORPHAN_DISPUTE: 1,
    BreakKind.UNKNOWN_TYPE: 0,
    BreakKind.UNREADABLE: 0,
    BreakKind.RESTATED: 1,
    BreakKind.BATCH_TOTAL: 0,
    BreakKind.FILE_GAP: 0,
    BreakKind.PAYOUT_RETURNED: 0,
    BreakKind.DUPLICATE_BANK: 0,
    BreakKind.CUTOFF: 1,
    BreakKind.FX: 2,
    BreakKind.FILE_MISSING: 0,
}
"""Business days within which somebody has to have dealt with it."""

AGES = ((1, "0–1 d"), (3, "2–3 d"), (7, "4–7 d"), (30, "8–30 d"), (None, "30+ d"))


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine may settle by itself, and what one person may. Amounts in minor units of each currency."""

    fee_tolerance_minor: int = 50
    fee_tolerance_bps: int = 100
    """Both must hold: a fee is off by so much at most, and by so much of the charge."""
    rounding_minor: int = 1
    rounding_cap_minor: int = 100
    """What rounding may come to per currency before a person looks at all of it."""
    write_off_alone_minor: int = 2_500
    """What one person may turn into a cost or an income, by writing it off or by moving it there."""
    settle_days: int = 4
    """Days after which money the PSP has not reported is missing."""
    fx_band_bps: int = 200
    """How far a conversion may be off the usual rate of its batch before a person looks at it."""
    bank_fee_minor: int = 5_000
    """What a bank may charge in one line before a person looks at it."""
    bank_days: int = 5
    """Days after which a reported batch, or a payout, that is not at the bank is missing."""


def business_days_after(day: date, count: int) -> date:
    """The day so many working days (Monday to Friday) later."""
    while count > 0:
        day += timedelta(days=1)
        count -= day.weekday() < 5
    return day


def business_days_before(day: date, count: int) -> date:
    """The day so many working days (Monday to Friday) earlier."""
    while count > 0:
        day -= timedelta(days=1)
        count -= day.weekday() < 5
    return day


def business_days_between(start: date, end: date) -> int:
    """Working days from one day to another; none when the end is not later."""
    if end <= start:
        return 0
    weeks, rest = divmod((end - start).days, 7)
    return weeks * 5 + sum((start + timedelta(days=step)).weekday() < 5 for step in range(1, rest + 1))


def age_of(days: int) -> int:
    """Which of ``AGES`` a break of so many business days belongs to."""
    return next(place for place, (most, _) in enumerate(AGES) if most is None or days <= most)


class SourceNotFound(NotFound):
    code = "reconciliation_source_not_found"
    title = "There is no such source"


class BreakNotFound(NotFound):
    code = "reconciliation_break_not_found"
    title = "There is no such break"


class FileNotFound(NotFound):
    code = "reconciliation_file_not_found"
    title = "There is no such file"


class ComparisonDue(Event, frozen=True, kw_only=True):
    """It is time to compare everything of a merchant, and to prove that its books hold."""

    topic: ClassVar[str] = "reconciliation.comparison_due"


class RunNotFound(NotFound):
    code = "reconciliation_run_not_found"
    title = "There is no such run"


class SourceNameTaken(Conflict):
    code = "reconciliation_source_name_taken"
    title = "Another source has this name"


class SourceInvalid(Invalid):
    code = "reconciliation_source_invalid"
    title = "This source cannot be read like this"


class ResolutionImpossible(Conflict):
    """The break has nothing this resolution could be applied to."""

    code = "reconciliation_resolution_impossible"
    title = "This break cannot be resolved like this"


class ComparisonUnderWay(Conflict):
    """Everything is being compared at this moment; try again when that is over."""

    code = "reconciliation_under_way"
    title = "Everything is being compared right now"


class NothingChosen(Invalid):
    code = "reconciliation_nothing_chosen"
    title = "Nothing was chosen"


class NeedsSecondPerson(Forbidden):
    """Who asked for a write-off, or for what comes to the same, may not approve it."""

    code = "reconciliation_needs_second_person"
    title = "Somebody else has to approve this"
