"""Reads about payout schedules."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, path_id
from app.payouts.domain import PayoutScheduleId
from app.payouts.domain.calendars import BusinessDayRule
from app.payouts.domain.schedules import Interval, Plan, ScheduleNotFound
from app.payouts.models import PayoutSchedule, PayoutScheduleRun

MISSING = "There is no payout schedule with this id for this merchant."


def schedule_id(text: str) -> PayoutScheduleId:
    """The id in an address; one that is malformed names no schedule, like any other that is not there."""
    return PayoutScheduleId(path_id("psc", text, otherwise=ScheduleNotFound(MISSING)))


async def schedule(session: AsyncSession, *, merchant_id: MerchantId, schedule_id: PayoutScheduleId) -> PayoutSchedule:
    """One schedule."""
    found = await session.get(PayoutSchedule, (merchant_id, schedule_id))
    if found is None:
        raise ScheduleNotFound(MISSING)
    return found


def plan_of(row: PayoutSchedule) -> Plan:
    """When a schedule pays."""
    return Plan(
        interval=Interval(row.interval),
        weekly_days=tuple(int(day) for day in row.weekly_days),
        monthly_days=tuple(int(day) for day in row.monthly_days),
        rule=BusinessDayRule(row.rule),
        cutoff=row.cutoff,
        timezone=row.timezone,
    )


async def last_runs(
    session: AsyncSession, *, merchant_id: MerchantId, schedule_id: PayoutScheduleId, most: int = 10
) -> list[PayoutScheduleRun]:
    """What became of a schedule's last runs, newest first."""
    statement = select(PayoutScheduleRun).where(PayoutScheduleRun.merchant_id == merchant_id, PayoutScheduleRun.schedule_id == schedule_id)
    return list((await session.execute(statement.order_by(PayoutScheduleRun.run_on.desc()).limit(most))).scalars())
