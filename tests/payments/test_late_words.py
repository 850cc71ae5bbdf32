"""What is said late or asked often: promises that come back to life, and questions that must not use up those that are due."""

from datetime import timedelta

import pytest
from psycopg import Connection

from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.money import Money
from app.payments import flows
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, ProviderStatus, Result
from tests.payments.conftest import Books
from tests.payments.test_flows import record, view
from tests.support.shop import Shop, ok

MANUAL = CaptureMode.MANUAL
WAITS = Result(outcome=Outcome.PENDING, status=ProviderStatus.REQUIRES_ACTION)
PROMISED = ok(ProviderStatus.AUTHORISED, amount=Money(10_000, "EUR"))


class TestALatePromise:
    async def test_after_the_buyer_took_too_long_can_be_captured(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(token=None, mode=MANUAL)
        with travel(timedelta(days=2)):
            shop.psp.answers("lookup", WAITS)
            assert await flows.expire_due() == 1
            assert await record(shop, answered, PROMISED) == "authorised"
            assert books() == {("9100", ""): 10_000, ("9200", ""): -10_000}
            assert view(await shop.capture(answered.payment_id))["status"] == "captured"
        assert books()["2100", "anna"] == -5_700

    async def test_after_we_let_it_expire_is_in_the_ledger_again(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(mode=MANUAL)
        for days in (8, 16):
            with travel(timedelta(days=days)):
                assert await flows.expire_due() == 1
                assert books() == {}
                assert await record(shop, answered, PROMISED) == "authorised"
                assert books() == {("9100", ""): 10_000, ("9200", ""): -10_000}
        with travel(timedelta(days=17)):
            assert view(await shop.void(answered.payment_id))["status"] == "voided"
        assert books() == {}


class TestAnEndedPromise:
    @pytest.mark.parametrize(("said", "status"), [(ProviderStatus.EXPIRED, "expired"), (ProviderStatus.VOIDED, "voided")])
    async def test_is_over_here_too_and_the_order_can_be_paid_again(
        self, shop: Shop, books: Books, said: ProviderStatus, status: str
    ) -> None:
        order_id = await shop.order()
        answered = await shop.pay(order_id, mode=MANUAL)
        ended = ok(said, amount=Money(10_000, "EUR"))
        assert [await record(shop, answered, ended) for _ in range(2)] == [status, status]
        assert books() == {}
        assert view(await shop.pay(order_id))["status"] == "captured"

    async def test_leaves_a_release_that_is_under_way_its_own_answer(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay(mode=MANUAL)
        shop.psp.answers("void", Result(outcome=Outcome.UNKNOWN))
        await shop.void(answered.payment_id)
        assert await record(shop, answered, ok(ProviderStatus.VOIDED)) == "authorised"
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        async with unit_of_work(shop.merchant_id) as session:
            payment = await flows.queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert payment.status == "voided" and books() == {}

    async def test_changes_nothing_about_money_that_was_taken(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay()
        before = books()
        assert await record(shop, answered, ok(ProviderStatus.EXPIRED, amount=Money(10_000, "EUR"))) == "captured"
        assert books() == before


class TestAsking:
    async def test_a_page_that_asks_every_few_seconds_uses_up_no_question(self, shop: Shop, superuser: Connection) -> None:
        answered = await shop.pay(token=None)
        for _ in range(12):
            shop.psp.answers("lookup", WAITS)
            await flows.refresh(merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        due = "select asked_times, next_ask_at is not null from payment_attempt where payment_id = %s"
        assert superuser.execute(due, [answered.payment_id]).fetchone() == (0, True)
        shop.psp.answers("lookup", ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR")))
        with travel(timedelta(minutes=2)):
            assert await flows.ask_due() == 1
        assert superuser.execute("select status from payment where id = %s", [answered.payment_id]).fetchone() == ("captured",)

    async def test_questions_that_are_due_are_counted_until_a_person_decides(self, shop: Shop, superuser: Connection) -> None:
        answered = await shop.pay(token=None)
        asked = 0
        for day in range(1, 20):
            shop.psp.answers("lookup", WAITS)
            with travel(timedelta(days=day, minutes=day)):
                asked += await flows.ask_due()
        assert asked == 8
        due = "select asked_times, next_ask_at from payment_attempt where payment_id = %s"
        assert superuser.execute(due, [answered.payment_id]).fetchone() == (8, None)
