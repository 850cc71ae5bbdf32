"""What the database refuses by itself: writing past the functions, other merchants' books, changing what stands, what does not balance."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from app.ledger import domain, queries, service
from tests.ledger.direct import acting_for, fund, post, seller
from tests.ledger.test_post import posting

TABLES = ["book", "account", "balance", "txn", "entry", "balance_delta", "balance_snapshot"]
REFERENCE = ["currency", "provider_currency", "txn_kind", "chart"]


@pytest.fixture
def written(connection: psycopg.Connection, merchant: MerchantId) -> int:
    """A posted transaction, rolled up and closed, so that every table has a row."""
    with acting_for(connection, merchant):
        number = post(connection, merchant, fund(seller(), 100), on="2026-11-01")
        connection.execute("select ledger.close_period(%s, '2026-11-02')", (merchant,))
    return number


@pytest.fixture
def owner(database: Urls) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the tables."""
    with psycopg.connect(database.owner) as connection:
        yield connection


class TestTheApplicationRole:
    @pytest.mark.parametrize("table", [*TABLES, *REFERENCE])
    @pytest.mark.parametrize(
        "statement",
        ["delete from ledger.{}", "update ledger.{0} set {1} = {1}", "insert into ledger.{} default values", "truncate ledger.{}"],
    )
    def test_writes_no_table(self, connection: psycopg.Connection, merchant: MerchantId, written: int, table: str, statement: str) -> None:
        column = {"currency": "code", "provider_currency": "code", "txn_kind": "code", "chart": "code"}.get(table, "merchant_id")
        with pytest.raises(errors.InsufficientPrivilege), acting_for(connection, merchant):
            connection.execute(statement.format(table, column))

    @pytest.mark.parametrize(
        "statement",
        [
            "alter table ledger.entry disable trigger all",
            "alter table ledger.txn disable trigger txn_complete",
            "alter table ledger.balance drop constraint ck_balance_no_overdraft",
            "alter table ledger.entry disable row level security",
            "drop table ledger.entry_rest",
            "set session_replication_role = replica",
            "set role countinghouse_owner",
            "select ledger.apply(null, null, null, null, null, null, null)",
            "insert into ledger.entry_p0 default values",
            "select * from ledger.entry_p0",
        ],
    )
    def test_switches_no_guard_off(self, connection: psycopg.Connection, merchant: MerchantId, statement: str) -> None:
        with pytest.raises(errors.InsufficientPrivilege), acting_for(connection, merchant):
            connection.execute(statement)


EVENT = "%(other)s, 'ledger.adjusted', 'x', %(other)s, 'x', '2026-11-21'"
LINES = "'{1200,2110}', '{null,seller}', array[null, %(other)s]::uuid[], '{EUR,EUR}', '{1,-1}', '{5,5}'"


