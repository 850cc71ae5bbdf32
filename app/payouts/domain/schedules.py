"""When a seller is paid out by itself, and how much. Pure."""

import calendar as months
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from app.core.clock import timezones
from app.core.errors import Invalid, NotFound
from app.core.state import Machine
from app.payouts.domain.calendars import BankDays, BusinessDayRule

MAX_DELAY_DAYS = 90
SEARCHED = timedelta(days=400)
LOOK_EVERY = timedelta(minutes=1)


class Interval(StrEnum):
    """How often."""

    MANUAL = "manual"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    THRESHOLD = "threshold"
    INSTANT = "instant"


class ScheduleStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"


SCHEDULE = Machine(
    "payout schedule",
    states=ScheduleStatus,
    initial=ScheduleStatus.ACTIVE,
    transitions={
        "pause": ((ScheduleStatus.ACTIVE,), ScheduleStatus.PAUSED),
        "resume": ((ScheduleStatus.PAUSED,), ScheduleStatus.ACTIVE),
    },
)


class ScheduleNotFound(NotFound):
    """The schedule does not exist, or belongs to another merchant."""

    code = "payout_schedule_not_found"
    title = "There is no such payout schedule"


class ScheduleInvalid(Invalid):
    """The days, the time, the zone or the amounts of a schedule are not possible."""

    code = "payout_schedule_invalid"
    title = "This payout schedule is not possible"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """When to pay: ``weekly_days`` count from 1 for Monday, ``monthly_days`` beyond a month's end mean its last day."""

    interval: Interval
    weekly_days: tuple[int, ...] = ()
    monthly_days: tuple[int, ...] = ()
    rule: BusinessDayRule = BusinessDayRule.FOLLOWING
    cutoff: str = "09:00"
    timezone: str = "UTC"


class Run(msgspec.Struct, frozen=True):
    """One coming run: the bank day, and the moment at which what is available is counted."""

    on: date
    at: datetime


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much to pay of what is available. Minor units; ``max_minor`` of None is no limit."""

    min_minor: int = 1
    keep_minor: int = 0
    max_minor: int | None = None


def clock_time(text: str) -> time:
    """Read ``16:30``."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ScheduleInvalid("Write the time like 16:30.", fields={"cutoff": "Write the time like 16:30."})
    return time.fromisoformat(text)


def check_plan(plan: Plan) -> None:
    """Refuse a plan whose days do not exist, or which never comes."""
    problems = {}
    if plan.interval is Interval.WEEKLY and not (plan.weekly_days and set(plan.weekly_days) <= set(range(1, 8))):
        problems["weekly_days"] = "Choose at least one day of the week."
    if plan.interval is Interval.MONTHLY and not (plan.monthly_days and set(plan.monthly_days) <= set(range(1, 32))):
        problems["monthly_days"] = "Name days from 1 to 31, with commas between them."
    if plan.timezone not in timezones():
        problems["timezone"] = "This is not a time zone. Use a name such as Europe/Berlin."
    if problems:
        raise ScheduleInvalid("This schedule is not possible.", fields=problems)
    clock_time(plan.cutoff)


def check_amounts(amounts: Amounts) -> None:
    """Refuse amounts that contradict each other."""
    if amounts.min_minor < 1 or amounts.keep_minor < 0:
        raise ScheduleInvalid("Amounts are not negative.", fields={"minimum": "Pay out at least the smallest amount there is."})
    if amounts.max_minor is not None and amounts.max_minor < amounts.min_minor:
        raise ScheduleInvalid("The most is less than the least.", fields={"maximum": "The most is less than the least."})


def planned_days(plan: Plan, start: date) -> Iterator[date]:
    """The days the plan names from a day on, before banks' holidays are minded."""
    for offset in range(SEARCHED.days):
        day = start + timedelta(days=offset)
        if _is_planned(plan, day):
            yield day


def _is_planned(plan: Plan, day: date) -> bool:
    match plan.interval:
        case Interval.DAILY | Interval.THRESHOLD:
            return True
        case Interval.WEEKLY:
            return day.isoweekday() in plan.weekly_days
        case Interval.MONTHLY:
            last = months.monthrange(day.year, day.month)[1]
            return any(min(wanted, last) == day.day for wanted in plan.monthly_days)
        case Interval.MANUAL | Interval.INSTANT:
            return False


def next_runs(plan: Plan, days: BankDays, *, after: datetime, count: int = 5) -> list[Run]:
    """The coming runs: planned days moved to bank days, each bank day once, at the cut-off of the zone, strictly after a moment."""
    here = after.astimezone(ZoneInfo(plan.timezone)).date()
    found: list[Run] = []
    seen: set[date] = set()
    # a planned day before today can be moved to today or later; two weeks cover every run of holidays there is
    for planned in planned_days(plan, here - timedelta(days=14)):
        on = days.adjust(planned, plan.rule)
        run = Run(on, moment(on, plan))
        if on not in seen and run.at > after:
            found.append(run)
        seen.add(on)
        if len(found) == count:
            break
    return sorted(found, key=lambda run: run.on)


def next_run(plan: Plan, days: BankDays, *, after: datetime) -> Run | None:
    """The run that comes next; an instant schedule looks every minute, and the bank's own days decide when the money moves."""
    if plan.interval is Interval.INSTANT:
        at = after + LOOK_EVERY
        return Run(at.astimezone(ZoneInfo(plan.timezone)).date(), at)
    return next(iter(next_runs(plan, days, after=after, count=1)), None)


def moment(on: date, plan: Plan) -> datetime:
    """The cut-off of a day as a moment."""
    return datetime.combine(on, clock_time(plan.cutoff), tzinfo=ZoneInfo(plan.timezone)).astimezone(UTC)


def payable(available: int, *, recent: int, amounts: Amounts) -> int:
    """How much to pay: what is available, less what is too fresh and what is kept back, at most the most; nothing when that is less than the least."""
    free = max(0, available - max(0, recent) - amounts.keep_minor)
    capped = free if amounts.max_minor is None else min(free, amounts.max_minor)
    return capped if capped >= amounts.min_minor else 0


def send_moment(days: BankDays, *, after: datetime, cutoff: str, timezone: str) -> tuple[date, datetime]:
    """On which bank day an order approved now is dated, and when it leaves: at once before the day's cut-off, else as the next bank day begins."""
    zone = ZoneInfo(timezone)
    local = after.astimezone(zone)
    if days.is_open(local.date()) and local.time() < clock_time(cutoff):
        return local.date(), after
    on = days.following(local.date() + timedelta(days=1))
    return on, datetime.combine(on, time(), tzinfo=zone).astimezone(UTC)


def days_text(days: Sequence[int]) -> str:
    """Days as stored and typed: ``1, 15``."""
    return ", ".join(str(day) for day in sorted(days))


def read_days(text: str) -> tuple[int, ...]:
    """Read ``1, 15, 31``."""
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    if not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        raise ScheduleInvalid("Name days from 1 to 31.", fields={"monthly_days": "Name days from 1 to 31, with commas between them."})
    return tuple(sorted({int(part) for part in parts}))
