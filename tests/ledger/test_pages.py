"""The ledger's pages, as a person of the merchant and as a stranger see them."""

import csv
import io
from collections.abc import Callable

import psycopg
import pytest

from app.core.ids import PersonId, new_id
from tests.ledger.direct import acting_for, fund, post, seller, spend
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser, text_of

ANNA = seller()


@pytest.fixture
def book(connection: psycopg.Connection, tenant: Tenant) -> dict[str, int]:
    """Two transactions of one source, and the number of a wallet."""
    source = new_id()
    with acting_for(connection, tenant.id):
        first = post(connection, tenant.id, fund(ANNA, 123_456), source=source, on="2026-11-01")
        second = post(connection, tenant.id, spend(ANNA, 100_000), source=source, key="spent", on="2026-11-02")
        row = connection.execute("select id from ledger.account where code = '2110'").fetchone()
    assert row is not None
    return {"first": first, "second": second, "account": row[0]}


class TestListAccounts:
    @pytest.mark.parametrize("path", ["/ledger", "/ledger/accounts"])
    async def test_shows_exact_balances(self, owner: Browser, book: dict[str, int], path: str) -> None:
        said = text_of(await owner.get(path))
        assert "Seller wallet, available" in said
        assert "234.56" in said
        assert "Operating bank account" in said

    async def test_an_empty_book_says_what_fills_it(self, owner: Browser) -> None:
        assert "Accounts open by themselves" in text_of(await owner.get("/ledger/accounts"))

    async def test_a_search_without_result_offers_the_way_back(self, owner: Browser, book: dict[str, int]) -> None:
        assert "No account matches" in text_of(await owner.get("/ledger/accounts?q=zzz"))


class TestShowStatement:
    async def test_has_debit_credit_and_running_balance(self, owner: Browser, book: dict[str, int]) -> None:
        said = text_of(await owner.get(f"/ledger/accounts/acc_{book['account']}"))
        assert said.index("€1,000.00 €234.56") < said.index("€1,234.56 €1,234.56")
        assert "Opening balance €0.00" in said

    @pytest.mark.parametrize("number", ["acc_999999999", "acc_x", "7", "acc_-1", "acc_99999999999999999999"])
    async def test_what_does_not_exist_is_not_found(self, owner: Browser, book: dict[str, int], number: str) -> None:
        assert (await owner.get(f"/ledger/accounts/{number}")).status_code == 404

    async def test_a_made_up_pointer_is_refused(self, owner: Browser, book: dict[str, int]) -> None:
        assert (await owner.get(f"/ledger/accounts/acc_{book['account']}?after=abc")).status_code == 422


class TestDownloadStatement:
    async def test_is_the_whole_statement(self, owner: Browser, book: dict[str, int]) -> None:
        response = await owner.get(f"/ledger/accounts/acc_{book['account']}/statement.csv")
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert response.headers["content-type"].startswith("text/csv")
        assert [(row["debit"], row["credit"], row["balance"]) for row in rows] == [("1000.00", "", "234.56"), ("", "1234.56", "1234.56")]
        assert rows[0]["transaction"] == f"txn_{book['second']}"


class TestListTransactions:
    async def test_shows_the_lines_of_each(self, owner: Browser, book: dict[str, int]) -> None:
        said = text_of(await owner.get("/ledger/transactions"))
        assert said.count("Manual adjustment") >= 2
        assert "€1,234.56" in said

    @pytest.mark.parametrize(
        ("query", "sees"),
        [("since=2026-11-02", False), ("until=2026-11-01", True), ("kind=payment.captured", False), ("kind=ledger.adjusted", True)],
    )
    async def test_is_narrowed(self, owner: Browser, book: dict[str, int], query: str, sees: bool) -> None:
        assert ("€1,234.56" in text_of(await owner.get(f"/ledger/transactions?{query}"))) is sees

    @pytest.mark.parametrize("query", ["since=yesterday", "source=hello", "source=pay_x", "after=zzz"])
    async def test_what_cannot_be_read_is_refused(self, owner: Browser, book: dict[str, int], query: str) -> None:
        assert (await owner.get(f"/ledger/transactions?{query}")).status_code == 422


class TestShowTransaction:
    async def test_shows_both_sides_and_what_belongs_to_it(self, owner: Browser, book: dict[str, int]) -> None:
        said = text_of(await owner.get(f"/ledger/transactions/txn_{book['first']}"))
        assert "Total balanced €1,234.56 €1,234.56" in said
        assert "Also from this" in said
        assert "€1,000.00" in said

    @pytest.mark.parametrize("number", ["txn_999999999", "txn_", "x"])
    async def test_what_does_not_exist_is_not_found(self, owner: Browser, book: dict[str, int], number: str) -> None:
        assert (await owner.get(f"/ledger/transactions/{number}")).status_code == 404


class TestShowTrialBalance:
    async def test_comes_to_the_same_sum_on_both_sides(self, owner: Browser, book: dict[str, int]) -> None:
        assert "Total balanced €234.56 €234.56" in text_of(await owner.get("/ledger/trial-balance"))

    async def test_at_the_end_of_a_day(self, owner: Browser, book: dict[str, int]) -> None:
        assert "Total balanced €1,234.56 €1,234.56" in text_of(await owner.get("/ledger/trial-balance?as_of=2026-11-01"))
        assert "Nothing was posted by then" in text_of(await owner.get("/ledger/trial-balance?as_of=2026-10-31"))

    async def test_refuses_what_is_no_day(self, owner: Browser) -> None:
        assert (await owner.get("/ledger/trial-balance?as_of=2026-13-01")).status_code == 422


class TestDownloadTrialBalance:
    async def test_ends_with_the_totals(self, owner: Browser, book: dict[str, int]) -> None:
        response = await owner.get("/ledger/trial-balance.csv")
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert (rows[-1]["name"], rows[-1]["debit"], rows[-1]["credit"]) == ("Total", "234.56", "234.56")


PATHS = ["/ledger/accounts/acc_{account}", "/ledger/accounts/acc_{account}/statement.csv", "/ledger/transactions/txn_{first}"]


class TestStrangers:
    @pytest.mark.parametrize("path", PATHS)
    async def test_find_nothing(self, open_browser: Callable[[], Browser], book: dict[str, int], path: str) -> None:
        other = await make_tenant()
        stranger = open_browser()
        await stranger.adopt(PersonId(other.owner.id), merchant_id=other.id)
        assert (await stranger.get(path.format(**book))).status_code == 404
