"""The part of the contract that only adapters keep whose provider can be asked what it owes."""

from datetime import date

from app.psp.domain import BalanceAdapter, Capability, Outcome
from tests.psp.contract import EUR, Bench, authorised, check, on


def asked(bench: Bench) -> BalanceAdapter | None:
    """The adapter, if it says that it can be asked."""
    can = Capability.BALANCE in bench.adapter.capabilities
    assert isinstance(bench.adapter, BalanceAdapter) or not can
    return bench.adapter if can and isinstance(bench.adapter, BalanceAdapter) else None


async def owed(adapter: BalanceAdapter) -> int:
    """All that is owed in euros."""
    told = await adapter.balance(since=date(2020, 1, 1))
    assert told.outcome is Outcome.SUCCEEDED
    assert len({(one.batch, one.amount.currency) for one in told.owed}) == len(told.owed)
    return sum(one.amount.minor for one in told.owed if one.amount.currency == EUR)


@check
async def the_balance_is_what_was_taken_less_fees_and_refunds(bench: Bench) -> None:
    if adapter := asked(bench):
        before = await owed(adapter)
        _, held = await authorised(bench, 700)
        assert await owed(adapter) == before
        capture = await bench.adapter.capture(on(held, 700))
        _, taken = await authorised(bench, 1_000, capture=True)
        await bench.adapter.refund(on(taken, 250))
        assert capture.fee is not None
        assert taken.fee is not None
        assert await owed(adapter) == before + 700 + 1_000 - 250 - capture.fee.minor - taken.fee.minor


@check
async def a_balance_that_did_not_come_is_not_nothing(bench: Bench) -> None:
    if asked(bench):
        refused = bench.with_wrong_key()
        away = bench.without_provider()
        assert isinstance(refused, BalanceAdapter)
        assert isinstance(away, BalanceAdapter)
        assert (await refused.balance(since=date(2020, 1, 1))).outcome is Outcome.NOT_SENT
        assert (await away.balance(since=date(2020, 1, 1))).outcome is Outcome.NOT_SENT
