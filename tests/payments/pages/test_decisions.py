"""The dialog in which a person says what became of an attempt that the PSP never settled."""

from psycopg import Connection

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core.db import unit_of_work
from app.core.ids import AttemptId, PaymentId, public_id
from app.core.money import Money
from app.psp.domain import Outcome, Result
from app.tenancy.domain import Role
from tests.payments.pages.test_details import path
from tests.payments.test_decisions import LOST, YES, attempt_of, decide, lost_payment, psp_says
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser

FOUND = {"verdict": "carried_out", "reference": "sim_7", "reason": "Seen in their console"}


def dialog(payment_id: PaymentId, attempt_id: AttemptId) -> str:
    return f"{path(payment_id)}/attempts/{public_id('att', attempt_id)}/decide"


class TestDecide:
    async def test_the_page_offers_it_once_the_psp_was_asked_often_enough(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        old = await lost_payment(shop)
        shop.psp.answers("authorise", LOST)
        fresh = (await shop.pay()).payment_id
        assert soup(await owner.get(path(fresh))).select_one("a[href$='/decide']") is None
        assert (await owner.get(dialog(fresh, attempt_of(superuser, fresh)))).status_code == 409
        where = dialog(old, attempt_of(superuser, old))
        assert soup(await owner.get(path(old))).select_one(f"a[href='{where}']") is not None
        said = words(soup(await owner.get(where)).select_one(".dlg"))
        for part in (
            "What became of the payment of €100.00?",
            "It was not carried out",
            "The order can be paid again".lower(),
            "Asked 8 times",
        ):
            assert part.lower() in said.lower()

    async def test_what_was_found_out_is_recorded(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        shop.psp.answers("lookup", LOST)
        answer = await owner.post(dialog(payment_id, attempt_of(superuser, payment_id)), FOUND)
        assert answer.status_code == 303
        page = soup(await owner.follow(answer))
        assert words(page.select_one(".payhead .badge")) == "Captured"
        assert "found out that it was carried out: Seen in their console" in words(page.select_one(".tl"))
        assert (await owner.post(dialog(payment_id, attempt_of(superuser, payment_id)), FOUND)).status_code == 409

    async def test_what_is_missing_is_said_at_its_field(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        where = dialog(payment_id, attempt_of(superuser, payment_id))
        for change, field in (({"reference": ""}, "reference"), ({"reason": "short"}, "reason"), ({"verdict": "perhaps"}, "verdict")):
            answer = await owner.post(where, FOUND | change)
            assert answer.status_code == 422 and soup(answer).select_one(f"[name='{field}']") is not None, change
        assert words(soup(await owner.get(path(payment_id))).select_one(".payhead .badge")) == "Unknown"

    async def test_a_contradiction_is_on_the_page(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        attempt_id = attempt_of(superuser, payment_id)
        await decide(shop, payment_id, attempt_id, YES)
        await psp_says(shop, attempt_id, Result(outcome=Outcome.DECLINED, code="do_not_honor"))
        why = words(soup(await owner.get(path(payment_id))).select_one("#payment-why"))
        assert "The PSP says otherwise than a person decided" in why and "The PSP says: declined" in why

    async def test_others_agree_first_where_refunds_need_them(
        self, open_as: OpenAs, owner: Browser, shop: Shop, superuser: Connection
    ) -> None:
        payment_id = await lost_payment(shop)
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=Act.REFUND, start=Money(5_000, "EUR"), approvers=1)
        answer = await owner.post(dialog(payment_id, attempt_of(superuser, payment_id)), FOUND)
        assert (answer.status_code, answer.headers["location"]) == (303, "/approvals/requested")
        approver = await open_as(shop.tenant, Role.APPROVER)
        link = soup(await approver.get("/approvals")).select_one("#approval-rows a[href^='/approvals/refund/']")["href"]
        shown = soup(await approver.get(link))
        assert "What became of €100.00" in words(shown) and "carried out" in words(shown) and "sim_7" in words(shown)
        shop.psp.answers("lookup", LOST)
        fields = {"digest": shown.select_one("input[name=digest]")["value"], "decision": "approve"}
        assert (await approver.post(link, fields)).status_code == 303
        assert words(soup(await owner.get(path(payment_id))).select_one(".payhead .badge")) == "Captured"

    async def test_only_who_approves_and_only_their_own(self, open_as: OpenAs, shop: Shop, stranger: Tenant, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        where = dialog(payment_id, attempt_of(superuser, payment_id))
        for browser, code in ((await open_as(shop.tenant, Role.SUPPORT), 403), (await open_as(stranger), 404)):
            assert (await browser.get(where)).status_code == (await browser.post(where, FOUND)).status_code == code
