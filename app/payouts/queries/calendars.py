"""Reads about the days on which banks work."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import today
from app.core.ids import MerchantId
from app.payouts.domain.calendars import BankDays, check_codes
from app.payouts.models import CalendarDay, CalendarOverride
from app.payouts.schemas.schedules import CalendarDayRow, CalendarPage, month_of


async def bank_days(session: AsyncSession, *, merchant_id: MerchantId, codes: Sequence[str]) -> BankDays:
    """Several calendars together, with the merchant's own words on single days. The version names the state of every part."""
    wanted = check_codes(codes)
    closed: set[date] = set()
    opened: set[date] = set()
    versions = []
    for code, (days, version) in (await _days(session, merchant_id, wanted)).items():
        closed |= {day for day, is_open in days.items() if not is_open}
        opened |= {day for day, is_open in days.items() if is_open}
        versions.append(f"{code}/{version}")
    # a day is open only when no calendar closes it: neither as a holiday nor, where only another one opened it, as a weekend
    weekend_opened = {day for day in opened if day.weekday() >= 5} if len(wanted) == 1 else set()
    return BankDays(closed=frozenset(closed), opened=frozenset(weekend_opened), version=" ".join(versions))


async def _days(session: AsyncSession, merchant_id: MerchantId, codes: Sequence[str]) -> dict[str, tuple[dict[date, bool], str]]:
    known = select(CalendarDay).where(CalendarDay.calendar.in_(codes)).order_by(CalendarDay.version)
    own = select(CalendarOverride).where(CalendarOverride.merchant_id == merchant_id, CalendarOverride.calendar.in_(codes))
    found: dict[str, tuple[dict[date, bool], str]] = {code: ({}, "0") for code in codes}
    newest = dict.fromkeys(codes, 0)
    for row in (await session.execute(known)).scalars():
        found[row.calendar][0][row.on_date] = row.is_open
        newest[row.calendar] = max(newest[row.calendar], row.version)
    counts = dict.fromkeys(codes, 0)
    for override in (await session.execute(own.order_by(CalendarOverride.id))).scalars():
        found[override.calendar][0][override.on_date] = override.is_open
        counts[override.calendar] += 1
    return {code: (days, f"{newest[code]}.{counts[code]}") for code, (days, _) in found.items()}


async def calendar_page(session: AsyncSession, *, merchant_id: MerchantId, code: str, first: date) -> CalendarPage:
    """A month of a calendar, and every day of that year on which it says something."""
    check_codes([code])
    days = await bank_days(session, merchant_id=merchant_id, codes=[code])
    rows = await _year(session, merchant_id, code, first.year)
    looks = {row.on_date: ("plan" if row.is_open else "hol", row.name) for row in rows}
    return CalendarPage(code=code, version=days.version, month=month_of(first, looks, today()), days=rows)


async def _year(session: AsyncSession, merchant_id: MerchantId, code: str, year: int) -> list[CalendarDayRow]:
    """The last word on each day of a year: the merchant's own, else the house's newest."""
    span = (date(year, 1, 1), date(year, 12, 31))
    known = select(CalendarDay).where(CalendarDay.calendar == code, CalendarDay.on_date.between(*span)).order_by(CalendarDay.version)
    own = select(CalendarOverride).where(
        CalendarOverride.merchant_id == merchant_id, CalendarOverride.calendar == code, CalendarOverride.on_date.between(*span)
    )
    found: dict[date, CalendarDayRow] = {}
    for row in (await session.execute(known)).scalars():
        found[row.on_date] = CalendarDayRow(on_date=row.on_date, is_open=row.is_open, name=row.name, origin=f"Version {row.version}")
    for override in (await session.execute(own.order_by(CalendarOverride.id))).scalars():
        found[override.on_date] = CalendarDayRow(
            on_date=override.on_date, is_open=override.is_open, name=override.reason, origin=f"Set by {override.set_by_name}"
        )
    return [found[day] for day in sorted(found)]