class TestTenants:
    def test_each_sees_its_own_book_only(self, connection: psycopg.Connection, merchant: MerchantId, written: int) -> None:
        for viewer, sees in ((merchant, True), (new_id(), False)):
            with acting_for(connection, viewer):
                for table in ["book", "account", "balance", "txn", "entry", "balance_snapshot"]:
                    found = connection.execute(f"select count(*) from ledger.{table}").fetchone()
                    assert found is not None
                    assert (found[0] > 0) is sees, table

    def test_without_a_merchant_nothing_is_seen(self, connection: psycopg.Connection, written: int) -> None:
        assert connection.execute("select count(*) from ledger.txn").fetchone() == (0,)

    @pytest.mark.parametrize(
        "call",
        [
            "select ledger.open_book(%(other)s)",
            "select ledger.open_account(%(other)s, '2110', 'seller', %(other)s, 'EUR')",
            "select ledger.set_account_status(%(other)s, 1, 3::smallint)",
            "select ledger.lock_available(%(other)s, '2110', 'seller', %(other)s, 'EUR')",
            "select ledger.reverse(%(other)s, %(txn)s, 'ledger.reversed', 'x', '2026-11-21')",
            "select ledger.end_hold(%(other)s, %(txn)s, 'x', '2026-11-21')",
            "select ledger.roll_up(%(other)s)",
            "select ledger.close_period(%(other)s, '2026-11-21')",
            f"select ledger.post1({EVENT}, {LINES})",
            f"select ledger.hold({EVENT}, {LINES})",
            f"select ledger.post(%(other)s, '{{ledger.adjusted}}', '{{x}}', array[%(other)s]::uuid[], '{{x}}', '{{2026-11-21}}', '{{1,1}}', {LINES})",
        ],
    )
    @pytest.mark.parametrize("acting", [True, False], ids=["as another", "as nobody"])
    def test_no_function_writes_another_book(
        self, connection: psycopg.Connection, merchant: MerchantId, written: int, call: str, acting: bool
    ) -> None:
        with pytest.raises(errors.InsufficientPrivilege) as refused, acting_for(connection, new_id() if acting else ""):
            connection.execute(call, {"other": merchant, "txn": written})
        assert refused.value.diag.constraint_name == "ledger_tenant"

    async def test_the_service_says_so(self, merchant: MerchantId) -> None:
        with pytest.raises(domain.BookNotOpen):
            async with unit_of_work(MerchantId(new_id())) as session:
                await service.post(session, merchant_id=merchant, postings=[posting(fund(seller(), 1))])

    async def test_numbers_of_another_book_are_not_found(self, merchant: MerchantId, written: int, superuser: psycopg.Connection) -> None:
        account = superuser.execute("select min(id) from ledger.account").fetchone()
        assert account is not None
        stranger = MerchantId(new_id())
        async with unit_of_work(stranger) as session:
            with pytest.raises(domain.TransactionNotFound):
                await queries.transaction_page(session, merchant_id=stranger, transaction_id=domain.TransactionId(written))
            with pytest.raises(domain.AccountNotFound):
                await queries.statement_page(session, merchant_id=stranger, account_id=domain.AccountId(account[0]))
            with pytest.raises(domain.AccountNotFound):
                await queries.statement_page(session, merchant_id=merchant, account_id=domain.AccountId(account[0]))

    def test_an_entry_cannot_name_another_merchants_account(
        self, owner: psycopg.Connection, connection: psycopg.Connection, merchant: MerchantId, written: int
    ) -> None:
        other = new_id()
        with acting_for(connection, other):
            theirs = post(connection, other, fund(seller(), 100))
        with acting_for(owner, other):
            account = owner.execute("select min(id) from ledger.account where merchant_id = %s", (merchant,)).fetchone()
        assert account is not None
        insert = (
            "insert into ledger.entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on)"
            " select %(m)s, %(t)s, 10 + n, %(a)s, 'EUR', n, 5, '2026-11-21' from unnest(array[1, -1]) n"
        )
        with pytest.raises(errors.ForeignKeyViolation), acting_for(owner, other):
            owner.execute(insert, {"m": other, "t": theirs, "a": account[0]})
        with pytest.raises(errors.InsufficientPrivilege), acting_for(owner, other):
            owner.execute(insert, {"m": merchant, "t": written, "a": account[0]})

    def test_an_entry_cannot_change_the_currency_of_its_account(
        self, owner: psycopg.Connection, merchant: MerchantId, written: int
    ) -> None:
        with pytest.raises(errors.ForeignKeyViolation), acting_for(owner, merchant):
            owner.execute(
                "insert into ledger.entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on)"
                " select merchant_id, txn_id, line + 10, account_id, 'USD', side, amount, effective_on from ledger.entry"
            )

    @pytest.mark.parametrize(
        ("column", "value", "refusal"),
        [
            ("txn_id", "txn_id + 1000000", "ledger_line_transaction"),
            ("account_id", "account_id + 1000000", "ledger_line_account"),
            ("currency", "case when line = 1 then 'USD' else currency end", "ledger_line_account"),
        ],
    )
    @pytest.mark.parametrize("table", ["entry", "entry_p0", "entry_rest"])
    @pytest.mark.parametrize("transactions", [1, 2])
    def test_each_line_has_its_transaction_and_its_account(
        self,
        superuser: psycopg.Connection,
        connection: psycopg.Connection,
        merchant: MerchantId,
        written: int,
        table: str,
        transactions: int,
        column: str,
        value: str,
        refusal: str,
    ) -> None:
        if transactions > 1:
            with acting_for(connection, merchant):
                post(connection, merchant, fund(seller(), 100), key="another")
        # the default partition takes what no other one does
        number = value.replace("txn_id", "txn_id + 900000000000") if table == "entry_rest" and column == "txn_id" else value
        columns = ["merchant_id", "txn_id", "line", "account_id", "currency", "side", "amount", "effective_on"]
        chosen = [number if name == column else "line + 10" if name == "line" else name for name in columns]
        if table == "entry_rest" and column != "txn_id":
            chosen[1] = "txn_id + 900000000000"
        insert = f"insert into ledger.{table} ({', '.join(columns)}) select {', '.join(chosen)} from ledger.entry"
        with pytest.raises(errors.ForeignKeyViolation) as refused, acting_for(superuser, merchant):
            superuser.execute(insert)
        assert refused.value.diag.constraint_name == refusal


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "update ledger.entry set amount = amount + 1",
            "delete from ledger.entry",
            "delete from ledger.entry_p0",
            "truncate ledger.entry",
            "truncate ledger.entry_p0",
            "update ledger.txn set effective_on = '2026-01-01'",
            "delete from ledger.txn",
            "truncate ledger.txn cascade",
            "update ledger.balance_snapshot set debits = 0",
            "delete from ledger.balance_snapshot",
            "update ledger.account set currency = 'USD'",
            "delete from ledger.account",
            "delete from ledger.book",
            "update ledger.book set closed_through = null",
            "delete from ledger.balance",
            "truncate ledger.balance_delta",
        ],
    )
    def test_even_for_the_owner_and_the_superuser(
        self, owner: psycopg.Connection, superuser: psycopg.Connection, merchant: MerchantId, written: int, statement: str
    ) -> None:
        for role in (owner, superuser):
            with pytest.raises(errors.InsufficientPrivilege, match=r"append-only|status|closed period"), acting_for(role, merchant):
                role.execute(statement)


