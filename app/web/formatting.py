"""How moments and amounts are written for people: `20 Nov, 14:32`, `€1,249.00`, `31 min`."""

from datetime import date, datetime, timedelta
from functools import cache

from babel.numbers import get_currency_symbol

from app.core import clock
from app.core.money import Money, exponent

_MINUTE = 60
_HOUR = 3600
_DAY = 86_400


def money_text(amount: Money, sign: bool = False) -> str:
    """The amount as people write it; `sign` puts a plus before what is more than nothing.

    The same as Money.format, without asking Babel for every cell: a page of payments shows a hundred amounts.
    """
    whole, rest = divmod(abs(amount.minor), 10 ** exponent(amount.currency))
    places = exponent(amount.currency)
    digits = f"{whole:,}.{rest:0{places}d}" if places else f"{whole:,}"
    before = "\u2212" if amount.is_negative else "+" if sign and amount.is_positive else ""
    return before + _prefix(amount.currency) + digits


@cache
def _prefix(currency: str) -> str:
    # currencies without a sign are written with their code, which must not touch the digits
    symbol = currency_symbol(currency)
    return symbol + "\u00a0" if symbol == currency else symbol


def money_digits(amount: Money, sign: bool = False) -> str:
    """The amount without its code, for places that show the code in a slot of its own."""
    return money_text(amount, sign).replace(amount.currency + "\u00a0", "", 1)


def currency_symbol(currency: str) -> str:
    """The sign before an amount: € for EUR, the code where there is none."""
    return str(get_currency_symbol(currency, locale="en"))


def iso(at: datetime | date) -> str:
    """The exact moment, for titles and machines."""
    return at.isoformat(timespec="seconds") if isinstance(at, datetime) else at.isoformat()


def moment(at: datetime | date, style: str = "short") -> str:
    """A moment as people read it: short, time, date, full or age. A year is named only when it is not this one."""
    if not isinstance(at, datetime):
        return _day(at)
    match style:
        case "time":
            return _minute(at)
        case "date":
            return _day(at)
        case "full":
            return f"{_day(at)}, {_minute(at)}:{at.second:02}"
        case "age":
            return age(clock.now() - at)
        case _:
            return f"{_day(at)}, {_minute(at)}"


def _minute(at: datetime) -> str:
    return f"{at.hour:02}:{at.minute:02}"


def _day(on: date) -> str:
    text = f"{on.day} {_MONTHS[on.month]}"
    return text if on.year == clock.now().year else f"{text} {on.year}"


_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def age(span: timedelta) -> str:
    """How long something has waited: `31 min`, `3 h 12 min`, `4 days`."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < _DAY:
        hours, minutes = divmod(seconds // _MINUTE, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days = seconds // _DAY
    return "1 day" if days == 1 else f"{days} days"
