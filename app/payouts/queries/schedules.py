"""Reads about payout schedules."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import MerchantId, SellerId, path_id, public_id
from app.core.money import Money, exponent
from app.core.paging import fetch_page
from app.payouts.domain import PayoutScheduleId
from app.payouts.domain.calendars import BusinessDayRule, calendar_of
from app.payouts.domain.schedules import Interval, Plan, ScheduleNotFound, check_plan, days_text, next_runs
from app.payouts.models import PayoutSchedule, PayoutScheduleRun
from app.payouts.queries.calendars import bank_days
from app.payouts.schemas.schedules import ScheduleForm, ScheduleFormPage, ScheduleListPage, ScheduleRow
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import BankAccountId
from app.sellers.queries import bank_accounts
from app.wallets import queries as wallets

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
    return list(
        (await session.execute(statement.order_by(PayoutScheduleRun.run_on.desc(), PayoutScheduleRun.id.desc()).limit(most))).scalars()
    )


async def schedule_list_page(session: AsyncSession, *, merchant_id: MerchantId, after: str | None = None) -> ScheduleListPage:
    """All schedules, newest first."""
    statement = select(PayoutSchedule.id, PayoutSchedule).where(PayoutSchedule.merchant_id == merchant_id)
    found = await fetch_page(session, statement, keys=[PayoutSchedule.id], after=after)
    rows = [row.PayoutSchedule for row in found.items]
    names = await sellers.seller_names(session, merchant_id=merchant_id, ids={SellerId(row.seller_id) for row in rows})
    shown = [ScheduleRow.of(row, names[SellerId(row.seller_id)]) for row in rows]
    return ScheduleListPage(schedules=shown, next=found.next, previous=found.previous)


async def schedule_form_page(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str, wanted: ScheduleForm | None = None
) -> ScheduleFormPage:
    """A seller's schedule in a currency with the runs to come, as it is, or as it would be with what is typed so far."""
    exponent(currency)
    seller = await sellers.seller(session, merchant_id=merchant_id, seller_id=seller_id)
    row = await schedule_of(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    usual = Plan(interval=Interval.WEEKLY, weekly_days=(5,))
    plan = wanted.plan() if wanted else usual if row is None else plan_of(row)
    codes = (wanted.calendars if wanted else [] if row is None else row.calendars) or [calendar_of(currency)]
    check_plan(plan)
    days = await bank_days(session, merchant_id=merchant_id, codes=codes)
    past = [] if row is None else await last_runs(session, merchant_id=merchant_id, schedule_id=PayoutScheduleId(row.id))
    owned = await wallets.wallets_of(session, merchant_id=merchant_id, seller_ids=[seller_id])
    return ScheduleFormPage(
        seller_id=public_id("sel", seller_id),
        seller=seller.name,
        currency=currency,
        currencies=[wallet.currency for wallet in owned[seller_id]],
        schedule=None if row is None else ScheduleRow.of(row, seller.name),
        values=_values(plan, codes, row, currency),
        runs=next_runs(plan, days, after=now()),
        accounts=await _accounts(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency, row=row),
        history=[(run.run_on, run.outcome, public_id("po", run.payout_id) if run.payout_id else None) for run in past],
    )


async def _accounts(
    session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str, row: PayoutSchedule | None
) -> list[tuple[str, str]]:
    """The accounts a schedule may be kept to: the present one, and the one it has been kept to, should that be another."""
    present = await bank_accounts.active_destination(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    found = [] if present is None else [(public_id("ba", present.id), f"Only •••• {present.last4}")]
    if row is not None and row.bank_account_id is not None and (present is None or row.bank_account_id != present.id):
        kept = await bank_accounts.destination(session, merchant_id=merchant_id, account_id=BankAccountId(row.bank_account_id))
        found.append((public_id("ba", kept.id), f"Only •••• {kept.last4}, which is not in use now: nothing is paid"))
    return found


def _values(plan: Plan, codes: Sequence[str], row: PayoutSchedule | None, currency: str) -> dict[str, object]:
    """What the fields of the form show."""

    def amount(minor: int | None) -> str:
        return "" if not minor else Money(minor, currency).decimal()

    return {
        "interval": plan.interval.value,
        "weekly_days": [str(day) for day in plan.weekly_days],
        "monthly_days": days_text(plan.monthly_days),
        "rule": plan.rule.value,
        "cutoff": plan.cutoff,
        "timezone": plan.timezone,
        "calendars": list(codes),
        "account": "" if row is None or row.bank_account_id is None else public_id("ba", row.bank_account_id),
        "delay_days": 0 if row is None else row.delay_days,
        "minimum": amount(None if row is None else row.min_minor),
        "keep": amount(None if row is None else row.keep_minor),
        "maximum": amount(None if row is None else row.max_minor),
    }


async def schedule_of(session: AsyncSession, *, merchant_id: MerchantId, seller_id: SellerId, currency: str) -> PayoutSchedule | None:
    """A seller's schedule in a currency, if there is one."""
    statement = select(PayoutSchedule).where(
        PayoutSchedule.merchant_id == merchant_id, PayoutSchedule.seller_id == seller_id, PayoutSchedule.currency == currency
    )
    return (await session.execute(statement)).scalar_one_or_none()
