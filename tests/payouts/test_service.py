"""Requesting, approving, stopping: every journal and every refusal, on a real database."""

import asyncio
from datetime import timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
from psycopg import Connection

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.ids import SellerId, new_id
from app.core.money import Money
from app.core.state import IllegalTransition
from app.ledger.domain import InsufficientFunds
from app.payouts import flows
from app.payouts.domain import (
    DestinationNotUsable,
    HoldKind,
    NoFundingAccount,
    PayoutHoldId,
    PayoutId,
    PayoutIsStale,
    PayoutNeedsSecondPerson,
    PayoutStatus,
    PayoutTooLarge,
    PayoutTooSmall,
    PolicyInvalid,
)
from app.payouts.domain.approvals import Limits, Threshold
from app.payouts.domain.port import BankWord
from app.payouts.models import Payout
from app.payouts.service import approvals, holds, policies, requests, steps
from app.sellers import service as sellers
from tests.payouts.conftest import Books, later
from tests.support.factories.bank_accounts import FRENCH, make_account, propose, somebody
from tests.support.factories.payouts import Till, says

P = PayoutStatus


async def limit(till: Till, **values: int) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await policies.set_limits(session, till.actor, currency="EUR", limits=Limits(**values))


async def thresholds(till: Till, *pairs: tuple[int, int]) -> None:
    async with unit_of_work(till.merchant_id) as session:
        wanted = [Threshold(from_minor=minor, approvals=people) for minor, people in pairs]
        await policies.set_thresholds(session, till.actor, currency="EUR", thresholds=wanted)


