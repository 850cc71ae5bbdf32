"""What a payment does to its own state, its order, its sellers and the ledger, with a PSP that answers what the test scripts."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from psycopg import Connection
from sqlalchemy import select

from app.core.actors import Actor
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.errors import Conflict
from app.core.idempotency import IdempotencyKeyReused
from app.core.ids import AttemptId
from app.core.money import Money
from app.orders import queries as orders
from app.payments import flows
from app.payments.domain import CaptureMode, NothingToCapture, OperationUnderWay, OrderHasPayment, RefundExceedsCaptured
from app.payments.models import PaymentAttempt
from app.payments.records import service as records
from app.psp.domain import Outcome, ProviderStatus, Result
from app.wallets import flows as wallets
from tests.payments.conftest import Books
from tests.support.shop import Shop, ok

MANUAL = CaptureMode.MANUAL
LATER = flows.NOT_FOUND_COUNTS_AFTER + timedelta(seconds=1)


def view(answered: flows.Answered) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(answered.body)
    return found


class TestPay:
    async def test_one_buyer_payment_reaches_both_wallets_in_one_balanced_step(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        answered = await shop.pay(order_id)
        assert answered.status == 201
        assert view(answered)["status"] == "captured"
        assert books() == {
            ("1100", "psp"): 10_000 - 30,
            ("5100", ""): 30,
            ("2100", "anna"): -5_700,
            ("2100", "bert"): -3_600,
            ("4100", ""): -700,
        }
        async with unit_of_work(shop.merchant_id) as session:
            assert (await orders.order(session, merchant_id=shop.merchant_id, order_id=order_id)).status == "paid"
        assert shop.psp.made("authorise") == 1

    async def test_a_no_leaves_no_trace_in_the_ledger_and_the_order_can_be_paid_again(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        shop.psp.answers("authorise", Result(outcome=Outcome.DECLINED, code="insufficient_funds", message="Not enough money"))
        refused = view(await shop.pay(order_id))
        assert refused["status"] == "failed"
        assert refused["failure"] == {"code": "insufficient_funds", "message": "Not enough money"}
        assert books() == {}
        assert view(await shop.pay(order_id))["status"] == "captured"

    async def test_a_paid_order_is_not_paid_twice(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        with pytest.raises(Conflict):
            await shop.pay(order_id)
        assert shop.psp.made("authorise") == 1

    async def test_a_second_payment_while_the_first_is_open_is_refused(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id, token=None)
        with pytest.raises(OrderHasPayment):
            await shop.pay(order_id)

    async def test_another_amount_than_asked_for_is_never_accepted(self, shop: Shop, books: Books) -> None:
        shop.psp.answers("authorise", ok(ProviderStatus.CAPTURED, amount=Money(9_999, "EUR")))
        answered = view(await shop.pay())
        assert answered["status"] == "conflicted"
        assert books() == {}

    async def test_the_hosted_page_asks_the_buyer_and_a_later_word_settles_it(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(token=None)
        assert view(answered)["status"] == "requires_action"
        assert view(answered)["next_action"] == {"type": "redirect", "url": "http://psp.test/pay"}
        shop.psp.answers("lookup", ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR")))
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert books()["2100", "anna"] == -5_700


class TestIdempotency:
    async def test_the_same_key_and_body_get_the_same_answer_byte_for_byte(self, shop: Shop) -> None:
        order_id = await shop.order()
        first = await shop.pay(order_id, key="k1")
        again = await shop.pay(order_id, key="k1")
        assert again.body == first.body and again.status == first.status and again.replayed
        assert shop.psp.made("authorise") == 1

    async def test_the_same_key_with_another_body_is_refused(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id, key="k1")
        with pytest.raises(IdempotencyKeyReused):
            await shop.pay(order_id, key="k1", request=b"other")

    async def test_two_hundred_at_once_with_one_key_charge_once(self, shop: Shop, superuser: Connection) -> None:
        order_id = await shop.order()
        results = await asyncio.gather(*(shop.pay(order_id, key="k1") for _ in range(200)), return_exceptions=True)
        answers = [result for result in results if isinstance(result, flows.Answered)]
        others = [result for result in results if not isinstance(result, flows.Answered)]
        assert shop.psp.made("authorise") == 1
        assert answers and len({answer.body for answer in answers}) == 1
        assert {getattr(other, "status", None) for other in others} <= {429}, others[:3]
        assert superuser.execute("select count(*) from payment").fetchone() == (1,)


class TestUnknown:
    async def test_a_lost_answer_is_a_state_and_asking_settles_it(self, shop: Shop, books: Books) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
        answered = await shop.pay()
        assert (answered.status, view(answered)["status"]) == (202, "unknown")
        shop.psp.answers("lookup", ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR")))
        with travel(timedelta(minutes=2)):
            assert await flows.ask_due() == 1
            assert await flows.ask_due() == 0
        assert books()["1100", "psp"] == 10_000
        assert shop.psp.made("authorise") == 1

    async def test_what_the_psp_never_got_fails_and_is_not_sent_under_a_new_key(self, shop: Shop, books: Books) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        answered = await shop.pay()
        with travel(LATER):
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert payment.status == "failed"
        assert shop.psp.made("authorise") == 1 and books() == {}

    async def test_no_such_payment_proves_nothing_while_the_psp_may_still_be_at_it(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="deadline_exceeded"))
        answered = await shop.pay(order_id)
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        with pytest.raises(OrderHasPayment):
            await shop.pay(order_id)
        shop.psp.answers("lookup", ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR")))
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert books()["1100", "psp"] == 10_000
        assert shop.psp.made("authorise") == 1

    async def test_a_refund_whose_answer_was_lost_is_sent_again_under_the_same_key(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        shop.psp.answers("refund", Result(outcome=Outcome.UNKNOWN))
        assert view(await shop.refund(paid.payment_id, 1_000))["refunded"] == {"minor": 0, "currency": "EUR"}
        with pytest.raises(OperationUnderWay):
            await shop.refund(paid.payment_id, 500)
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=paid.payment_id)
        keys = {call.idempotency_key for verb, call in shop.psp.calls if verb == "refund" and not isinstance(call, str)}
        assert shop.psp.made("refund") == 2 and len(keys) == 1
        assert books()["1100", "psp"] == 9_000 - 30

    async def test_a_psp_that_cannot_be_asked_leaves_it_unknown(self, shop: Shop) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        answered = await shop.pay()
        shop.psp.answers("lookup", Result(outcome=Outcome.NOT_SENT, code="connection_refused"))
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert payment.status == "unknown"

    async def test_a_question_without_an_answer_changes_nothing(self, shop: Shop, superuser: Connection) -> None:
        answered = await shop.pay(token=None)
        before = superuser.execute("select count(*) from payment_event").fetchone()
        shop.psp.answers("lookup", Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert payment.status == "requires_action"
        assert superuser.execute("select count(*) from payment_event").fetchone() == before

    async def test_a_promise_that_has_ended_at_the_psp_is_a_no(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(token=None, mode=MANUAL)
        shop.psp.answers("lookup", ok(ProviderStatus.EXPIRED, amount=Money(10_000, "EUR")))
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert (payment.status, payment.failure_code) == ("failed", "expired")
        assert books() == {}


class TestLateYes:
    async def test_money_taken_after_we_gave_up_counts_all_the_same(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(token=None)
        late = ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"))
        with travel(timedelta(days=2)):
            shop.psp.answers("lookup", Result(outcome=Outcome.PENDING, status=ProviderStatus.REQUIRES_ACTION))
            assert await flows.expire_due() == 1
        assert await record(shop, answered, late) == "captured"
        assert books()["2100", "anna"] == -5_700
        assert await record(shop, answered, late) == "captured"
        assert books()["2100", "anna"] == -5_700

    async def test_what_the_psp_denied_and_then_took_is_taken(self, shop: Shop, books: Books) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        answered = await shop.pay()
        with travel(LATER):
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert await record(shop, answered, ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"))) == "captured"
        assert books()["1100", "psp"] == 10_000

    async def test_when_another_payment_paid_the_order_a_person_is_told(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        first = await shop.pay(order_id)
        with travel(LATER):
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=first.payment_id)
        await shop.pay(order_id)
        before = books()
        late = ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"))
        assert [await record(shop, first, late), await record(shop, first, late)] == ["failed", "failed"]
        assert books() == before
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=first.payment_id)
        assert payment.failure_code == "late_success"


async def record(shop: Shop, answered: flows.Answered, result: Result) -> str:
    """Record a later word on the payment's first attempt; gives the state it leads to."""
    async with unit_of_work(shop.merchant_id) as session:
        attempt = (
            await session.execute(
                select(PaymentAttempt).where(PaymentAttempt.payment_id == answered.payment_id, PaymentAttempt.operation == "authorise")
            )
        ).scalar_one()
        actor = Actor.psp(shop.merchant_id, "PSP")
        payment = await records.record_result(session, actor, merchant_id=shop.merchant_id, attempt_id=AttemptId(attempt.id), result=result)
        return payment.status


