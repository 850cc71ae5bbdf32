"""The generic report page: every report in the table gets it, and its figures are those of the business."""

import csv
import io
from datetime import timedelta

import pytest

from app.core.clock import travel
from app.psp.domain import Outcome, Result
from app.reports.queries import REPORTS
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.web import Browser


async def business(shop: Shop) -> None:
    """Sales on two days, a refund, and two declines."""
    with travel(timedelta(days=-2)):
        await shop.pay(await shop.order(anna=3000, bert=0))
    answered = await shop.pay()
    await shop.refund(answered.payment_id, 2500)
    for code in ("insufficient_funds", "insufficient_funds", "expired_card"):
        shop.psp.answers("authorise", Result(outcome=Outcome.DECLINED, code=code, message=f"The PSP says {code}"))
        await shop.pay(await shop.order(anna=1000, bert=0))


async def file_of(browser: Browser, path: str) -> list[dict[str, str]]:
    """The rows of the file."""
    answer = await browser.get(path)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8", answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize("name", REPORTS)
class TestEveryReport:
    async def test_is_listed_and_has_table_chart_filters_and_file(self, name: str, owner: Browser, shop: Shop) -> None:
        await business(shop)
        assert soup(await owner.get("/reports")).select_one(f"a[href='/reports/{name}']")
        page = soup(await owner.get(f"/reports/{name}"))
        shown = rows(page, "#report tbody")
        assert shown
        assert page.select_one(".chart"), "a chart"
        assert bool(page.select(".seg a")) == REPORTS[name].has_period
        href = next(link["href"] for link in page.select("a[download]"))
        assert len(await file_of(owner, href)) == len(shown)

    async def test_of_an_empty_house_says_so(self, name: str, open_as: OpenAs, stranger: Tenant, shop: Shop) -> None:
        await business(shop)
        page = soup(await (await open_as(stranger)).get(f"/reports/{name}"))
        assert "€" not in words(page.select_one("main")).replace("€0.00", "")

    async def test_only_those_who_may_export_get_the_file(self, name: str, open_as: OpenAs, shop: Shop) -> None:
        viewer = await open_as(shop.tenant, Role.VIEWER)
        assert not soup(await viewer.get(f"/reports/{name}")).select("a[download]")
        assert (await viewer.get(f"/reports/{name}/export")).status_code == 403


class TestPaymentsByDay:
    async def test_counts_each_thing_on_its_own_day(self, owner: Browser, shop: Shop) -> None:
        await business(shop)
        found = await file_of(owner, "/reports/payments-by-day/export?period=7d&currency=EUR")
        assert len(found) == 7
        names = (
            "started",
            "succeeded",
            "failed",
            "success_rate",
            "captured_minor",
            "refunded_minor",
            "psp_fees_minor",
            "platform_fees_minor",
            "currency",
        )
        assert [found[0][name] for name in names] == ["4", "1", "3", "25.0%", "10000", "2500", "30", "525", "EUR"]
        assert [found[2][name] for name in names] == ["1", "1", "0", "100.0%", "3000", "0", "30", "150", "EUR"]


class TestPlatformFees:
    async def test_shows_what_was_kept_of_each_sellers_sales(self, owner: Browser, shop: Shop) -> None:
        await business(shop)
        page = soup(await owner.get("/reports/platform-fees?period=7d"))
        assert rows(page, "#report tbody") == ["Anna's Antiques 2 €90.00 €15.00 €3.75", "Bert's Books 1 €40.00 €10.00 €3.00"]


class TestFailures:
    async def test_shows_the_most_frequent_reason_first(self, owner: Browser, shop: Shop) -> None:
        await business(shop)
        page = soup(await owner.get("/reports/failures"))
        assert rows(page, "#report tbody") == [
            "Insufficient funds The PSP says insufficient_funds 2 66.7% €20.00",
            "Expired card The PSP says expired_card 1 33.3% €10.00",
        ]


class TestWalletBalances:
    async def test_is_the_ledgers_word(self, owner: Browser, shop: Shop) -> None:
        await business(shop)
        found = await file_of(owner, "/reports/wallet-balances/export")
        assert [(row["seller"], row["available_minor"], row["pending_minor"], row["owed_minor"]) for row in found] == [
            ("Anna's Antiques", "0", "7125", "0"),
            ("Bert's Books", "0", "2700", "0"),
        ]


class TestUnknownReport:
    async def test_is_not_there(self, owner: Browser, shop: Shop) -> None:
        assert (await owner.get("/reports/love")).status_code == 404
        assert (await owner.get("/reports/love/export")).status_code == 404
