"""The pages about sellers, as a person's browser meets them."""

import httpx2
from psycopg import Connection

from app.core.ids import new_id, public_id
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.sellers import make_seller
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser


def audited(superuser: Connection, shop: Shop, action: str) -> list[tuple[object, ...]]:
    return superuser.execute(
        "select before, after, reason, actor_name from audit_entry where merchant_id = %s and action = %s order by id",
        (shop.merchant_id, action),
    ).fetchall()


class TestListSellers:
    async def test_lists_them_newest_first_with_the_fees_for_everybody(self, owner: Browser, shop: Shop) -> None:
        page = soup(await owner.get("/sellers"))
        assert [row.split()[0] for row in rows(page, "#seller-rows")] == ["Bert's", "Anna's"]
        assert "EUR 10% €10.00 of €100.00" in rows(page, "#general-fees")[1]

    async def test_finds_by_part_of_the_name_reference_and_id(self, owner: Browser, shop: Shop) -> None:
        for query in ("ntiqu", "ANNA", public_id("sel", shop.anna)):
            assert len(rows(soup(await owner.get("/sellers", params={"q": query})), "#seller-rows")) == 1, query
        nothing = soup(await owner.get("/sellers", params={"q": "nobody"}))
        assert "No seller matches" in words(nothing.select_one("#seller-rows"))

    async def test_a_percent_sign_is_no_wildcard(self, owner: Browser, shop: Shop) -> None:
        assert "No seller matches" in (await owner.get("/sellers", params={"q": "%"})).text

    async def test_pages_by_keyset_in_both_directions(self, owner: Browser, shop: Shop) -> None:
        for number in range(30):
            await make_seller(shop.actor, name=f"Seller no {number:02}")
        first = soup(await owner.get("/sellers"))
        assert len(first.select("#seller-rows tr")) == 25
        second = soup(await owner.get(first.select_one("a[rel=next]")["href"]))
        assert len(second.select("#seller-rows tr")) == 7
        assert not second.select("a[rel=next]")
        back = soup(await owner.get(second.select_one("a[rel=prev]")["href"]))
        assert rows(back, "#seller-rows") == rows(first, "#seller-rows")

    async def test_htmx_gets_the_rows_only(self, owner: Browser, shop: Shop) -> None:
        answer = await owner.get("/sellers?q=anna", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
        assert answer.text.lstrip().startswith("<tbody")
        assert "Bert" not in answer.text

    async def test_shows_nothing_of_another_merchant(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        browser = await open_as(stranger)
        assert "No sellers yet" in (await browser.get("/sellers")).text
        assert (await browser.get(f"/sellers/{public_id('sel', shop.anna)}")).status_code == 404

    async def test_who_may_not_write_is_offered_nothing_to_write_with(self, open_as: OpenAs, shop: Shop) -> None:
        browser = await open_as(shop.tenant, Role.VIEWER)
        page = await browser.get("/sellers")
        assert page.status_code == 200
        assert "/sellers/new" not in page.text
        assert "/sellers/fees" not in page.text
        assert (await browser.post("/sellers", {"name": "X", "reference": "x"})).status_code == 403


class TestAddSeller:
    async def test_adds_one_and_goes_to_it(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        answer = await owner.post("/sellers", {"name": "Cleo's Clocks", "reference": "cleo", "email": "cleo@example.org", "country": "GR"})
        assert answer.status_code == 303
        page = soup(await owner.get(answer.headers["location"]))
        assert words(page.select_one("h1")) == "Cleo's Clocks"
        assert "Greece" in page.get_text()
        assert audited(superuser, shop, "seller.added")[-1][1] == {"name": "Cleo's Clocks", "reference": "cleo"}

    async def test_says_everything_that_is_wrong_and_keeps_what_was_typed(self, owner: Browser, shop: Shop) -> None:
        answer = await owner.post("/sellers", {"name": "", "reference": "cleo", "email": "not an address", "country": "Greece"})
        page = soup(answer)
        assert answer.status_code == 422
        assert {link["href"] for link in page.select(".errs a")} == {"#f-name", "#f-email", "#f-country"}
        assert page.select_one("#f-reference")["value"] == "cleo"

    async def test_a_reference_names_one_seller(self, owner: Browser, shop: Shop) -> None:
        answer = await owner.post("/sellers", {"name": "Another Anna", "reference": "anna"})
        assert answer.status_code == 409
        assert words(soup(answer).select_one("#f-reference-e")) == "This reference is taken."

    async def test_the_form_is_a_page_without_htmx_and_a_dialog_with_it(self, owner: Browser, shop: Shop) -> None:
        assert soup(await owner.get("/sellers/new")).select_one("main form[action='/sellers']")
        dialog = await owner.get("/sellers/new", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
        assert dialog.text.lstrip().startswith("<dialog")


class TestShowSeller:
    async def test_shows_whose_fee_is_its_own(self, owner: Browser, shop: Shop) -> None:
        anna = soup(await owner.get(f"/sellers/{public_id('sel', shop.anna)}"))
        bert = soup(await owner.get(f"/sellers/{public_id('sel', shop.bert)}"))
        assert "EUR Own 5%" in rows(anna, "#terms")[1]
        assert "EUR General 10%" in rows(bert, "#terms")[1]

    async def test_an_id_nobody_has_and_one_that_is_none_are_the_same_404(self, owner: Browser, shop: Shop) -> None:
        for text in (public_id("sel", new_id()), "sel_nonsense", public_id("pay", shop.anna)):
            assert (await owner.get(f"/sellers/{text}")).status_code == 404, text


class TestEditSeller:
    async def test_changes_and_says_so_in_the_audit_trail(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        path = f"/sellers/{public_id('sel', shop.anna)}"
        assert soup(await owner.get(f"{path}/edit")).select_one("#f-name")["value"] == "Anna's Antiques"
        answer = await owner.post(f"{path}/edit", {"name": "Anna & Co", "reference": "other", "email": "a@example.org", "country": ""})
        assert answer.status_code == 303
        assert words(soup(await owner.get(path)).select_one("h1")) == "Anna & Co"
        before, after, _, _ = audited(superuser, shop, "seller.edited")[0]
        assert (before["name"], after["name"]) == ("Anna's Antiques", "Anna & Co")
        stored = superuser.execute("select reference, name_lc from seller where id = %s", (shop.anna,)).fetchone()
        assert stored == ("anna", "anna & co")


class TestBlockSeller:
    async def test_asks_for_a_reason_then_blocks_and_lets_sell_again(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        path = f"/sellers/{public_id('sel', shop.anna)}"
        assert (await owner.post(f"{path}/block", {"reason": ""})).status_code == 422
        assert (await owner.post(f"{path}/block", {"reason": "Counterfeits"})).status_code == 303
        page = await owner.get(path)
        assert "Counterfeits" in page.text
        assert f"{path}/unblock" in page.text
        assert f"{path}/block" not in page.text
        assert (await owner.post(f"{path}/block", {"reason": "Again"})).status_code == 409
        assert (await owner.post(f"{path}/unblock", {"reason": "Cleared"})).status_code == 303
        assert [entry[2] for entry in audited(superuser, shop, "seller.blocked") + audited(superuser, shop, "seller.unblocked")] == [
            "Counterfeits",
            "Cleared",
        ]


class TestFees:
    async def test_a_sellers_own_fee_is_set_and_taken_away(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        path = f"/sellers/{public_id('sel', shop.bert)}"
        form = soup(await owner.get(f"{path}/fees?currency=EUR"))
        assert form.select_one("#f-percent")["value"] == "10"
        answer = await owner.post(f"{path}/fees?currency=EUR", {"percent": "2.5", "fixed": "0.30", "fixed_currency": "EUR"})
        assert answer.status_code == 303
        assert "EUR Own 2.5% + €0.30 €2.80 of €100.00" in rows(soup(await owner.get(path)), "#terms")[1]
        assert (await owner.post(f"{path}/fees/remove", {"currency": "EUR"})).status_code == 303
        assert "EUR General 10%" in rows(soup(await owner.get(path)), "#terms")[1]
        assert audited(superuser, shop, "seller.fee_removed")[0][0] == {"currency": "EUR", "basis_points": 250, "fixed_minor": 30}

    async def test_fixed_amounts_follow_the_decimals_of_their_currency(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        assert (await owner.post("/sellers/fees", {"percent": "1", "fixed": "30", "fixed_currency": "JPY"})).status_code == 303
        refused = await owner.post("/sellers/fees", {"percent": "1", "fixed": "30.5", "fixed_currency": "JPY"})
        assert refused.status_code == 422
        stored = superuser.execute(
            "select fixed_minor from platform_fee where currency = 'JPY' and merchant_id = %s", (shop.merchant_id,)
        ).fetchall()
        assert stored == [(30,)]

    async def test_what_is_not_a_fee_is_refused_at_its_field(self, owner: Browser, shop: Shop) -> None:
        for values, field in (
            ({"percent": "101", "fixed": "0"}, "percent"),
            ({"percent": "two", "fixed": "0"}, "percent"),
            ({"percent": "1", "fixed": "-1"}, "fixed"),
        ):
            answer = await owner.post("/sellers/fees", {**values, "fixed_currency": "EUR"})
            assert answer.status_code == 422, values
            assert soup(answer).select_one(f"#f-{field}-e"), values

    async def test_money_terms_ask_for_a_fresh_code(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        superuser.execute("update web_session set factor_at = now() - interval '2 hours'")
        answer: httpx2.Response = await owner.post("/sellers/fees", {"percent": "1", "fixed": "0", "fixed_currency": "EUR"})
        assert answer.status_code == 403
        assert soup(answer).select_one("input[name=step_up_code]")
        stored = superuser.execute(
            "select basis_points from platform_fee where seller_id is null and merchant_id = %s", (shop.merchant_id,)
        ).fetchall()
        assert stored == [(1000,)]