class TestBalancedTwice:
    INSERT = (
        "insert into ledger.entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on)"
        " select %s, %s, 10, min(id), 'EUR', 1, 5, '2026-11-21' from ledger.account"
    )

    @pytest.mark.parametrize("table", ["entry", "entry_p0"])
    def test_a_statement_that_leaves_a_transaction_unbalanced(
        self, owner: psycopg.Connection, merchant: MerchantId, written: int, table: str
    ) -> None:
        with pytest.raises(errors.CheckViolation) as refused, acting_for(owner, merchant):
            owner.execute(self.INSERT.replace("ledger.entry", f"ledger.{table}"), (merchant, written))
        assert refused.value.diag.constraint_name == "ledger_balanced"

    def test_the_posting_function_with_unbalanced_lines(self, connection: psycopg.Connection, merchant: MerchantId) -> None:
        lines = [*fund(seller(), 5), *fund(seller(), 7)[:1]]
        with pytest.raises(errors.CheckViolation) as refused, acting_for(connection, merchant):
            post(connection, merchant, lines)
        assert refused.value.diag.constraint_name == "ledger_balanced"

    @pytest.mark.parametrize("lines", [0, 1, 2])
    def test_a_header_whose_entries_are_missing_or_unbalanced_at_commit(
        self, superuser: psycopg.Connection, connection: psycopg.Connection, merchant: MerchantId, written: int, lines: int
    ) -> None:
        superuser.execute("alter table ledger.entry disable trigger entry_balanced")
        try:
            with pytest.raises(errors.CheckViolation) as refused, acting_for(superuser, merchant):
                superuser.execute(
                    "with header as (insert into ledger.txn (merchant_id, kind, source_type, source_id, event_key, req_hash, effective_on)"
                    " values (%(m)s, 'ledger.adjusted', 'x', %(m)s, 'x', '', '2026-11-21') returning id)"
                    " insert into ledger.entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on)"
                    " select %(m)s, header.id, n, (select min(id) from ledger.account), 'EUR', 1, 5, '2026-11-21'"
                    " from header, generate_series(1, %(n)s) n",
                    {"m": merchant, "n": lines},
                )
        finally:
            superuser.execute("alter table ledger.entry enable trigger entry_balanced")
        assert refused.value.diag.constraint_name == "ledger_complete"

    @pytest.mark.parametrize("minor", [0, -5])
    def test_an_amount_that_is_not_positive(self, connection: psycopg.Connection, merchant: MerchantId, minor: int) -> None:
        with pytest.raises(errors.CheckViolation) as refused, acting_for(connection, merchant):
            post(connection, merchant, fund(seller(), minor))
        assert refused.value.diag.constraint_name == "ck_entry_amount"

    def test_nothing_at_all(self, connection: psycopg.Connection, merchant: MerchantId, written: int) -> None:
        with pytest.raises(errors.CheckViolation) as refused, acting_for(connection, merchant):
            post(connection, merchant, [])
        assert refused.value.diag.constraint_name == "ledger_complete"


