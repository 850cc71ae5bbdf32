"""Statements whose balances are right on every page, and a check that finds what was planted."""

from collections.abc import Sequence
from datetime import date

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id, public_id
from app.core.paging import Cursor, MalformedCursor
from app.ledger import queries
from app.ledger.domain import AccountId, Code
from app.ledger.queries.statements import statement_page
from app.ledger.schemas import CheckReport, Filters, StatementPage, StatementRow
from tests.ledger.conftest import Connect
from tests.ledger.direct import acting_for, fund, post, seller, spend

ANNA = seller()


async def page(merchant: MerchantId, account: AccountId, after: str | None = None, size: int = 7) -> StatementPage:
    async with unit_of_work(merchant) as session:
        return await statement_page(session, merchant_id=merchant, account_id=account, after=after, size=size)


async def every_row(merchant: MerchantId, account: AccountId, size: int) -> list[StatementRow]:
    rows: list[StatementRow] = []
    found = await page(merchant, account, size=size)
    while True:
        rows += found.rows
        if found.next is None:
            assert found.opening.minor == 0
            return rows
        found = await page(merchant, account, found.next, size)


def account_of(connection: psycopg.Connection, merchant: MerchantId, code: str = Code.SELLER_AVAILABLE) -> AccountId:
    with acting_for(connection, merchant):
        row = connection.execute("select min(id) from ledger.account where code = %s", (code,)).fetchone()
    assert row is not None
    return AccountId(row[0])


def expected(rows: Sequence[StatementRow]) -> list[int]:
    """The balance after each row, added up from the oldest."""
    balance, balances = 0, []
    for row in reversed(rows):
        balance += (row.credit.minor if row.credit else 0) - (row.debit.minor if row.debit else 0)
        balances.append(balance)
    return balances[::-1]


@pytest.fixture
def busy(connection: psycopg.Connection, merchant: MerchantId) -> AccountId:
    """A wallet with 45 lines, two of them often in one transaction."""
    for number in range(1, 16):
        with acting_for(connection, merchant):
            post(connection, merchant, [*fund(ANNA, number * 10), *spend(ANNA, number)])
            post(connection, merchant, spend(ANNA, 2))
            connection.execute("select ledger.roll_up(%s, 10)", (merchant,))
    return account_of(connection, merchant)


class TestStatement:
    @pytest.mark.parametrize("size", [1, 2, 7, 45, 100])
    async def test_every_page_has_the_right_balances(self, merchant: MerchantId, busy: AccountId, size: int) -> None:
        rows = await every_row(merchant, busy, size)
        assert len(rows) == 45
        assert [row.balance.minor for row in rows] == expected(rows)

    async def test_of_a_deferred_account_too(self, connection: psycopg.Connection, merchant: MerchantId, busy: AccountId) -> None:
        rows = await every_row(merchant, account_of(connection, merchant, Code.BANK_OPERATING), 8)
        assert [-row.balance.minor for row in rows] == expected(rows)

    async def test_stays_put_while_entries_arrive(self, connection: psycopg.Connection, merchant: MerchantId, busy: AccountId) -> None:
        before = await every_row(merchant, busy, 100)
        first = await page(merchant, busy)
        with acting_for(connection, merchant):
            post(connection, merchant, fund(ANNA, 999))
        second = await page(merchant, busy, first.next)
        assert [*first.rows, *second.rows] == before[:14]

    async def test_is_not_shifted_by_a_lower_number_that_arrives_late(
        self, connect: Connect, merchant: MerchantId, busy: AccountId
    ) -> None:
        late, quick = connect(), connect()
        bank = account_of(quick, merchant, Code.BANK_OPERATING)
        with acting_for(late, merchant):
            lower = post(late, merchant, fund(seller(), 5000))
            with acting_for(quick, merchant):
                assert post(quick, merchant, fund(seller(), 1)) > lower
            first = await page(merchant, bank, size=1)
        second = await page(merchant, bank, first.next, 3)
        assert second.rows[0].transaction_id < lower
        assert second.rows[0].balance.minor == first.rows[0].balance.minor - 1
        fresh = await every_row(merchant, bank, 5)
        assert [row.balance.minor for row in fresh[:2]] == [first.rows[0].balance.minor + 5000, first.rows[0].balance.minor + 4999]

    async def test_of_an_account_never_used(self, connection: psycopg.Connection, merchant: MerchantId) -> None:
        with acting_for(connection, merchant):
            connection.execute("select ledger.open_account(%s, '2110', 'seller', %s, 'EUR')", (merchant, new_id()))
        found = await page(merchant, account_of(connection, merchant))
        assert (found.rows, found.next, found.opening.minor) == ([], None, 0)

    @pytest.mark.parametrize(
        "values", [(1,), (1, 2, 3, "x"), (1, 2, 3, "9:3:"), (1, 2, 3, "3:9:11"), ("1", 2, 3, "3:9:"), (1, 2, 3, "1:9:5,4")]
    )
    async def test_a_made_up_pointer_is_refused(self, merchant: MerchantId, busy: AccountId, values: tuple[str | int, ...]) -> None:
        with pytest.raises(MalformedCursor):
            await page(merchant, busy, Cursor(values).encode())


