"""The start page."""

from datetime import timedelta

from psycopg import Connection

from app.core.clock import travel
from app.core.ids import public_id
from app.core.money import Money
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, ProviderStatus, Result
from app.reports import flows
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.factories.wallets import let_days_pass
from tests.support.shop import Shop, ok
from tests.support.statements import counted
from tests.support.web import Browser


def stats(page: object) -> dict[str, str]:
    """The figures by their label."""
    return {words(card.select_one(".stat-l")): words(card.select_one(".stat-v")) for card in page.select("#volume .stat")}  # type: ignore[attr-defined]


def waiting(page: object) -> list[str]:
    """What needs a person."""
    return [words(item) for item in page.select(".todo b")]  # type: ignore[attr-defined]


class TestFirstRun:
    async def test_teaches_one_step_after_the_other(self, open_as: OpenAs, shop: Shop) -> None:
        empty = await make_tenant()
        page = soup(await (await open_as(empty)).get("/"))
        assert words(page.select_one("#start [aria-current=step]")).startswith("Connect a PSP")
        assert page.select_one("#start a.btn--pri")["href"] == "/connections/new"
        owner = await open_as(shop.tenant)
        page = soup(await owner.get("/"))
        assert words(page.select_one("#start [aria-current=step]")).startswith("Create an order")
        await shop.order()
        page = soup(await owner.get("/"))
        assert words(page.select_one("#start [aria-current=step]")).startswith("Take the payment")
        await shop.pay()
        assert not soup(await owner.get("/")).select("#start")


