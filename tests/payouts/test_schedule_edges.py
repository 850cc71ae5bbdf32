"""Schedules that are changed on the day they run, that meet a merchant's limits, or share the clock with one that fails."""

from datetime import timedelta

import pytest
from psycopg import Connection

from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import MerchantId
from app.payouts import flows
from app.payouts.domain import PayoutId
from app.payouts.domain.approvals import Limits
from app.payouts.domain.schedules import Interval, Plan
from app.payouts.service import policies, requests, schedules
from tests.payouts.conftest import later
from tests.payouts.test_schedules import DAILY, runs, set_up
from tests.support.factories.payouts import Till


class TestTheSameDayAgain:
    async def test_a_day_whose_cut_off_moved_is_run_again_and_the_next_day_comes(self, till: Till, superuser: Connection) -> None:
        schedule = await set_up(till, min_minor=100_001)
        assert schedule.next_run_at is not None
        with travel(schedule.next_run_at + timedelta(minutes=1)):
            assert await flows.run_schedules() == 0
            again = await set_up(till, Plan(interval=Interval.DAILY, cutoff="20:00"), min_minor=100_001)
            assert (again.next_run_on, again.next_run_at) == (schedule.next_run_on, schedule.next_run_at + timedelta(hours=2))
        with travel(schedule.next_run_at + timedelta(hours=2, minutes=1)):
            assert await flows.run_schedules() == 0
            (following,) = superuser.execute("select next_run_at from payout_schedule").fetchall()
            assert following[0] > now(), "a schedule that stands still pays never again"
        assert len(runs(superuser)) == 1

    async def test_a_word_about_another_day_does_not_take_a_run_that_is_due(self, till: Till) -> None:
        schedule = await set_up(till)
        assert schedule.next_run_at is not None and schedule.next_run_on is not None
        with travel(schedule.next_run_at + timedelta(seconds=5)):
            async with unit_of_work(till.merchant_id) as session:
                far = schedule.next_run_on + timedelta(days=60)
                await schedules.override_day(session, till.actor, calendar="WEEKDAYS", on_date=far, is_open=False, reason="Strike")
            assert await flows.run_schedules() == 1


async def test_a_schedule_pays_as_much_as_one_payout_may_be(till: Till, superuser: Connection) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(max_minor=30_000))
    schedule = await set_up(till, DAILY)
    assert schedule.next_run_at is not None
    with travel(schedule.next_run_at + timedelta(minutes=1)):
        assert await flows.run_schedules() == 1
    assert runs(superuser) == [(schedule.next_run_on, "Paid out €300.00")]


async def test_a_payout_that_cannot_be_closed_keeps_no_other_open(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = await till.request(1_000), await till.request(2_000)
    close = requests.expire_payout

    async def fails(session: object, *, merchant_id: MerchantId, payout_id: PayoutId) -> bool:
        if payout_id == broken.id:
            raise RuntimeError("not this one")
        return await close(session, merchant_id=merchant_id, payout_id=payout_id)  # type: ignore[arg-type]

    monkeypatch.setattr(requests, "expire_payout", fails)
    with later(days=8):
        assert await flows.expire_due() == 1
    assert [await till.status(payout) for payout in (broken, sound)] == ["pending_approval", "expired"]