class TestLists:
    async def test_accounts_by_code_name_owner_and_currency(self, merchant: MerchantId, busy: AccountId) -> None:
        async with unit_of_work(merchant) as session:

            async def codes(query: str, currency: str = "") -> list[str]:
                found = await queries.account_list_page(session, merchant_id=merchant, query=query, currency=currency)
                return [row.code for row in found.accounts.items]

            assert await codes("") == ["1200", "2110"]
            assert await codes("21") == ["2110"]
            assert await codes("wallet") == ["2110"]
            assert await codes(public_id("sel", ANNA.id)) == ["2110"]
            assert await codes("sel_nonsense") == []
            assert await codes("%") == []
            assert await codes("", "USD") == []

    async def test_the_journal_by_day_kind_and_source(self, connection: psycopg.Connection, merchant: MerchantId) -> None:
        payment = new_id()
        with acting_for(connection, merchant):
            first = post(connection, merchant, fund(ANNA, 100), on="2026-11-01")
            second = post(connection, merchant, fund(ANNA, 100), on="2026-11-05", kind="payment.captured")
            connection.execute(
                "select ledger.post1(%s, 'payment.authorised', 'payment', %s, 'auth', '2026-11-07', '{9100,9200}', '{null,null}', '{null,null}',"
                " '{EUR,EUR}', '{1,-1}', '{5,5}')",
                (merchant, payment),
            )
        async with unit_of_work(merchant) as session:

            async def numbers(filters: Filters) -> list[int]:
                found = await queries.journal_page(session, merchant_id=merchant, filters=filters)
                return [int(view.id) for view in found.transactions.items]

            assert (await numbers(Filters()))[1:] == [second, first]
            assert await numbers(Filters(since=date(2026, 11, 2), until=date(2026, 11, 6))) == [second]
            assert await numbers(Filters(kind="payment.captured")) == [second]
            assert len(await numbers(Filters(source=public_id("pay", payment)))) == 1

    async def test_the_trial_balance_has_each_side_once(self, merchant: MerchantId, busy: AccountId) -> None:
        async with unit_of_work(merchant) as session:
            [balance] = (await queries.trial_balance_page(session, merchant_id=merchant)).balances
        assert balance.is_balanced
        assert [(row.code, row.debit, row.credit) for row in balance.rows] == [
            ("1200", balance.debits, None),
            ("2110", None, balance.credits),
        ]


PLANTED = {
    "an amount": ("update ledger.entry set amount = amount + 1 where line = 1", "I1 every transaction balances in each currency"),
    "a line": ("delete from ledger.entry where line = 1", "I1 every transaction has at least two lines"),
    "a currency": (
        "update ledger.entry set currency = 'USD'",
        "I1 every line has its transaction, and an account of its merchant in its currency",
    ),
    "an account": (
        "update ledger.entry set account_id = account_id + 1000000",
        "I1 every line has its transaction, and an account of its merchant in its currency",
    ),
    "a transaction": (
        "delete from ledger.txn",
        "I1 every line has its transaction, and an account of its merchant in its currency",
    ),
    "both lines": ("update ledger.entry set amount = amount + 1", "I2 every balance is the sum of its entries"),
    "a balance": (
        "update ledger.balance set credits_posted = credits_posted + 1 where min_available = 0",
        "I3 debits equal credits over the whole book",
    ),
    "a delta": ("delete from ledger.balance_delta", "I2 every balance is the sum of its entries"),
    "an overdraft": (
        "alter table ledger.balance drop constraint ck_balance_no_overdraft; update ledger.balance set debits_posted = 999 where min_available = 0",
        "I3 no account is below its limit",
    ),
    "a limit": ("update ledger.balance set min_available = null where min_available = 0", "I3 an account in the chart with a limit has it"),
}


class TestCheck:
    @pytest.mark.parametrize("planted", PLANTED)
    async def test_finds_what_was_planted_past_the_guards(
        self, database: Urls, connection: psycopg.Connection, superuser: psycopg.Connection, merchant: MerchantId, planted: str
    ) -> None:
        statement, invariant = PLANTED[planted]
        with acting_for(connection, merchant):
            post(connection, merchant, fund(ANNA, 100))
        other = MerchantId(new_id())
        with acting_for(connection, other):
            post(connection, other, fund(ANNA, 100))
        assert (await self.report(merchant)).is_sound
        check = superuser.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'ck_balance_no_overdraft'"
        ).fetchone()
        assert check is not None
        try:
            superuser.execute("set session_replication_role = replica")
            superuser.execute(statement)
            found = await self.report(merchant)
            assert not found.is_sound
            assert invariant in {violation.invariant for violation in found.violations}
            assert {violation.merchant_id for violation in found.violations} == {merchant}
        finally:
            superuser.execute("delete from ledger.balance")
            superuser.execute("alter table ledger.balance drop constraint if exists ck_balance_no_overdraft")
            superuser.execute(f"alter table ledger.balance add constraint ck_balance_no_overdraft {check[0]}")
            superuser.execute("set session_replication_role = origin")

    async def report(self, merchant: MerchantId) -> CheckReport:
        async with unit_of_work(merchant) as session:
            return await queries.check(session)

    async def test_a_sound_book_is_counted(self, merchant: MerchantId, busy: AccountId) -> None:
        found = await self.report(merchant)
        assert (found.is_sound, found.books, found.accounts, found.transactions, found.entries) == (True, 1, 2, 30, 90)

    async def test_as_the_owner_it_covers_every_book(self, database: Urls, connection: psycopg.Connection, merchant: MerchantId) -> None:
        others = [MerchantId(new_id()) for _ in range(2)]
        for each in others:
            with acting_for(connection, each):
                post(connection, each, fund(ANNA, 100))
        engine = create_async_engine(database.owner)
        async with AsyncSession(engine) as session:
            found = await queries.check(session)
        await engine.dispose()
        assert (found.books, found.is_sound) == (2, True)
