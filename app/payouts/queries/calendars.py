"""Reads about the days on which banks work."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId
from app.payouts.domain.calendars import BankDays, check_codes
from app.payouts.models import CalendarDay, CalendarOverride


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
