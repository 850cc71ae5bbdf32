"""The pages about orders, as a person's browser meets them."""

import csv
import io

import pytest

from app.core.ids import OrderId, new_id, public_id
from app.psp.domain import Outcome, Result
from app.tenancy.domain import Role
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.shop import Shop
from tests.support.web import Browser


def path(order_id: OrderId) -> str:
    return f"/orders/{public_id('ord', order_id)}"


def form(shop: Shop, **changes: str) -> dict[str, str]:
    """A whole form of a new order, with something changed."""
    sent = {"reference": "WEB-1", "currency": "EUR", "buyer_name": "Lena Hoffmann", "buyer_email": "lena@example.org"}
    for number, (seller, amount) in enumerate(((shop.anna, "12.50"), (shop.bert, "7.50"))):
        sent |= {
            f"seller_{number}": public_id("sel", seller),
            f"description_{number}": "Goods",
            f"quantity_{number}": "1",
            f"amount_{number}": amount,
        }
    return sent | changes


class TestListOrders:
    async def test_first_run_teaches_the_next_step(self, owner: Browser) -> None:
        assert "No orders yet" in (await owner.get("/orders")).text

    async def test_shows_orders_and_finds_them(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(await shop.order(anna=500, bert=0))
        assert len(soup(await owner.get("/orders")).select("#order-list tbody tr")) == 2
        for query in ("status=open", f"q={public_id('ord', order_id)}"):
            (row,) = soup(await owner.get(f"/orders?{query}")).select("#order-list tbody tr")
            assert row.select_one("a")["href"] == path(order_id)
            assert "€100.00" in words(row)
        assert len(soup(await owner.get("/orders?q=LENA@ex")).select("#order-list tbody tr")) == 2
        assert "No order matches" in (await owner.get("/orders?q=nothing-like-it")).text

    async def test_another_merchants_orders_are_not_in_it(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        order_id = await shop.order()
        other = await open_as(stranger)
        assert public_id("ord", order_id) not in (await other.get("/orders")).text
        assert (await other.get(path(order_id))).status_code == 404


class TestExportOrders:
    async def test_holds_what_the_list_shows(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order(anna=1, bert=4)
        await shop.pay(await shop.order())
        answer = await owner.get("/orders/export.csv?status=open")
        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert (row["order"], row["total"], row["total_minor"], row["status"]) == (public_id("ord", order_id), "0.05", "5", "open")
        assert len(list(csv.DictReader(io.StringIO((await owner.get("/orders/export.csv?q=order-")).text)))) == 2


class TestCreateOrder:
    async def test_creates_an_order_for_two_sellers(self, owner: Browser, shop: Shop) -> None:
        await owner.get("/orders/new")
        made = await owner.post("/orders/new", form(shop))
        assert made.status_code == 303
        page = soup(await owner.follow(made))
        assert page.select_one("h1 data")["value"] == "20.00"
        assert [words(row) for row in page.select("table:has(caption:-soup-contains('Lines')) tbody tr")] == [
            "Goods Anna's Antiques 1 €12.50",
            "Goods Bert's Books 1 €7.50",
        ]

    async def test_another_line_is_one_button_away_and_keeps_what_was_typed(self, owner: Browser, shop: Shop) -> None:
        await owner.get("/orders/new")
        more = soup(await owner.post("/orders/new", form(shop, add_line="1")))
        assert len(more.select("fieldset")) == 3
        assert more.select_one("[name=reference]")["value"] == "WEB-1"
        assert more.select_one("[name=amount_1]")["value"] == "7.50"
        assert "No orders yet" in (await owner.get("/orders")).text

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [("amount_1", "7,50x", "not an amount"), ("amount_1", "-1", "more than zero"), ("amount_0", "0", "more than zero"), ("quantity_1", "0", "at least one"),
         ("quantity_1", "many", "whole number"), ("seller_0", "sel_1", "Choose a seller"), ("reference", "", "Enter a reference"),
         ("buyer_name", "4111 1111 1111 1111", "card number"), ("amount_0", "1.005", "2 decimals")],
    )  # fmt: skip
    async def test_says_at_the_field_what_is_wrong(self, owner: Browser, shop: Shop, field: str, value: str, said: str) -> None:
        await owner.get("/orders/new")
        refused = await owner.post("/orders/new", form(shop, **{field: value}))
        assert refused.status_code == 422
        page = soup(refused)
        assert said in words(page.select_one(f".field:has([name={field}]) .err"))
        assert "No orders yet" in (await owner.get("/orders")).text

    async def test_an_order_without_lines_is_refused(self, owner: Browser, shop: Shop) -> None:
        await owner.get("/orders/new")
        empty = {name: "" for name in form(shop) if name.startswith(("amount", "description"))}
        assert (await owner.post("/orders/new", form(shop, **empty))).status_code == 422

    async def test_a_reference_is_used_once(self, owner: Browser, shop: Shop) -> None:
        await owner.get("/orders/new")
        assert (await owner.post("/orders/new", form(shop))).status_code == 303
        again = await owner.post("/orders/new", form(shop))
        assert again.status_code == 409
        assert "taken" in words(soup(again).select_one(".field:has([name=reference])"))

    async def test_another_merchants_seller_is_unknown(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        other = await open_as(stranger)
        assert (await other.post("/orders/new", form(shop))).status_code == 404

    async def test_without_sellers_the_form_leads_to_them(self, open_as: OpenAs) -> None:
        nobody = await open_as(await make_tenant())
        assert soup(await nobody.get("/orders/new")).select_one("main a[href='/sellers/new']") is not None


class TestShowOrder:
    async def test_says_what_each_seller_gets_and_what_is_open(self, owner: Browser, shop: Shop) -> None:
        page = soup(await owner.get(path(await shop.order())))
        assert "Awaiting payment" in words(page.select_one(".payhead"))
        assert "Anna's Antiques €60.00 Bert's Books €40.00" in words(page)

    async def test_the_payments_of_the_order_come_with_their_story(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        answered = await shop.pay(order_id)
        panel = soup(await owner.get(path(order_id))).select_one("[hx-get$='/payments']")
        payments = soup(await owner.get(panel["hx-get"]))
        assert payments.select_one("table a")["href"] == f"/payments/{public_id('pay', answered.payment_id)}"
        assert "Captured €100.00 of €100.00" in words(payments.select_one(".tl"))
        assert (await owner.get(path(OrderId(new_id())) + "/payments")).status_code == 404

    async def test_only_what_is_possible_is_offered(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        assert "Collect payment" in words(soup(await owner.get(path(order_id))).select_one(".ph-a"))
        await shop.pay(order_id)
        assert words(soup(await owner.get(path(order_id))).select_one(".ph-a")) == "Cancel order"
        await owner.post(f"{path(order_id)}/cancel", {"idempotency_key": "k" * 20})
        assert words(soup(await owner.get(path(order_id))).select_one(".ph-a")) == ""


class TestCollectPayment:
    async def test_leads_to_the_psps_page_without_a_redirect(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        page = soup(await owner.get(path(order_id)))
        sent = {box["name"]: box["value"] for box in page.select("form[action$='/pay'] input[name]")}
        answer = await owner.post(f"{path(order_id)}/pay", sent)
        assert answer.status_code == 200
        assert soup(answer).select_one("main a[href='http://psp.test/pay']") is not None
        again = await owner.post(f"{path(order_id)}/pay", sent, headers={"hx-request": "true"})
        assert again.headers["hx-redirect"] == "http://psp.test/pay"
        assert shop.psp.made("start_redirect") == 1

    async def test_an_order_is_paid_once(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        await owner.get(path(order_id))
        assert (await owner.post(f"{path(order_id)}/pay", {"idempotency_key": "k" * 20})).status_code == 409

    async def test_viewers_cannot(self, open_as: OpenAs, shop: Shop) -> None:
        viewer = await open_as(shop.tenant, Role.VIEWER)
        assert (await viewer.post(f"{path(await shop.order())}/pay", {"idempotency_key": "k" * 20})).status_code == 403
        assert shop.psp.made("start_redirect") == 0


class TestCancelOrder:
    async def cancel(self, owner: Browser, order_id: OrderId, **changes: str) -> tuple[str, dict[str, str]]:
        dialog = soup(await owner.get(f"{path(order_id)}/cancel"))
        form = dialog.select_one("form[action$='/cancel']")
        sent = {box["name"]: box.get("value", "") for box in form.select("input[name]")} | changes
        return words(form), sent

    async def test_an_unpaid_order_is_closed(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        said, sent = await self.cancel(owner, order_id, reason="Sold out")
        assert "Cancel the order" in said
        page = soup(await owner.follow(await owner.post(f"{path(order_id)}/cancel", sent)))
        assert words(page.select_one(".payhead .badge")) == "Cancelled"

    async def test_a_paid_order_shows_who_gives_back_what_and_refunds_once(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        said, sent = await self.cancel(owner, order_id)
        for part in ("From Anna's Antiques −€60.00", "From Bert's Books −€40.00", "Back to the buyer €100.00", "Cancel and refund €100.00"):
            assert part in said
        page = soup(await owner.follow(await owner.post(f"{path(order_id)}/cancel", sent)))
        assert words(page.select_one(".payhead .badge")) == "Refunded"
        assert (await owner.post(f"{path(order_id)}/cancel", sent)).status_code == 409
        assert shop.psp.made("refund") == 1

    async def test_a_declined_refund_is_said_in_the_dialog(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.pay(order_id)
        _, sent = await self.cancel(owner, order_id)
        shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, message="The account is closed."))
        answer = await owner.post(f"{path(order_id)}/cancel", sent)
        assert answer.status_code == 409
        said = words(soup(answer))
        assert "did not give back €100.00: The account is closed. The buyer has not been refunded." in said
        assert "Ask for the refund again on the page of the payment, or pay the buyer back another way." in said
        assert words(soup(await owner.get(path(order_id))).select_one(".payhead .badge")) == "Paid"

    async def test_another_merchants_order_is_unknown(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        other = await open_as(stranger)
        assert (await other.post(f"{path(await shop.order())}/cancel", {"idempotency_key": "k" * 20})).status_code == 404
