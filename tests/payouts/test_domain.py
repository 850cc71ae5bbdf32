"""Rules without a database: the machine, bank days, schedules, amounts, approvals."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import new_id
from app.core.money import Money
from app.payouts.domain import OUT, PAYOUT, STOPPABLE, PayoutId, PayoutStatus, end_to_end_id
from app.payouts.domain.approvals import Threshold, digest_of, required_approvals
from app.payouts.domain.calendars import BankDays, BusinessDayRule, CalendarInvalid
from app.payouts.domain.schedules import Amounts, Interval, Plan, ScheduleInvalid, check_plan, next_runs, payable, planned_days, send_moment

P = PayoutStatus
DAYS = st.dates(date(2024, 1, 15), date(2035, 11, 1))
# hypothesis takes the bounds without a zone and adds it
MOMENTS = st.datetimes(datetime(2025, 12, 1), datetime(2026, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001
CLOSED = st.frozensets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=25)


class TestMachine:
    @given(st.lists(st.sampled_from(sorted(PAYOUT.transitions)), max_size=40))
    def test_money_that_left_the_house_cannot_be_stopped_and_an_end_is_an_end(self, events: list[str]) -> None:
        state, was_out = PAYOUT.initial, False
        for event in events:
            if not PAYOUT.can(state, event):
                continue
            assert state not in PAYOUT.terminal
            was_out = was_out or state in OUT
            state = PAYOUT.next(state, event)
            assert state is not P.PAID or was_out
            assert state is not P.RETURNED or was_out
        assert not (state in (P.CANCELLED, P.REJECTED, P.EXPIRED) and any(PAYOUT.can(state, event) for event in PAYOUT.transitions))

    def test_every_open_state_can_be_stopped_until_it_is_batched(self) -> None:
        assert {state for state in P if PAYOUT.can(state, "cancel")} == set(STOPPABLE)

    def test_names_at_the_bank_are_short_plain_and_different(self) -> None:
        names = {end_to_end_id(PayoutId(new_id())) for _ in range(500)}
        assert len(names) == 500
        assert all(len(name) <= 35 and name.isascii() and name.isalnum() for name in names)


class TestBankDays:
    @given(DAYS, CLOSED)
    def test_following_and_preceding_are_the_nearest_open_days(self, day: date, closed: frozenset[date]) -> None:
        days = BankDays(closed=closed)
        later, earlier = days.following(day), days.preceding(day)
        assert earlier <= day <= later and days.is_open(later) and days.is_open(earlier)
        assert not any(days.is_open(day + timedelta(days=n)) for n in range((later - day).days))
        assert not any(days.is_open(day - timedelta(days=n)) for n in range((day - earlier).days))

    @given(DAYS, CLOSED, st.integers(0, 20))
    def test_adding_days_counts_open_ones_only(self, day: date, closed: frozenset[date], many: int) -> None:
        days = BankDays(closed=closed)
        end = days.add(day, many)
        start = days.following(day)
        assert sum(days.is_open(start + timedelta(days=n)) for n in range((end - start).days)) == many
        assert days.back(end, many) == start

    @given(DAYS, CLOSED)
    def test_modified_following_stays_in_its_month(self, day: date, closed: frozenset[date]) -> None:
        adjusted = BankDays(closed=closed).adjust(day, BusinessDayRule.MODIFIED_FOLLOWING)
        assert adjusted.month == day.month

    def test_easter_2026(self) -> None:
        target = BankDays(closed=frozenset({date(2026, 4, 3), date(2026, 4, 6)}))
        assert target.add(date(2026, 4, 2), 2) == date(2026, 4, 8)

    def test_a_calendar_that_never_opens_is_refused(self) -> None:
        with pytest.raises(CalendarInvalid):
            BankDays(closed=frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(90))).following(date(2026, 1, 5))


def plans() -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        interval=st.sampled_from([Interval.DAILY, Interval.WEEKLY, Interval.MONTHLY, Interval.THRESHOLD]),
        weekly_days=st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True).map(tuple),
        monthly_days=st.lists(st.integers(1, 31), min_size=1, max_size=4, unique=True).map(tuple),
        rule=st.sampled_from(list(BusinessDayRule)),
        cutoff=st.sampled_from(["00:00", "02:30", "09:00", "16:30", "23:59"]),
        timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"]),
    )


class TestSchedules:
    @given(plans(), CLOSED, MOMENTS)
    def test_runs_are_open_later_each_day_once_and_as_planned(self, plan: Plan, closed: frozenset[date], after: datetime) -> None:
        days = BankDays(closed=closed)
        runs = next_runs(plan, days, after=after, count=8)
        assert len(runs) == 8
        assert [run.on for run in runs] == sorted({run.on for run in runs})
        planned = set(planned_days(plan, runs[0].on - timedelta(days=20)))
        for run in runs:
            assert run.at > after and days.is_open(run.on)
            assert run.at.astimezone(ZoneInfo(plan.timezone)).date() == run.on
            near = (run.on + timedelta(days=n) for n in range(-12, 13))
            assert any(day in planned and days.adjust(day, plan.rule) == run.on for day in near)

    @given(plans(), CLOSED, MOMENTS)
    def test_walking_from_run_to_run_finds_the_same_days(self, plan: Plan, closed: frozenset[date], after: datetime) -> None:
        days = BankDays(closed=closed)
        walked, here = [], after
        for _ in range(4):
            run = next_runs(plan, days, after=here, count=1)[0]
            walked.append(run)
            here = run.at
        assert walked == next_runs(plan, days, after=after, count=4)

    def test_the_31st_means_the_last_day_of_a_shorter_month_once(self) -> None:
        plan = Plan(interval=Interval.MONTHLY, monthly_days=(29, 30, 31))
        found = [day for day in planned_days(plan, date(2026, 2, 1)) if day.month == 2 and day.year == 2026]
        assert found == [date(2026, 2, 28)]

    def test_a_manual_schedule_never_runs(self) -> None:
        assert next_runs(Plan(interval=Interval.MANUAL), BankDays(), after=datetime(2026, 1, 1, tzinfo=UTC)) == []

    @pytest.mark.parametrize(
        ("plan", "field"),
        [
            (Plan(interval=Interval.WEEKLY), "weekly_days"),
            (Plan(interval=Interval.WEEKLY, weekly_days=(8,)), "weekly_days"),
            (Plan(interval=Interval.MONTHLY, monthly_days=(0, 5)), "monthly_days"),
            (Plan(interval=Interval.DAILY, timezone="Europe/Atlantis"), "timezone"),
            (Plan(interval=Interval.DAILY, cutoff="25:00"), "cutoff"),
        ],
    )
    def test_what_never_comes_is_refused(self, plan: Plan, field: str) -> None:
        with pytest.raises(ScheduleInvalid) as refused:
            check_plan(plan)
        assert field in refused.value.fields

    @given(
        st.integers(0, 10**9), st.integers(-5, 10**9), st.integers(0, 10**6), st.integers(1, 10**6), st.none() | st.integers(10**6, 10**9)
    )
    def test_what_is_paid_is_there_and_within_the_limits(
        self, available: int, recent: int, keep: int, least: int, most: int | None
    ) -> None:
        paid = payable(available, recent=recent, amounts=Amounts(min_minor=least, keep_minor=keep, max_minor=most))
        assert paid == 0 or least <= paid <= available - keep - max(0, recent)
        assert most is None or paid <= most
        if available - max(0, recent) - keep >= least:
            assert paid > 0

    def test_an_order_leaves_before_the_cut_off_or_as_the_next_bank_day_begins(self) -> None:
        days = BankDays()
        friday = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)  # 16:00 in Berlin
        assert send_moment(days, after=friday, cutoff="16:30", timezone="Europe/Berlin") == (date(2026, 11, 27), friday)
        monday = datetime(2026, 11, 29, 23, 0, tzinfo=UTC)
        assert send_moment(days, after=friday + timedelta(hours=1), cutoff="16:30", timezone="Europe/Berlin") == (
            date(2026, 11, 30),
            monday,
        )


class TestApprovals:
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True), st.integers(0, 2 * 10**6))
    def test_the_highest_threshold_reached_counts(self, starts: list[int], minor: int) -> None:
        rules = [Threshold(from_minor=start, approvals=place) for place, start in enumerate(sorted(starts))]
        reached = [rule.approvals for rule in rules if rule.from_minor <= minor]
        assert required_approvals(rules, minor) == (max(reached) if reached else 1)

    @given(st.integers(1, 100), st.sampled_from(["EUR", "USD"]), st.sampled_from(["a", "b"]), st.integers(1, 3), st.data())
    def test_any_change_is_another_digest(self, minor: int, currency: str, destination: str, version: int, data: st.DataObject) -> None:
        seen = digest_of(payout="po_1", amount=Money(minor, currency), destination=destination, version=version)
        other = data.draw(st.tuples(st.integers(1, 100), st.sampled_from(["EUR", "USD"]), st.sampled_from(["a", "b"]), st.integers(1, 3)))
        again = digest_of(payout="po_1", amount=Money(other[0], other[1]), destination=other[2], version=other[3])
        assert (again == seen) == (other == (minor, currency, destination, version))
