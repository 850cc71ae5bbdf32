"""Schedules: sellers who are paid out by themselves. A due row is claimed by one scheduler, and a day is run once whoever runs it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.errors import AppError
from app.core.ids import MerchantId, SellerId, new_id, public_id
from app.core.money import Money, exponent
from app.payouts import queries
from app.payouts.domain import PayoutId, PayoutScheduleId, Source
from app.payouts.domain.approvals import Limits
from app.payouts.domain.calendars import BankDays, calendar_of, check_codes
from app.payouts.domain.schedules import (
    MAX_DELAY_DAYS,
    SCHEDULE,
    Amounts,
    Interval,
    Plan,
    Run,
    ScheduleInvalid,
    ScheduleStatus,
    check_amounts,
    check_plan,
    next_run,
    payable,
)
from app.payouts.models import CalendarOverride, PayoutSchedule, PayoutScheduleRun
from app.payouts.queries import schedules as schedule_queries
from app.payouts.queries.calendars import bank_days
from app.payouts.service import requests
from app.payouts.service.available import lock_wallets
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import BankAccountId, BankAccountNeedsPerson
from app.sellers.queries import bank_accounts
from app.wallets import queries as wallets

_DUE = text("select merchant_id, id from payout_schedules_due(:moment, :most)")


async def set_schedule(
    session: AsyncSession,
    actor: Actor,
    *,
    seller_id: SellerId,
    currency: str,
    plan: Plan,
    amounts: Amounts,
    delay_days: int = 0,
    calendars: Sequence[str] = (),
    account_id: BankAccountId | None = None,
) -> PayoutSchedule:
    """Set when a seller is paid out in a currency. Whoever set it counts as the requester of its payouts, and cannot approve them.

    With an account it pays to that one or not at all: should the seller's account change, somebody has to look at the schedule first.
    """
    exponent(currency)
    if actor.id is None:
        raise BankAccountNeedsPerson("A person sets a schedule.")
    check_plan(plan)
    check_amounts(amounts)
    if not 0 <= delay_days <= MAX_DELAY_DAYS:
        detail = f"Use 0 to {MAX_DELAY_DAYS} bank days."
        raise ScheduleInvalid(detail, fields={"delay_days": detail})
    await sellers.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
    if account_id is not None:
        await _check_account(session, actor.merchant, seller_id=seller_id, currency=currency, account_id=account_id)
    codes = check_codes(calendars or [calendar_of(currency)])
    coming = await _next(session, actor.merchant, plan, codes)
    values = _values(plan, amounts) | {"delay_days": delay_days, "calendars": codes, "status": ScheduleStatus.ACTIVE, **_planned(coming)}
    values |= {"bank_account_id": account_id, "edited_by": actor.id, "edited_by_name": actor.name, "updated_at": now()}
    row = upsert(PayoutSchedule).values(
        merchant_id=actor.merchant, id=new_id(), seller_id=seller_id, currency=currency, created_at=now(), **values
    )
    statement = row.on_conflict_do_update(index_elements=["merchant_id", "seller_id", "currency"], set_=values).returning(PayoutSchedule)
    schedule = (await session.execute(statement, execution_options={"populate_existing": True})).scalar_one()
    after = {"currency": currency, **_values(plan, amounts), "delay_days": delay_days, "calendars": codes}
    after["account"] = public_id("ba", account_id) if account_id else None
    await audit.record(session, actor, action="payout.schedule_set", object_type="seller", object_id=seller_id, after=after)
    return schedule


async def _check_account(
    session: AsyncSession, merchant_id: MerchantId, *, seller_id: SellerId, currency: str, account_id: BankAccountId
) -> None:
    account = await bank_accounts.active_destination(session, merchant_id=merchant_id, seller_id=seller_id, currency=currency)
    if account is None or account.id != account_id:
        detail = "This is not the seller’s account now. Choose the present one, or whichever it is."
        raise ScheduleInvalid(detail, fields={"account": detail})


def _values(plan: Plan, amounts: Amounts) -> dict[str, object]:
    return {
        "interval": plan.interval,
        "weekly_days": [str(day) for day in plan.weekly_days],
        "monthly_days": [str(day) for day in plan.monthly_days],
        "rule": plan.rule,
        "cutoff": plan.cutoff,
        "timezone": plan.timezone,
        "min_minor": amounts.min_minor,
        "keep_minor": amounts.keep_minor,
        "max_minor": amounts.max_minor,
    }


def _planned(coming: Run | None) -> dict[str, object]:
    return {"next_run_on": coming.on if coming else None, "next_run_at": coming.at if coming else None}


async def _next(session: AsyncSession, merchant_id: MerchantId, plan: Plan, codes: Sequence[str]) -> Run | None:
    days = await bank_days(session, merchant_id=merchant_id, codes=codes)
    return next_run(plan, days, after=now())


async def change_status(session: AsyncSession, actor: Actor, *, schedule_id: PayoutScheduleId, event: str) -> PayoutSchedule:
    """Pause a schedule, or let it go on with its next day; days that passed meanwhile are not made up for."""
    statement = select(PayoutSchedule).where(PayoutSchedule.merchant_id == actor.merchant, PayoutSchedule.id == schedule_id)
    schedule = (await session.execute(statement.with_for_update())).scalar_one_or_none()
    if schedule is None:
        schedule = await schedule_queries.schedule(session, merchant_id=actor.merchant, schedule_id=schedule_id)
    before = schedule.status
    schedule.status = SCHEDULE.next(ScheduleStatus(before), event)
    coming = None
    if schedule.status == ScheduleStatus.ACTIVE:
        coming = await _next(session, actor.merchant, schedule_queries.plan_of(schedule), schedule.calendars)
    schedule.next_run_on, schedule.next_run_at = (coming.on, coming.at) if coming else (None, None)
    schedule.updated_at = now()
    await audit.record(
        session,
        actor,
        action=f"payout.schedule_{event}d",
        object_type="seller",
        object_id=schedule.seller_id,
        before={"status": before},
        after={"status": schedule.status, "currency": schedule.currency},
    )
    return schedule


async def due_schedules(session: AsyncSession, *, most: int = 500) -> list[tuple[MerchantId, PayoutScheduleId]]:
    """Schedules of all merchants whose time has come."""
    rows = await session.execute(_DUE, {"moment": now(), "most": most})
    return [(MerchantId(row.merchant_id), PayoutScheduleId(row.id)) for row in rows]


async def run_schedules(session: AsyncSession, *, merchant_id: MerchantId, schedule_ids: Sequence[PayoutScheduleId]) -> int:
    """Run due schedules with one statement for each table and plan their next days; what another scheduler has is left to it.

    Returns how many payouts were requested.
    """
    statement = select(PayoutSchedule).where(
        PayoutSchedule.merchant_id == merchant_id,
        PayoutSchedule.id.in_(list(schedule_ids)),
        PayoutSchedule.status == ScheduleStatus.ACTIVE,
        PayoutSchedule.next_run_at <= now(),
    )
    found = (await session.execute(statement.order_by(PayoutSchedule.id).with_for_update(skip_locked=True))).scalars()
    due = [schedule for schedule in found if schedule.next_run_on is not None]
    days = await _bank_days_of(session, merchant_id, due)
    outcomes: dict[UUID, Outcome] = {}
    for currency in sorted({schedule.currency for schedule in due}):
        outcomes |= await _pay(session, merchant_id, currency, [schedule for schedule in due if schedule.currency == currency], days)
    rows = [
        {
            "merchant_id": merchant_id,
            "id": new_id(),
            "schedule_id": schedule.id,
            "run_on": schedule.next_run_on,
            "payout_id": outcomes[schedule.id].payout_id,
            "outcome": outcomes[schedule.id].text,
            "at": now(),
        }
        for schedule in due
        if outcomes[schedule.id].payout_id or not _is_instant(schedule)  # it looks every minute; only what it paid is worth a line
    ]
    if rows:
        # a day whose cut-off was moved to later is run again: what it said first stands, and the schedule goes on
        await session.execute(upsert(PayoutScheduleRun).on_conflict_do_nothing(constraint="uq_payout_schedule_run_once"), rows)
    for schedule in due:
        _plan_next(schedule, days[tuple(schedule.calendars)])
    return sum(outcome.payout_id is not None for outcome in outcomes.values())


class Outcome(msgspec.Struct, frozen=True):
    """What became of one run."""

    payout_id: PayoutId | None
    text: str


def _plan_next(schedule: PayoutSchedule, days: BankDays) -> None:
    coming = next_run(schedule_queries.plan_of(schedule), days, after=now())
    schedule.next_run_on, schedule.next_run_at = (coming.on, coming.at) if coming else (None, None)


async def _bank_days_of(session: AsyncSession, merchant_id: MerchantId, due: Sequence[PayoutSchedule]) -> dict[tuple[str, ...], BankDays]:
    """The bank days of every combination of calendars that some schedules go by."""
    wanted = {tuple(schedule.calendars) for schedule in due}
    return {codes: await bank_days(session, merchant_id=merchant_id, codes=codes) for codes in sorted(wanted)}


async def _pay(
    session: AsyncSession,
    merchant_id: MerchantId,
    currency: str,
    due: Sequence[PayoutSchedule],
    days: Mapping[tuple[str, ...], BankDays],
) -> dict[UUID, Outcome]:
    """Pay what is there by each schedule's rules, or say why not."""
    ids = [SellerId(schedule.seller_id) for schedule in due]
    available = await lock_wallets(session, merchant_id=merchant_id, seller_ids=ids, currency=currency)
    fresh = {SellerId(schedule.seller_id): _fresh_since(schedule, days[tuple(schedule.calendars)]) for schedule in due}
    recent = await wallets.released_since(session, merchant_id=merchant_id, currency=currency, moments=fresh)
    limits = await queries.limits(session, merchant_id=merchant_id, currency=currency)
    outcomes: dict[UUID, Outcome] = {}
    asks: list[tuple[PayoutSchedule, requests.Ask]] = []
    for schedule in due:
        seller_id = SellerId(schedule.seller_id)
        minor = payable(
            max(0, available.get(seller_id, 0) - limits.fee_minor), recent=recent.get(seller_id, 0), amounts=_amounts(schedule, limits)
        )
        if minor:
            wanted = Money(minor, currency)
            asks.append(
                (schedule, requests.Ask(seller_id=seller_id, amount=wanted, cause=_cause(schedule), only_to=schedule.bank_account_id))
            )
        else:
            least = Money(schedule.min_minor, currency).format()
            outcomes[schedule.id] = Outcome(None, f"Nothing to pay: less than {least} is free")
    actor = Actor.system(merchant_id, "the payout schedule")
    made = await requests.request_all(session, actor, currency=currency, asks=[ask for _, ask in asks])
    for (schedule, ask), payout in zip(asks, made, strict=True):
        outcomes[schedule.id] = (
            Outcome(None, f"Not paid: {payout.detail}")
            if isinstance(payout, AppError)
            else Outcome(PayoutId(payout.id), f"Paid out {ask.amount.format()}")
        )
    return outcomes