class TestFigures:
    async def test_shows_volume_net_success_and_refunds_of_the_period(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.refund(answered.payment_id, 2500)
        await shop.pay()
        shop.psp.answers("authorise", Result(outcome=Outcome.DECLINED, code="do_not_honour"))
        await shop.pay()
        page = soup(await owner.get("/"))
        assert stats(page) == {"Gross volume": "€200.00", "Net volume": "€174.40", "Success rate": "66.7%", "Refund rate": "12.5%"}
        assert "2 of 3" in words(page.select_one("#volume"))
        assert "Simulator" in words(page.select_one("#rates"))
        assert "66.7%" in words(page.select_one("#rates"))

    async def test_compares_with_the_period_before(self, owner: Browser, shop: Shop) -> None:
        with travel(timedelta(days=-8)):
            await shop.pay(await shop.order(anna=5000, bert=0))
        await shop.pay(await shop.order(anna=6000, bert=0))
        week = soup(await owner.get("/?period=7d"))
        assert stats(week)["Gross volume"] == "€60.00"
        assert "20.0%" in words(week.select_one("#volume .delta"))
        assert stats(soup(await owner.get("/?period=30d")))["Gross volume"] == "€110.00"
        alone = soup(await owner.get("/?period=7d&compare=none"))
        assert not alone.select("#volume .delta")
        assert not alone.select(".c-line--prev")

    async def test_currencies_are_never_added_up(self, owner: Browser, shop: Shop) -> None:
        await shop.pay(await shop.order(anna=5000, bert=0))
        await shop.pay(await shop.order(anna=5000, bert=0))
        await shop.pay(await shop.order(anna=900, bert=0, currency="JPY"))
        page = soup(await owner.get("/"))
        assert stats(page)["Gross volume"] == "€100.00"
        assert [words(tab) for tab in page.select("nav.tabs a")] == ["EUR", "JPY"]
        assert stats(soup(await owner.get("/?currency=JPY")))["Gross volume"] == "¥900"
        assert rows(page, "#balances tbody") == ["EUR €0.00 €95.00", "JPY ¥0 ¥900"]

    async def test_every_figure_can_be_drawn_and_read_as_a_table(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        for metric, text in (("gross", "€100.00"), ("net", "€99.70"), ("success", "100.0%"), ("refunds", "0.0%")):
            page = soup(await owner.get(f"/?metric={metric}"))
            assert text in words(page.select_one("#volume .c-data tbody tr:last-child")), metric
            assert len(page.select("#volume .c-data tbody tr")) == 30

    async def test_words_in_the_address_that_mean_nothing_are_left_out(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        page = soup(await owner.get("/?period=century&metric=love&currency=XXX"))
        assert stats(page)["Gross volume"] == "€100.00"

    async def test_figures_are_the_same_before_and_after_they_are_counted(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        before = stats(soup(await owner.get("/")))
        with travel(timedelta(minutes=2)):
            assert await flows.count_all() == 1
        assert stats(soup(await owner.get("/"))) == before


class TestAttention:
    async def test_names_what_needs_a_person_first(self, owner: Browser, shop: Shop, superuser: Connection) -> None:
        shop.psp.answers("authorise", Result(outcome=Outcome.UNKNOWN, code="timeout"))
        await shop.pay()
        shop.psp.answers("authorise", ok(ProviderStatus.CAPTURED, amount=Money(1, "EUR")))
        await shop.pay()
        for _ in range(2):
            shop.psp.answers("authorise", Result(outcome=Outcome.PENDING, provider_reference="sim_2", status=ProviderStatus.IN_REVIEW))
            await shop.pay()
        await shop.pay(mode=CaptureMode.MANUAL)
        superuser.execute("update payment set expires_at = now() + interval '1 day' where status = 'authorised'")
        superuser.execute(
            "insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, payload, body, status, occurred_at, received_at)"
            " values (%s, gen_random_uuid(), %s, 'evt_1', 'payment.captured', 'sim_1', '{}', '', 'failed', now(), now())",
            (shop.merchant_id, shop.connection_id),
        )
        superuser.execute(
            "insert into psp_health (merchant_id, connection_id, minute_at, calls, technical, failed_at, latencies)"
            " values (%s, %s, date_trunc('minute', now()), 9, 8, now(), array[0::bigint])"
            " on conflict (merchant_id, connection_id, minute_at) do update set calls = 9, technical = 8, failed_at = now(), succeeded_at = null",
            (shop.merchant_id, shop.connection_id),
        )
        page = soup(await owner.get("/"))
        assert sorted(waiting(page)) == sorted(
            [
                "1 payment has an unknown outcome",
                "1 payment reports another amount",
                "2 payments are in review",
                "1 authorisation expires soon",
                "1 webhook could not be applied",
                "Simulator is failing",
            ]
        )
        tones = [bool(item.select(".tile--bad")) for item in page.select(".todo a")]
        assert tones == sorted(tones, reverse=True), "what is wrong comes before what waits"
        assert page.select_one(".todo a[href='/payments?status=in_review']")
        failed = soup(await owner.get(page.select_one(".todo a[href^='/psp-events']")["href"]))
        assert ["evt_1" in words(event) for event in failed.select("#psp-events li")] == [True]

    async def test_an_order_that_was_paid_twice_and_a_lost_refund_lead_to_their_payments(
        self, owner: Browser, shop: Shop, superuser: Connection
    ) -> None:
        paid = await shop.pay()
        shop.psp.answers("refund", Result(outcome=Outcome.UNKNOWN))
        await shop.refund(paid.payment_id, 100)
        superuser.execute("update payment set failure_code = 'late_success'")
        page = soup(await owner.get("/"))
        assert sorted(waiting(page)) == ["1 operation has an unknown outcome", "1 order was paid twice"]
        links = {link["href"] for link in page.select(".todo a")}
        assert links == {f"/payments/{public_id('pay', paid.payment_id)}"}

    async def test_nothing_is_shown_where_nothing_waits(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        assert not soup(await owner.get("/")).select(".todo")


class TestWalls:
    async def test_each_role_sees_what_it_may(self, open_as: OpenAs, shop: Shop) -> None:
        await shop.pay()
        support = soup(await (await open_as(shop.tenant, Role.SUPPORT)).get("/"))
        assert support.select("#recent")
        assert not support.select("#balances")
        assert not support.select("a[href^='/reports']")

    async def test_shows_nothing_of_another_merchant(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        await shop.pay()
        with travel(timedelta(minutes=2)):
            await flows.count_all()
        page = await (await open_as(stranger)).get("/")
        assert "€" not in words(soup(page).select_one("main"))
        assert "Lena" not in page.text


class TestCost:
    async def test_takes_no_more_than_twelve_statements(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        await let_days_pass()
        await owner.get("/")
        for path in ("/", "/?period=12w&currency=EUR", "/wallets", "/sellers", "/reports/payments-by-day", "/reports/platform-fees"):
            with counted() as sent:
                assert (await owner.get(path)).status_code == 200
            assert 0 < len(sent) <= 12, (path, sent)
