"""Many at once: no wallet overdrawn, no deadlock, nothing posted twice, nothing lost while deltas are folded."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import psycopg

from app.core.ids import MerchantId, new_id
from app.core.money import Money
from app.ledger.domain import Code, Line, Owner, credit, debit
from tests.ledger.conftest import Connect
from tests.ledger.direct import BANK, acting_for, available, eur, fund, move, net, post, seller, spend, unless_refused

CROWD = 16


def together(connect: Connect, work: Callable[[psycopg.Connection, int], int]) -> list[int]:
    """Start the work on many connections at the same moment; returns what each returned."""
    barrier, connections = Barrier(CROWD), [connect() for _ in range(CROWD)]

    def one(number: int) -> int:
        barrier.wait(20)
        return work(connections[number], number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


class TestOneWallet:
    def test_is_never_overdrawn(self, connect: Connect, merchant: MerchantId) -> None:
        anna, bank = seller(), connect()
        for _ in range(10):
            with acting_for(bank, merchant):
                post(bank, merchant, fund(anna, 100))

            def take(connection: psycopg.Connection, _number: int) -> int:
                def work() -> int:
                    with acting_for(connection, merchant):
                        post(connection, merchant, spend(anna, 60))
                    return 1

                return unless_refused(work, by="ck_balance_no_overdraft") or 0

            assert sum(together(connect, take)) == 1
            with acting_for(bank, merchant):
                post(bank, merchant, spend(anna, 40))
        with acting_for(bank, merchant):
            assert net(bank, merchant)[Code.SELLER_AVAILABLE, anna.id] == 0

    def test_one_event_posted_by_many_counts_once(self, connect: Connect, merchant: MerchantId) -> None:
        anna, source, bank = seller(), new_id(), connect()

        def again(connection: psycopg.Connection, _number: int) -> int:
            with acting_for(connection, merchant):
                return post(connection, merchant, fund(anna, 100), source=source)

        assert len(set(together(connect, again))) == 1
        with acting_for(bank, merchant):
            assert net(bank, merchant)[Code.SELLER_AVAILABLE, anna.id] == -100


class TestManyAccounts:
    def test_crossing_transfers_do_not_deadlock(self, connect: Connect, merchant: MerchantId) -> None:
        owners, bank = [seller() for _ in range(6)], connect()
        with acting_for(bank, merchant):
            for owner in owners:
                post(bank, merchant, fund(owner, 1_000_000))

        def shuffle(connection: psycopg.Connection, number: int) -> int:
            chance = random.Random(number)
            for _ in range(30):
                chain = chance.sample(owners, 4)
                lines = [line for giver, taker in pairwise(chain) for line in move(giver, taker, chance.randint(1, 50))]
                chance.shuffle(lines)
                with acting_for(connection, merchant):
                    post(connection, merchant, lines)
            return 30

        assert sum(together(connect, shuffle)) == CROWD * 30
        with acting_for(bank, merchant):
            held = net(bank, merchant)
        assert sum(held[Code.SELLER_AVAILABLE, owner.id] for owner in owners) == -6_000_000

    def test_first_use_by_many_opens_each_account_once(self, connect: Connect, merchant: MerchantId) -> None:
        rounds, bank = [[seller() for _ in range(8)] for _ in range(5)], connect()

        def first(connection: psycopg.Connection, number: int) -> int:
            for owners in rounds:
                mine = random.Random(number).sample(owners, 8)
                lines: list[Line] = [credit(available(owner), eur(1)) for owner in mine]
                with acting_for(connection, merchant):
                    post(connection, merchant, [*lines, debit(BANK, eur(8))])
            return 1

        assert sum(together(connect, first)) == CROWD
        with acting_for(bank, merchant):
            held = net(bank, merchant)
        assert all(held[Code.SELLER_AVAILABLE, owner.id] == -CROWD for owners in rounds for owner in owners)


class TestClosingWhileOthersPost:
    def test_nothing_slips_into_the_closed_day(self, connect: Connect, merchant: MerchantId) -> None:
        anna, bank = seller(), connect()

        with acting_for(bank, merchant):
            bank.execute("select ledger.open_book(%s)", (merchant,))

        def work(connection: psycopg.Connection, number: int) -> int:
            if number == 0:
                with acting_for(connection, merchant):
                    connection.execute("select ledger.close_period(%s, '2026-11-21')", (merchant,))
                return 0

            def one() -> int:
                with acting_for(connection, merchant):
                    post(connection, merchant, fund(anna, 1))
                return 1

            return sum(unless_refused(one, by="ledger_period_open") or 0 for _ in range(20))

        posted = sum(together(connect, work))
        with acting_for(bank, merchant):
            kept = bank.execute("select sum(debits) from ledger.balance_snapshot").fetchone()
        assert kept is not None
        assert (kept[0] or 0) == posted


class TestRollUp:
    def test_is_exact_while_others_post(self, connect: Connect, merchant: MerchantId) -> None:
        psp, anna, reader = Owner("connection", new_id()), seller(), connect()
        receivable = psp.account(Code.PSP_RECEIVABLE)

        def work(connection: psycopg.Connection, number: int) -> int:
            if number < 2:
                folded = 0
                for _ in range(40):
                    with acting_for(connection, merchant):
                        row = connection.execute("select ledger.roll_up(%s, 50)", (merchant,)).fetchone()
                    assert row is not None
                    folded += row[0]
                return folded
            if number == 2:
                last = 0
                for _ in range(60):
                    with acting_for(connection, merchant):
                        now = net(connection, merchant).get((Code.PSP_RECEIVABLE, psp.id), 0)
                    assert now >= last
                    last = now
                return 0
            for _ in range(40):
                with acting_for(connection, merchant):
                    post(connection, merchant, [debit(receivable, eur(3)), credit(available(anna), Money(3, "EUR"))])
            return 0

        together(connect, work)
        total = (CROWD - 3) * 40
        with acting_for(reader, merchant):
            assert net(reader, merchant)[Code.PSP_RECEIVABLE, psp.id] == 3 * total
            reader.execute("select ledger.roll_up(%s)", (merchant,))
            assert reader.execute("select count(*) from ledger.balance_delta").fetchone() == (0,)
            assert net(reader, merchant)[Code.PSP_RECEIVABLE, psp.id] == 3 * total
