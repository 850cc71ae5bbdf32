"""The JSON API as a client meets it: the way of an order, and one effect per key."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from psycopg import Connection, OperationalError

from app.core import failpoints
from app.core.clock import travel
from app.core.ids import PaymentId, parse_id, public_id
from app.payments import flows
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, Result
from tests.payments.client import Api, a_payment, an_order, order_of, refused
from tests.payments.conftest import Books
from tests.support.shop import ScriptedPsp, Shop

MANUAL = CaptureMode.MANUAL


class TestWay:
    async def test_an_order_is_paid_in_parts_refunded_and_read_back(self, api: Api, shop: Shop, books: Books) -> None:
        made = await api.post("/v1/orders", order_of(shop))
        assert (made.status_code, made.json()["total"]) == (201, {"minor": 10_000, "currency": "EUR"})
        paid = await api.post("/v1/payments", {"order": made.json()["id"], "token": "tok_visa", "capture": "manual"})
        assert (paid.status_code, paid.json()["status"], paid.json()["capturable"]["minor"]) == (201, "authorised", 10_000)
        path = f"/v1/payments/{paid.json()['id']}"
        captured = await api.post(f"{path}/capture", {"amount": {"minor": 7_000, "currency": "EUR"}})
        assert (captured.status_code, captured.json()["status"], captured.json()["captured"]["minor"]) == (201, "partially_captured", 7_000)
        voided = await api.post(f"{path}/void", {"reason": "sold out"})
        assert (voided.status_code, voided.json()["status"], voided.json()["capturable"]["minor"]) == (201, "captured", 0)
        back = await api.post(f"{path}/refunds", {"amount": {"minor": 2_000, "currency": "EUR"}, "reason": "broken"})
        assert (back.status_code, back.json()["status"], back.json()["refundable"]["minor"]) == (201, "partially_refunded", 5_000)
        rest = await api.post(f"{path}/refunds")
        assert (rest.json()["status"], len(rest.json()["refunds"])) == ("refunded", 2)
        assert (await api.get(path)).json() == rest.json()
        assert (await api.get(f"/v1/orders/{made.json()['id']}")).json()["refunded"]["minor"] == 7_000
        assert books() == {("1100", "psp"): -30, ("5100", ""): 30}

    async def test_every_act_of_a_program_is_in_the_trail(self, api: Api, shop: Shop, superuser: Connection) -> None:
        made = await api.post("/v1/orders", order_of(shop))
        paid = await api.post("/v1/payments", {"order": made.json()["id"], "token": "tok_visa"})
        await api.post(f"/v1/payments/{paid.json()['id']}/refunds", {"amount": {"minor": 100, "currency": "EUR"}, "reason": "broken"})
        acts = "select action, request_id <> '', actor_id from audit_entry where merchant_id = %s and actor_kind = 'api_key' order by id"
        told = superuser.execute(acts, [shop.merchant_id]).fetchall()
        assert [row[:2] for row in told] == [("order.created", True), ("payment.created", True), ("payment.refund_requested", True)]
        assert len({row[2] for row in told}) == 1

    async def test_orders_are_listed_newest_first_page_by_page_and_found(self, api: Api, shop: Shop) -> None:
        made = [await an_order(shop) for _ in range(27)][::-1]
        first = (await api.get("/v1/orders")).json()
        second = (await api.get(f"/v1/orders?after={first['next']}")).json()
        assert [row["id"] for row in first["items"] + second["items"]] == made
        assert second["next"] is None
        found = (await api.get(f"/v1/orders?q={made[3]}")).json()
        assert [row["id"] for row in found["items"]] == [made[3]]

    async def test_a_whole_authorisation_is_voided(self, api: Api, shop: Shop, books: Books) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=MANUAL)}"
        assert (await api.post(f"{path}/void")).json()["status"] == "voided"
        assert books() == {}

    async def test_the_reason_of_a_capture_is_kept(self, api: Api, shop: Shop) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=MANUAL)}/capture"
        assert (await api.post(path, {"reason": "shipped"})).json()["captures"][0]["reason"] == "shipped"

    async def test_without_a_token_the_buyer_is_sent_to_the_psp(self, api: Api, shop: Shop) -> None:
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "return_url": "https://shop.example/thanks"})
        assert answer.json()["next_action"] == {"type": "redirect", "url": "http://psp.test/pay"}

    async def test_an_answer_that_is_lost_is_202_and_goes_on(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="read_timeout"))
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "token": "tok_visa"})
        assert (answer.status_code, answer.json()["status"]) == (202, "unknown")

    async def test_a_no_is_an_answer_and_not_an_error(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", Result(outcome=Outcome.DECLINED, code="lost_card", message="The card was reported lost."))
        answer = await api.post("/v1/payments", {"order": await an_order(shop), "token": "tok_visa"})
        assert (answer.status_code, answer.json()["status"], answer.json()["failure"]["code"]) == (201, "failed", "lost_card")


class TestIdempotencyKey:
    async def test_the_same_again_is_the_same_byte_for_byte(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"}
        first = await api.post("/v1/payments", body, key="once")
        assert "idempotent-replayed" not in first.headers
        await shop.refund(PaymentId(parse_id("pay", first.json()["id"])), 100)
        again = await api.post("/v1/payments", body, key="once")
        assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (first.status_code, first.content, "true")
        assert psp.made("authorise") == 1

    @pytest.mark.parametrize("verb", ["capture", "void", "refunds"])
    async def test_operations_are_repeated_too(self, api: Api, shop: Shop, psp: ScriptedPsp, verb: str) -> None:
        path = f"/v1/payments/{await a_payment(shop, mode=CaptureMode.AUTOMATIC if verb == 'refunds' else MANUAL)}/{verb}"
        first = await api.post(path, {"reason": "x"}, key="once")
        again = await api.post(path, {"reason": "x"}, key="once")
        assert (first.status_code, again.content, again.headers["idempotent-replayed"]) == (201, first.content, "true")
        assert psp.made(verb.removesuffix("s")) == 1

    async def test_orders_are_repeated_too(self, api: Api, shop: Shop) -> None:
        body = order_of(shop)
        first, again = await api.post("/v1/orders", body, key="once"), await api.post("/v1/orders", body, key="once")
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")

    @pytest.mark.parametrize("paid", [False, True])
    async def test_a_cancellation_is_repeated_too(self, api: Api, shop: Shop, psp: ScriptedPsp, paid: bool) -> None:
        order_id = await shop.order()
        if paid:
            await shop.pay(order_id)
        path, key = f"/v1/orders/{public_id('ord', order_id)}/cancel", "k" * 255
        first, again = await api.post(path, {"reason": "x"}, key=key), await api.post(path, {"reason": "x"}, key=key)
        assert (first.status_code, first.json()["status"]) == (200, "refunded" if paid else "cancelled")
        assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (200, first.content, "true")
        refused(await api.post(path, {"reason": "y"}, key=key), 422, "idempotency_key_reused")
        refused(await api.post(path, {"reason": "x"}), 409, "order_not_cancellable")
        assert psp.made("refund") == paid

    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_cancellation_whose_refund_is_declined_is_no_success(self, api: Api, shop: Shop, psp: ScriptedPsp, times: int) -> None:
        order_id = await shop.order()
        paid = await shop.pay(order_id)
        path = f"/v1/orders/{public_id('ord', order_id)}/cancel"
        psp.answers("refund", Result(outcome=Outcome.DECLINED, code="account_closed", message="The account is closed."))
        for _ in range(times):
            answer = refused(await api.post(path, {"reason": "x"}, key="once"), 409, "cancellation_declined")
            assert "has not been refunded" in answer["detail"] and answer["payment"] == public_id("pay", paid.payment_id)
        assert psp.made("refund") == 1
        again = await api.post(path, {"reason": "x"}, key="twice")
        assert (again.status_code, again.json()["status"], psp.made("refund")) == (200, "refunded", 2)

    @pytest.mark.parametrize("outcome", [Outcome.PENDING, Outcome.UNKNOWN])
    async def test_a_cancellation_that_waits_says_so(self, api: Api, shop: Shop, psp: ScriptedPsp, outcome: Outcome) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        path = f"/v1/orders/{public_id('ord', order_id)}/cancel"
        psp.answers("refund", Result(outcome=outcome))
        first, again = await api.post(path, key="once"), await api.post(path, key="once")
        assert (first.status_code, first.json()["status"]) == (202, "paid")
        assert (again.status_code, again.content, psp.made("refund")) == (202, first.content, 1)

    @pytest.mark.parametrize("point", ["payments.cancellation_claimed", "payments.cancellation_carried_out"])
    async def test_a_cancellation_that_broke_off_is_continued(self, api: Api, shop: Shop, psp: ScriptedPsp, point: str) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        path = f"/v1/orders/{public_id('ord', order_id)}/cancel"
        failpoints.enable(point, "raise")
        try:
            await api.post(path, key="once")
        finally:
            failpoints.enable(point, "off")
        refused(await api.post(path, key="once"), 429, "request_in_progress")
        with travel(timedelta(minutes=1)):
            done = await api.post(path, key="once")
        assert (done.status_code, done.json()["status"], psp.made("refund")) == (200, "refunded", 1)

    async def test_a_key_belongs_to_one_request(self, api: Api, shop: Shop, nothing_written: Any) -> None:
        order_id, path = await an_order(shop), f"/v1/payments/{await a_payment(shop)}/refunds"
        await api.post("/v1/payments", {"order": order_id, "token": "tok_visa"}, key="once")
        with nothing_written():
            for where, body in (
                ("/v1/payments", {"order": order_id, "token": "tok_amex"}),
                (path, {}),
                (path.replace("refunds", "void"), {}),
                ("/v1/orders", order_of(shop)),
            ):
                refused(await api.post(where, body, key="once"), 422, "idempotency_key_reused")

    @pytest.mark.parametrize("key", [None, "", "x" * 256, "a\tb"])
    async def test_it_must_be_there_and_be_one(self, api: Api, shop: Shop, nothing_written: Any, key: str | None) -> None:
        order_id, path = await an_order(shop), f"/v1/payments/{await a_payment(shop)}"
        with nothing_written():
            refused(await api.post("/v1/payments", {"order": order_id, "token": "tok_visa"}, key=key), 422, "idempotency_key_missing")
            for verb in ("capture", "void", "refunds"):
                refused(await api.post(f"{path}/{verb}", key=key), 422, "idempotency_key_missing")

    async def test_while_the_first_runs_the_others_are_told_to_wait(self, api: Api, shop: Shop, psp: ScriptedPsp) -> None:
        body = {"order": await an_order(shop), "token": "tok_visa"}
        failpoints.enable("payments.claimed", "sleep:400")
        try:
            first = asyncio.create_task(api.post("/v1/payments", body, key="once"))
            while not await self.claimed(shop):
                await asyncio.sleep(0.005)
            waits = await api.post("/v1/payments", body, key="once")
        finally:
            failpoints.enable("payments.claimed", "off")
        refused(waits, 429, "request_in_progress")
        assert int(waits.headers["retry-after"]) >= 1
        assert (await first).status_code == 201
        assert (await api.post("/v1/payments", body, key="once")).content == (await first).content
        assert psp.made("authorise") == 1

    async def test_when_the_database_goes_away_after_the_psp_acted_nobody_is_told_that_nothing_was_done(
        self, api: Api, shop: Shop, psp: ScriptedPsp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def gone(*_args: object, **_options: object) -> None:
            raise OperationalError("the server closed the connection")

        path = f"/v1/payments/{await a_payment(shop)}/refunds"
        body = {"amount": {"minor": 1_000, "currency": "EUR"}}
        with monkeypatch.context() as broken:
            broken.setattr(flows, "_record_at_once", gone)
            lost = refused(await api.post(path, body, key="once"), 503, "database_unavailable")
        assert "may have been done" in lost["detail"] and "same Idempotency-Key" in lost["detail"]
        with travel(timedelta(minutes=1)):
            done = await api.post(path, body, key="once")
        assert (done.status_code, done.json()["refunded"]["minor"], psp.made("refund")) == (201, 1_000, 1)

    async def claimed(self, shop: Shop) -> bool:
        from sqlalchemy import text

        from app.core.db import unit_of_work

        async with unit_of_work(shop.merchant_id) as session:
            return bool((await session.execute(text("select count(*) from idempotency_key where key = 'once'"))).scalar_one())

    async def test_what_was_refused_does_not_use_the_key_up(self, api: Api, shop: Shop) -> None:
        path = f"/v1/payments/{await a_payment(shop)}/refunds"
        refused(await api.post(path, {"amount": {"minor": 10_001, "currency": "EUR"}}, key="once"), 409, "refund_exceeds_captured")
        assert (await api.post(path, {"amount": {"minor": 10_000, "currency": "EUR"}}, key="once")).status_code == 201
