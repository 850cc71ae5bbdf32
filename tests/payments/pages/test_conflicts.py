"""The dialog that ends a conflict: what it shows, what it offers, who may, and what comes of it."""

import pytest
from psycopg import Connection

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core.db import unit_of_work
from app.core.ids import PaymentId
from app.psp.domain import Outcome, ProviderStatus, Result
from app.tenancy.domain import Role
from tests.payments.pages.test_details import path
from tests.payments.test_conflicts import conflicted, eur, took
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser


async def dialog(browser: Browser, payment_id: PaymentId) -> tuple[str, list[str], dict[str, str]]:
    """What the dialog says, what it offers and what its form would send."""
    page = soup(await browser.get(f"{path(payment_id)}/conflict"))
    boxes = page.select("form[action$='/conflict'] input[name]")
    offered = [box["value"] for box in boxes if box["name"] == "way"]
    return words(page.select_one(".dlg")), offered, {box["name"]: box.get("value", "") for box in boxes if box["name"] != "way"}


async def status(owner: Browser, payment_id: PaymentId) -> str:
    return words(soup(await owner.get(path(payment_id))).select_one(".payhead .badge"))


class TestSettleConflict:
    async def test_the_page_leads_to_what_can_be_done(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000))
        why = soup(await owner.get(path(payment_id))).select_one("#payment-why")
        assert why.select_one("a[href$='/conflict']") is not None
        said, offered, sent = await dialog(owner, payment_id)
        assert "Asked for €100.00, the PSP took €90.00." in said and offered == ["accept", "give_back"]
        assert (sent["amount"], sent["amount_currency"]) == ("90.00", "EUR")

    async def test_less_than_asked_is_accepted(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000))
        _, _, sent = await dialog(owner, payment_id)
        answer = await owner.post(f"{path(payment_id)}/conflict", sent | {"way": "accept", "reason": "The buyer agreed"})
        assert answer.status_code == 303
        page = soup(await owner.follow(answer))
        assert "Accepted as the PSP took it: €90.00 of €100.00" in words(page.select_one(".tl"))
        assert await status(owner, payment_id) == "Captured"

    async def test_it_is_given_back_once_however_often_the_form_is_sent(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(10_100))
        _, offered, sent = await dialog(owner, payment_id)
        assert offered == ["give_back"]
        sent |= {"way": "give_back", "reason": "Too much was taken"}
        answer = await owner.post(f"{path(payment_id)}/conflict", sent)
        assert (answer.status_code, await status(owner, payment_id)) == (303, "Voided")
        assert (await owner.post(f"{path(payment_id)}/conflict", sent)).status_code == 409
        assert shop.psp.made("refund") == 1

    async def test_a_declined_giving_back_is_said_and_offered_again(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000))
        _, _, sent = await dialog(owner, payment_id)
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="account_closed"))
        answer = await owner.post(f"{path(payment_id)}/conflict", sent | {"way": "give_back", "reason": "Wrong amount"})
        assert "failed; the page says why" in (await owner.follow(answer)).text
        said, offered, _ = await dialog(owner, payment_id)
        assert "it is the buyer’s and waits for another try" in said and offered == ["give_back"]

    async def test_what_the_psp_let_go_of_is_closed(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000, currency="USD"))
        said, offered, _ = await dialog(owner, payment_id)
        assert "Give it back at the PSP; once it says so, the payment can be closed here." in said and not offered
        gone = took(9_000, ProviderStatus.REFUNDED, currency="USD")
        shop.psp.answers("lookup", gone, gone, gone)
        _, offered, sent = await dialog(owner, payment_id)
        assert offered == ["close"]
        assert (await owner.post(f"{path(payment_id)}/conflict", sent | {"way": "close", "reason": "Given back there"})).status_code == 303
        assert await status(owner, payment_id) == "Voided"

    async def test_a_promise_leads_to_its_release(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000, ProviderStatus.AUTHORISED))
        page = soup(await owner.get(f"{path(payment_id)}/conflict"))
        assert "It promised" in words(page.select_one(".dlg"))
        assert [link["href"] for link in page.select(".dlg .dlg-f a")] == [path(payment_id), f"{path(payment_id)}/void"]

    @pytest.mark.parametrize(
        "changes", [{"way": "keep"}, {"way": "accept", "reason": "x"}, {"way": "accept", "reason": "Wrong", "amount": "x"}]
    )
    async def test_what_cannot_be_is_said_in_the_dialog(self, owner: Browser, shop: Shop, changes: dict[str, str]) -> None:
        payment_id = await conflicted(shop, took(9_000))
        _, _, sent = await dialog(owner, payment_id)
        answer = await owner.post(f"{path(payment_id)}/conflict", sent | {"reason": "Wrong amount"} | changes)
        assert answer.status_code == 422 and soup(answer).select_one(".dlg") is not None
        assert await status(owner, payment_id) == "Conflicted"

    async def test_another_amount_than_the_one_shown_is_refused(self, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000))
        _, _, sent = await dialog(owner, payment_id)
        sent |= {"way": "accept", "reason": "The buyer agreed", "amount": "80.00"}
        answer = await owner.post(f"{path(payment_id)}/conflict", sent)
        assert answer.status_code == 409 and "The PSP says something else now" in words(soup(answer))

    async def test_where_refunds_need_others_they_agree_first(self, open_as: OpenAs, owner: Browser, shop: Shop) -> None:
        payment_id = await conflicted(shop, took(9_000))
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=Act.REFUND, start=eur(5_000), approvers=1)
        _, _, sent = await dialog(owner, payment_id)
        answer = await owner.post(f"{path(payment_id)}/conflict", sent | {"way": "give_back", "reason": "Wrong amount"})
        assert (answer.status_code, answer.headers["location"], shop.psp.made("refund")) == (303, "/approvals/requested", 0)
        approver = await open_as(shop.tenant, Role.APPROVER)
        link = soup(await approver.get("/approvals")).select_one("#approval-rows a[href^='/approvals/refund/']")["href"]
        shown = soup(await approver.get(link))
        assert "The PSP took another amount than was asked for" in words(shown)
        fields = {"digest": shown.select_one("input[name=digest]")["value"], "decision": "approve"}
        assert (await approver.post(link, fields)).status_code == 303
        assert shop.psp.made("refund") == 1 and await status(owner, payment_id) == "Voided"

    async def test_viewers_and_strangers_cannot(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        payment_id = await conflicted(shop, took(9_000))
        sent = {"way": "accept", "reason": "The buyer agreed", "amount": "90.00", "amount_currency": "EUR"}
        for browser, code in ((await open_as(shop.tenant, Role.VIEWER), 403), (await open_as(stranger), 404)):
            assert (await browser.post(f"{path(payment_id)}/conflict", sent)).status_code == code
            assert (await browser.get(f"{path(payment_id)}/conflict")).status_code == code

    async def test_every_part_of_it_needs_a_fresh_factor(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        payment_id = await conflicted(shop, took(9_000))
        _, _, sent = await dialog(owner, payment_id)
        superuser.execute("update web_session set factor_at = factor_at - interval '1 hour'")
        answer = await owner.post(f"{path(payment_id)}/conflict", sent | {"way": "accept", "reason": "The buyer agreed"})
        assert answer.status_code != 303 and await status(owner, payment_id) == "Conflicted"
