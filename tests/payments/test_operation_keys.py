"""One effect per key for captures, voids and refunds: all at once, and when the process failed on any line."""

import asyncio
from datetime import timedelta

import pytest

from app.core import failpoints
from app.core.clock import travel
from app.core.failpoints import FailpointRaised
from app.core.idempotency import LEASE, RequestInProgress
from app.core.money import Money
from app.payments import flows
from app.payments.domain import NothingToCapture, OperationUnderWay
from app.psp.domain import Instruction, Outcome, ProviderStatus, Result
from tests.payments.conftest import Books
from tests.payments.test_operations import authorise, capture_whole, view
from tests.support.shop import Shop


class TestOneKey:
    @pytest.mark.parametrize("verb", ["capture", "void", "refund"])
    async def test_thirty_at_once_with_one_key_do_it_once(self, shop: Shop, verb: str) -> None:
        payment_id = await (capture_whole if verb == "refund" else authorise)(shop)
        work = {"capture": flows.capture, "void": flows.void, "refund": flows.refund}[verb]
        made = await asyncio.gather(
            *(work(shop.actor, payment_id=payment_id, key="once", request=b"r") for _ in range(30)),  # type: ignore[operator]
            return_exceptions=True,
        )
        answers = [each for each in made if isinstance(each, flows.Answered)]
        assert shop.psp.made(verb) == 1
        assert answers and len({answer.body for answer in answers}) == 1
        assert {type(each) for each in made} <= {flows.Answered, RequestInProgress}

    async def test_eight_at_once_with_keys_of_their_own_never_take_more_than_there_is(self, shop: Shop, books: Books) -> None:
        payment_id = await authorise(shop)
        made = await asyncio.gather(*(shop.capture(payment_id, 4_000) for _ in range(8)), return_exceptions=True)
        done = sum(isinstance(each, flows.Answered) for each in made)
        assert 1 <= done <= 2 and {type(each) for each in made} <= {flows.Answered, OperationUnderWay, NothingToCapture}
        assert books()["1100", "psp"] == done * (4_000 - 30)


class TestTheLastCapture:
    @pytest.mark.parametrize("is_final", [False, True])
    async def test_is_told_to_the_psp_and_told_again_when_the_answer_was_lost(self, shop: Shop, is_final: bool) -> None:
        payment_id = await authorise(shop)
        shop.psp.answers("capture", Result(outcome=Outcome.UNKNOWN))
        await shop.capture(payment_id, 4_000, is_final=is_final)
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=payment_id)
        told = [call.is_final for verb, call in shop.psp.calls if verb == "capture" and isinstance(call, Instruction)]
        assert told == [is_final, is_final]

    async def test_is_told_by_whoever_continues_it(self, shop: Shop) -> None:
        payment_id = await authorise(shop)
        some = {"payment_id": payment_id, "amount": Money(4_000, "EUR"), "is_final": True, "key": "once", "request": b"r"}
        failpoints.enable("payments.claimed", "raise")
        try:
            with pytest.raises(FailpointRaised):
                await flows.capture(shop.actor, **some)  # type: ignore[arg-type]
        finally:
            failpoints.enable("payments.claimed", "off")
        with travel(LEASE + timedelta(seconds=1)):
            await flows.capture(shop.actor, **some)  # type: ignore[arg-type]
        assert [call.is_final for verb, call in shop.psp.calls if verb == "capture" and isinstance(call, Instruction)] == [True]


class TestAskedAgain:
    async def test_without_an_answer_what_was_known_still_stands(self, shop: Shop) -> None:
        order_id = await shop.order()
        failpoints.enable("payments.called", "raise")
        try:
            with pytest.raises(FailpointRaised):
                await shop.pay(order_id, token=None, key="once")
        finally:
            failpoints.enable("payments.called", "off")
        waits = Result(outcome=Outcome.PENDING, status=ProviderStatus.REQUIRES_ACTION, redirect_url="http://psp.test/pay")
        with travel(LEASE * 3):
            shop.psp.answers("lookup", waits, Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
            assert await flows.ask_due() == 1
            answered = await shop.pay(order_id, token=None, key="once")
        assert (answered.status, view(answered)["status"]) == (201, "requires_action")
        assert shop.psp.made("start_redirect") == 1


class TestOnThisLine:
    @pytest.mark.parametrize("point", ["payments.claimed", "payments.called", "payments.recorded"])
    @pytest.mark.parametrize("verb", ["capture", "void", "refund"])
    async def test_who_fails_here_is_continued_under_the_same_key(self, shop: Shop, books: Books, verb: str, point: str) -> None:
        payment_id = await (capture_whole if verb == "refund" else authorise)(shop)
        work = {"capture": flows.capture, "void": flows.void, "refund": flows.refund}[verb]
        failpoints.enable(point, "raise")
        try:
            with pytest.raises(FailpointRaised):
                await work(shop.actor, payment_id=payment_id, key="once", request=b"r")  # type: ignore[operator]
        finally:
            failpoints.enable(point, "off")
        assert shop.psp.made(verb) == (point != "payments.claimed")
        with travel(LEASE + timedelta(seconds=1)):
            answered = await work(shop.actor, payment_id=payment_id, key="once", request=b"r")  # type: ignore[operator]
        assert (view(answered)["status"], answered.replayed) == (
            {"capture": "captured", "void": "voided", "refund": "refunded"}[verb],
            point == "payments.recorded",
        )
        assert shop.psp.made(verb) == 1
        assert (
            books()
            == {
                "capture": {
                    ("1100", "psp"): 9_970,
                    ("5100", ""): 30,
                    ("2100", "anna"): -5_700,
                    ("2100", "bert"): -3_600,
                    ("4100", ""): -700,
                },
                "void": {},
                "refund": {("1100", "psp"): -30, ("5100", ""): 30},
            }[verb]
        )
