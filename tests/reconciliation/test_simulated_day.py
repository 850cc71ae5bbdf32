"""A day at the simulator, with its own settlement file and bank statement: what was really charged agrees with the books to the cent."""

import urllib.parse
import urllib.request
from datetime import date, timedelta

import psycopg
import pytest

from app.core.clock import today, travel
from app.payments.domain import CaptureMode
from tests.reconciliation.conftest import Desk, open_desk
from tests.support.shop import ScriptedPsp, open_shop
from tests.support.simulator import SimulatedAccount, account, simulator

__all__ = ["account", "simulator"]

FOUND = {
    "missing": "missing_in_psp",
    "amount": "amount",
    "fee": "fee",
    "duplicate": "duplicate_psp",
    "unbooked": "missing_in_ledger",
    "dispute": "status",
    "orphan_refund": "orphan_refund",
    "orphan_dispute": "orphan_dispute",
    "unknown_type": "unknown_type",
    "bank_short": "amount",
    "bank_stray": "bank_unidentified",
}
"""What is planted, and the break it must be found as."""
SETTLED_BY_RULE = ("rounding", "account_fee")


def fetch(account: SimulatedAccount, what: str, day: date, plant: str = "") -> bytes:
    query = urllib.parse.urlencode({"account": account.name, "day": day.isoformat(), "plant_breaks": plant})
    with urllib.request.urlopen(f"{account.simulator.url}/_settlements/{what}?{query}", timeout=10) as answer:
        content: bytes = answer.read()
    return content


async def takings(desk: Desk, count: int) -> None:
    """Payments of every shape: at once, in two captures, refunded in part."""
    for number in range(count):
        order = await desk.shop.order(anna=6_000 + number, bert=4_000)
        if number % 4 == 3:
            paid = await desk.shop.pay(order, mode=CaptureMode.MANUAL)
            await desk.shop.capture(paid.payment_id, 5_000)
            await desk.shop.capture(paid.payment_id, is_final=True)
        else:
            paid = await desk.shop.pay(order)
        if number % 3 == 0:
            await desk.shop.refund(paid.payment_id, 1_500)


@pytest.mark.parametrize("plants", [(), (*FOUND, *SETTLED_BY_RULE)], ids=["as it was", "with breaks planted"])
async def test_what_is_planted_is_found_and_nothing_else(
    plants: tuple[str, ...], database: object, superuser: psycopg.Connection, account: SimulatedAccount
) -> None:
    desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
    day = today()
    await takings(desk, 16)
    await desk.hand_in(fetch(account, "file", day, ",".join(plants)))
    await desk.hand_in(fetch(account, "statement", day + timedelta(days=1), ",".join(plants)), to=desk.bank)
    with travel(timedelta(days=8)):
        await desk.compare()
    assert sorted(str(kind) for kind, *_ in desk.breaks()) == sorted(FOUND[kind] for kind in plants if kind in FOUND)
    if not plants:
        assert desk.left_over() == {}
        assert desk.balance("1201") == desk.query("select net_minor::int from recon_item where kind = 'batch'")[0][0]
    # money is conserved: what the provider still owes, what is on its way and what waits is what the sources do not agree on
    off = superuser.execute("select txn_id, currency from ledger.entry group by 1, 2 having sum(side * amount) <> 0").fetchall()
    assert off == []


async def test_the_same_day_gives_the_same_file(account: SimulatedAccount, database: object, superuser: psycopg.Connection) -> None:
    desk = await open_desk(await open_shop(ScriptedPsp(), settings=account.settings), superuser)
    await takings(desk, 4)
    files = {fetch(account, "file", today(), plant) for plant in ("amount,duplicate", "duplicate,amount", "amount,duplicate")}
    assert len(files) == 1
