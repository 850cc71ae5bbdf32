"""The page of one payment: its money, its history, its reasons, its books."""

from datetime import datetime

import pytest

from app.core import secrets
from app.core.ids import PaymentId, new_id, public_id
from app.core.money import Money
from app.payments.domain import CaptureMode, return_path
from app.psp.domain import Outcome, ProviderStatus, Result
from app.tenancy.domain import Role
from tests.payments.pages.test_lists import DECLINED, UNKNOWN, visa
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.statements import counted
from tests.support.web import Browser


def path(payment_id: PaymentId) -> str:
    return f"/payments/{public_id('pay', payment_id)}"


def stats(page: object) -> dict[str, str]:
    """The figures at the top."""
    return {words(stat.select_one(".stat-l")): words(stat.select_one(".stat-v")) for stat in page.select(".stat")}  # type: ignore[attr-defined]


class TestShowPayment:
    async def test_shows_where_the_money_is(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay(mode=CaptureMode.MANUAL)
        await shop.capture(answered.payment_id, 8000)
        await shop.refund(answered.payment_id, 2000)
        page = soup(await owner.get(path(answered.payment_id)))
        figures = stats(page)
        assert (figures["Authorised"], figures["Captured"], figures["Left to capture"], figures["Refunded"]) == (
            "€100.00",
            "€80.00",
            "€20.00",
            "€20.00",
        )
        net = sum(round(float(row.split("€")[-1]) * 100) for row in rows(page, "table:has(caption:-soup-contains('Split')) tbody"))
        assert figures["Net to wallets"] == Money(net, "EUR").format()

    async def test_offers_what_can_be_done_now(self, owner: Browser, shop: Shop) -> None:
        manual = await shop.pay(mode=CaptureMode.MANUAL)
        page = soup(await owner.get(path(manual.payment_id)))
        assert [words(link) for link in page.select(".ph-a a")] == ["Capture €100.00", "Release"]
        await shop.capture(manual.payment_id)
        page = soup(await owner.get(path(manual.payment_id)))
        assert [words(link) for link in page.select(".ph-a a")] == ["Refund"]

    async def test_offers_nothing_to_those_who_may_only_look(self, open_as: OpenAs, shop: Shop) -> None:
        answered = await shop.pay()
        viewer = await open_as(shop.tenant, Role.VIEWER)
        assert soup(await viewer.get(path(answered.payment_id))).select(".ph-a a") == []

    async def test_tells_the_story_newest_first_with_who_and_why(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id, 1000, reason="Damaged item")
        told = [words(step) for step in soup(await owner.get(path(answered.payment_id))).select(".tl li")]
        assert told[0].startswith("Refund of €10.00 succeeded")
        assert "Reason: Damaged item" in told[0]
        assert told[-1].startswith("Payment of €100.00 started")
        assert shop.actor.name in told[-1]

    async def test_every_transaction_of_the_books_balances_on_the_page(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id, 1000)
        page = soup(await owner.get(path(answered.payment_id)))
        for group in page.select("table.ledger tbody"):
            sums = [
                sum(
                    round(float(cell.get_text(strip=True).lstrip("€").replace(",", "") or 0) * 100)
                    for cell in group.select(f"td:nth-child({n})")
                )
                for n in (4, 5)
            ]
            assert sums[0] == sums[1] > 0
        totals = [words(cell) for cell in page.select("table.ledger tfoot .dblrule")]
        assert totals[0] == totals[1]

    async def test_says_on_which_day_each_transaction_was_written(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id, 1000)
        page = soup(await owner.get(path(answered.payment_id)))
        written = [group.select_one("time") for group in page.select("table.ledger tbody")]
        assert len(written) > 1
        for moment in written:
            at = datetime.fromisoformat(moment["datetime"])
            assert words(moment) == f"{at.day} {at:%b}, {at:%H:%M}"

    async def test_books_are_for_those_who_may_see_them(self, open_as: OpenAs, shop: Shop) -> None:
        answered = await shop.pay()
        support = await open_as(shop.tenant, Role.SUPPORT)
        assert soup(await support.get(path(answered.payment_id))).select("table.ledger") == []

    async def test_raw_events_are_loaded_when_scrolled_to(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        lazy = soup(await owner.get(path(answered.payment_id))).select_one("[hx-get^='/psp-events?reference=att_']")
        assert (await owner.get(lazy["hx-get"])).status_code == 200

    async def test_takes_few_questions_to_the_database(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id, 1000)
        with counted() as statements:
            await owner.get(path(answered.payment_id))
        assert len(statements) <= 12, statements

    async def test_unknown_malformed_and_foreign_ids_lead_to_the_same_nowhere(
        self, owner: Browser, open_as: OpenAs, shop: Shop, stranger: Tenant
    ) -> None:
        answered = await shop.pay()
        other = await open_as(stranger)
        answers = [
            await other.get(path(answered.payment_id)),
            await owner.get(path(PaymentId(new_id()))),
            await owner.get("/payments/pay_x"),
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert len({words(soup(answer).select_one("#main")).split("Request")[0].split("request")[0] for answer in answers}) == 1


class TestReasons:
    async def test_a_decline_says_code_kind_and_advice(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", DECLINED)
        answered = await shop.pay()
        said = words(soup(await owner.get(path(answered.payment_id))).select_one("#payment-why"))
        for part in ("insufficient funds, a soft decline", "51", "Not enough money", "can try again"):
            assert part in said

    @pytest.mark.parametrize(
        ("code", "advice"),
        [("stolen_card", "do not try the same card"), ("fraud_suspected", "Do not name the reason"), ("incorrect_cvc", "check what was entered"),
         ("invalid_request", "Check the connection"), ("issuer_unavailable", "trying again is safe"), ("never_heard_of", "This card will not work")],
    )  # fmt: skip
    async def test_each_kind_of_no_has_its_advice(self, owner: Browser, shop: Shop, code: str, advice: str) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.DECLINED, code=code))
        answered = await shop.pay()
        assert advice in words(soup(await owner.get(path(answered.payment_id))).select_one("#payment-why"))

    async def test_an_unknown_outcome_says_when_it_is_asked_again_and_looks_by_itself(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", UNKNOWN)
        answered = await shop.pay()
        page = soup(await owner.get(path(answered.payment_id)))
        said = words(page.select_one("#payment-why"))
        assert "We do not know whether it happened" in said
        assert "Asked again" in said
        assert page.select_one("#payment")["hx-trigger"] == "every 5s"

    async def test_a_payment_at_rest_does_not_look_by_itself(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        assert soup(await owner.get(path(answered.payment_id))).select_one("#payment").get("hx-trigger") is None

    async def test_the_quiet_look_answers_with_the_same_region(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        partial = await owner.client.get(path(answered.payment_id), headers={"hx-request": "true", "hx-request-type": "partial"})
        assert [node["id"] for node in soup(partial).find_all(recursive=False)] == ["payment"]

    async def test_another_amount_than_asked_for_is_named(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers(
            "authorise",
            Result(outcome=Outcome.SUCCEEDED, provider_reference="sim_1", status=ProviderStatus.CAPTURED, amount=Money(10100, "EUR")),
        )
        answered = await shop.pay()
        said = words(soup(await owner.get(path(answered.payment_id))).select_one("#payment-why"))
        assert "€100.00" in said
        assert "€101.00" in said

    async def test_a_lost_refund_is_explained_while_the_payment_stays_captured(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        shop.psp.answers("refund", UNKNOWN)
        await shop.refund(answered.payment_id, 1000)
        page = soup(await owner.get(path(answered.payment_id)))
        assert "The refund of €10.00 is not decided" in words(page.select_one("#payment-why"))
        assert words(page.select_one(".payhead .badge")) == "Captured"


class TestAskPsp:
    async def test_asks_and_shows_what_the_psp_says_now(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", UNKNOWN)
        answered = await shop.pay()
        page = await owner.get(path(answered.payment_id))
        shop.psp.answers(
            "lookup",
            Result(outcome=Outcome.SUCCEEDED, provider_reference="sim_1", status=ProviderStatus.CAPTURED, amount=Money(10000, "EUR")),
        )
        form = soup(page).select_one("#payment-why form")
        asked = await owner.post(form["action"])
        assert (asked.status_code, asked.headers["location"]) == (303, path(answered.payment_id))
        assert words(soup(await owner.follow(asked)).select_one(".payhead .badge")) == "Captured"

    async def test_needs_the_form_token(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        assert (await owner.post(f"{path(answered.payment_id)}/ask", token="wrong")).status_code == 403

    async def test_another_merchants_payment_is_not_asked_about(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        shop.psp.answers("authorise", UNKNOWN)
        answered = await shop.pay()
        other = await open_as(stranger)
        assert (await other.post(f"{path(answered.payment_id)}/ask")).status_code == 404
        assert shop.psp.made("lookup") == 0


class TestReturnFromPsp:
    async def test_tells_the_buyer_how_it_went_and_nothing_else(self, shop: Shop, open_as: OpenAs, stranger: Tenant) -> None:
        shop.psp.answers("authorise", visa("4242"))
        answered = await shop.pay()
        nobody = await open_as(stranger)
        nobody.client.cookies.clear()
        answer = await nobody.get(return_path(shop.merchant_id, answered.payment_id))
        assert answer.status_code == 200
        said = words(soup(answer).select_one("main"))
        assert "Thank you" in said
        assert soup(answer).select_one("main data.money")["value"] == "100.00"
        for secret in ("Lena", "4242", "order-", "Simulator", shop.tenant.live.name):
            assert secret not in answer.text

    async def test_asks_the_psp_and_looks_again_while_it_waits(self, shop: Shop, owner: Browser) -> None:
        answered = await shop.pay(token=None)
        shop.psp.answers(
            "lookup",
            Result(outcome=Outcome.PENDING, status=ProviderStatus.PROCESSING),
            Result(outcome=Outcome.DECLINED, code="do_not_honor"),
        )
        waiting = await owner.get(return_path(shop.merchant_id, answered.payment_id))
        assert waiting.headers["refresh"]
        over = await owner.get(return_path(shop.merchant_id, answered.payment_id))
        assert "did not go through" in over.text
        assert "refresh" not in over.headers

    @pytest.mark.parametrize("change", ["other payment", "other merchant", "no proof", "nothing"])
    async def test_an_address_we_did_not_write_leads_nowhere(self, shop: Shop, owner: Browser, stranger: Tenant, change: str) -> None:
        answered = await shop.pay()
        here = public_id("pay", answered.payment_id)
        merchant, proof = public_id("mer", shop.merchant_id), secrets.mac(f"{public_id('mer', shop.merchant_id)}/{here}", purpose="return")
        address = {
            "other payment": f"/payments/{public_id('pay', new_id())}/return?key={merchant}.{proof}",
            "other merchant": f"/payments/{here}/return?key={public_id('mer', stranger.id)}.{proof}",
            "no proof": f"/payments/{here}/return?key={merchant}.",
            "nothing": f"/payments/{here}/return",
        }[change]
        assert (await owner.get(f"/payments/{here}/return?key={merchant}.{proof}")).status_code == 200
        assert (await owner.get(address)).status_code == 404


class TestSearchEverything:
    async def test_finds_payments_orders_and_sellers(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        answer = await owner.client.get("/search?q=lena", headers={"hx-request": "true", "hx-request-type": "partial"})
        targets = [option["data-href"] for option in soup(answer).select("[role=option]")]
        assert {target.split("/")[1] for target in targets} >= {"payments", "orders"}
        assert len({option["id"] for option in soup(answer).select("[role=option]")}) == len(targets)
        assert [link["href"].split("/")[1] for link in soup(await owner.get("/search?q=anna")).select(".card a.link")] == ["sellers"]

    async def test_finds_nothing_of_another_merchant(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        answered = await shop.pay()
        other = await open_as(stranger)
        for asked in ("lena", public_id("pay", answered.payment_id), public_id("sel", shop.anna)):
            assert "Nothing found" in (await other.get("/search", params={"q": asked})).text
