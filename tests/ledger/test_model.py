"""The ledger against a model of it: any sequence of postings, repetitions, reversals, holds, roll-ups and closings gives the same balances."""

from collections import defaultdict
from datetime import date, timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from psycopg import errors

from app.core.embedded import Urls
from app.core.ids import new_id
from app.core.money import Money
from app.ledger.domain import AccountRef, Code, Line, Owner, Side
from app.ledger.domain import net as change_of
from app.ledger.queries.checks import INVARIANTS
from tests.ledger.direct import acting_for, post, unless_refused

OWNERS = [Owner("seller", UUID(int=number)) for number in range(1, 4)]
LIMITED = [owner.account(code) for owner in OWNERS for code in (Code.SELLER_PENDING, Code.SELLER_AVAILABLE)]
FREE = [AccountRef(Code.BANK_OPERATING), AccountRef(Code.PLATFORM_FEE), OWNERS[0].account(Code.SELLER_RECEIVABLE)]
ACCOUNTS = st.sampled_from([*LIMITED, *FREE, *FREE])
FIRST = date(2026, 11, 1)


@st.composite
def balanced(draw: st.DrawFn) -> list[Line]:
    """Lines that balance: some pairs, shuffled."""
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        amount = Money(draw(st.integers(1, 500)), draw(st.sampled_from(["EUR", "EUR", "JPY"])))
        lines += [Line(draw(ACCOUNTS), Side.DEBIT, amount), Line(draw(ACCOUNTS), Side.CREDIT, amount)]
    return draw(st.permutations(lines))


