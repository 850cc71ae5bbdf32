"""The simulated bank as a real process: whatever goes wrong on the way, one end-to-end id is one order."""

import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from app.core import outbound
from app.core.ids import new_id
from app.core.money import Money
from app.core.settings import settings
from app.payouts.adapters import RAILS
from app.payouts.domain import PayoutId, end_to_end_id
from app.payouts.domain.port import BankOrder, BankWord, RailAdapter
from tests.support.simulator import SimulatedAccount, Simulator, account, simulator

__all__ = ["account", "simulator"]

pytestmark = pytest.mark.usefixtures("urls")
W = BankWord


@pytest_asyncio.fixture
async def rail(account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RailAdapter]:
    """The way to the simulated bank, with little patience."""
    monkeypatch.setitem(os.environ, "COUNTINGHOUSE_PSP_TOTAL_SECONDS", "0.5")
    settings.cache_clear()
    yield RAILS["simulated"](account.settings)
    monkeypatch.undo()
    settings.cache_clear()


def order(minor: int = 12_345) -> BankOrder:
    return BankOrder(
        end_to_end_id=end_to_end_id(PayoutId(new_id())),
        amount=Money(minor, "EUR"),
        creditor_name="Anna Berg",
        account_kind="iban",
        number="DE89370400440532013000",
        text="November",
    )


def taken(account: SimulatedAccount) -> Any:
    return account.simulator.get(f"/_payouts?account={account.name}")


class TestOrders:
    async def test_the_same_order_twice_is_one(self, rail: RailAdapter, account: SimulatedAccount) -> None:
        wanted = order()
        first, second = await rail.send(wanted), await rail.send(wanted)
        assert first.word is W.ACCEPTED and first.amount == wanted.amount and first.provider_reference == second.provider_reference
        assert taken(account)["count"] == 1

    async def test_the_same_name_for_another_order_is_not_taken(self, rail: RailAdapter, account: SimulatedAccount) -> None:
        wanted = order()
        await rail.send(wanted)
        other = msgspec.structs.replace(wanted, amount=Money(1, "EUR"))
        assert (await rail.send(other)).word is W.UNKNOWN
        assert taken(account)["amount"] == 12_345

    @pytest.mark.parametrize(
        ("fault", "arrives"),
        [
            ("error_before", False),
            ("error_after", True),
            ("lost_answer", True),
            ("reset_before", False),
            ("reset_after", True),
            ("timeout_before", False),
            ("timeout_after", True),
            ("drip", True),
            ("malformed", True),
            ("rate_limit", False),
            ("slow", True),
        ],
    )
    async def test_an_unclear_answer_is_unknown_and_the_question_finds_out(
        self, rail: RailAdapter, account: SimulatedAccount, fault: str, arrives: bool
    ) -> None:
        wanted = order()
        account.fault(fault, operation="payout", seconds=3.0)
        assert (await rail.send(wanted)).word is W.UNKNOWN
        if fault == "slow":
            return  # it is still being worked on; only time tells
        assert (await rail.lookup(wanted.end_to_end_id)).word is (W.ACCEPTED if arrives else W.NOT_FOUND)
        assert (await rail.send(wanted)).word is W.ACCEPTED
        assert taken(account)["count"] == 1

    async def test_a_refusal_is_a_clear_word(self, rail: RailAdapter, account: SimulatedAccount) -> None:
        account.fault("refuse", operation="payout")
        wanted = order()
        assert [(await rail.send(wanted)).word, (await rail.lookup(wanted.end_to_end_id)).word] == [W.REFUSED, W.REFUSED]
        assert (await rail.send(order(minor=0))).word is W.REFUSED
        account.fault("wrong_amount", operation="payout")
        assert (await rail.send(order(500))).amount == Money(501, "EUR")

    async def test_an_order_goes_its_way_and_may_come_back(
        self, rail: RailAdapter, account: SimulatedAccount, simulator: Simulator
    ) -> None:
        account.scenario(payout_seconds=3600, payout_returned=1.0)
        wanted = order()
        await rail.send(wanted)
        words = []
        for _ in range(4):
            words.append((await rail.lookup(wanted.end_to_end_id)).word)
            simulator.post("/_clock", {"advance_seconds": 3601})
        assert words == [W.ACCEPTED, W.IN_TRANSIT, W.PAID, W.RETURNED]
        assert [event["type"] for event in account.events()] == [f"payout.{word}" for word in words]

    async def test_a_wrong_key_proves_nothing(self, account: SimulatedAccount) -> None:
        stranger = RAILS["simulated"](account.settings | {"secret_key": "sk_sim_wrong_key"})
        assert (await stranger.send(order())).word is W.UNKNOWN
        assert (await stranger.lookup("PO1")).word is W.UNKNOWN

    async def test_it_survives_its_own_restart(self, rail: RailAdapter, account: SimulatedAccount, simulator: Simulator) -> None:
        wanted = order()
        account.scenario(payout_seconds=3600)
        await rail.send(wanted)
        outbound.close()
        simulator.restart()
        assert (await rail.lookup(wanted.end_to_end_id)).word is W.ACCEPTED
        simulator.post(f"/_payouts/{wanted.end_to_end_id}", {"become": "refused"})
        assert (await rail.lookup(wanted.end_to_end_id)).word is W.REFUSED
