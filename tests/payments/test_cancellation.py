"""Cancelling an order, whatever stage its money is in."""

import pytest

from app.core.actors import PermissionMissing
from app.core.db import unit_of_work
from app.core.ids import OrderId, new_id, public_id
from app.orders import queries as orders
from app.orders.domain import OrderNotPayable
from app.payments.cancellation import flows, queries
from app.payments.cancellation.domain import CancellationDeclined, OrderNotCancellable, Step
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, Result
from app.tenancy.domain import Role
from tests.payments.conftest import Books
from tests.support.shop import Shop


async def status_of(shop: Shop, order_id: OrderId) -> str:
    async with unit_of_work(shop.merchant_id) as session:
        return (await orders.order(session, merchant_id=shop.merchant_id, order_id=order_id)).status


class TestCancelOrder:
    async def test_an_unpaid_order_is_closed_and_cannot_be_paid(self, shop: Shop) -> None:
        order_id = await shop.order()
        plan = await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert plan.steps == [Step.CLOSE]
        assert await status_of(shop, order_id) == "cancelled"
        with pytest.raises(OrderNotPayable):
            await shop.pay(order_id)

    async def test_an_authorised_one_is_released_and_closed(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        await shop.pay(order_id, mode=CaptureMode.MANUAL)
        plan = await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert (plan.steps, plan.released.minor) == ([Step.RELEASE, Step.CLOSE], 10_000)
        assert await status_of(shop, order_id) == "cancelled"
        assert books() == {}

    async def test_a_paid_one_is_refunded_by_every_seller(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        async with unit_of_work(shop.merchant_id) as session:
            plan = await queries.cancellation_plan(session, merchant_id=shop.merchant_id, order_id=order_id)
        assert {share.seller_id: share.amount.minor for share in plan.shares} == {shop.anna: 6_000, shop.bert: 4_000}
        await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert await status_of(shop, order_id) == "refunded"
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_a_partly_captured_one_is_released_and_refunded(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        paid = await shop.pay(order_id, mode=CaptureMode.MANUAL)
        await shop.capture(paid.payment_id, 4_000)
        await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert await status_of(shop, order_id) == "refunded"
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_twice_with_one_key_does_it_once(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        with pytest.raises(OrderNotCancellable):
            await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert shop.psp.made("refund") == 1

    async def test_an_undecided_payment_comes_first(self, shop: Shop) -> None:
        order_id = await shop.order()
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        await shop.pay(order_id)
        with pytest.raises(OrderNotCancellable):
            await flows.cancel_order(shop.actor, order_id=order_id, key="c")

    async def test_giving_money_back_needs_the_permission_for_it(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        developer = shop.tenant.actor(Role.VIEWER, person_id=new_id())
        with pytest.raises(PermissionMissing):
            await flows.cancel_order(developer, order_id=order_id, key="c")
        assert await status_of(shop, order_id) == "paid"

    async def test_a_refund_that_the_psp_declines_is_said_to_be_so(self, shop: Shop, books: Books) -> None:
        order_id = await shop.order()
        paid = await shop.pay(order_id)
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="account_closed", message="The account is closed."))
        with pytest.raises(CancellationDeclined) as refused:
            await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert "did not give back €100.00: The account is closed. The buyer has not been refunded." in refused.value.detail
        assert refused.value.extra == {"payment": public_id("pay", paid.payment_id)}
        assert await status_of(shop, order_id) == "paid"
        assert books()[("2100", "anna")] == -5_700, "the sellers have it back"

    async def test_a_release_that_the_psp_declines_is_said_to_be_so(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id, mode=CaptureMode.MANUAL)
        shop.psp.answers("void", Result(outcome=Outcome.DECLINED, code="too_late"))
        with pytest.raises(CancellationDeclined) as refused:
            await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert "did not release €100.00: too late." in refused.value.detail
        assert await status_of(shop, order_id) == "open"

    async def test_what_was_declined_is_asked_for_again_only_under_another_key(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="account_closed"))
        for _ in range(2):
            with pytest.raises(CancellationDeclined):
                await flows.cancel_order(shop.actor, order_id=order_id, key="c")
        assert shop.psp.made("refund") == 1
        await flows.cancel_order(shop.actor, order_id=order_id, key="d")
        assert (await status_of(shop, order_id), shop.psp.made("refund")) == ("refunded", 2)