class TestPartitions:
    def test_are_made_ahead_and_guarded(self, superuser: psycopg.Connection, connection: psycopg.Connection, merchant: MerchantId) -> None:
        sequence = "ledger.txn_id_seq"
        before = superuser.execute(f"select last_value from {sequence}").fetchone()
        assert before is not None
        try:
            superuser.execute(f"select setval('{sequence}', 39999999)")
            with acting_for(connection, merchant):
                assert connection.execute("select ledger.ensure_partitions()").fetchone() == (1,)
                assert connection.execute("select ledger.ensure_partitions()").fetchone() == (0,)
                numbers = [post(connection, merchant, fund(seller(), 5)) for _ in range(2)]
            assert numbers == [40_000_000, 40_000_001]
            assert superuser.execute("select count(*) from ledger.entry_p40000000").fetchone() == (4,)
            guards = "select relrowsecurity and relforcerowsecurity from pg_class where relname = 'entry_p40000000'"
            assert superuser.execute(guards).fetchone() == (True,)
            with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
                superuser.execute("truncate ledger.entry_p40000000")
            with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
                superuser.execute("delete from ledger.entry_p40000000")
        finally:
            superuser.execute("set session_replication_role = replica; drop table if exists ledger.entry_p40000000, ledger.entry_p60000000")
            superuser.execute("set session_replication_role = origin")
            superuser.execute(f"select setval('{sequence}', {before[0]})")

    def test_posting_goes_on_when_none_was_made(
        self, superuser: psycopg.Connection, connection: psycopg.Connection, merchant: MerchantId
    ) -> None:
        before = superuser.execute("select last_value from ledger.txn_id_seq").fetchone()
        assert before is not None
        made: list[str] = []
        try:
            superuser.execute("select setval('ledger.txn_id_seq', 900000000)")
            with acting_for(connection, merchant):
                post(connection, merchant, fund(seller(), 5))
                assert connection.execute("select ledger.ensure_partitions()").fetchone() == (1,)
                post(connection, merchant, fund(seller(), 5))
                found = connection.execute("select count(*) from ledger.entry").fetchone()
            assert found == (4,)
            made = [
                row[0]
                for row in superuser.execute(
                    "select c.relname from pg_inherits i join pg_class c on c.oid = inhrelid where inhparent = 'ledger.entry'::regclass and c.relname ~ 'entry_p9'"
                ).fetchall()
            ]
            assert made == ["entry_p920000000"]
        finally:
            superuser.execute("set session_replication_role = replica; drop table if exists ledger.entry_p920000000")
            superuser.execute("set session_replication_role = origin")
            superuser.execute(f"select setval('ledger.txn_id_seq', {before[0]})")
