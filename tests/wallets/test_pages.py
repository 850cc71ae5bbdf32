"""The pages about wallets, as a person's browser meets them; every amount against the ledger's own entries."""

import csv
import io

from psycopg import Connection

from app.core.ids import SellerId, new_id, public_id
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.sellers import make_seller
from tests.support.factories.tenancy import Tenant
from tests.support.factories.wallets import book, let_days_pass
from tests.support.shop import Shop
from tests.support.web import Browser


def path(seller_id: SellerId, **query: str) -> str:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/wallets/{public_id('sel', seller_id)}" + (f"?{text}" if text else "")


def lines(page: object) -> list[tuple[str, str, str]]:
    """Out, in and balance of each booking shown."""
    booked = [row for row in page.select("#statement tbody tr") if not {"bal", "daygrp"} & set(row.get("class", []))]  # type: ignore[attr-defined]
    return [(words(row.select_one(".c-out")), words(row.select_one(".c-in")), words(row.select_one(".c-bal"))) for row in booked]


class TestListWallets:
    async def test_shows_totals_by_currency_and_each_sellers_part(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        await shop.pay(await shop.order(anna=500, bert=0, currency="GBP"))
        page = soup(await owner.get("/wallets"))
        assert [words(card) for card in page.select(".wcard")] == ["EUR €0.00 €93.00 pending", "GBP £0.00 £5.00 pending"]
        assert rows(page, "#wallet-rows") == [
            "Bert's Books bert – – €36.00 pending €0.00 EUR",
            "Anna's Antiques anna – – €57.00 pending €0.00 EUR",
            "Anna's Antiques anna – – £5.00 pending £0.00 GBP",
        ]

    async def test_funds_move_to_available_when_their_day_comes(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        assert await let_days_pass(3) == 2
        page = soup(await owner.get("/wallets"))
        assert words(page.select_one(".wcard")) == "EUR €93.00 €0.00 pending"

    async def test_can_be_narrowed_to_a_currency_and_a_seller(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        await shop.pay(await shop.order(anna=500, bert=0, currency="GBP"))
        pounds = soup(await owner.get("/wallets?currency=GBP"))
        assert len(rows(pounds, "#wallet-rows")) == 1
        assert "GBP" in words(pounds.select_one(".chip--on"))
        assert len(rows(soup(await owner.get("/wallets?q=bert")), "#wallet-rows")) == 1
        assert "No wallet matches" in (await owner.get("/wallets?q=bert&currency=GBP")).text

    async def test_sellers_without_sales_have_no_wallet(self, owner: Browser, shop: Shop) -> None:
        assert "No wallets yet" in (await owner.get("/wallets")).text

    async def test_shows_what_a_seller_owes(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        answered = await shop.pay(await shop.order(anna=6000, bert=0))
        await let_days_pass()
        await book(shop.merchant_id, shop.anna, [-5000])
        await shop.refund(answered.payment_id)
        page = soup(await owner.get("/wallets"))
        assert "€50.00 owed" in words(page.select_one(".wcard"))
        assert "€50.00 owed by the seller" in (await owner.get(path(shop.anna))).text

    async def test_the_file_holds_what_the_list_shows(self, owner: Browser, shop: Shop) -> None:
        await make_seller(shop.actor, name="=cmd()", reference="=1+1")
        await shop.pay()
        answer = await owner.get("/wallets/export?currency=EUR")
        assert answer.headers["content-disposition"].startswith('attachment; filename="wallets-')
        found = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["name"], row["pending_minor"], row["pending"], row["available"]) for row in found] == [
            ("Bert's Books", "3600", "36.00", "0.00"),
            ("Anna's Antiques", "5700", "57.00", "0.00"),
        ]

    async def test_who_may_not_export_is_refused(self, open_as: OpenAs, shop: Shop) -> None:
        viewer = await open_as(shop.tenant, Role.VIEWER)
        assert "/wallets/export" not in (await viewer.get("/wallets")).text
        assert (await viewer.get("/wallets/export")).status_code == 403


class TestShowWallet:
    async def test_every_page_carries_the_exact_balance_in_both_directions(self, owner: Browser, shop: Shop) -> None:
        steps = [(-1) ** n * (n * 7 % 90 + 1) if n % 3 == 0 else n + 100 for n in range(1, 61)]
        await book(shop.merchant_id, shop.anna, steps)
        await shop.pay()
        seen: list[tuple[str, str, str]] = []
        href: str | None = path(shop.anna, currency="EUR", bucket="available")
        pages, last = 0, ""
        while href:
            page = soup(await owner.get(href))
            balances = [words(row.select_one(".c-bal")) for row in page.select("#statement .bal")]
            assert balances[0] == lines(page)[0][2]
            if last:
                assert balances[0] == last, "a page opens where the one before closed"
            last, pages = balances[1], pages + 1
            seen += lines(page)
            older = page.select_one("#statement a[rel=next]")
            href = older["href"] if older else None
        assert (pages, last) == (3, "€0.00")
        expected, balance = [], 0
        for minor in steps:
            balance += minor
            expected.append(
                (f"€{-minor / 100:.2f}" if minor < 0 else "", f"€{minor / 100:.2f}" if minor > 0 else "", f"€{balance / 100:.2f}")
            )
        assert seen == expected[::-1]
        newer = soup(await owner.get(page.select_one("#statement a[rel=prev]")["href"]))
        assert lines(newer) == seen[25:50]
        assert words(newer.select_one("#statement .bal .c-bal")) == seen[25][2]

    async def test_booking_while_somebody_reads_moves_no_balance_of_older_pages(self, owner: Browser, shop: Shop) -> None:
        await book(shop.merchant_id, shop.anna, [100] * 30)
        await shop.pay()
        first = soup(await owner.get(path(shop.anna, currency="EUR", bucket="available")))
        older = first.select_one("#statement a[rel=next]")["href"]
        before = lines(soup(await owner.get(older)))
        await book(shop.merchant_id, shop.anna, [5, -5, 77])
        assert lines(soup(await owner.get(older))) == before

    async def test_shows_the_way_of_the_money_through_the_buckets(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        pending = soup(await owner.get(path(shop.anna)))
        assert lines(pending) == [("", "€57.00", "€57.00")]
        assert pending.select_one(f"#statement a[href='/payments/{public_id('pay', answered.payment_id)}']")
        await let_days_pass()
        available = soup(await owner.get(path(shop.anna)))
        assert words(available.select_one("#statement .tabs a[aria-current=page]")) == "Available"
        assert lines(available) == [("", "€57.00", "€57.00")]
        pending = soup(await owner.get(path(shop.anna, bucket="pending")))
        assert lines(pending) == [("€57.00", "", "€0.00"), ("", "€57.00", "€57.00")]

    async def test_says_when_pending_funds_become_available(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        page = soup(await owner.get(path(shop.anna)))
        table = next(words(table) for table in page.select("table") if "Pending funds by the day" in words(table))
        assert "€57.00" in table
        await let_days_pass()
        assert "Pending funds by the day" not in (await owner.get(path(shop.anna))).text

    async def test_the_file_is_the_whole_statement_oldest_first(self, owner: Browser, shop: Shop) -> None:
        await book(shop.merchant_id, shop.anna, [1000, -250, 4])
        await shop.pay()
        answer = await owner.get(f"/wallets/{public_id('sel', shop.anna)}/export?currency=EUR&bucket=available")
        found = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["amount_minor"], row["amount"], row["balance"], row["currency"]) for row in found] == [
            ("1000", "10.00", "10.00", "EUR"),
            ("-250", "-2.50", "7.50", "EUR"),
            ("4", "0.04", "7.54", "EUR"),
        ]

    async def test_currencies_have_wallets_of_their_own(self, owner: Browser, shop: Shop) -> None:
        await shop.pay(await shop.order(anna=700, bert=0, currency="JPY"))
        page = soup(await owner.get(path(shop.anna)))
        assert words(page.select_one("#wallet-balance h2")) == "JPY balance"
        assert lines(page) == [("", "¥700", "¥700")]
        assert (await owner.get(path(shop.anna, currency="EUR"))).status_code == 404

    async def test_a_strangers_wallet_and_nobodys_are_the_same_404(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        await shop.pay()
        browser = await open_as(stranger)
        texts = set()
        for seller_id in (shop.anna, SellerId(new_id())):
            for suffix in ("", "/summary", "/export"):
                answer = await browser.get(f"/wallets/{public_id('sel', seller_id)}{suffix}")
                assert answer.status_code == 404
                texts.add(words(soup(answer).select_one("main")).split("Request")[0])
        assert len(texts) == 1

    async def test_a_made_up_place_in_the_statement_is_refused(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        for after in ("x", "W10", "WyJhIl0", "W1sxXSxmYWxzZV0", "W1stMSwtMV0sZmFsc2Vd"):
            assert (await owner.get(path(shop.anna, after=after))).status_code in {404, 422}, after


class TestSummary:
    async def test_a_sellers_page_shows_its_wallets_and_sales(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        seller = public_id("sel", shop.anna)
        page = soup(await owner.get(f"/sellers/{seller}"))
        for link in (f"/wallets/{seller}/summary", f"/sellers/{seller}/activity"):
            assert page.select_one(f"[hx-get='{link}']"), link
        assert "EUR €0.00 €57.00 €0.00" in rows(soup(await owner.get(f"/wallets/{seller}/summary")), "#seller-wallets")
        assert any(
            "€60.00 EUR Captured Lena Hoffmann" in row
            for row in rows(soup(await owner.get(f"/sellers/{seller}/activity")), "#seller-activity")
        )


class TestPolicy:
    async def test_rules_hold_for_captures_from_then_on(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        await shop.pay()
        answer = await owner.post("/wallets/policy", {"availability_days": "0", "timezone": "Pacific/Auckland"})
        assert answer.status_code == 303
        await shop.pay()
        assert await let_days_pass(0) == 2
        stored = superuser.execute("select availability_days, timezone, allow_negative from wallet_policy").fetchall()
        assert stored == [(0, "Pacific/Auckland", False)]
        audited = superuser.execute("select before, after from audit_entry where action = 'wallet.policy_set'").fetchall()
        assert [(before["availability_days"], after["availability_days"]) for before, after in audited] == [(2, 0)]

    async def test_what_cannot_be_is_refused_at_its_field(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        for values, field in (
            ({"availability_days": "91", "timezone": "UTC"}, "availability_days"),
            ({"availability_days": "soon", "timezone": "UTC"}, "availability_days"),
            ({"availability_days": "2", "timezone": "Europe/Atlantis"}, "timezone"),
            ({"availability_days": "2", "timezone": "../../etc/passwd"}, "timezone"),
        ):
            answer = await owner.post("/wallets/policy", values)
            assert answer.status_code == 422, values
            assert soup(answer).select_one(f"#f-{field}-e"), values
        assert superuser.execute("select count(*) from wallet_policy").fetchone() == (0,)

    async def test_viewers_may_not(self, open_as: OpenAs, shop: Shop) -> None:
        viewer = await open_as(shop.tenant, Role.VIEWER)
        assert (await viewer.get("/wallets/policy")).status_code == 403
        assert (await viewer.post("/wallets/policy", {"availability_days": "1", "timezone": "UTC"})).status_code == 403