class TestRequest:
    async def test_sets_the_money_aside_and_asks_for_approval(self, till: Till, books: Books, superuser: Connection) -> None:
        payout = await till.request(30_000)
        assert (payout.status, payout.approvals_required) == (P.PENDING_APPROVAL, 1)
        assert len(payout.end_to_end_id) == 28 and payout.end_to_end_id.isalnum() and payout.end_to_end_id.isupper()
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -70_000, ("2140", "anna"): -30_000}
        topics = [row[0] for row in superuser.execute("select topic from outbox where topic like 'payout.%' order by id").fetchall()]
        assert topics == ["payout.requested", "payout.pending_approval"]

    async def test_more_than_there_is_is_refused_and_nothing_moves(self, till: Till, books: Books, superuser: Connection) -> None:
        with pytest.raises(InsufficientFunds) as refused:
            await till.request(100_001)
        assert "€1,000.00" in refused.value.fields["amount"]
        assert books()[("2110", "anna")] == -100_000
        assert superuser.execute("select count(*) from payout").fetchone() == (0,)

    async def test_two_requests_for_the_same_money_are_one_payout(self, till: Till, books: Books) -> None:
        answers = await asyncio.gather(*(till.request(60_000) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(answer, Payout) for answer in answers) == 1
        assert all(isinstance(answer, Payout | InsufficientFunds) for answer in answers)
        assert books()[("2140", "anna")] == -60_000

    async def test_the_fee_is_part_of_what_is_set_aside(self, till: Till, books: Books) -> None:
        await limit(till, fee_minor=25)
        with pytest.raises(InsufficientFunds):
            await till.request(100_000)
        await till.request(99_975)
        assert books()[("2140", "anna")] == -100_000

    async def test_least_and_most(self, till: Till) -> None:
        await limit(till, min_minor=1_000, max_minor=2_000)
        with pytest.raises(PayoutTooSmall):
            await till.request(999)
        with pytest.raises(PayoutTooLarge):
            await till.request(2_001)
        assert (await till.request(2_000)).status == P.PENDING_APPROVAL

    async def test_only_to_an_account_that_may_be_paid_to(self, till: Till, superuser: Connection) -> None:
        bert = till.shop.bert
        with pytest.raises(DestinationNotUsable, match="no approved"):
            await till.request(100, seller_id=bert)
        await propose(till.actor, bert)
        with pytest.raises(DestinationNotUsable, match="no approved"):
            await till.request(100, seller_id=bert)
        superuser.execute("update bank_account set verification = 'unverified' where seller_id = %s", (till.shop.anna,))
        with pytest.raises(DestinationNotUsable, match="verified"):
            await till.request(100)
        superuser.execute("update bank_account set verification = 'verified', usable_from = now() + interval '9 days'")
        with pytest.raises(DestinationNotUsable, match="changed lately"):
            await till.request(100)

    async def test_a_currency_needs_an_account_to_pay_from(self, till: Till, superuser: Connection) -> None:
        superuser.execute("update funding_account set is_used = false")
        with pytest.raises(NoFundingAccount):
            await till.request(100)

    async def test_another_merchants_seller_is_not_found(self, till: Till) -> None:
        with pytest.raises(AppError) as refused:
            await till.request(100, seller_id=SellerId(new_id()))
        assert refused.value.status == 404


class TestApproval:
    async def test_a_second_person_sends_it_on_its_way(self, till: Till, books: Books) -> None:
        payout = await till.approved()
        assert (payout.status, payout.value_on) == (P.SCHEDULED, now().date())
        assert payout.send_at is not None and payout.send_at <= now()
        assert books()[("2140", "anna")] == -5_000

    async def test_neither_the_requester_nor_who_set_the_destination_and_nobody_twice(self, till: Till, superuser: Connection) -> None:
        await thresholds(till, (0, 2))
        payout = await till.request()
        with pytest.raises(PayoutNeedsSecondPerson):
            await till.approve(payout, actor=till.actor)
        editor = somebody(till.actor)
        with pytest.raises(PayoutNeedsSecondPerson):
            await till.approve(payout, actor=_as(editor, payout.destination_by))
        await till.approve(payout)
        with pytest.raises(PayoutNeedsSecondPerson, match="already"):
            await till.approve(payout)
        assert await till.status(payout) == P.PENDING_APPROVAL
        assert (await till.approve(payout, actor=somebody(till.actor))).status == P.SCHEDULED
        for person in (payout.requested_by, payout.destination_by):
            with pytest.raises(psycopg.errors.CheckViolation, match="second_person"):
                superuser.execute(_SMUGGLED, (person, payout.requested_by, payout.destination_by))
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="two_persons"):
            superuser.execute(_SMUGGLED, (payout.requested_by, new_id(), new_id()))

    async def test_thresholds_decide_how_many(self, till: Till) -> None:
        await thresholds(till, (0, 0), (10_000, 1), (50_000, 3))
        assert (await till.request(9_999)).status == P.SCHEDULED
        assert (await till.request(10_000)).approvals_required == 1
        assert (await till.request(50_000)).approvals_required == 3

    @pytest.mark.parametrize("pairs", [[(0, 1), (0, 2)], [(0, 2), (500, 1)], [(0, 6)], [(-1, 1)]])
    async def test_rules_that_contradict_each_other_are_refused(self, till: Till, pairs: list[tuple[int, int]]) -> None:
        with pytest.raises(PolicyInvalid):
            await thresholds(till, *pairs)

    async def test_an_edit_voids_what_was_approved(self, till: Till, books: Books) -> None:
        await thresholds(till, (0, 2))
        payout = await till.request(5_000)
        seen = steps.digest(await till.read(payout))
        await till.approve(payout)
        async with unit_of_work(till.merchant_id) as session:
            await requests.edit_payout(
                session, till.actor, payout_id=PayoutId(payout.id), amount=Money(7_000, "EUR"), statement_text="November"
            )
        assert books()[("2140", "anna")] == -7_000
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(PayoutIsStale):
                await approvals.approve_payout(session, somebody(till.actor), payout_id=PayoutId(payout.id), digest=seen)
        await till.approve(payout)
        assert await till.status(payout) == P.PENDING_APPROVAL
        assert (await till.approve(payout, actor=somebody(till.actor))).status == P.SCHEDULED

    async def test_one_no_is_enough(self, till: Till, books: Books) -> None:
        payout = await till.request()
        async with unit_of_work(till.merchant_id) as session:
            await approvals.reject_payout(
                session, till.approver, payout_id=PayoutId(payout.id), digest=steps.digest(payout), reason="Not this month"
            )
        assert await till.status(payout) == P.REJECTED
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -100_000}

    async def test_nobody_decides_for_a_week_and_it_expires(self, till: Till, books: Books) -> None:
        payout = await till.request()
        with later(days=6):
            assert await flows.expire_due() == 0
        with later(days=8):
            assert await flows.expire_due() == 1
            assert await flows.expire_due() == 0
        assert await till.status(payout) == P.EXPIRED
        assert books()[("2110", "anna")] == -100_000


def _as(actor: Actor, person_id: UUID) -> Actor:
    return msgspec.structs.replace(actor, id=person_id)


_SMUGGLED = """
insert into payout_approval (merchant_id, id, payout_id, requested_by, destination_by, version, digest, decision, approver_id, approver_name, reason, at)
select merchant_id, gen_random_uuid(), id, x.r, x.d, 1, '', 'approved', x.a, '', '', now()
from payout, (values (%s::uuid, %s::uuid, %s::uuid)) as x(a, r, d)
"""


class TestStopping:
    async def test_cancelled_before_the_bank_hears_of_it(self, till: Till, books: Books) -> None:
        payout = await till.approved()
        async with unit_of_work(till.merchant_id) as session:
            await requests.cancel_payout(session, till.actor, payout_id=PayoutId(payout.id), reason="Mistake")
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -100_000}
        assert await flows.send_due() == 0 and till.bank.sent == []
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(IllegalTransition):
                await requests.cancel_payout(session, till.actor, payout_id=PayoutId(payout.id))

    async def test_not_after(self, till: Till) -> None:
        payout = await till.approved()
        await flows.send_due()
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(AppError):
                await requests.cancel_payout(session, till.actor, payout_id=PayoutId(payout.id))


