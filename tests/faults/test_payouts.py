"""Payout runs whose processes die: every order is carried out once, and the books say so."""

import pytest

from app.core.db import unit_of_work
from app.core.money import Money
from app.payouts.domain import PayoutId, Rail
from app.payouts.domain.approvals import Threshold
from app.payouts.service import policies, requests
from tests.faults.house import House, HttpShop, until
from tests.support.factories.bank_accounts import make_account
from tests.support.factories.wallets import book

MANY = 12
POINTS = ["payouts.claimed", "payouts.called"]


def ready(house: House, shop: HttpShop) -> list[PayoutId]:
    """Payouts that wait for the next run: nobody has to approve them, the bank works around the clock."""

    async def make() -> list[PayoutId]:
        till, actor = shop.shop, shop.shop.actor
        async with unit_of_work(till.merchant_id) as session:
            await policies.add_funding_account(
                session, actor, name="Main", currency="EUR", rail=Rail.API, connection_id=till.connection_id, calendar="WEEKDAYS"
            )
            await policies.set_thresholds(session, actor, currency="EUR", thresholds=[Threshold(from_minor=0, approvals=0)])
        await make_account(actor, till.anna)
        await book(till.merchant_id, till.anna, [100_000])
        made = []
        for number in range(MANY):
            async with unit_of_work(till.merchant_id) as session:
                payout = await requests.request_payout(session, actor, seller_id=till.anna, amount=Money(1_000 + number, "EUR"))
                made.append(PayoutId(payout.id))
        return made

    made = house.inside(make)
    house.sql("update payout set send_at = now() where merchant_id = %s", shop.shop.merchant_id)
    return made


def statuses(house: House, shop: HttpShop) -> set[str]:
    return {row[0] for row in house.sql("select status from payout where merchant_id = %s", shop.shop.merchant_id)}


def questions_are_due(house: House, shop: HttpShop) -> None:
    """Six minutes pass: nobody can still be working on an order whose answer was lost."""
    house.sql(
        "update payout_attempt set begun_at = begun_at - interval '6 minutes', next_ask_at = now()"
        " where merchant_id = %s and next_ask_at is not null",
        shop.shop.merchant_id,
    )
    house.sql("update payout set send_at = now() where merchant_id = %s and send_at is not null", shop.shop.merchant_id)


class TestWorkerKilled:
    @pytest.mark.parametrize("point", POINTS)
    def test_in_the_middle_of_a_run_every_order_is_carried_out_once(self, house: House, shop: HttpShop, point: str) -> None:
        shop.account.scenario(payout_seconds=0.2)
        ready(house, shop)
        with house.running(house.relay(), house.scheduler()):
            doomed = house.worker(failpoints=f"{point}=kill")
            doomed.wait_until_dead()
            doomed.stop()
            with house.running(house.worker()):

                def all_paid() -> bool:
                    questions_are_due(house, shop)
                    return statuses(house, shop) == {"paid"}

                until(all_paid, f"after a kill at {point} the run did not end: {statuses(house, shop)}", seconds=60)
        found = shop.account.simulator.get(f"/_payouts?account={shop.account.name}")
        names = [each["reference"] for each in found["payouts"]]
        assert found["count"] == MANY and len(set(names)) == MANY
        assert found["amount"] == sum(1_000 + number for number in range(MANY))
        out = house.sql(
            "select sum(e.side * e.amount) from ledger.entry e join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id"
            " where e.merchant_id = %s and a.code = '2150'",
            shop.shop.merchant_id,
        )
        assert out == [(0,)]
