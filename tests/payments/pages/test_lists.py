"""The list of payments as a person's browser meets it: views, filters, search, pages, and the file."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from bs4 import BeautifulSoup

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.core.money import Money
from app.payments.domain import CaptureMode, PaymentStatus
from app.payments.queries import lists
from app.payments.queries.conditions import conditions
from app.payments.schemas.lists import VIEWS, PaymentFilters
from app.psp.domain import MethodSummary, Outcome, ProviderStatus, Result
from app.tenancy.domain import Role
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant
from tests.support.shop import Shop
from tests.support.statements import counted
from tests.support.web import Browser

DECLINED = Result(
    outcome=Outcome.DECLINED, provider_reference="sim_no", code="insufficient_funds", network_code="51", message="Not enough money"
)
UNKNOWN = Result(outcome=Outcome.UNKNOWN, code="read_timeout")


def visa(last4: str) -> Callable[[object], Result]:
    def answer(instruction: object) -> Result:
        method = MethodSummary(kind="card", brand="visa", last4=last4, expiry="08/29")
        amount = instruction.amount  # type: ignore[attr-defined]
        return Result(
            outcome=Outcome.SUCCEEDED, provider_reference=f"sim_{last4}", status=ProviderStatus.CAPTURED, amount=amount, method=method
        )

    return answer


def shown(page: BeautifulSoup) -> list[str]:
    """The amounts of the rows, as written."""
    return [words(cell) for cell in page.select("#payment-list tbody .c-amt")]


class TestListPayments:
    async def test_first_run_teaches_the_next_step(self, owner: Browser) -> None:
        page = soup(await owner.get("/payments"))
        assert "No payments yet" in words(page.select_one("#payment-list"))
        assert page.select_one("#payment-list a[href='/orders/new']") is not None

    async def test_shows_amount_status_method_buyer_order_and_connection(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", visa("4242"))
        answered = await shop.pay()
        (row,) = soup(await owner.get("/payments")).select("#payment-list tbody tr")
        assert row.select_one("a.rl")["href"] == f"/payments/{public_id('pay', answered.payment_id)}"
        said = words(row)
        for part in ("€100.00", "EUR", "Captured", "4242", "Lena Hoffmann", "Lena@example.org", "order-", "Simulator"):
            assert part in said

    async def test_a_failed_payment_says_why(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", DECLINED)
        await shop.pay()
        assert "Failed Not enough money" in words(soup(await owner.get("/payments")).select_one("#payment-list tbody tr"))

    async def test_saved_views_count_what_waits_for_a_person(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", DECLINED, UNKNOWN)
        for _ in range(2):
            await shop.pay()
        await shop.pay(mode=CaptureMode.MANUAL)
        await shop.pay()
        page = soup(await owner.get("/payments"))
        tabs = {
            tab.contents[0]: (tab["href"], words(tab.select_one(".n")) if tab.select_one(".n") else None) for tab in page.select(".tabs a")
        }
        assert {label: count for label, (_, count) in tabs.items()} == {
            "All": None, "Succeeded": None, "Uncaptured": "1", "Failed": "1", "Refunded": None, "Needs a person": "1",
        }  # fmt: skip
        assert len(shown(soup(await owner.get(tabs["Needs a person"][0])))) == 1

    async def test_counts_stop_at_a_hundred(self, shop: Shop, superuser: object) -> None:
        shop.psp.answers("authorise", DECLINED)
        answered = await shop.pay()
        superuser.execute(  # type: ignore[attr-defined]
            "insert into payment select (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid()))).* from payment p, generate_series(1, 120)"
            " where p.id = %s",
            (answered.payment_id,),
        )
        async with unit_of_work(shop.merchant_id) as session:
            page = await lists.payment_list_page(session, merchant_id=shop.merchant_id, filters=PaymentFilters())
        assert {tab.label: tab.count for tab in page.tabs}["Failed"] == "99+"

    async def test_every_state_has_its_place_in_the_filters(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        page = soup(await owner.get("/payments"))
        assert [box["value"] for box in page.select("#m-states input[name=status]")] == [status.value for status in PaymentStatus]
        assert {status for _, statuses, _ in VIEWS for status in statuses} <= set(PaymentStatus)


class TestFilters:
    async def test_stand_in_the_address_and_can_be_taken_off(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        await shop.pay(await shop.order(anna=500, bert=0, currency="GBP"))
        page = soup(await owner.get("/payments?currency=EUR&least=50"))
        assert shown(page) == ["€100.00 EUR"]
        (chip,) = page.select(".chip--on")
        assert words(chip) == "Amount ≥ €50.00"
        assert len(shown(soup(await owner.get(chip.select_one("a")["href"])))) == 2

    async def test_amount_reads_the_currency_it_stands_in(self, owner: Browser, shop: Shop) -> None:
        await shop.pay(await shop.order(anna=900, bert=0, currency="JPY"))
        assert shown(soup(await owner.get("/payments?currency=JPY&least=900&most=900"))) == ["¥900 JPY"]
        assert shown(soup(await owner.get("/payments?currency=JPY&least=901"))) == []

    async def test_several_states_at_once(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", DECLINED)
        await shop.pay()
        await shop.pay(mode=CaptureMode.MANUAL)
        await shop.pay(await shop.order(anna=100, bert=0))
        either = soup(await owner.get("/payments?status=authorised&status=failed"))
        assert len(shown(either)) == 2
        assert shown(soup(await owner.get("/payments?status=captured"))) == ["€1.00 EUR"]

    async def test_dates_are_whole_days_in_utc(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        today = clock.today()
        assert len(shown(soup(await owner.get(f"/payments?since={today}&until={today}")))) == 1
        assert shown(soup(await owner.get(f"/payments?until={today - timedelta(days=1)}"))) == []
        assert shown(soup(await owner.get(f"/payments?since={today + timedelta(days=1)}"))) == []

    async def test_connection_and_method(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", visa("4242"))
        await shop.pay()
        here = public_id("con", shop.connection_id)
        assert len(shown(soup(await owner.get(f"/payments?connection={here}&method=visa")))) == 1
        assert shown(soup(await owner.get(f"/payments?connection={here}&method=amex"))) == []

    async def test_no_match_names_the_filters_and_offers_to_clear_them(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        said = words(soup(await owner.get("/payments?q=nobody&currency=USD")).select_one("#payment-list"))
        assert "No payment matches" in said
        assert "“nobody”" in said
        assert "USD" in said

    @pytest.mark.parametrize(
        "wrong",
        ["status=lost", "since=yesterday", "currency=ZZZ", "currency=EUR&least=x", "least=5", "connection=con_1", "until=0001-01-01"],
    )
    async def test_what_cannot_be_read_is_said_and_left_out(self, owner: Browser, shop: Shop, wrong: str) -> None:
        await shop.pay()
        page = soup(await owner.get(f"/payments?{wrong}"))
        assert "A filter was left out" in words(page.select_one(".note--warn"))
        assert len(shown(page)) == 1

    async def test_a_made_up_page_pointer_is_refused(self, owner: Browser) -> None:
        for pointer in ("x", "W1siYSJdLGZhbHNlXQ", "W1sxLDIsM10sZmFsc2Vd"):
            assert (await owner.get(f"/payments?after={pointer}")).status_code == 422


class TestSearch:
    @pytest.mark.parametrize("asked", ["lena", "LENA HOFF", "lena@example.org", "lena@ex", "4242", "sim_4242", "100.00", "100", "order-"])
    async def test_finds_by_anything_a_person_has_at_hand(self, owner: Browser, shop: Shop, asked: str) -> None:
        shop.psp.answers("authorise", visa("4242"))
        await shop.pay()
        await shop.pay(await shop.order(anna=0, bert=777))
        found = shown(soup(await owner.get("/payments", params={"q": asked})))
        assert "€100.00 EUR" in found
        assert ("€7.77 EUR" in found) == (asked.lower().startswith(("lena", "order")))

    async def test_finds_by_exact_id_of_payment_and_order(self, owner: Browser, shop: Shop) -> None:
        order_id = await shop.order()
        answered = await shop.pay(order_id)
        await shop.pay()
        for exact in (public_id("pay", answered.payment_id), public_id("ord", order_id)):
            assert len(shown(soup(await owner.get("/payments", params={"q": exact})))) == 1
        assert shown(soup(await owner.get("/payments?q=pay_nonsense"))) == []

    async def test_goes_with_the_filters(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", DECLINED)
        await shop.pay()
        await shop.pay()
        assert len(shown(soup(await owner.get("/payments?q=lena&status=failed")))) == 1
        assert len(shown(soup(await owner.get("/payments?q=lena&status=failed,captured&sort=-amount")))) == 2

    async def test_two_letters_are_not_looked_for(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        assert len(shown(soup(await owner.get("/payments?q=zz")))) == 1

    @pytest.mark.parametrize(
        "hostile", ["' or 1=1 --", "%", "_", "\x00", "%(merchant)s", "\U0010ffff" * 3, "--" * 90, "e1e1", "NaN", "1e5000"]
    )
    async def test_takes_any_text_as_text(self, owner: Browser, shop: Shop, hostile: str) -> None:
        await shop.pay()
        assert (await owner.get("/payments", params={"q": hostile * 3})).status_code == 200

    async def test_an_htmx_search_answers_with_the_list_alone(self, owner: Browser, shop: Shop) -> None:
        await shop.pay()
        answer = await owner.client.get("/payments?q=lena", headers={"hx-request": "true", "hx-request-type": "partial"})
        page = BeautifulSoup(answer.text, "html.parser")
        assert [node["id"] for node in page.find_all(recursive=False)] == ["payment-list"]


MANY = """
insert into payment select (json_populate_record(p, json_build_object('id', new_id(now()), 'last4', lpad(n::text, 4, '0'), 'order_id', gen_random_uuid(),
    'provider_reference', 'psp_' || n, 'method_brand', 'brand ' || n))).* from payment p, generate_series(1, 5000) n
