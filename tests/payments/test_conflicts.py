"""A payment of which the PSP took another amount than was asked for: accepted, given back or closed, and the books say what the PSP says."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import Connection

from app.approvals import service as approvals
from app.approvals.domain import Act, ApprovalRequired
from app.core import failpoints
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.errors import Conflict
from app.core.failpoints import FailpointRaised
from app.core.idempotency import LEASE
from app.core.ids import OrderId, PaymentId, new_id
from app.core.money import Money
from app.payments import flows as payments
from app.payments import queries
from app.payments.conflicts import flows
from app.payments.domain import NothingToCapture, OperationUnderWay
from app.payments.reported.domain import ConflictNotSettled, PaymentNotConflicted, Way
from app.payments.retries import service as retries
from app.payments.retries.domain import OperationNotRetryable
from app.psp.domain import Outcome, ProviderStatus, Result
from tests.payments.conftest import Books
from tests.payments.test_cancellation import status_of
from tests.payments.test_flows import view
from tests.support.factories.wallets import let_days_pass
from tests.support.shop import Shop, ok

LOST = Result(outcome=Outcome.UNKNOWN, code="read_timeout")
NO = Result(outcome=Outcome.DECLINED, code="account_closed")


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def took(minor: int, status: ProviderStatus = ProviderStatus.CAPTURED, *, fee: int = 30, currency: str = "EUR") -> Result:
    return ok(status, amount=Money(minor, currency), fee=Money(fee, currency))


async def conflicted(shop: Shop, result: Result, order_id: OrderId | None = None) -> PaymentId:
    """A payment of 100.00 of which the PSP says something else."""
    shop.psp.answers("authorise", result)
    answered = await shop.pay(order_id)
    assert view(answered)["status"] == "conflicted"
    return answered.payment_id


async def stands(shop: Shop, payment_id: PaymentId) -> dict[str, object]:
    async with unit_of_work(shop.merchant_id) as session:
        row = await queries.payment(session, merchant_id=shop.merchant_id, payment_id=payment_id)
    return {"status": row.status, "captured": row.captured_minor, "reserved": row.capture_reserved_minor, "refunded": row.refunded_minor}


async def accept(shop: Shop, payment_id: PaymentId, minor: int) -> None:
    await flows.accept(shop.actor, payment_id=payment_id, amount=eur(minor), reason="The buyer agreed")


async def give_back(shop: Shop, payment_id: PaymentId, minor: int, key: str = "k") -> payments.Answered:
    return await flows.give_back(shop.actor, payment_id=payment_id, amount=eur(minor), reason="Wrong amount", key=key, request=b"r")


class TestDying:
    async def test_after_the_look_leaves_everything_to_be_decided(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        payment_id = await conflicted(shop, took(9_000), order_id)
        failpoints.enable("payments.conflict_looked_at", "raise")
        try:
            for decide in (accept, give_back):
                with pytest.raises(FailpointRaised):
                    await decide(shop, payment_id, 9_000)
        finally:
            failpoints.enable("payments.conflict_looked_at", "off")
        assert books() == {}
        assert (await stands(shop, payment_id))["status"] == "conflicted"
        assert view(await give_back(shop, payment_id, 9_000))["status"] == "voided"

    @pytest.mark.parametrize("point", ["payments.claimed", "payments.called", "payments.recorded"])
    async def test_while_it_is_given_back_is_continued_under_the_same_key(self, shop: Shop, books: Books, point: str) -> None:
        payment_id = await conflicted(shop, took(9_000))
        failpoints.enable(point, "raise")
        try:
            with pytest.raises(FailpointRaised):
                await give_back(shop, payment_id, 9_000)
        finally:
            failpoints.enable(point, "off")
        assert shop.psp.made("refund") == (point != "payments.claimed")
        with travel(LEASE + timedelta(seconds=1)):
            answered = await give_back(shop, payment_id, 9_000)
        assert (view(answered)["status"], answered.replayed) == ("voided", point == "payments.recorded")
        assert shop.psp.made("refund") == 1
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}


class TestAccept:
    async def test_gives_the_sellers_their_parts_of_what_was_taken(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        payment_id = await conflicted(shop, took(9_000), order_id)
        assert books() == {}
        await accept(shop, payment_id, 9_000)
        assert await stands(shop, payment_id) == {"status": "captured", "captured": 9_000, "reserved": 9_000, "refunded": 0}
        assert books()["1100", "psp"] == 9_000 - 30
        assert (books()["2100", "anna"], books()["2100", "bert"]) == (-5_130, -3_240)
        assert await status_of(shop, order_id) == "partially_paid"
        await let_days_pass()
        assert books()["2110", "anna"] == -5_130

    async def test_what_was_accepted_can_be_refunded(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        payment_id = await conflicted(shop, took(9_000), order_id)
        await accept(shop, payment_id, 9_000)
        await shop.refund(payment_id)
        assert (await stands(shop, payment_id))["status"] == "refunded" and await status_of(shop, order_id) == "refunded"
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_takes_what_the_psp_says_now_and_nothing_else(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000))
        for said in (
            took(8_000),
            took(9_000, ProviderStatus.AUTHORISED),
            took(9_000, ProviderStatus.REFUNDED),
            took(9_000, currency="USD"),
            LOST,
        ):
            shop.psp.answers("lookup", said)
            with pytest.raises(ConflictNotSettled):
                await accept(shop, payment_id, 9_000)
        assert books() == {} and (await stands(shop, payment_id))["status"] == "conflicted"

    async def test_more_than_the_buyer_owes_is_not_accepted(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(10_100))
        report = await flows.look(shop.actor, payment_id=payment_id)
        assert report.ways == [Way.GIVE_BACK]
        with pytest.raises(ConflictNotSettled):
            await accept(shop, payment_id, 10_100)
        assert books() == {}

    async def test_several_at_once_accept_once(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000))
        results = await asyncio.gather(*(accept(shop, payment_id, 9_000) for _ in range(4)), return_exceptions=True)
        assert results.count(None) == 1 and all(isinstance(result, Conflict) for result in results if result is not None)
        assert books()["1100", "psp"] == 9_000 - 30


class TestGiveBack:
    @pytest.mark.parametrize("minor", [9_000, 10_100])
    async def test_gives_back_all_that_was_taken_and_the_order_can_be_paid(self, shop: Shop, books: Books, minor: int) -> None:
        order_id = await shop.order()
        payment_id = await conflicted(shop, took(minor), order_id)
        await give_back(shop, payment_id, minor)
        assert (await stands(shop, payment_id))["status"] == "voided"
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}
        assert [call.amount for made, call in shop.psp.calls if made == "refund"] == [eur(minor)]  # type: ignore[union-attr]
        assert view(await shop.pay(order_id))["status"] == "captured"
        assert await status_of(shop, order_id) == "paid"

    async def test_once_per_key(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000))
        first, again = await give_back(shop, payment_id, 9_000), await give_back(shop, payment_id, 9_000)
        assert again.body == first.body and again.replayed and shop.psp.made("refund") == 1
        with pytest.raises(PaymentNotConflicted):
            await give_back(shop, payment_id, 9_000, key="other")

    async def test_what_is_on_its_way_is_the_buyers(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000, fee=0))
        shop.psp.answers("refund", LOST)
        await give_back(shop, payment_id, 9_000)
        assert books() == {("1100", "psp"): 9_000, ("2160", "psp"): -9_000}
        for act in (accept(shop, payment_id, 9_000), give_back(shop, payment_id, 9_000, key="other")):
            with pytest.raises(Conflict) as refused:
                await act
            assert isinstance(refused.value, OperationUnderWay)
        shop.psp.answers("lookup", ok(amount=eur(9_000)))
        await payments.refresh(merchant_id=shop.merchant_id, payment_id=payment_id)
        assert (await stands(shop, payment_id))["status"] == "voided" and books() == {}

    async def test_one_that_fails_leaves_the_money_with_the_buyer_and_is_tried_again(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000, fee=0))
        shop.psp.answers("refund", NO)
        await give_back(shop, payment_id, 9_000)
        assert books() == {("1100", "psp"): 9_000, ("2170", ""): -9_000}
        assert (await stands(shop, payment_id))["status"] == "conflicted"
        report = await flows.look(shop.actor, payment_id=payment_id)
        assert report.ways == [Way.GIVE_BACK]
        with pytest.raises(ConflictNotSettled):
            await accept(shop, payment_id, 9_000)
        with pytest.raises(NothingToCapture):
            await shop.void(payment_id)
        await give_back(shop, payment_id, 9_000, key="again")
        assert (await stands(shop, payment_id))["status"] == "voided" and books() == {}

    async def test_a_failed_one_is_decided_anew_and_not_simply_tried_again(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await conflicted(shop, took(9_000))
        shop.psp.answers("refund", NO)
        await give_back(shop, payment_id, 9_000)
        found = superuser.execute("select id from payment_operation where payment_id = %s", [payment_id]).fetchone()
        assert found is not None
        async with unit_of_work(shop.merchant_id) as session:
            with pytest.raises(OperationNotRetryable):
                await retries.to_try_again(session, merchant_id=shop.merchant_id, operation_id=found[0])

    async def test_one_that_comes_back_later_waits_for_the_buyer(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = await conflicted(shop, took(9_000, fee=0))
        await give_back(shop, payment_id, 9_000)
        found = superuser.execute("select id from payment_attempt where payment_id = %s and operation = 'refund'", [payment_id]).fetchone()
        assert found is not None
        async with unit_of_work(shop.merchant_id) as session:
            await payments.records.record_result(session, shop.actor, merchant_id=shop.merchant_id, attempt_id=found[0], result=NO)
        assert books() == {("1100", "psp"): 9_000, ("2170", ""): -9_000}

    async def test_needs_others_where_refunds_do(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000))
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=Act.REFUND, start=eur(5_000), approvers=1)
        with pytest.raises(ApprovalRequired):
            await give_back(shop, payment_id, 9_000)
        assert books() == {} and shop.psp.made("refund") == 0


class TestClose:
    async def test_what_the_psp_let_go_of_is_closed(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        payment_id = await conflicted(shop, took(9_000, currency="USD"), order_id)
        with pytest.raises(ConflictNotSettled):
            await flows.close(shop.actor, payment_id=payment_id, reason="Given back there")
        shop.psp.answers("lookup", took(9_000, ProviderStatus.REFUNDED, currency="USD"))
        await flows.close(shop.actor, payment_id=payment_id, reason="Given back there")
        assert (await stands(shop, payment_id))["status"] == "voided" and books() == {}
        assert view(await shop.pay(order_id))["status"] == "captured"

    @pytest.mark.parametrize("said", [ProviderStatus.FAILED, ProviderStatus.EXPIRED, ProviderStatus.VOIDED])
    async def test_so_is_what_never_came_to_anything_there(self, shop: Shop, books: Books, said: ProviderStatus) -> None:
        payment_id = await conflicted(shop, took(9_000, ProviderStatus.AUTHORISED))
        outcome = Outcome.SUCCEEDED if said is ProviderStatus.VOIDED else Outcome.DECLINED
        shop.psp.answers("lookup", Result(outcome=outcome, status=said))
        await flows.close(shop.actor, payment_id=payment_id, reason="Nothing there")
        assert (await stands(shop, payment_id))["status"] == "voided" and books() == {}

    async def test_after_a_refund_that_failed_the_books_follow(self, shop: Shop, books: Books) -> None:
        payment_id = await conflicted(shop, took(9_000, fee=0))
        shop.psp.answers("refund", NO)
        await give_back(shop, payment_id, 9_000)
        shop.psp.answers("lookup", took(9_000, ProviderStatus.REFUNDED))
        await flows.close(shop.actor, payment_id=payment_id, reason="Given back there")
        assert (await stands(shop, payment_id))["status"] == "voided" and books() == {}

    async def test_an_agreed_payment_has_nothing_to_decide(self, shop: Shop) -> None:
        answered = await shop.pay()
        with pytest.raises(PaymentNotConflicted):
            await flows.look(shop.actor, payment_id=answered.payment_id)


async def test_every_decision_is_in_the_trail(shop: Shop, superuser: Connection) -> None:
    accepted, given, closed = [await conflicted(shop, took(9_000)) for _ in range(3)]
    await accept(shop, accepted, 9_000)
    await give_back(shop, given, 9_000, key=new_id().hex)
    shop.psp.answers("lookup", took(9_000, ProviderStatus.VOIDED))
    await flows.close(shop.actor, payment_id=closed, reason="Let go")
    trail = superuser.execute("select action, reason from audit_entry where object_type = 'payment' order by id").fetchall()
    for entry in (
        ("payment.conflict_accepted", "The buyer agreed"),
        ("payment.refund_requested", "Wrong amount"),
        ("payment.conflict_closed", "Let go"),
    ):
        assert entry in trail