class Ledger(RuleBasedStateMachine):
    """What the database must do, computed with a dictionary."""

    connection: psycopg.Connection

    @initialize()
    def open(self) -> None:
        self.merchant = new_id()
        self.held: defaultdict[tuple[AccountRef, str], int] = defaultdict(int)
        self.reserved: defaultdict[tuple[AccountRef, str], int] = defaultdict(int)
        self.posted: list[tuple[UUID, list[Line], int, bool]] = []
        self.holds: list[tuple[int, list[Line]]] = []
        self.closed = FIRST - timedelta(days=1)

    def allowed(self, lines: list[Line], *, held: bool = False) -> bool:
        """Whether every account with a limit stays above it."""
        taken = self.debits(lines) if held else change_of(lines)
        return all(
            -self.held[account, currency] - self.reserved[account, currency] >= minor
            for (account, currency), minor in taken.items()
            if account in LIMITED
        )

    def debits(self, lines: list[Line]) -> dict[tuple[AccountRef, str], int]:
        sums: defaultdict[tuple[AccountRef, str], int] = defaultdict(int)
        for line in lines:
            if line.side == Side.DEBIT:
                sums[line.account, line.amount.currency] += line.amount.minor
        return sums

    def book(self, lines: list[Line], sign: int = 1) -> None:
        for key, minor in change_of(lines).items():
            self.held[key] += sign * minor

    def try_to(self, statement: str, *values: object) -> int | None:
        """Run a function; None when its limits refuse it."""

        def work() -> int:
            with acting_for(self.connection, self.merchant):
                row = self.connection.execute(statement, values).fetchone()
            assert row is not None
            return int(row[0])

        return unless_refused(work, by="ck_balance_no_overdraft")

    @rule(lines=balanced(), ahead=st.integers(1, 3))
    def post(self, lines: list[Line], ahead: int) -> None:
        source = new_id()

        def work() -> int:
            with acting_for(self.connection, self.merchant):
                return post(self.connection, self.merchant, lines, source=source, on=str(self.closed + timedelta(days=ahead)))

        number = unless_refused(work, by="ck_balance_no_overdraft")
        assert (number is not None) == self.allowed(lines)
        if number is not None:
            self.book(lines)
            self.posted.append((source, lines, number, False))

    @precondition(lambda self: self.posted)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        source, lines, number, _ = data.draw(st.sampled_from(self.posted))
        with acting_for(self.connection, self.merchant):
            assert post(self.connection, self.merchant, lines, source=source, on=str(FIRST)) == number

    @precondition(lambda self: self.posted)
    @rule(data=st.data(), lines=balanced())
    def repeat_with_other_content(self, data: st.DataObject, lines: list[Line]) -> None:
        source, before, _, _ = data.draw(st.sampled_from(self.posted))
        if lines == before:
            return
        with pytest.raises(errors.UniqueViolation), acting_for(self.connection, self.merchant):
            post(self.connection, self.merchant, lines, source=source, on=str(self.closed + timedelta(days=1)))

    @precondition(lambda self: any(not reversed_ for *_, reversed_ in self.posted))
    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from([i for i, entry in enumerate(self.posted) if not entry[3]]))
        source, lines, number, _ = self.posted[index]
        undo = [Line(line.account, line.side.opposite, line.amount) for line in lines]
        statement = "select ledger.reverse(%s, %s, 'ledger.reversed', %s, %s)"
        done = self.try_to(statement, self.merchant, number, f"undo:{number}", self.closed + timedelta(days=1))
        assert (done is not None) == self.allowed(undo)
        if done is not None:
            self.book(undo)
            self.posted[index] = (source, lines, number, True)

    @rule(lines=balanced())
    def hold(self, lines: list[Line]) -> None:
        columns = [
            [str(line.account.code) for line in lines],
            [line.account.owner_type for line in lines],
            [line.account.owner_id for line in lines],
            [line.amount.currency for line in lines],
            [int(line.side) for line in lines],
            [line.amount.minor for line in lines],
        ]
        statement = "select ledger.hold(%s, 'ledger.adjusted', 'hold', %s, 'h', %s, %s::text[], %s::text[], %s::uuid[], %s::text[], %s::smallint[], %s::bigint[])"
        number = self.try_to(statement, self.merchant, new_id(), self.closed + timedelta(days=1), *columns)
        assert (number is not None) == self.allowed(lines, held=True)
        if number is not None:
            for key, minor in self.debits(lines).items():
                self.reserved[key] += minor
            self.holds.append((number, lines))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), posts=st.booleans())
    def end_hold(self, data: st.DataObject, posts: bool) -> None:
        number, lines = self.holds.pop(data.draw(st.integers(0, len(self.holds) - 1)))
        amounts = [line.amount.minor for line in lines] if posts else None
        statement = "select ledger.end_hold(%s, %s, %s, %s, %s::bigint[])"
        done = self.try_to(statement, self.merchant, number, f"end:{number}", self.closed + timedelta(days=1), amounts)
        assert done is not None
        for key, minor in self.debits(lines).items():
            self.reserved[key] -= minor
        if posts:
            self.book(lines)

    @rule()
    def roll_up(self) -> None:
        with acting_for(self.connection, self.merchant):
            self.connection.execute("select ledger.roll_up(%s, 3)", (self.merchant,))

    @precondition(lambda self: self.posted)
    @rule()
    def close(self) -> None:
        self.closed += timedelta(days=1)
        with acting_for(self.connection, self.merchant):
            self.connection.execute("select ledger.close_period(%s, %s)", (self.merchant, self.closed))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        with acting_for(self.connection, self.merchant):
            rows = self.connection.execute(
                "select a.code, a.owner_type, a.owner_id, a.currency,"
                " (select sum(debits_posted - credits_posted) from ledger.balance b where b.account_id = a.id)"
                " + coalesce((select sum(debits - credits) from ledger.balance_delta d where d.account_id = a.id), 0),"
                " (select sum(debits_pending) from ledger.balance b where b.account_id = a.id)"
                " + coalesce((select sum(debits_pending) from ledger.balance_delta d where d.account_id = a.id), 0)"
                " from ledger.account a"
            ).fetchall()
            found = {
                (AccountRef(code, kind or None, owner if kind else None), currency): (int(total), int(kept))
                for code, kind, owner, currency, total, kept in rows
            }
            for check in INVARIANTS:
                scope = (
                    check.statement.replace("{scope}", "true")
                    .replace("cast(:merchant as uuid) is null", "true")
                    .replace(":merchant", "null")
                )
                assert self.connection.execute(scope).fetchall() == [], check.name
        for key in {*self.held, *self.reserved}:
            assert found.get(key, (0, 0)) == (self.held[key], self.reserved[key]), key


def test_the_database_agrees_with_the_model(database: Urls) -> None:
    with psycopg.connect(database.app) as connection:

        class Connected(Ledger):
            pass

        Connected.connection = connection
        run_state_machine_as_test(Connected, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
