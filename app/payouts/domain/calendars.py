"""Days on which banks work. Pure: which days are closed is data (calendar_day), seeded once and overridden where a library is wrong.

The trap this exists for: lists of holidays close Friday 3 July 2026 for the Federal Reserve, because Independence Day is a Saturday. The Federal
Reserve is open on the Friday before a Saturday holiday, so the day is a day for payments.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum

import msgspec

from app.core.errors import Invalid, NotFound

CALENDARS: dict[str, str] = {
    "TARGET": "Euro area (TARGET)",
    "FED": "United States (Federal Reserve)",
    "UK": "United Kingdom (banks in England)",
    "WEEKDAYS": "Monday to Friday",
}
_OF_CURRENCY = {"EUR": "TARGET", "USD": "FED", "GBP": "UK"}
FIRST_YEAR, LAST_YEAR = 2024, 2035
MAX_CLOSED = 60
"""No bank is closed for longer on end; a calendar in which no open day comes is wrong."""


class CalendarUnknown(NotFound):
    """There is no calendar of bank days with this name."""

    code = "calendar_unknown"
    title = "There is no such calendar"


class CalendarInvalid(Invalid):
    """A calendar closes every day, or a date is outside of the years it knows."""

    code = "calendar_invalid"
    title = "This calendar cannot be used"


class BusinessDayRule(StrEnum):
    """What happens to a date on which banks do not work."""

    FOLLOWING = "following"
    MODIFIED_FOLLOWING = "modified_following"
    PRECEDING = "preceding"


class BankDays(msgspec.Struct, frozen=True, kw_only=True):
    """One or several calendars together: a day is open when it is open in each of them."""

    closed: frozenset[date] = frozenset()
    opened: frozenset[date] = frozenset()
    version: str = ""

    def is_open(self, day: date) -> bool:
        """Whether banks work on the day."""
        return day in self.opened or (day.weekday() < 5 and day not in self.closed)

    def following(self, day: date) -> date:
        """The day itself, or the next on which banks work."""
        return self._walk(day, 1)

    def preceding(self, day: date) -> date:
        """The day itself, or the last before it on which banks work."""
        return self._walk(day, -1)

    def adjust(self, day: date, rule: BusinessDayRule) -> date:
        """The bank day for a date by a rule; “modified following” never leaves the month."""
        if rule is BusinessDayRule.PRECEDING:
            return self.preceding(day)
        later = self.following(day)
        if rule is BusinessDayRule.MODIFIED_FOLLOWING and later.month != day.month:
            return self.preceding(day)
        return later

    def add(self, day: date, days: int) -> date:
        """So many bank days after a day; nought gives the day itself, or the next bank day."""
        day = self.following(day)
        for _ in range(days):
            day = self.following(day + timedelta(days=1))
        return day

    def back(self, day: date, days: int) -> date:
        """So many bank days before a day."""
        day = self.preceding(day)
        for _ in range(days):
            day = self.preceding(day - timedelta(days=1))
        return day

    def _walk(self, day: date, step: int) -> date:
        for _ in range(MAX_CLOSED):
            if self.is_open(day):
                return day
            day += timedelta(days=step)
        raise CalendarInvalid("The calendar has no open day for two months.")


def check_codes(codes: Iterable[str]) -> list[str]:
    """The names of calendars, each known."""
    found = list(dict.fromkeys(codes))
    for code in found:
        if code not in CALENDARS:
            raise CalendarUnknown(f"There is no calendar called “{code[:20]}”; use one of {', '.join(CALENDARS)}.")
    return found


def calendar_of(currency: str) -> str:
    """The calendar of a currency's own banks."""
    return _OF_CURRENCY.get(currency, "WEEKDAYS")
