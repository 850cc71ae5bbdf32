"""Schedules and the calendar as pages show them."""

import calendar as months
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.payouts.domain.calendars import CALENDARS, BusinessDayRule
from app.payouts.domain.schedules import Amounts, Interval, Plan, Run, ScheduleStatus, days_text, read_days
from app.payouts.models import PayoutSchedule
from app.payouts.schemas import minor_in

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
INTERVAL_NAMES = {
    Interval.MANUAL: "By hand only",
    Interval.DAILY: "Every bank day",
    Interval.WEEKLY: "On days of the week",
    Interval.MONTHLY: "On days of the month",
    Interval.THRESHOLD: "When there is enough",
    Interval.INSTANT: "As soon as money is available",
}
RULE_NAMES = {
    BusinessDayRule.FOLLOWING: "The next bank day",
    BusinessDayRule.MODIFIED_FOLLOWING: "The next bank day, within the month",
    BusinessDayRule.PRECEDING: "The bank day before",
}
Code = Annotated[str, msgspec.Meta(max_length=20)]


class ScheduleForm(msgspec.Struct, kw_only=True):
    """A schedule as a person sets it. Amounts are in the schedule's currency."""

    interval: Interval
    weekly_days: list[Annotated[int, msgspec.Meta(ge=1, le=7)]] = []
    monthly_days: Annotated[str, msgspec.Meta(max_length=120)] = ""
    rule: BusinessDayRule = BusinessDayRule.FOLLOWING
    cutoff: Annotated[str, msgspec.Meta(min_length=5, max_length=5)] = "09:00"
    timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "UTC"
    calendars: list[Code] = []
    delay_days: Annotated[int, msgspec.Meta(ge=0, le=90)] = 0
    minimum: Money | None = None
    keep: Money | None = None
    maximum: Money | None = None
    account: Annotated[str, msgspec.Meta(max_length=40)] = ""

    def plan(self) -> Plan:
        """When it pays."""
        return Plan(
            interval=self.interval,
            weekly_days=tuple(sorted(set(self.weekly_days))) if self.interval is Interval.WEEKLY else (),
            monthly_days=read_days(self.monthly_days) if self.interval is Interval.MONTHLY else (),
            rule=self.rule,
            cutoff=self.cutoff,
            timezone=self.timezone,
        )

    def amounts(self, currency: str) -> Amounts:
        """How much it pays, in the schedule's currency."""
        return Amounts(
            min_minor=minor_in(currency, self.minimum, "minimum") if self.minimum else 1,
            keep_minor=minor_in(currency, self.keep, "keep") if self.keep else 0,
            max_minor=minor_in(currency, self.maximum, "maximum") if self.maximum else None,
        )


class OverrideForm(msgspec.Struct, kw_only=True):
    """A merchant's own word on a day."""

    calendar: Code
    on_date: date
    is_open: bool = False
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule in a few words."""

    id: str
    seller_id: str
    seller: str
    currency: str
    when: str
    rules: str
    status: ScheduleStatus
    next_run_at: datetime | None

    @classmethod
    def of(cls, row: PayoutSchedule, seller: str) -> "ScheduleRow":
        """Show a row."""
        return cls(
            id=public_id("psc", row.id),
            seller_id=public_id("sel", row.seller_id),
            seller=seller,
            currency=row.currency,
            when=when_text(row),
            rules=rules_text(row),
            status=ScheduleStatus(row.status),
            next_run_at=row.next_run_at,
        )


def when_text(row: PayoutSchedule) -> str:
    """When a schedule pays, in words."""
    match Interval(row.interval):
        case Interval.WEEKLY:
            return f"Every {' and '.join(WEEKDAYS[int(day) - 1] for day in row.weekly_days)}, {row.cutoff}"
        case Interval.MONTHLY:
            return f"Each month on day {days_text([int(day) for day in row.monthly_days])}, {row.cutoff}"
        case Interval.MANUAL:
            return "By hand only"
        case Interval.DAILY:
            return f"Every bank day, {row.cutoff}"
        case Interval.THRESHOLD:
            return f"Above {Money(row.min_minor, row.currency).format()}, {row.cutoff}"
        case Interval.INSTANT:
            return "As soon as money is available"


def rules_text(row: PayoutSchedule) -> str:
    """How much a schedule pays, in words."""
    said = [f"at least {Money(row.min_minor, row.currency).format()}"] if row.min_minor > 1 else []
    if row.keep_minor:
        said.append(f"keeps {Money(row.keep_minor, row.currency).format()}")
    if row.max_minor:
        said.append(f"at most {Money(row.max_minor, row.currency).format()}")
    if row.delay_days:
        said.append(f"after {row.delay_days} bank days")
    return ", ".join(said) or "everything that is available"


class ScheduleListPage(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules."""

    schedules: list[ScheduleRow]
    next: str | None
    previous: str | None


class ScheduleFormPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a seller's schedule in one currency, with the runs to come."""

    seller_id: str
    seller: str
    currency: str
    currencies: list[str]
    schedule: ScheduleRow | None
    values: Mapping[str, object]
    runs: list[Run]
    history: list[tuple[date, str, str | None]]
    accounts: list[tuple[str, str]]
    problem: str | None = None

    @property
    def action(self) -> str:
        """Where the form goes."""
        return f"/payouts/schedules?seller={self.seller_id}&currency={self.currency}"

    @property
    def preview(self) -> str:
        """Where the runs to come are asked for."""
        return f"/payouts/schedules/edit?seller={self.seller_id}&currency={self.currency}"

    @property
    def intervals(self) -> list[tuple[str, str]]:
        """How often a seller can be paid."""
        return [(interval.value, name) for interval, name in INTERVAL_NAMES.items()]

    @property
    def rules(self) -> list[tuple[str, str]]:
        """What happens on a bank holiday."""
        return [(rule.value, name) for rule, name in RULE_NAMES.items()]

    @property
    def weekdays(self) -> list[tuple[str, str]]:
        """The days of the week."""
        return [(str(number), name) for number, name in enumerate(WEEKDAYS, start=1)]

    @property
    def calendars(self) -> list[tuple[str, str]]:
        """The calendars there are."""
        return list(CALENDARS.items())


class CalendarCell(msgspec.Struct, frozen=True, kw_only=True):
    """One day of a month; ``kind`` decides how it looks."""

    day: int
    kind: str
    label: str


class CalendarMonth(msgspec.Struct, frozen=True, kw_only=True):
    """A month by weeks, Monday first; days of other months are none."""

    first: date
    weeks: list[list[CalendarCell | None]]

    @property
    def title(self) -> str:
        """The month's name."""
        return f"{self.first:%B %Y}"

    @property
    def previous(self) -> str:
        """The month before."""
        year, month = (self.first.year, self.first.month - 1) if self.first.month > 1 else (self.first.year - 1, 12)
        return f"{year}-{month:02}"

    @property
    def next(self) -> str:
        """The month after."""
        year, month = (self.first.year, self.first.month + 1) if self.first.month < 12 else (self.first.year + 1, 1)
        return f"{year}-{month:02}"


def month_of(first: date, looks: Mapping[date, tuple[str, str]], today: date) -> CalendarMonth:
    """A month with what happens on its days: how they look and what is said of them."""

    def cell(day: date) -> CalendarCell | None:
        if day.month != first.month:
            return None
        kind, label = looks.get(day, ("we" if day.weekday() >= 5 else "", ""))
        return CalendarCell(day=day.day, kind=f"{kind} now".strip() if day == today else kind, label=label)

    weeks = months.Calendar().monthdatescalendar(first.year, first.month)
    return CalendarMonth(first=first, weeks=[[cell(day) for day in week] for week in weeks])


class CalendarDayRow(msgspec.Struct, frozen=True, kw_only=True):
    """One day on which a calendar says something."""

    on_date: date
    is_open: bool
    name: str
    origin: str


class CalendarPage(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar of bank days, month by month."""

    code: str
    version: str
    month: CalendarMonth
    days: list[CalendarDayRow]

    @property
    def choices(self) -> list[tuple[str, str, bool, None]]:
        """The calendars there are."""
        return [(name, self.href(code=code), code == self.code, None) for code, name in CALENDARS.items()]

    @property
    def codes(self) -> list[tuple[str, str]]:
        """The calendars as choices of a field."""
        return list(CALENDARS.items())

    @property
    def name(self) -> str:
        """The calendar's name."""
        return CALENDARS[self.code]

    def href(self, *, code: str | None = None, month: str | None = None) -> str:
        """Another calendar, or another month."""
        return f"/payouts/calendar?code={code or self.code}&month={month or f'{self.month.first:%Y-%m}'}"