async def undecided(shop: Shop, answered: flows.Answered) -> int:
    """How many attempts of the payment are still to be asked about."""
    async with unit_of_work(shop.merchant_id) as session:
        found = await flows.attempt_queries.undecided_attempts(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
    return len(found)


class TestCapture:
    async def test_partial_captures_take_the_plan_apart_and_release_the_promise(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay(mode=MANUAL)
        assert view(paid)["status"] == "authorised"
        assert books() == {("9100", ""): 10_000, ("9200", ""): -10_000}
        assert view(await shop.capture(paid.payment_id, 2_500))["status"] == "partially_captured"
        assert books()["9100", ""] == 7_500
        assert view(await shop.capture(paid.payment_id, 2_500, is_final=True))["status"] == "captured"
        after = books()
        assert ("9100", "") not in after
        assert after["2100", "anna"] + after["2100", "bert"] + after["4100", ""] == -5_000

    async def test_more_than_authorised_cannot_be_captured(self, shop: Shop) -> None:
        paid = await shop.pay(mode=MANUAL)
        with pytest.raises(NothingToCapture):
            await shop.capture(paid.payment_id, 10_001)
        await shop.capture(paid.payment_id)
        with pytest.raises(Conflict):
            await shop.capture(paid.payment_id, 1)

    async def test_a_failed_capture_leaves_the_payment_authorised(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay(mode=MANUAL)
        shop.psp.answers("capture", Result(outcome=Outcome.DECLINED, code="processing_error"))
        assert view(await shop.capture(paid.payment_id))["status"] == "authorised"
        assert view(await shop.capture(paid.payment_id))["status"] == "captured"

    async def test_void_releases_everything(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay(mode=MANUAL)
        assert view(await shop.void(paid.payment_id))["status"] == "voided"
        assert books() == {}

    async def test_void_after_a_partial_capture_releases_the_rest(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay(mode=MANUAL)
        await shop.capture(paid.payment_id, 4_000)
        assert view(await shop.void(paid.payment_id))["status"] == "captured"
        assert ("9100", "") not in books()

    @pytest.mark.parametrize("captured", [0, 4_000])
    async def test_one_that_succeeds_after_the_promise_expired_releases_nothing_twice(
        self, shop: Shop, books: Books, captured: int
    ) -> None:
        paid = await shop.pay(mode=MANUAL)
        if captured:
            await shop.capture(paid.payment_id, captured)
        shop.psp.answers("void", Result(outcome=Outcome.UNKNOWN))
        await shop.void(paid.payment_id)
        with travel(timedelta(days=8)):
            shop.psp.answers("lookup", Result(outcome=Outcome.UNKNOWN))
            assert await flows.expire_due() == 1
            before = books()
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=paid.payment_id)
        assert books() == before and ("9100", "") not in before
        assert await undecided(shop, paid) == 0

    async def test_one_that_succeeds_after_the_payment_failed_changes_nothing(self, shop: Shop, books: Books) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        paid = await shop.pay()
        shop.psp.answers("void", Result(outcome=Outcome.UNKNOWN))
        await shop.void(paid.payment_id)
        with travel(LATER):
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=paid.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            assert (await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=paid.payment_id)).status == "failed"
        assert await undecided(shop, paid) == 0 and books() == {}

    async def test_an_authorisation_expires_and_its_promise_with_it(self, shop: Shop, books: Books) -> None:
        await shop.pay(mode=MANUAL)
        with travel(timedelta(days=8)):
            assert await flows.expire_due() == 1
            assert await flows.expire_due() == 0
        assert books() == {}


class TestRefund:
    async def test_partial_refunds_end_at_zero_with_the_fee_returned(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        for minor in (3_333, 3_333):
            assert view(await shop.refund(paid.payment_id, minor))["status"] == "partially_refunded"
        assert view(await shop.refund(paid.payment_id))["status"] == "refunded"
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    @pytest.mark.parametrize("came_back", [False, True])
    async def test_a_fee_that_was_kept_stays_kept(self, shop: Shop, books: Books, came_back: bool) -> None:
        other = await shop.pay()  # so that the wallets can bear the fees
        with travel(timedelta(days=4)):
            await wallets.release_due()
            paid = await shop.pay()
            await shop.refund(paid.payment_id, 5_000, keep_fee=True)
            if came_back:
                async with unit_of_work(shop.merchant_id) as session:
                    refunds = select(PaymentAttempt.id).where(PaymentAttempt.operation == "refund")
                    attempt_id = AttemptId((await session.execute(refunds)).scalar_one())
                    no = Result(outcome=Outcome.DECLINED, code="account_closed")
                    actor = Actor.psp(shop.merchant_id, "PSP")
                    await records.record_result(session, actor, merchant_id=shop.merchant_id, attempt_id=attempt_id, result=no)
            await shop.refund(paid.payment_id, 5_000)
        assert view(other)["status"] == "captured"
        assert books()["4100", ""] == -700 - 350

    async def test_a_fee_of_a_refund_that_failed_is_not_kept(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="no"))
        await shop.refund(paid.payment_id, 5_000, keep_fee=True)
        await shop.refund(paid.payment_id)
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_more_than_captured_cannot_be_refunded(self, shop: Shop) -> None:
        paid = await shop.pay()
        with pytest.raises(RefundExceedsCaptured):
            await shop.refund(paid.payment_id, 10_001)

    async def test_concurrent_refunds_never_exceed_the_payment(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        results = await asyncio.gather(*(shop.refund(paid.payment_id, 4_000) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, flows.Answered) for result in results) == 2
        assert books()["1100", "psp"] == 2_000 - 30

    async def test_a_refused_refund_puts_everything_back(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        before = books()
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="processing_error"))
        assert view(await shop.refund(paid.payment_id, 5_000))["status"] == "captured"
        assert books() == before
        assert view(await shop.refund(paid.payment_id))["status"] == "refunded"

    async def test_after_availability_the_refund_comes_from_available_funds_and_then_from_debt(self, shop: Shop, books: Books) -> None:
        first, second = await shop.pay(), await shop.pay()
        with travel(timedelta(days=4)):
            assert await wallets.release_due() == 4
            assert await wallets.release_due() == 0
            assert books()["2110", "anna"] == -11_400
            await shop.refund(first.payment_id)
            assert books()["2110", "anna"] == -5_700
            await shop.refund(second.payment_id)
        assert books() == {("1100", "psp"): -60, ("5100", ""): 60}

    async def test_a_refund_can_concern_one_seller(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        await shop.refund(paid.payment_id, 4_000, split={shop.bert: 4_000})
        after = books()
        assert ("2100", "bert") not in after and after["2100", "anna"] == -5_700

    async def test_pending_funds_that_a_refund_used_up_are_not_released(self, shop: Shop, books: Books) -> None:
        paid = await shop.pay()
        await shop.refund(paid.payment_id, 4_000, split={shop.bert: 4_000})
        with travel(timedelta(days=4)):
            await wallets.release_due()
        assert ("2110", "bert") not in books() and books()["2110", "anna"] == -5_700
