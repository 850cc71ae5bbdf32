"""Processes that die at the worst moment: the client repeats its request, and there is one charge, one posting, one answer."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest

from app.core.embedded import free_port
from app.core.ids import public_id
from tests.faults.house import House, HttpShop, until


class TestOneKey:
    async def test_two_hundred_at_once_with_one_key_charge_once_over_two_workers(self, house: House, shop: HttpShop) -> None:
        body = {"order": shop.order(), "token": "tok_visa"}
        limits = httpx2.Limits(max_connections=200)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", timeout=30, limits=limits) as client:
            headers = {**shop.headers, "idempotency-key": "one"}
            answers = await asyncio.gather(*(client.post("/v1/payments", json=body, headers=headers) for _ in range(200)))
        assert {answer.status_code for answer in answers} <= {201, 429}
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
        assert shop.charged() == (1, 10_000) and shop.posted() == 10_000


POINTS = ["payments.claimed", "payments.called", "payments.recorded"]


class TestWebKilled:
    @pytest.mark.parametrize("point", POINTS)
    def test_in_the_middle_of_a_payment_the_same_key_brings_it_to_its_end(self, house: House, shop: HttpShop, point: str) -> None:
        body = {"order": shop.order(), "token": "tok_visa"}
        self.die(house, shop, point, "/v1/payments", body)
        assert shop.charged()[0] == (point != "payments.claimed")
        answer = shop.insist("/v1/payments", body, key="k")
        assert (answer.status_code, answer.json()["status"]) == (201, "captured")
        assert shop.charged() == (1, 10_000) and shop.posted() == 10_000 and shop.attempts(answer.json()["id"]) == 1
        assert shop.insist("/v1/payments", body, key="k").content == answer.content

    @pytest.mark.parametrize("point", POINTS)
    def test_in_the_middle_of_a_refund_the_buyer_gets_it_once(self, house: House, shop: HttpShop, point: str) -> None:
        paid = shop.insist("/v1/payments", {"order": shop.order(), "token": "tok_visa"}, key="p").json()["id"]
        path, body = f"/v1/payments/{paid}/refunds", {"amount": {"minor": 2_500, "currency": "EUR"}}
        self.die(house, shop, point, path, body)
        answer = shop.insist(path, body, key="k")
        assert answer.json()["refunded"]["minor"] == 2_500 and shop.refunded() == 2_500 and shop.posted() == 7_500

    @pytest.mark.parametrize("point", POINTS)
    def test_in_the_middle_of_a_capture_it_is_taken_once(self, house: House, shop: HttpShop, point: str) -> None:
        body = {"order": shop.order(), "token": "tok_visa", "capture": "manual"}
        paid = shop.insist("/v1/payments", body, key="p").json()["id"]
        path = f"/v1/payments/{paid}/capture"
        self.die(house, shop, point, path, {})
        answer = shop.insist(path, {}, key="k")
        assert answer.json()["status"] == "captured" and shop.posted() == 10_000 and shop.attempts(paid) == 2
        assert shop.insist(path, {}, key="k").content == answer.content

    def test_and_again_while_the_retry_continues_it(self, house: House, shop: HttpShop) -> None:
        body = {"order": shop.order(), "token": "tok_visa"}
        self.die(house, shop, "payments.called", "/v1/payments", body)
        house.lease_runs_out("k")
        self.die(house, shop, "payments.resumed", "/v1/payments", body)
        answer = shop.insist("/v1/payments", body, key="k")
        assert answer.json()["status"] == "captured" and shop.charged() == (1, 10_000) and shop.posted() == 10_000

    @staticmethod
    def die(house: House, shop: HttpShop, point: str, path: str, body: dict[str, object]) -> None:
        port = free_port()
        doomed = house.web(port=port, workers=1, failpoints=f"{point}=kill")
        try:
            with pytest.raises(httpx2.HTTPError):
                shop.send(path, body, key="k", port=port)
            doomed.wait_until_dead()
        finally:
            doomed.stop()


class TestWorkerKilled:
    def test_while_applying_webhooks_and_while_asking(self, house: House, shop: HttpShop) -> None:
        relay, scheduler = house.relay(), house.scheduler()
        with house.running(relay, scheduler):
            hosted = []
            for point in ("workers.job_begun", "payments.event_fetched", "workers.job_worked"):
                payment = shop.insist("/v1/payments", {"order": shop.order()}, key=point).json()
                doomed = house.worker(failpoints=f"{point}=kill")
                httpx2.post(payment["next_action"]["url"], data={"number": "4242424242424242"}, timeout=10)
                doomed.wait_until_dead()
                doomed.stop()
                hosted.append(payment["id"])
            lost = []
            for point in ("payments.before_ask", "payments.asked"):
                payment = shop.insist("/v1/payments", {"order": shop.order(), "token": "tok_visa_unknown_after_success"}, key=point).json()
                assert payment["status"] == "unknown"
                shop.account.scenario(webhooks={"drop": 1.0})
                house.questions_are_due()
                doomed = house.worker(failpoints=f"{point}=kill")
                doomed.wait_until_dead()
                doomed.stop()
                lost.append(payment["id"])
            with house.running(house.worker()):
                for payment_id in hosted:
                    shop.reaches(payment_id, "captured")
                house.questions_are_due()
                for payment_id in lost:
                    shop.reaches(payment_id, "captured")
        assert shop.charged() == (5, 50_000) and shop.posted() == 50_000


class TestRelayKilled:
    def test_between_sending_and_remembering_that_it_sent(self, house: House, shop: HttpShop) -> None:
        payment = shop.insist("/v1/payments", {"order": shop.order()}, key="k").json()
        httpx2.post(payment["next_action"]["url"], data={"number": "4242424242424242"}, timeout=10)
        found = until(lambda: house.sql("select id from outbox where topic = 'psp.event_received' and published_at is null"), "no webhook")
        with psycopg.connect(house.server.url(database="countinghouse")) as connection:
            # The relay may claim rows but not mark them: it stands exactly between the two.
            connection.execute("lock table outbox in share mode")
            relay = house.relay()
            until(
                lambda: house.sql(
                    "select 1 from pg_stat_activity where application_name = 'countinghouse-relay' and wait_event_type = 'Lock'"
                ),
                "the relay did not send",
            )
            relay.kill()
        until(
            lambda: not house.sql("select 1 from pg_stat_activity where application_name = 'countinghouse-relay'"), "its connection stayed"
        )
        assert house.sql("select published_at from outbox where id = %s", found[0][0]) == [(None,)]
        with house.running(house.relay(), house.worker()):
            shop.reaches(payment["id"], "captured")
            until(lambda: house.sql("select 1 from outbox where id = %s and published_at is not null", found[0][0]), "never marked")
            until(lambda: house.sql("select 1 from job_run where event_id = %s and state = 'done'", found[0][0]), "never done")
        assert shop.charged() == (1, 10_000) and shop.posted() == 10_000


class TestDatabaseKilled:
    def test_no_acknowledged_payment_is_lost_and_none_is_doubled(self, house: House, shop: HttpShop) -> None:
        orders = [shop.order() for _ in range(200)]
        acknowledged: dict[str, str] = {}
        enough = threading.Semaphore(0)

        def pay(order: str) -> None:
            answer = shop.insist("/v1/payments", {"order": order, "token": "tok_visa"}, key=order)
            acknowledged[order] = answer.json()["id"]
            enough.release()

        with ThreadPoolExecutor(8) as clients:
            running = [clients.submit(pay, order) for order in orders]
            for _ in range(2):
                for _ in range(20):
                    assert enough.acquire(timeout=60)
                self.kill(house)
            for each in running:
                each.result(timeout=90)
        # Who died between the PSP's answer and our writing it down continued: one payment, one charge, one posting an order.
        rows = house.sql(
            "select status, count(*), count(distinct order_id) from payment where merchant_id = %s group by 1", shop.shop.merchant_id
        )
        assert rows == [("captured", 200, 200)]
        kept = house.sql("select id from payment where merchant_id = %s", shop.shop.merchant_id)
        assert {public_id("pay", row[0]) for row in kept} == set(acknowledged.values())
        assert shop.charged() == (200, 2_000_000) and shop.posted() == 2_000_000

    @staticmethod
    def kill(house: House) -> None:
        pid = house.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)  # what `pg_ctl stop -m immediate` does
        until(lambda: house.server.pid is None, "PostgreSQL did not stop")
        house.server.revive()
