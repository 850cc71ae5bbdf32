"""What the provider says it owes is what the books say, breaks and what is under way aside; who cannot be asked is named."""

from datetime import timedelta

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import today, travel
from app.core.failpoints import FailpointRaised, enable
from app.core.money import Money
from app.psp.adapters import ADAPTERS
from app.psp.domain import Instruction, Owed
from app.reconciliation import flows
from app.reconciliation.balances import flows as balances
from app.reconciliation.domain.balances import Booked, Standing, compared
from app.reconciliation.invariants.queries import BALANCE, Outcome
from tests.reconciliation.conftest import Desk, open_desk
from tests.reconciliation.test_simulated_day import fetch, takings
from tests.support.shop import ScriptedPsp, open_shop
from tests.support.simulator import SimulatedAccount, account, simulator

__all__ = ["account", "simulator"]

DAY = 86_400
amounts = st.integers(-1_000_000, 1_000_000)


def owed(minor: int, batch: str, *, is_open: bool = False) -> Owed:
    return Owed(batch=batch, amount=Money(minor, "EUR"), is_open=is_open)


@given(amounts, amounts, amounts, amounts, st.integers(0, 1_000), st.integers(-2_000, 2_000))
def test_only_what_nothing_explains_is_a_difference(now: int, way: int, read: int, broken: int, moving: int, off: int) -> None:
    told = [owed(now, "open", is_open=True), owed(way, "unread"), owed(read, "read")]
    booked = Booked(owed_minor=now + way + broken + off, broken_minor=broken, moving_minor=moving)
    (found,) = compared(told, Standing(booked={"EUR": booked}, settled=frozenset({"read"}), through=1))
    assert found.difference.minor == off
    assert found.agrees == (abs(off) <= moving)


def test_a_currency_that_only_one_side_knows_is_compared_with_nothing() -> None:
    standing = Standing(booked={"USD": Booked(owed_minor=5)}, settled=frozenset(), through=1)
    assert [(one.difference.format(), one.agrees) for one in compared([owed(7, "open", is_open=True)], standing)] == [
        (Money(-7, "EUR").format(), False),
        (Money(5, "USD").format(), False),
    ]


async def ask(desk: Desk) -> Outcome:
    (found,) = (await balances.ask(merchant_id=desk.shop.merchant_id)).invariants
    return found


class TestAsk:
    async def test_the_simulator_owes_what_the_books_say(
        self, database: object, superuser: psycopg.Connection, account: SimulatedAccount
    ) -> None:
        desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
        await takings(desk, 4)
        found = await ask(desk)
        assert (found.violations, len(found.notes)) == ([], 1)
        # a charge that the books never heard of
        adapter = ADAPTERS["simulated"].adapter(msgspec.convert(account.settings, ADAPTERS["simulated"].config))
        unheard = Instruction(amount=Money(1_000, "EUR"), reference="lost", idempotency_key="lost", token="tok_visa", capture=True)
        fee = (await adapter.authorise(unheard)).fee
        assert fee is not None
        (violation,) = (await ask(desk)).violations
        assert violation.detail.endswith(f"; {(fee - Money(1_000, 'EUR')).format()} that nothing explains")
        proof = await flows.prove(desk.shop.actor)
        assert [outcome.name for outcome in proof.invariants if not outcome.holds] == [BALANCE]

    async def test_a_closed_batch_is_on_its_way_until_its_file_is_booked(
        self, database: object, superuser: psycopg.Connection, account: SimulatedAccount
    ) -> None:
        desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
        await takings(desk, 4)
        day = today()
        account.simulator.post("/_clock", {"advance_seconds": DAY})
        try:
            unread = await ask(desk)
            await desk.hand_in(fetch(account, "file", day, "missing,unbooked"))
            with travel(timedelta(days=8)):  # what is missing is a break by then
                await desk.compare()
            read = await ask(desk)
        finally:
            account.simulator.post("/_clock", {"advance_seconds": -DAY})
        assert (unread.violations, read.violations) == ([], [])
        assert "€0.00 in batches that no file told of yet" in read.notes[0]
        assert "€0.00 in batches" not in unread.notes[0]
        # the file of a day that is not over was handed in: the provider goes on filling the batch
        early = await ask(desk)
        assert (early.violations, "which the provider has not closed yet" in early.notes[0]) == ([], True)

    async def test_whoever_dies_with_the_answer_in_hand_leaves_nothing_behind(
        self, database: object, superuser: psycopg.Connection, account: SimulatedAccount
    ) -> None:
        desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
        before = await ask(desk)
        enable("reconciliation.balance_asked", "raise")
        try:
            with pytest.raises(FailpointRaised):
                await ask(desk)
        finally:
            enable("reconciliation.balance_asked", "off")
        assert await ask(desk) == before

    async def test_who_cannot_be_asked_is_named(self, desk: Desk) -> None:
        assert [note.split(": ")[1] for note in (await ask(desk)).notes] == ["not asked, its provider cannot be asked."]

    async def test_a_provider_that_does_not_answer_is_no_difference(
        self, database: object, account: SimulatedAccount, superuser: psycopg.Connection
    ) -> None:
        desk = await open_desk(await open_shop(ScriptedPsp(), settings={**account.settings, "secret_key": "sk_sim_wrong"}), superuser)
        found = await ask(desk)
        assert (found.violations, "asked in vain, credentials refused." in found.notes[0]) == ([], True)
