"""What keeps money back: an amount, what one payment brought, everything to one account; and how much may leave of what came in."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import Connection

from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import PaymentId, public_id
from app.core.money import Money
from app.inbox import flows as inbox
from app.ledger.domain import InsufficientFunds
from app.payouts import flows
from app.payouts.domain import PayoutHoldId, PayoutStatus, PolicyInvalid
from app.payouts.domain.approvals import Limits
from app.payouts.domain.schedules import Amounts, Interval, Plan
from app.payouts.models import PayoutHold
from app.payouts.queries import holds as long_holds
from app.payouts.service import holds, policies, schedules
from app.sellers.domain.bank_accounts import BankAccountId
from tests.payouts.conftest import Books, later
from tests.support.factories.bank_accounts import make_account
from tests.support.factories.payouts import Till
from tests.support.factories.wallets import book, let_days_pass

P = PayoutStatus


async def hold_part(till: Till, minor: int | None = None, *, payment_id: PaymentId | None = None) -> PayoutHold:
    async with unit_of_work(till.merchant_id) as session:
        return await holds.hold_part(
            session,
            till.actor,
            seller_id=till.shop.anna,
            payment_id=payment_id,
            amount=None if minor is None else Money(minor, "EUR"),
            reason="A parcel is late",
            expires_at=now() + timedelta(days=2),
        )


async def instant(till: Till, **amounts: int) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await schedules.set_schedule(
            session, till.actor, seller_id=till.shop.anna, currency="EUR", plan=Plan(interval=Interval.INSTANT), amounts=Amounts(**amounts)
        )


class TestParts:
    async def test_an_amount_stays_and_the_rest_is_paid(self, till: Till) -> None:
        approved = await till.approved(10_000)
        hold = await hold_part(till, 60_000)
        with pytest.raises(InsufficientFunds, match=r"€300\.00"):
            await till.request(30_001)
        assert (await till.request(30_000)).status == P.PENDING_APPROVAL
        assert await flows.send_due() == 1 and await till.status(approved) == P.SUBMITTED
        async with unit_of_work(till.merchant_id) as session:
            await holds.release_hold(session, till.approver, hold_id=PayoutHoldId(hold.id))
        assert (await till.request(60_000)).status == P.PENDING_APPROVAL

    async def test_its_time_is_over_by_itself(self, till: Till) -> None:
        await hold_part(till, 100_000)
        with pytest.raises(InsufficientFunds):
            await till.request(1)
        with later(days=3):
            assert (await till.request(100_000)).status == P.PENDING_APPROVAL

    async def test_what_a_payment_brought_is_held_and_no_more(self, till: Till) -> None:
        paid = await till.shop.pay()  # 57.00 for Anna
        await let_days_pass(3)
        hold = await hold_part(till, payment_id=paid.payment_id)
        assert (hold.scope, hold.amount_minor, hold.currency) == ("payment", 5_700, "EUR")
        with pytest.raises(InsufficientFunds):
            await till.request(100_001)
        with pytest.raises(PolicyInvalid, match=r"€57\.00"):
            await hold_part(till, 5_701, payment_id=paid.payment_id)
        with pytest.raises(PolicyInvalid, match="nothing"):
            await hold_part(till, payment_id=PaymentId(hold.id))

    async def test_nothing_goes_to_an_account_that_is_held(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        account = superuser.execute("select id from bank_account").fetchone()
        assert account is not None
        async with unit_of_work(till.merchant_id) as session:
            await holds.hold_destination(session, till.actor, account_id=BankAccountId(account[0]), reason="In the news", expires_at=None)
        assert await flows.send_due() == 0 and await till.status(payout) == P.SCHEDULED
        assert (await till.request()).status == P.ON_HOLD


class TestCaptureRatio:
    async def test_more_than_a_share_of_what_came_in_waits_for_people(self, till: Till, superuser: Connection) -> None:
        await till.shop.pay()  # 57.00 for Anna
        async with unit_of_work(till.merchant_id) as session:
            await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(capture_percent=50))
        assert (await till.request(2_850)).status == P.PENDING_APPROVAL
        assert (await till.request(1)).status == P.ON_HOLD
        reasons = superuser.execute("select kind, reason from payout_hold").fetchall()
        assert reasons == [("velocity", "More than 50% of what was captured within 7 days")]


class TestSharedAccount:
    async def test_two_sellers_with_one_account_count_together_even_at_the_same_moment(self, till: Till) -> None:
        await make_account(till.actor, till.shop.bert)
        await book(till.merchant_id, till.shop.bert, [10_000])
        async with unit_of_work(till.merchant_id) as session:
            await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(day_count=1))
        made = await asyncio.gather(till.request(1_000), till.request(1_000, seller_id=till.shop.bert))
        assert {payout.status for payout in made} == {P.PENDING_APPROVAL, P.ON_HOLD}


class TestInstant:
    async def test_it_pays_as_often_as_money_comes(self, till: Till, books: Books, superuser: Connection) -> None:
        await instant(till, min_minor=500, keep_minor=1_000)
        await hold_part(till, 9_000)
        for minutes, more in ((2, 0), (4, 499), (6, 1)):
            with later(minutes=minutes):
                await book(till.merchant_id, till.shop.anna, [more] if more else [])
                await flows.run_schedules()
                await flows.run_schedules()
        assert superuser.execute("select amount_minor, run_on from payout order by id").fetchall() == [(90_000, None), (500, None)]
        assert superuser.execute("select outcome from payout_schedule_run order by id").fetchall() == [
            ("Paid out €900.00",), ("Paid out €5.00",),
        ]  # fmt: skip

    async def test_three_schedulers_pay_once(self, till: Till, superuser: Connection) -> None:
        await instant(till)
        with travel(timedelta(minutes=2)):
            assert sum(await asyncio.gather(*(flows.run_schedules() for _ in range(3)))) == 1
        assert superuser.execute("select count(*) from payout").fetchone() == (1,)


class TestHoldsThatStandLong:
    async def test_somebody_says_whether_it_still_has_to_stand(self, till: Till) -> None:
        async with unit_of_work(till.merchant_id) as session:
            await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(max_hold_days=30))
            hold = await holds.place_hold(session, till.actor, seller_id=till.shop.anna, reason="Papers are missing")
        held = await till.request(10_000)
        seen = []
        for days in (29, 31, 62):
            with travel(timedelta(days=days)):
                waiting = (await inbox.waiting(till.approver, kind="hold")).items
                seen.append([(each.id, each.reason, each.may_decide) for each in waiting])
                if waiting:
                    kind, shown = await inbox.item(till.approver, kind="hold", item=waiting[0].id)
                    await inbox.decide(
                        till.approver, kind=kind, shown=shown, digest=shown.digest, approve=days == 62, reason="Still missing"
                    )
        waits = [(public_id("poh", hold.id), "Papers are missing", True)]
        assert seen == [[], waits, waits]
        assert await till.status(held) == P.PENDING_APPROVAL

    async def test_without_a_rule_ninety_days_and_never_none(self, till: Till) -> None:
        async with unit_of_work(till.merchant_id) as session:
            await holds.place_hold(session, till.actor, seller_id=till.shop.anna, reason="Papers are missing")
            with pytest.raises(PolicyInvalid):
                await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(max_hold_days=0))
            for days, expected in ((89, 0), (91, 1)):
                with travel(timedelta(days=days)):
                    assert len(await long_holds.waiting(session, till.approver)) == expected
