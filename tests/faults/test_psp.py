"""A PSP that answers late, twice, in any order or never: every payment ends where the PSP says it is, with one charge."""

import asyncio

import httpx2
import pytest

from app.core.ids import PaymentId, parse_id
from app.payments import flows
from tests.faults.house import House, HttpShop, until

AFTER = [
    "tok_visa_timeout_after_success",
    "tok_visa_unknown_after_success",
    "tok_visa_error500_after",
    "tok_visa_reset_after",
    "tok_visa_malformed",
]
BEFORE = ["tok_visa_timeout", "tok_visa_error500_before", "tok_visa_reset"]


class TestLostAnswers:
    def test_what_may_have_happened_is_asked_about_and_charged_once(self, house: House, shop: HttpShop) -> None:
        shop.account.scenario(webhooks={"drop": 1.0})
        paid = {
            token: shop.insist("/v1/payments", {"order": shop.order(), "token": token}, key=token)
            for token in (*AFTER, *BEFORE, "tok_visa_slow")
        }
        assert {token: (each.status_code, each.json()["status"]) for token, each in paid.items()} == dict.fromkeys(paid, (202, "unknown"))
        with house.running(house.relay(), house.scheduler(), house.worker()):
            house.questions_are_due()
            for token in AFTER:
                assert shop.reaches(paid[token].json()["id"], "captured")["failure"] is None
            until(lambda: shop.charged()[0] == len(AFTER) + 1, "the slow charge did not come")
            house.minutes_pass()
            for token in BEFORE:
                assert shop.reaches(paid[token].json()["id"], "failed")["captured"]["minor"] == 0
            assert shop.reaches(paid["tok_visa_slow"].json()["id"], "captured")
        captured = sum(shop.view(each.json()["id"])["captured"]["minor"] for each in paid.values())
        assert shop.posted() == captured
        assert shop.charged() == (captured // 10_000, captured)

    def test_no_such_payment_is_no_proof_while_the_request_may_still_be_running(self, house: House, shop: HttpShop) -> None:
        order = shop.order()
        paid = shop.insist("/v1/payments", {"order": order, "token": "tok_visa_slow"}, key="k").json()
        assert paid["status"] == "unknown"

        async def look() -> None:
            await flows.refresh(merchant_id=shop.shop.merchant_id, payment_id=PaymentId(parse_id("pay", paid["id"])))

        house.inside(look)
        assert shop.view(paid["id"])["status"] == "unknown"
        assert shop.send("/v1/payments", {"order": order, "token": "tok_visa"}, key="k2").status_code == 409
        until(lambda: shop.charged()[0], "the late charge did not come")
        assert shop.charged() == (1, 10_000)

    @pytest.mark.parametrize("fault", ["lost_answer", "error_after", "error_before", "timeout_after"])
    def test_a_refund_whose_answer_was_lost_reaches_the_buyer_once(self, house: House, shop: HttpShop, fault: str) -> None:
        paid = shop.insist("/v1/payments", {"order": shop.order(), "token": "tok_visa"}, key="p").json()["id"]
        shop.account.fault(fault, operation="refund")
        path = f"/v1/payments/{paid}/refunds"
        shop.insist(path, {"amount": {"minor": 3_000, "currency": "EUR"}}, key="r")
        assert shop.view(paid)["refunds"][0]["status"] == "unknown"
        house.inside(lambda: _ask(shop))
        assert shop.view(paid)["refunded"]["minor"] == 3_000
        assert shop.refunded() == 3_000 and shop.posted() == 7_000


async def _ask(shop: HttpShop) -> None:
    shop.house.questions_are_due()
    await flows.ask_due()


class TestWebhooks:
    def test_duplicated_late_shuffled_or_never_they_end_the_same(self, house: House) -> None:
        ways = {
            "on time": {},
            "twice": {"duplicate": 1.0},
            "late and shuffled": {"delay_seconds": 0.5, "shuffle": True, "duplicate": 0.5},
            "never": {"drop": 1.0},
        }
        shops = {way: house.open_shop() for way in ways}
        paid: dict[str, list[str]] = {}
        for way, webhooks in ways.items():
            shops[way].account.scenario(webhooks=webhooks)
            begun = [shops[way].insist("/v1/payments", {"order": shops[way].order()}, key=str(number)).json() for number in range(4)]
            for payment in begun:
                httpx2.post(payment["next_action"]["url"], data={"number": "4242424242424242"}, timeout=10)
            paid[way] = [payment["id"] for payment in begun]
        with house.running(house.relay(), house.scheduler(), house.worker()):
            house.sql(
                "update payment_attempt set next_ask_at = now() where merchant_id = %s and next_ask_at is not null",
                shops["never"].shop.merchant_id,
            )
            for way, payments in paid.items():
                for payment in payments:
                    shops[way].reaches(payment, "captured")
        for shop in shops.values():
            assert shop.charged() == (4, 40_000) and shop.posted() == 40_000
        assert house.books_balance()


class TestRaces:
    async def test_capture_void_and_refund_at_once_leave_one_consistent_result(self, house: House, shop: HttpShop) -> None:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", timeout=30) as client:
            for round_number in range(6):
                paid = shop.insist(
                    "/v1/payments", {"order": shop.order(), "token": "tok_visa", "capture": "manual"}, key=f"p{round_number}"
                ).json()["id"]
                half = {"amount": {"minor": 6_000, "currency": "EUR"}}
                asked = [
                    ("capture", half),
                    ("capture", half),
                    ("capture", {}),
                    ("void", {}),
                    ("void", {}),
                    ("refunds", half),
                    ("refunds", half),
                    ("refunds", {}),
                ]
                answers = await asyncio.gather(
                    *(
                        client.post(
                            f"/v1/payments/{paid}/{verb}",
                            json=body,
                            headers={**shop.headers, "idempotency-key": f"{round_number}-{number}"},
                        )
                        for number, (verb, body) in enumerate(asked)
                    )
                )
                assert {answer.status_code for answer in answers} <= {201, 202, 409}, [
                    answer.text for answer in answers if answer.status_code >= 500
                ]
                taken = [
                    answer
                    for answer, (verb, _) in zip(answers, asked, strict=True)
                    if verb in ("capture", "void") and answer.status_code == 201
                ]
                assert taken, "one of them wins"
                view = shop.view(paid)
                done = self.done(shop, paid)
                assert view["captured"]["minor"] == done.get("capture", 0) <= 10_000
                assert view["refunded"]["minor"] == done.get("refund", 0) <= view["captured"]["minor"]
                assert view["status"] in ("captured", "partially_captured", "voided", "partially_refunded", "refunded")

    @staticmethod
    def done(shop: HttpShop, payment: str) -> dict[str, int]:
        """What the PSP really did on the payment."""
        provider = shop.house.sql(
            "select provider_reference from payment where merchant_id = %s order by id desc limit 1", shop.shop.merchant_id
        )[0][0]
        amounts: dict[str, int] = {}
        for each in shop.account.operations()["operations"]:
            if each["payment"]["id"] == provider and each["status"] == "succeeded":
                amounts[each["object"]] = amounts.get(each["object"], 0) + each["amount"]
        assert payment
        return amounts
