"""Schedules and bank days on a real database: paid on the day, once, by the rules."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from psycopg import Connection

from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.payouts import flows
from app.payouts.domain import PayoutNeedsSecondPerson, PayoutScheduleId, PayoutStatus
from app.payouts.domain.calendars import BusinessDayRule, CalendarUnknown
from app.payouts.domain.schedules import Amounts, Interval, Plan, ScheduleInvalid
from app.payouts.models import PayoutSchedule
from app.payouts.queries.calendars import bank_days
from app.payouts.service import schedules
from app.sellers.domain.bank_accounts import BankAccountId
from tests.payouts.conftest import Books
from tests.support.factories.bank_accounts import FRENCH, make_account
from tests.support.factories.payouts import Till
from tests.support.factories.wallets import let_days_pass

DAILY = Plan(interval=Interval.DAILY, cutoff="18:00")


async def set_up(
    till: Till, plan: Plan = DAILY, *, delay_days: int = 0, account_id: BankAccountId | None = None, **amounts: int
) -> PayoutSchedule:
    async with unit_of_work(till.merchant_id) as session:
        return await schedules.set_schedule(
            session,
            till.actor,
            seller_id=till.shop.anna,
            currency="EUR",
            plan=plan,
            amounts=Amounts(**amounts),
            delay_days=delay_days,
            calendars=["WEEKDAYS"],
            account_id=account_id,
        )


def runs(superuser: Connection) -> list[tuple[object, ...]]:
    return superuser.execute("select run_on, outcome from payout_schedule_run order by run_on").fetchall()


class TestRun:
    async def test_kept_to_an_account_it_does_not_follow_a_change(self, till: Till, superuser: Connection) -> None:
        (first,) = superuser.execute("select id from bank_account where status = 'active' and seller_id = %s", [till.shop.anna]).fetchall()
        schedule = await set_up(till, account_id=BankAccountId(first[0]))
        second = await make_account(till.actor, till.shop.anna, number=FRENCH)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 0
        ((_, said),) = runs(superuser)
        assert str(said).startswith("Not paid: It pays only to the account it was set for")
        with pytest.raises(ScheduleInvalid):
            await set_up(till, account_id=BankAccountId(first[0]))
        schedule = await set_up(till, account_id=second)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(days=3)):
            assert await flows.run_schedules() == 1

    async def test_pays_what_is_there_at_the_cut_off_and_plans_the_next_day(self, till: Till, books: Books, superuser: Connection) -> None:
        schedule = await set_up(till, keep_minor=10_000)
        assert await flows.run_schedules() == 0
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 1
            assert await flows.run_schedules() == 0
            following = superuser.execute("select next_run_at from payout_schedule").fetchone()
            assert following is not None and following[0] > now()
        assert books()[("2140", "anna")] == -90_000
        assert runs(superuser) == [(schedule.next_run_on, "Paid out €900.00")]
        assert superuser.execute("select source, status from payout").fetchone() == ("schedule", "pending_approval")

    async def test_three_schedulers_pay_once(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till, max_minor=1_000, min_minor=1)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert sum(await asyncio.gather(*(flows.run_schedules() for _ in range(3)))) == 1
        assert superuser.execute("select count(*), sum(amount_minor) from payout").fetchone() == (1, 1_000)

    async def test_less_than_the_least_is_kept_and_said(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till, Plan(interval=Interval.THRESHOLD, cutoff="18:00"), min_minor=100_001)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 0
        assert runs(superuser) == [(schedule.next_run_on, "Nothing to pay: less than €1,000.01 is free")]

    async def test_what_cannot_be_paid_is_said_and_the_next_day_comes(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till)
        superuser.execute("update bank_account set verification = 'failed'")
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 0
        assert "Nobody has verified" in str(runs(superuser)[0][1])
        assert superuser.execute("select count(*) from payout").fetchone() == (0,)

    async def test_funds_that_are_too_fresh_wait(self, till: Till, books: Books) -> None:
        await till.shop.pay()  # 57.00 for Anna
        await let_days_pass(3)
        schedule = await set_up(till, delay_days=5)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 1
        assert books()[("2140", "anna")] == -100_000

    async def test_who_set_the_schedule_cannot_approve_its_payouts(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            await flows.run_schedules()
            payout_id = superuser.execute("select id from payout").fetchone()[0]  # type: ignore[index]
            payout = type("Row", (), {"id": payout_id})()
            with pytest.raises(PayoutNeedsSecondPerson):
                await till.approve(payout, actor=till.actor)
            assert (await till.approve(payout)).status == PayoutStatus.SCHEDULED

    async def test_paused_it_rests_and_resumed_it_goes_on_without_making_up(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till)
        schedule_id = PayoutScheduleId(schedule.id)
        assert schedule.next_run_at is not None
        async with unit_of_work(till.merchant_id) as session:
            await schedules.change_status(session, till.actor, schedule_id=schedule_id, event="pause")
        with travel(schedule.next_run_at + timedelta(days=10)):
            assert await flows.run_schedules() == 0
            async with unit_of_work(till.merchant_id) as session:
                resumed = await schedules.change_status(session, till.actor, schedule_id=schedule_id, event="resume")
            assert resumed.next_run_at is not None and resumed.next_run_at > now()
            assert await flows.run_schedules() == 0
        assert runs(superuser) == []

    async def test_setting_it_again_changes_it(self, till: Till, superuser: Connection) -> None:
        await set_up(till)
        weekly = Plan(interval=Interval.WEEKLY, weekly_days=(2,), rule=BusinessDayRule.PRECEDING)
        changed = await set_up(till, weekly)
        assert changed.next_run_on is not None and changed.next_run_on.isoweekday() == 2
        assert superuser.execute("select interval, weekly_days from payout_schedule").fetchall() == [("weekly", ["2"])]

    async def test_impossible_ones_are_refused(self, till: Till) -> None:
        with pytest.raises(ScheduleInvalid):
            await set_up(till, delay_days=91)
        with pytest.raises(ScheduleInvalid):
            await set_up(till, min_minor=10, max_minor=5)


class TestCalendars:
    @staticmethod
    async def is_open(merchant_id: MerchantId, code: str, day: date) -> bool:
        async with unit_of_work(merchant_id) as session:
            return (await bank_days(session, merchant_id=merchant_id, codes=[code])).is_open(day)

    async def test_the_fed_works_on_the_friday_before_a_saturday_holiday(self, till: Till, superuser: Connection) -> None:
        assert await self.is_open(till.merchant_id, "FED", date(2026, 7, 3))
        assert not await self.is_open(till.merchant_id, "FED", date(2026, 5, 25))
        assert not await self.is_open(till.merchant_id, "FED", date(2027, 7, 5))  # a Sunday holiday moves to Monday
        versions = "select version, is_open from calendar_day where calendar = 'FED' and on_date = '2026-07-03' order by version"
        assert superuser.execute(versions).fetchall() == [(1, False), (2, True)]

    async def test_target_closes_on_its_six_days(self, till: Till) -> None:
        closed = [date(2026, 1, 1), date(2026, 4, 3), date(2026, 4, 6), date(2026, 5, 1), date(2026, 12, 25)]
        async with unit_of_work(till.merchant_id) as session:
            days = await bank_days(session, merchant_id=till.merchant_id, codes=["TARGET"])
        year = [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]
        assert [day for day in year if day.weekday() < 5 and not days.is_open(day)] == closed
        assert days.add(date(2026, 4, 2), 2) == date(2026, 4, 8)

    async def test_several_calendars_are_open_where_each_is(self, till: Till) -> None:
        async with unit_of_work(till.merchant_id) as session:
            both = await bank_days(session, merchant_id=till.merchant_id, codes=["TARGET", "FED"])
        assert not both.is_open(date(2026, 5, 1)) and not both.is_open(date(2026, 11, 26)) and both.is_open(date(2026, 7, 3))
        assert both.version.startswith("TARGET/1") and "FED/2" in both.version

    async def test_a_merchants_own_word_counts_for_it_alone_and_plans_anew(self, till: Till, stranger: object) -> None:
        schedule = await set_up(till)
        on = schedule.next_run_on
        assert on is not None
        async with unit_of_work(till.merchant_id) as session:
            await schedules.override_day(session, till.actor, calendar="WEEKDAYS", on_date=on, is_open=False, reason="Strike")
        async with unit_of_work(till.merchant_id) as session:
            days = await bank_days(session, merchant_id=till.merchant_id, codes=["WEEKDAYS"])
            planned = await session.get(PayoutSchedule, (till.merchant_id, schedule.id))
        assert planned is not None and planned.next_run_on is not None and planned.next_run_on > on
        assert days.version == "WEEKDAYS/0.1"
        assert await self.is_open(stranger.id, "WEEKDAYS", on)  # type: ignore[attr-defined]

    async def test_an_unknown_calendar_is_refused(self, till: Till) -> None:
        with pytest.raises(CalendarUnknown):
            async with unit_of_work(till.merchant_id) as session:
                await bank_days(session, merchant_id=till.merchant_id, codes=["MARS"])

    async def test_the_house_knows_ten_years(self, superuser: Connection) -> None:
        years = superuser.execute("select calendar, min(on_date), max(on_date) from calendar_day group by 1").fetchall()
        assert len(years) == 3
        assert all(first.year == 2024 and last.year == 2035 for _, first, last in years)
        assert datetime(2026, 7, 3, tzinfo=UTC).weekday() == 4