"""


class TestIndexes:
    """What the provider tells later is indexed only once it is known; searches and filters still find it through these indexes."""

    @pytest.mark.parametrize(
        "filters, index",
        [
            (PaymentFilters(q="4242"), "ix_payment_last4"),
            (PaymentFilters(q="psp_77"), "ix_payment_provider_reference"),
            (PaymentFilters(method="brand 77"), "ix_payment_method"),
        ],
    )
    async def test_what_is_looked_for_is_found_through_its_index(
        self, shop: Shop, superuser: psycopg.Connection, filters: PaymentFilters, index: str
    ) -> None:
        await shop.pay()
        where = conditions(shop.merchant_id, filters)
        with superuser.transaction(force_rollback=True):
            superuser.execute("set local session_replication_role = replica")
            superuser.execute(MANY)
            superuser.execute("analyze payment")
            superuser.execute("select set_config('app.merchant_id', %s, true)", (str(shop.merchant_id),))
            superuser.execute("set local role countinghouse_app")
            asked = f"explain select id from payment where {where.sql()} order by id desc limit 26"
            plan = [row[0] for row in superuser.execute(asked.encode(), where.values)]
        assert any(index in line for line in plan), plan

    async def test_the_attempt_an_event_is_about_is_found_through_its_index(self, shop: Shop, superuser: psycopg.Connection) -> None:
        await shop.pay()
        with superuser.transaction(force_rollback=True):
            superuser.execute("set local session_replication_role = replica")
            superuser.execute(MANY.replace("payment", "payment_attempt"))
            superuser.execute("analyze payment_attempt")
            superuser.execute("select set_config('app.merchant_id', %s, true)", (str(shop.merchant_id),))
            superuser.execute("set local role countinghouse_app")
            asked = "explain select id from payment_attempt where merchant_id = %s and provider_reference = %s"
            plan = [row[0] for row in superuser.execute(asked, (shop.merchant_id, "psp_77"))]
        assert any("ix_payment_attempt_provider_reference" in line for line in plan), plan


class TestPages:
    async def made(self, shop: Shop, count: int) -> None:
        for number in range(count):
            await shop.pay(await shop.order(anna=1000 + number % 3, bert=0))

    @pytest.mark.parametrize(
        "query",
        [{}, {"sort": "-amount"}, {"sort": "amount"}, {"sort": "created"}, {"status": "captured,failed", "sort": "-amount"}, {"q": "lena"}],
    )
    async def test_walking_forth_and_back_shows_each_payment_once(self, shop: Shop, query: dict[str, str]) -> None:
        await self.made(shop, 7)
        filters = PaymentFilters.read({name: [value] for name, value in query.items()})
        async with unit_of_work(shop.merchant_id) as session:
            whole = [row.id for row in (await lists.payments(session, merchant_id=shop.merchant_id, filters=filters)).items]
            forth, back, page = [], [], None
            for _ in range(4):
                after = page.next if page else None
                page = await lists.payments(
                    session,
                    merchant_id=shop.merchant_id,
                    filters=PaymentFilters.read({**{n: [v] for n, v in query.items()}, "after": [after or ""]}),
                    size=2,
                )
                forth += [row.id for row in page.items]
            assert page is not None
            assert page.next is None
            while page.previous:
                page = await lists.payments(
                    session,
                    merchant_id=shop.merchant_id,
                    filters=PaymentFilters.read({**{n: [v] for n, v in query.items()}, "after": [page.previous]}),
                    size=2,
                )
                back = [row.id for row in page.items] + back
        assert forth == whole
        assert back == whole[:6]
        assert len(set(whole)) == 7

    async def test_sorted_by_amount_and_turned_round(self, owner: Browser, shop: Shop) -> None:
        for minor in (300, 100, 200):
            await shop.pay(await shop.order(anna=minor, bert=0))
        page = soup(await owner.get("/payments?sort=-amount"))
        assert shown(page) == ["€3.00 EUR", "€2.00 EUR", "€1.00 EUR"]
        turn = next(link for link in page.select("a.th-sort") if link.contents[0] == "Amount")
        assert shown(soup(await owner.get(turn["href"]))) == ["€1.00 EUR", "€2.00 EUR", "€3.00 EUR"]

    async def test_next_and_previous_keep_the_filters(self, owner: Browser, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        await self.made(shop, 3)
        monkeypatch.setattr(lists.payments, "__kwdefaults__", {"size": 2})
        first = soup(await owner.get("/payments?status=captured&sort=-amount"))
        second = soup(await owner.get(first.select_one("a[rel=next]")["href"]))
        assert len(shown(first)) == 2
        assert len(shown(second)) == 1
        again = soup(await owner.get(second.select_one("a[rel=prev]")["href"]))
        assert shown(again) == shown(first)

    async def test_a_page_takes_few_questions_to_the_database(self, owner: Browser, shop: Shop) -> None:
        await self.made(shop, 3)
        for address in ("/payments", "/payments?q=lena&status=captured", "/payments?status=authorised,captured&sort=-amount"):
            with counted() as statements:
                assert (await owner.get(address)).status_code == 200
            assert len(statements) <= 12, statements


class TestExportPayments:
    async def read(self, browser: Browser, address: str = "/payments/export.csv") -> list[dict[str, str]]:
        answer = await browser.get(address)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/csv")
        assert "attachment" in answer.headers["content-disposition"]
        return list(csv.DictReader(io.StringIO(answer.text)))

    async def test_holds_what_the_list_shows_in_its_order(self, owner: Browser, shop: Shop) -> None:
        shop.psp.answers("authorise", visa("4242"))
        first = await shop.pay()
        second = await shop.pay(await shop.order(anna=1, bert=0, currency="KWD"))
        rows = await self.read(owner)
        assert [row["payment"] for row in rows] == [public_id("pay", second.payment_id), public_id("pay", first.payment_id)]
        assert [(row["amount_minor"], row["amount"], row["currency"]) for row in rows] == [
            ("1", "0.001", "KWD"),
            ("10000", "100.00", "EUR"),
        ]
        assert rows[1]["last4"] == "4242"
        assert rows[1]["connection"] == "Simulator"

    async def test_amounts_are_written_as_money_writes_them(self, owner: Browser, shop: Shop) -> None:
        for minor, currency in ((5, "EUR"), (1234567, "EUR"), (7, "JPY"), (1005, "KWD"), (100, "USD")):
            await shop.pay(await shop.order(anna=minor, bert=0, currency=currency))
        for row in await self.read(owner):
            assert row["amount"] == Money(int(row["amount_minor"]), row["currency"]).decimal()

    async def test_takes_the_filters_and_the_ticked_rows(self, owner: Browser, shop: Shop) -> None:
        answered = await shop.pay()
        await shop.pay(await shop.order(anna=500, bert=0, currency="GBP"))
        assert [row["currency"] for row in await self.read(owner, "/payments/export.csv?currency=GBP")] == ["GBP"]
        ticked = public_id("pay", answered.payment_id)
        assert [row["payment"] for row in await self.read(owner, f"/payments/export.csv?id={ticked}")] == [ticked]
        assert await self.read(owner, f"/payments/export.csv?id={ticked}&currency=GBP") == []

    async def test_no_text_is_a_formula(self, owner: Browser, shop: Shop, superuser: object) -> None:
        await shop.pay()
        superuser.execute(
            "update payment set buyer_name = '=HYPERLINK(\"http://x\")', order_reference = '+1', buyer_email = '@x', provider_reference = E'\\t-1'"
        )  # type: ignore[attr-defined]
        (row,) = await self.read(owner)
        assert (row["buyer_name"], row["order_reference"], row["buyer_email"], row["psp_reference"]) == (
            '\'=HYPERLINK("http://x")',
            "'+1",
            "'@x",
            "'\t-1",
        )

    async def test_a_filter_that_cannot_be_read_is_refused_not_left_out(self, owner: Browser) -> None:
        assert (await owner.get("/payments/export.csv?status=lost")).status_code == 422

    async def test_another_merchants_payments_are_not_in_it(self, open_as: OpenAs, shop: Shop, stranger: Tenant) -> None:
        answered = await shop.pay()
        other = await open_as(stranger)
        assert await self.read(other) == []
        assert await self.read(other, f"/payments/export.csv?id={public_id('pay', answered.payment_id)}") == []
        assert shown(soup(await other.get("/payments"))) == []

    async def test_more_than_one_batch_is_whole(self, owner: Browser, shop: Shop, superuser: object) -> None:
        answered = await shop.pay()
        superuser.execute(  # type: ignore[attr-defined]
            "insert into payment select (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(), 'status', 'failed'))).*"
            " from payment p, generate_series(1, 2500) where p.id = %s",
            (answered.payment_id,),
        )
        ids = {row["payment"] for row in await self.read(owner)}
        assert len(ids) == 2501

    async def test_support_may_look_but_not_take_a_file(self, open_as: OpenAs, shop: Shop) -> None:
        await shop.pay()
        support = await open_as(shop.tenant, Role.SUPPORT)
        assert soup(await support.get("/payments")).select_one("a[href*='export.csv']") is None
        assert (await support.get("/payments/export.csv")).status_code == 403