class TestHolds:
    async def test_velocity_counts_what_runs_at_the_same_time(self, till: Till) -> None:
        await limit(till, day_minor=50_000)
        made = await asyncio.gather(*(till.request(20_000) for _ in range(4)))
        assert sorted(payout.status for payout in made) == [P.ON_HOLD, P.ON_HOLD, P.PENDING_APPROVAL, P.PENDING_APPROVAL]

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            ({"day_count": 1}, "More than 1 payouts within 24 hours"),
            ({"week_minor": 1_500}, "More than €15.00 within 7 days"),
            ({"first_payouts": 3}, "One of the first 3 payouts"),
            ({"change_hours": 48}, "changed less than 48 hours ago"),
        ],
    )
    async def test_each_limit_holds_and_says_why(self, till: Till, superuser: Connection, limits: dict[str, int], reason: str) -> None:
        await till.request(1_000)
        await limit(till, **limits)
        payout = await till.request(1_000)
        assert payout.status == P.ON_HOLD
        assert reason in superuser.execute("select reason from payout_hold").fetchone()[0]  # type: ignore[index]

    async def test_what_was_stopped_does_not_count(self, till: Till) -> None:
        await limit(till, day_count=1)
        first = await till.request()
        async with unit_of_work(till.merchant_id) as session:
            await requests.cancel_payout(session, till.actor, payout_id=PayoutId(first.id))
        assert (await till.request()).status == P.PENDING_APPROVAL

    async def test_released_it_goes_on(self, till: Till, superuser: Connection) -> None:
        await limit(till, day_count=0)
        payout = await till.request()
        hold_id = PayoutHoldId(superuser.execute("select id from payout_hold").fetchone()[0])  # type: ignore[index]
        async with unit_of_work(till.merchant_id) as session:
            await holds.release_hold(session, till.approver, hold_id=hold_id, reason="Looked at")
        assert await till.status(payout) == P.PENDING_APPROVAL

    async def test_a_hold_on_the_seller_keeps_approved_payouts_back_until_its_time_is_over(self, till: Till) -> None:
        payout = await till.approved()
        async with unit_of_work(till.merchant_id) as session:
            await holds.place_hold(
                session,
                till.actor,
                seller_id=till.shop.anna,
                kind=HoldKind.COMPLIANCE,
                reason="Papers",
                expires_at=now() + timedelta(hours=2),
            )
        assert (await till.request()).status == P.ON_HOLD
        assert await flows.send_due() == 0 and await till.status(payout) == P.SCHEDULED
        with later(hours=3):
            assert await flows.expire_due() == 1
            assert await flows.send_due() == 1

    async def test_one_payout_is_held_by_hand(self, till: Till) -> None:
        payout = await till.approved()
        async with unit_of_work(till.merchant_id) as session:
            hold = await holds.hold_payout(session, till.actor, payout_id=PayoutId(payout.id), reason="Wait", expires_at=None)
        assert await flows.send_due() == 0
        async with unit_of_work(till.merchant_id) as session:
            await holds.release_hold(session, till.actor, hold_id=PayoutHoldId(hold.id))
        with later(minutes=11):
            assert await flows.send_due() == 1

    async def test_nothing_goes_to_an_account_that_was_retired_since(self, till: Till, superuser: Connection) -> None:
        approved, waits = await till.approved(), await till.request()
        await make_account(till.actor, till.shop.anna, number=FRENCH)
        for minutes in (30, 60):
            with later(minutes=minutes):
                assert await flows.send_due() == 0
        assert till.bank.sent == []
        held = superuser.execute("select payout_id, reason from payout_hold").fetchall()
        assert held == [(approved.id, "Its bank account is not in use any more")]
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(DestinationNotUsable, match="changed since"):
                await requests.edit_payout(session, till.actor, payout_id=PayoutId(waits.id), amount=Money(1, "EUR"), statement_text="")

    async def test_a_blocked_sellers_payouts_wait(self, till: Till) -> None:
        async with unit_of_work(till.merchant_id) as session:
            await sellers.change_status(session, till.actor, seller_id=till.shop.anna, event="block", reason="Fraud")
        assert (await till.request()).status == P.ON_HOLD


class TestRetry:
    async def test_needs_an_account_that_may_be_paid_to(self, till: Till, books: Books) -> None:
        till.bank.answers("send", says(BankWord.RETURNED, code="AC04"))
        old = await till.approved(40_000)
        await flows.send_due()
        assert await till.status(old) == P.RETURNED
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -60_000, ("2180", "anna"): -40_000}
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(DestinationNotUsable, match="verified"):
                await requests.retry_payout(session, till.actor, payout_id=PayoutId(old.id))
        await make_account(till.actor, till.shop.anna, number=FRENCH)
        async with unit_of_work(till.merchant_id) as session:
            fresh = await requests.retry_payout(session, till.actor, payout_id=PayoutId(old.id))
        assert fresh.parent_id == old.id and fresh.end_to_end_id != old.end_to_end_id and fresh.status == P.PENDING_APPROVAL
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -60_000, ("2140", "anna"): -40_000}
        async with unit_of_work(till.merchant_id) as session:
            with pytest.raises(AppError):
                await requests.retry_payout(session, till.actor, payout_id=PayoutId(old.id))
