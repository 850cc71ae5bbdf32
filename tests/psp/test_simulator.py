"""The simulated provider: what its pages, its levers, its journal and its webhooks do."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from standardwebhooks import Webhook

from app.core.ids import new_id
from app.psp.simulator.domain import AMOUNTS, CARDS, DECLINES, FAULT_SUFFIXES, Behaviour, Fault, Refusal, behaviour
from app.psp.simulator.scenario import Dice, FaultRule, Scenario
from tests.support.served import served
from tests.support.simulator import SimulatedAccount, Simulator

BACK = "http://shop.test/back"


@pytest.fixture
def client(account: SimulatedAccount) -> Iterator[httpx2.Client]:
    """The merchant's server."""
    headers = {"authorization": f"Bearer {account.secret_key}"}
    with httpx2.Client(base_url=account.simulator.url, headers=headers, trust_env=False) as opened:
        yield opened


def pay(client: httpx2.Client, *, key: str = "", **values: Any) -> httpx2.Response:
    """Ask for a payment."""
    body = {"amount": 1250, "currency": "EUR", "reference": new_id().hex, **values}
    if "hosted" not in body:
        body.setdefault("token", "tok_visa")
    return client.post("/v1/payments", json=body, headers={"idempotency-key": key or new_id().hex})


class TestTokens:
    def test_every_test_card_names_a_token_that_exists(self) -> None:
        assert all(isinstance(behaviour(token), Behaviour) for token in CARDS.values())

    @pytest.mark.parametrize("suffix", FAULT_SUFFIXES)
    def test_every_fault_has_a_token(self, suffix: str) -> None:
        assert behaviour(f"tok_mastercard_{suffix}").fault is FAULT_SUFFIXES[suffix]

    @pytest.mark.parametrize("code", DECLINES)
    def test_every_decline_has_a_token(self, code: str) -> None:
        assert behaviour(f"tok_visa_{code}").decline == behaviour(f"tok_visa_declined_{code}").decline == code

    @given(st.text(max_size=40))
    def test_anything_else_is_refused(self, token: str) -> None:
        if not token.startswith("tok_"):
            with pytest.raises(Refusal):
                behaviour(token)

    def test_cents_are_the_answer_of_the_card_network(self, client: httpx2.Client) -> None:
        assert AMOUNTS[10_051] == "insufficient_funds"
        answer = pay(client, amount=10_051)
        assert answer.status_code == 402
        assert answer.json()["decline"]["code"] == "insufficient_funds"


class TestDice:
    def test_same_seed_same_faults(self) -> None:
        rule = FaultRule(fault=Fault.ERROR_AFTER, probability=0.3)

        def run(seed: int) -> list[bool]:
            dice = Dice(Scenario(seed=seed, faults=[rule]))
            return [dice.draw("authorise") is not None for _ in range(200)]

        assert run(7) == run(7)
        assert run(7) != run(8)
        assert 20 < sum(run(7)) < 100

    def test_a_counted_fault_ends(self) -> None:
        dice = Dice(Scenario(faults=[FaultRule(fault=Fault.RATE_LIMIT, operation="capture", count=2)]))
        assert [dice.draw("capture") is not None for _ in range(4)] == [True, True, False, False]
        assert dice.draw("authorise") is None