def _amounts(schedule: PayoutSchedule, limits: Limits) -> Amounts:
    """The schedule's own, at most what one payout may be: asking for more would be refused, and every run anew."""
    most = [each for each in (schedule.max_minor, limits.max_minor) if each is not None and each >= schedule.min_minor]
    return Amounts(min_minor=schedule.min_minor, keep_minor=schedule.keep_minor, max_minor=min(most, default=None))


def _cause(schedule: PayoutSchedule) -> requests.Cause:
    return requests.Cause(
        source=Source.SCHEDULE,
        requested_by=schedule.edited_by,
        requested_by_name=f"Schedule of {schedule.edited_by_name}",
        schedule_id=PayoutScheduleId(schedule.id),
        run_on=None if _is_instant(schedule) else schedule.next_run_on,  # the others pay once a day
    )


def _is_instant(schedule: PayoutSchedule) -> bool:
    return schedule.interval == Interval.INSTANT


def _fresh_since(schedule: PayoutSchedule, days: BankDays) -> datetime:
    """What was captured from this moment on is too fresh: fewer than the schedule's bank days have passed since."""
    run_on = schedule.next_run_on
    assert run_on is not None
    last = days.back(run_on, schedule.delay_days) if schedule.delay_days else run_on
    return datetime.combine(last + timedelta(days=1), time(), tzinfo=ZoneInfo(schedule.timezone)).astimezone(UTC)


