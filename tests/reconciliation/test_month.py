"""The whole of reconciliation on a month that is made up from a seed: everything planted is found, nothing else, in whatever order the files come.

A few days in the suite; ``RECON_DAYS``, ``RECON_SEEDS`` and ``RECON_ORDERS`` make it a month, or many.
"""

import os
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import travel
from app.core.db import unit_of_work
from app.payouts import queries
from app.payouts.domain import FundingAccountId
from app.payouts.service import policies, sending
from app.psp.service import connections
from app.reconciliation.files import service as files
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import service as runs
from tests.reconciliation.conftest import open_desk
from tests.reconciliation.month import FIRST, PATIENCE, Bank, Month, Provider
from tests.support.factories.payouts import open_till, scripted
from tests.support.shop import open_shop

DAYS = int(os.environ.get("RECON_DAYS", "8"))
SEEDS = range(int(os.environ.get("RECON_SEEDS", "1")))
ORDERS = int(os.environ.get("RECON_ORDERS", "2"))

_STATE = {
    "breaks": "select kind, reference, minor, currency, status from recon_break where merchant_id = :merchant and status <> 'cleared'",
    "pairs": "select p.ext_id, l.clear_key, l.gross_minor, a.rule from recon_pair a join recon_item p on p.merchant_id = a.merchant_id and p.id = a.psp_id"
    " join recon_item l on l.merchant_id = a.merchant_id and l.id = a.ledger_id where a.merchant_id = :merchant",
    "matches": "select m.leg, m.rule, string_agg(coalesce(i.object_ref, i.ext_id) || ' ' || x.minor, ',' order by coalesce(i.object_ref, i.ext_id), x.minor)"
    " from recon_match m join recon_match_item x on x.merchant_id = m.merchant_id and x.match_id = m.id"
    " join recon_item i on i.merchant_id = x.merchant_id and i.id = x.item_id where m.merchant_id = :merchant and m.undone_at is null group by m.id, m.leg, m.rule",
    "books": "select a.code, a.owner_type, a.owner_id::text, e.clear_key, sum(e.side * e.amount)::bigint from ledger.entry e"
    " join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id where e.merchant_id = :merchant group by 1, 2, 3, 4"
    " having sum(e.side * e.amount) <> 0",
    "payouts": "select end_to_end_id, status, failure_code from payout where merchant_id = :merchant",
}
State = dict[str, list[tuple[object, ...]]]


class _TakenBackError(Exception):
    """Ends a transaction without leaving anything of it."""


async def a_month(seed: int, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Month:
    """The month of a seed, done and written down."""
    provider = Provider(seed)
    bank = Bank(provider)

    async def adapter_for(*_args: object, **_options: object) -> Provider:
        return provider

    monkeypatch.setattr(connections, "adapter_for", adapter_for)
    monkeypatch.setattr(connections, "adapter_of", lambda _connection: provider)
    for module in (sending, policies):
        monkeypatch.setattr(module, "RAILS", scripted(bank))
    with travel(datetime(FIRST.year, FIRST.month, FIRST.day, 5, tzinfo=UTC)):
        shop = await open_shop(provider)
        till = await open_till(shop, bank, available=10_000_000)
        async with unit_of_work(shop.merchant_id) as session:
            funding = await queries.funding_in_use(session, merchant_id=shop.merchant_id, currency="EUR")
        desk = await open_desk(shop, superuser, funding_id=FundingAccountId(funding.id))
    month = Month(desk=desk, till=till, provider=provider, dice=random.Random(seed), days=DAYS)
    await month.live()
    month.spoil()
    month.write()
    return month


async def end_of(month: Month, seed: int, *, proven: bool = True) -> State:
    """Hand the files in in an order of this seed, with comparisons in between, and say where it ends; everything is taken back."""
    dice, desk = random.Random(seed), month.desk
    order = dice.sample(month.files, len(month.files)) if seed else month.files
    state: State = {}
    moment = datetime(month.last.year, month.last.month, month.last.day, 12, tzinfo=UTC) + timedelta(days=PATIENCE)
    with travel(moment), suppress(_TakenBackError):
        async with unit_of_work(desk.shop.merchant_id) as session:
            for file in order:
                source = desk.bank if file.is_bank else desk.psp
                taken = await files.import_file(session, desk.shop.actor, source=source, name=file.name, chunks=[file.content])
                assert taken.status == ("refused" if file.is_torn else "imported"), taken.reason
                if dice.random() < 0.1:
                    await runs.compare(session, desk.shop.actor)
            await runs.compare(session, desk.shop.actor)
            state |= await read(session, month)
            if proven:
                proof = await invariants.check(session, desk.shop.actor)
                broken = [(outcome.name, outcome.violations) for outcome in proof.invariants if not outcome.holds]
                assert (broken, len({outcome.name.split()[0] for outcome in proof.invariants})) == ([], 12)
            raise _TakenBackError
    return state


async def read(session: AsyncSession, month: Month) -> State:
    """Where everything stands, without ids that differ from run to run."""
    values = {"merchant": month.desk.shop.merchant_id}
    return {name: sorted((tuple(row) for row in await session.execute(text(sql), values)), key=repr) for name, sql in _STATE.items()}


def trace(month: Month, state: State) -> object:
    """What a seed leads to, in figures alone."""
    at_bank = sum(int(str(row[4])) for row in state["books"] if row[0] == "1201" and row[2] == str(month.payouts[0].funding_account_id))
    kinds = sorted((str(row[0]), int(str(row[2]))) for row in state["breaks"])
    plants = [(str(day), sorted(kinds)) for day, kinds in sorted(month.plants.items())]
    return plants, month.closing, at_bank, kinds, sorted(str(row[1]) for row in state["payouts"]), len(state["pairs"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_month_ends_right_in_any_order(
    database: object, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    month = await a_month(seed, superuser, monkeypatch)
    first = await end_of(month, 0)
    opened = sorted(str(row[0]) for row in first["breaks"] if row[4] == "open")
    assert opened == sorted(month.expected.elements())
    came_back = {transfer.reference for transfer in month.provider.world.store.transfers.values() if transfer.returned_at}
    assert {name for name, status, _ in first["payouts"] if status == "returned"} == came_back
    for again in range(1, ORDERS):
        end = await end_of(month, seed * 100 + again)
        for name, rows in first.items():
            assert end[name] == rows, name
    # another merchant with the same seed, its files in another order still, is the same month
    other = await a_month(seed, superuser, monkeypatch)
    assert trace(other, await end_of(other, seed * 100 + ORDERS, proven=False)) == trace(month, first)
