"""Reports: periods, what is compared with what, and the figures of payments. Pure."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Self

import msgspec

from app.core.errors import NotFound

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


class ReportNotFound(NotFound):
    """There is no report of this name."""

    code = "report_not_found"
    title = "There is no such report"


class PeriodName(StrEnum):
    TODAY = "today"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "12w"


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time that ends now, with steps to draw it in. All days begin at midnight UTC."""

    name: PeriodName
    since: datetime
    step: timedelta
    steps: int

    @classmethod
    def ending(cls, name: PeriodName, on: date) -> Self:
        """The period whose last day is `on`."""
        midnight = datetime.combine(on, time(), tzinfo=UTC)
        match name:
            case PeriodName.TODAY:
                return cls(name=name, since=midnight, step=HOUR, steps=24)
            case PeriodName.WEEK:
                return cls(name=name, since=midnight - 6 * DAY, step=DAY, steps=7)
            case PeriodName.MONTH:
                return cls(name=name, since=midnight - 29 * DAY, step=DAY, steps=30)
            case PeriodName.QUARTER:
                return cls(name=name, since=midnight - 83 * DAY, step=WEEK, steps=12)

    @property
    def until(self) -> datetime:
        """The first moment after it."""
        return self.since + self.step * self.steps

    @property
    def before(self) -> Self:
        """The same stretch of time, just before."""
        return msgspec.structs.replace(self, since=self.since - self.step * self.steps)

    def place(self, moment: datetime) -> int | None:
        """In which step a moment lies; nothing when it lies outside."""
        index = (moment - self.since) // self.step
        return index if 0 <= index < self.steps else None

    def start(self, index: int) -> datetime:
        """When a step begins."""
        return self.since + self.step * index

    @property
    def unit(self) -> str:
        """The finest unit it is drawn in, as PostgreSQL names it."""
        return "hour" if self.step < DAY else "day"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to payments in some time, in one currency; amounts in minor units."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    captures: int = 0
    captured_minor: int = 0
    refunds: int = 0
    refunded_minor: int = 0
    psp_fee_minor: int = 0
    platform_fee_minor: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Figures(**{name: a + b for name, (a, b) in zip(self.__struct_fields__, pairs, strict=True)})

    @property
    def net_minor(self) -> int:
        """Captured, less what was refunded and what the PSPs keep."""
        return self.captured_minor - self.refunded_minor - self.psp_fee_minor

    @property
    def decided(self) -> int:
        """Payments that got a yes or a no."""
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float | None:
        """Which share of the decided payments succeeded; unknown while none is decided."""
        return self.succeeded / self.decided if self.decided else None

    @property
    def refund_rate(self) -> float | None:
        """Which share of the captured volume was refunded; unknown while nothing was captured."""
        return self.refunded_minor / self.captured_minor if self.captured_minor else None


class Metric(StrEnum):
    """What the chart of the start page draws."""

    GROSS = "gross"
    NET = "net"
    SUCCESS = "success"
    REFUNDS = "refunds"


def growth(now: float | None, before: float | None) -> float | None:
    """By which share a figure grew; unknown without something to compare with."""
    return None if now is None or not before else (now - before) / abs(before)


def growth_text(share: float) -> str:
    """A growth as people write it; beyond ten times a percentage says nothing any more: ``×34.6``."""
    return f"×{share + 1:.1f}" if share >= 9 else percent_text(share, sign=True)


def percent_text(share: float, *, sign: bool = False) -> str:
    """A share as people write it: ``12.4%``, with a true minus sign."""
    text = f"{abs(share) * 100:.1f}%"
    return f"\u2212{text}" if share < 0 and text != "0.0%" else f"+{text}" if sign else text


def points_text(now: float | None, before: float | None) -> str | None:
    """The difference of two rates in percentage points: ``+0.9 pt``."""
    if now is None or before is None:
        return None
    difference = round((now - before) * 100, 1)
    sign = "\u2212" if difference < 0 else "+"
    return f"{sign}{abs(difference):.1f} pt" if difference else None