async def override_day(session: AsyncSession, actor: Actor, *, calendar: str, on_date: date, is_open: bool, reason: str) -> None:
    """Say that banks work, or do not work, on a day, against what the calendar says; coming runs are planned anew."""
    check_codes([calendar])
    row = {
        "merchant_id": actor.merchant,
        "id": new_id(),
        "calendar": calendar,
        "on_date": on_date,
        "is_open": is_open,
        "reason": reason,
        "set_by_name": actor.name,
        "set_at": now(),
    }
    await session.execute(insert(CalendarOverride).values(row))
    statement = select(PayoutSchedule).where(
        PayoutSchedule.merchant_id == actor.merchant,
        PayoutSchedule.status == ScheduleStatus.ACTIVE,
        PayoutSchedule.calendars.contains([calendar]),
    )
    found = (await session.execute(statement.order_by(PayoutSchedule.id).with_for_update())).scalars()
    # one whose time has come is about to run; planned anew now, its day would be lost
    planned = [schedule for schedule in found if schedule.next_run_at is None or schedule.next_run_at > now()]
    days = await _bank_days_of(session, actor.merchant, planned)
    for schedule in planned:
        _plan_next(schedule, days[tuple(schedule.calendars)])
    after = {"calendar": calendar, "on": on_date.isoformat(), "is_open": is_open, "merchant": public_id("mer", actor.merchant)}
    await audit.record(
        session, actor, action="payout.calendar_set", object_type="payout_policy", object_id=actor.merchant, after=after, reason=reason
    )