class TestIdempotency:
    def test_same_key_same_answer(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        first, second = (pay(client, key="k-once", reference="once") for _ in range(2))
        assert (first.status_code, first.content) == (second.status_code, second.content)
        assert account.charges("once")["count"] == 1

    def test_same_key_other_body_is_refused(self, client: httpx2.Client) -> None:
        pay(client, key="k-other", reference="a")
        refused = pay(client, key="k-other", reference="b")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "key_reused")

    def test_a_key_is_forgotten_after_a_day(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        pay(client, key="k-day", reference="day")
        account.simulator.post("/_clock", {"advance_seconds": 86_401})
        try:
            pay(client, key="k-day", reference="day")
            assert account.charges("day")["count"] == 2
        finally:
            account.simulator.post("/_clock", {"advance_seconds": -86_401})

    def test_another_account_cannot_use_or_see_it(self, client: httpx2.Client, simulator: Simulator) -> None:
        payment = pay(client).json()
        other = {"authorization": f"Bearer {simulator.account().secret_key}"}
        assert client.get(f"/v1/payments/{payment['id']}", headers=other).status_code == 404
        assert client.get(f"/v1/payments?reference={payment['reference']}", headers=other).json() == {"data": []}
        assert client.post("/v1/refunds", json={"payment": payment["id"], "reference": "x", "amount": 1}, headers=other).status_code == 404


class TestBadInput:
    @pytest.mark.parametrize(
        "values",
        [
            {"amount": 0},
            {"amount": -5},
            {"amount": 10**13},
            {"amount": "12"},
            {"currency": "eur"},
            {"currency": "QQQ"},
            {"reference": ""},
            {"token": "tok_nothing"},
            {"hosted": True},
            {"hosted": True, "return_url": "javascript:alert(1)"},
            {"unknown": 1},
        ],
    )
    def test_it_is_refused_and_nothing_is_charged(self, client: httpx2.Client, account: SimulatedAccount, values: dict[str, Any]) -> None:
        assert pay(client, **values).status_code == 422
        assert account.charges()["count"] == 0

    def test_a_wrong_key_is_refused(self, client: httpx2.Client) -> None:
        assert client.get("/v1/account", headers={"authorization": "Bearer sk_sim_nobody"}).status_code == 401

    def test_a_large_body_is_refused(self, client: httpx2.Client) -> None:
        assert pay(client, description="x" * 70_000).status_code == 413


class TestHostedPage:
    def open(self, client: httpx2.Client, **values: Any) -> tuple[str, str]:
        reference = new_id().hex
        answer = pay(client, reference=reference, hosted=True, return_url=BACK, description="Order 7", **values).json()
        return urlsplit(answer["next_action"]["url"]).path, reference

    def status(self, client: httpx2.Client, reference: str) -> str:
        found: str = client.get(f"/v1/payments?reference={reference}").json()["data"][0]["status"]
        return found

    def test_paying_with_a_test_card(self, client: httpx2.Client) -> None:
        path, reference = self.open(client, capture=True)
        shown = client.get(path)
        assert "Order 7" in shown.text
        assert "€12.50" in shown.text
        assert "<script" not in shown.text
        assert "style=" not in shown.text
        assert "form-action 'self' http://shop.test" in shown.headers["content-security-policy"]
        sent = client.post(path, data={"number": "4242 4242 4242 4242"})
        assert (sent.status_code, sent.headers["location"]) == (303, BACK)
        assert self.status(client, reference) == "captured"

    def test_a_declined_card_can_be_followed_by_another(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        refused = client.post(path, data={"number": "4000000000009995"})
        assert refused.status_code == 422
        assert "Insufficient funds" in refused.text
        assert "9995" not in refused.text.split("Test cards")[0]
        assert self.status(client, reference) == "requires_action"
        assert client.post(path, data={"number": "5555555555554444"}).status_code == 303
        assert self.status(client, reference) == "authorized"

    def test_three_declines_end_it(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        for _ in range(3):
            client.post(path, data={"number": "4000000000009987"})
        assert self.status(client, reference) == "declined"
        assert "did not go through" in client.get(path).text

    def test_a_number_that_is_no_test_card_is_refused(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        assert client.post(path, data={"number": "4111111111111111"}).status_code == 422
        assert self.status(client, reference) == "requires_action"

    def test_leaving_cancels(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        assert client.post(f"{path}/cancel").headers["location"] == BACK
        assert self.status(client, reference) == "declined"

    def test_the_challenge_is_passed_with_the_code(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        challenge = client.post(path, data={"number": "4000002500003155"}).headers["location"]
        assert "ending in 3155" in client.get(challenge).text
        assert client.post(challenge, data={"code": "000000"}).status_code == 422
        assert client.post(challenge, data={"code": "123456"}).headers["location"] == BACK
        assert self.status(client, reference) == "authorized"

    def test_the_challenge_can_be_rejected(self, client: httpx2.Client) -> None:
        path, reference = self.open(client)
        challenge = client.post(path, data={"number": "4000002500003155"}).headers["location"]
        client.post(challenge, data={"answer": "reject"})
        assert self.status(client, reference) == "declined"

    def test_an_abandoned_challenge_expires(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        path, reference = self.open(client)
        client.post(path, data={"number": "4000002500003155"})
        account.simulator.post("/_clock", {"advance_seconds": 1_900})
        assert self.status(client, reference) == "expired"

    def test_paying_twice_is_one_charge(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        path, reference = self.open(client, capture=True)
        for _ in range(2):
            client.post(path, data={"number": "4242424242424242"})
        assert account.charges(reference)["count"] == 1
        assert len([event for event in account.events() if event["type"] == "payment.captured"]) == 1

    def test_an_unknown_page_is_not_found(self, client: httpx2.Client) -> None:
        assert client.get("/pay/ch_nothing").status_code == 404


class TestConsole:
    def test_it_shows_what_happened_and_has_no_script(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        reference = pay(client).json()["reference"]
        page = client.get("/").text
        assert reference in page
        assert account.name in page
        assert "<script" not in page
        assert "style=" not in page

    def test_a_fault_is_switched_on_by_the_form_and_off_again(self, simulator: Simulator) -> None:
        with httpx2.Client(base_url=simulator.url, trust_env=False) as browser:
            try:
                assert (
                    browser.post("/console/scenario", data={"fault": "rate_limit", "operation": "refund", "count": "3"}).status_code == 303
                )
                assert simulator.get("/_scenario")["faults"] == [
                    {
                        "operation": "refund",
                        "fault": "rate_limit",
                        "count": 3,
                        "probability": 1.0,
                        "seconds": 30.0,
                        "code": "generic_decline",
                    }
                ]
                assert 'value="rate_limit" selected' in browser.get("/").text
            finally:
                browser.post("/console/scenario", data={})
        assert simulator.get("/_scenario")["faults"] == []

    def test_an_account_is_opened_by_the_form(self, simulator: Simulator) -> None:
        name = f"form_{new_id().hex[:8]}"
        with httpx2.Client(base_url=simulator.url, trust_env=False) as browser:
            browser.post("/console/account", data={"name": name})
            browser.post("/console/account", data={"name": name, "webhook_url": "http://127.0.0.1:9/webhooks/con_1"})
            page = browser.get("/").text
        assert name in page
        assert "http://127.0.0.1:9/webhooks/con_1" in page
        simulator.post("/_accounts", {"name": name, "webhook_url": ""})

    def test_a_review_is_decided(self, client: httpx2.Client) -> None:
        payment = pay(client, token="tok_visa_review").json()
        assert payment["status"] == "review"
        client.post(f"/console/review/{payment['id']}", data={"answer": "approve"})
        assert client.get(f"/v1/payments/{payment['id']}").json()["status"] == "authorized"


class TestMoney:
    @settings(max_examples=20)
    @given(st.lists(st.integers(min_value=1, max_value=700), min_size=1, max_size=6))
    def test_never_more_is_captured_than_authorised_or_refunded_than_captured(self, simulator: Simulator, parts: list[int]) -> None:
        account = simulator.account()
        headers = {"authorization": f"Bearer {account.secret_key}"}
        with httpx2.Client(base_url=simulator.url, headers=headers, trust_env=False) as client:
            payment = pay(client, amount=1_000).json()["id"]
            for part in parts:
                client.post(f"/v1/payments/{payment}/captures", json={"reference": new_id().hex, "amount": part})
                client.post("/v1/refunds", json={"reference": new_id().hex, "amount": part, "payment": payment})
                now = client.get(f"/v1/payments/{payment}").json()
                assert 0 <= now["amount_refunded"] <= now["amount_captured"] <= 1_000

    def test_fees_are_a_share_and_a_fixed_part(self, client: httpx2.Client, account: SimulatedAccount) -> None:
        account.scenario(fee_basis_points=290, fee_fixed_minor=30)
        assert pay(client, amount=10_000, capture=True).json()["fee"] == 320


class Mailbox:
    """A merchant's server that remembers webhooks and can refuse them."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes, dict[str, str]]] = []
        self.refuse = 0

    def app(self) -> Litestar:
        @post("/hook", status_code=200)
        async def hook(request: Request[object, object, State]) -> Response[str]:
            if self.refuse:
                self.refuse -= 1
                return Response("", status_code=500)
            self.received.append((request.headers["webhook-id"], await request.body(), dict(request.headers)))
            return Response("")

        return Litestar([hook], openapi_config=None, logging_config=None)


class TestWebhooks:
    async def test_they_are_signed_and_sent_once(self, simulator: Simulator) -> None:
        box = Mailbox()
        async with served(box.app()) as url, httpx2.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            account = await asyncio.to_thread(simulator.account, webhook_url=f"{url}/hook")
            await self.paid(client, account)
            await client.post("/_webhooks/deliver")
            await self.until(box, 1)
        _, raw, headers = box.received[0]
        assert Webhook(account.webhook_secret).verify(raw, headers)["type"] == "payment.authorized"

    async def test_a_refused_one_is_sent_again_and_a_duplicate_twice(self, simulator: Simulator) -> None:
        box = Mailbox()
        box.refuse = 1
        async with served(box.app()) as url, httpx2.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            account = await asyncio.to_thread(simulator.account, webhook_url=f"{url}/hook")
            await asyncio.to_thread(account.scenario, webhooks={"duplicate": 1.0, "retry_seconds": [0.05, 0.05]})
            await self.paid(client, account)
            await self.until(box, 2)
        assert len({event_id for event_id, _, _ in box.received}) == 1

    async def test_held_back_ones_arrive_when_forced_and_shuffled_ones_in_another_order(self, simulator: Simulator) -> None:
        box = Mailbox()
        async with served(box.app()) as url, httpx2.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            account = await asyncio.to_thread(simulator.account, webhook_url=f"{url}/hook")
            await asyncio.to_thread(account.scenario, seed=3, webhooks={"paused": True, "shuffle": True})
            for _ in range(12):
                await self.paid(client, account)
            assert box.received == []
            await client.post("/_webhooks/deliver", timeout=10)
            await self.until(box, 12)
        order = [event_id for event_id, _, _ in box.received]
        assert sorted(order) != order

    async def test_a_dropped_one_never_arrives(self, simulator: Simulator) -> None:
        box = Mailbox()
        async with served(box.app()) as url, httpx2.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            account = await asyncio.to_thread(simulator.account, webhook_url=f"{url}/hook")
            await asyncio.to_thread(account.scenario, webhooks={"drop": 1.0})
            await self.paid(client, account)
            await client.post("/_webhooks/deliver")
            assert box.received == []

    async def paid(self, client: httpx2.AsyncClient, account: SimulatedAccount) -> None:
        body = {"amount": 1250, "currency": "EUR", "reference": new_id().hex, "token": "tok_visa"}
        answer = await client.post("/v1/payments", json=body, headers={"authorization": f"Bearer {account.secret_key}"})
        assert answer.status_code == 201

    async def until(self, box: Mailbox, count: int) -> None:
        async with asyncio.timeout(5):
            while len(box.received) < count:
                await asyncio.sleep(0.01)
        assert len(box.received) == count


def test_return_addresses_keep_their_query(client: httpx2.Client) -> None:
    answer = pay(client, hosted=True, return_url=f"{BACK}?a=1&b=2").json()
    sent = client.post(urlsplit(answer["next_action"]["url"]).path, data={"number": "4242424242424242"})
    assert parse_qs(urlsplit(sent.headers["location"]).query) == {"a": ["1"], "b": ["2"]}
    assert re.fullmatch(r"ch_[0-9a-f]{6}\d{8}", answer["id"])
