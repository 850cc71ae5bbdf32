"""A payout run in which everything dies: every order is carried out once, and wallets, ledger and rail agree."""

import os
import signal
import subprocess
from collections import Counter

from app.core.db import unit_of_work
from app.core.ids import SellerId
from app.core.money import Money
from app.payouts.domain import Rail, Source
from app.payouts.domain.approvals import Threshold
from app.payouts.models import Payout
from app.payouts.service import policies, requests
from app.sellers import service as sellers
from tests.faults.house import CLI, House, HttpShop, until
from tests.support.factories.bank_accounts import make_account
from tests.support.factories.wallets import book

MANY, SELLERS = 1_000, 50
ENDS = {"paid": "paid", "returned": "returned", "refused": "failed"}
"""What the rail says of an order, and where its payout ends."""


def ready(house: House, shop: HttpShop) -> None:
    """Payouts that wait for the next run: nobody has to approve them, the bank works around the clock."""

    async def make() -> None:
        till, actor = shop.shop, shop.shop.actor
        async with unit_of_work(till.merchant_id) as session:
            await policies.add_funding_account(
                session, actor, name="Main", currency="EUR", rail=Rail.API, connection_id=till.connection_id, calendar="WEEKDAYS"
            )
            await policies.set_thresholds(session, actor, currency="EUR", thresholds=[Threshold(from_minor=0, approvals=0)])
            made = [
                await sellers.add_seller(session, actor, reference=f"k-{n}", name=f"Seller {n}", email=f"k{n}@example.org", country="DE")
                for n in range(SELLERS)
            ]
        ids = [SellerId(seller.id) for seller in made]
        for seller_id in ids:
            await make_account(actor, seller_id)
            await book(till.merchant_id, seller_id, [100_000])
        cause = requests.Cause(source=Source.PERSON)
        for start in range(0, MANY, SELLERS):
            asks = [
                requests.Ask(seller_id=seller_id, amount=Money(1_000 + start + place, "EUR"), cause=cause)
                for place, seller_id in enumerate(ids)
            ]
            async with unit_of_work(till.merchant_id) as session:
                found = await requests.request_all(session, actor, currency="EUR", asks=asks)
                assert all(isinstance(each, Payout) for each in found)

    house.inside(make)
    house.sql("update payout set send_at = now() where merchant_id = %s", shop.shop.merchant_id)


class TestEverythingKilled:
    def test_in_a_run_of_a_thousand_every_order_is_carried_out_once(self, house: House, shop: HttpShop) -> None:
        shop.account.scenario(payout_seconds=0, payout_refused=0.02, latency_seconds=0.05, webhooks={"drop": 1.0})
        ready(house, shop)
        relay, scheduler = house.relay(), house.scheduler()
        # two that die by themselves: with orders about to leave, and with orders that left and are not written down; alone, so that they get to work
        for each in [house.worker(failpoints=f"payouts.{point}=kill") for point in ("claimed", "called")]:
            each.wait_until_dead()
        worker = house.worker()
        self.wait_for_orders(shop, 150)
        worker.kill()
        relay.kill()
        scheduler.kill()
        with house.running(house.relay(), house.scheduler(), house.worker(), house.worker()):
            self.wait_for_orders(shop, 500)
            self.stop_the_database(house)
            self.until_over(house, shop)
            self.some_come_back(house, shop)
        self.agree(house, shop)

    @staticmethod
    def wait_for_orders(shop: HttpShop, count: int) -> None:
        until(
            lambda: shop.account.simulator.get(f"/_payouts?account={shop.account.name}")["count"] >= count, f"{count} orders did not leave"
        )

    @staticmethod
    def stop_the_database(house: House) -> None:
        """What `pg_ctl stop -m immediate` does."""
        pid = house.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        until(lambda: house.server.pid is None, "PostgreSQL did not stop")
        house.server.revive()

    def until_over(self, house: House, shop: HttpShop) -> None:
        try:
            until(lambda: self.is_over(house, shop), "the run did not end", seconds=60)
        except AssertionError:
            print(self.statuses(house, shop), self.rail(shop), self.left(house, shop))
            for look in (
                "select state, count(*) from dramatiq.queue group by 1",
                "select topic, published_at is null, count(*) from outbox group by 1, 2",
                "select actor, state, max(last_at), max(error) from job_run group by 1, 2",
                "select now(), state, wait_event, application_name, left(query, 99) from pg_stat_activity where datname is not null",
            ):
                print(*house.sql(look), sep="\n")
            raise

    def is_over(self, house: House, shop: HttpShop) -> bool:
        """Time passes: nobody can still be working on an order whose answer was lost."""
        house.sql(
            "update payout_attempt a set begun_at = begun_at - interval '6 minutes', next_ask_at = now() from payout p"
            " where a.merchant_id = %s and p.merchant_id = a.merchant_id and p.id = a.payout_id and a.next_ask_at > now()"
            " and p.status in ('sending', 'unknown') and a.begun_at < now() - interval '3 seconds'",
            shop.shop.merchant_id,
        )
        house.sql("update payout set send_at = now() where merchant_id = %s and send_at > now()", shop.shop.merchant_id)
        return self.statuses(house, shop) == self.rail(shop) and not self.left(house, shop)

    def some_come_back(self, house: House, shop: HttpShop) -> None:
        """A day later some orders are back, and what was paid is asked about again."""
        found = shop.account.simulator.get(f"/_payouts?account={shop.account.name}")["payouts"]
        names = [each["reference"] for each in found if each["status"] == "paid"][:20]
        for name in names:
            shop.account.simulator.post(f"/_payouts/{name}", {"become": "returned"})
        merchant = shop.shop.merchant_id
        house.sql("update payout_attempt set next_ask_at = now() where merchant_id = %s and end_to_end_id = any(%s)", merchant, names)
        self.until_over(house, shop)

    @staticmethod
    def statuses(house: House, shop: HttpShop) -> Counter[str]:
        return Counter(row[0] for row in house.sql("select status from payout where merchant_id = %s", shop.shop.merchant_id))

    @staticmethod
    def rail(shop: HttpShop) -> Counter[str]:
        found = shop.account.simulator.get(f"/_payouts?account={shop.account.name}")["payouts"]
        return Counter(ENDS[each["status"]] for each in found)

    @staticmethod
    def left(house: House, shop: HttpShop) -> int:
        """What somebody would have to look after: orders without a last word, batches that were not closed."""
        merchant = shop.shop.merchant_id
        return int(
            house.sql(
                "select (select count(*) from payout_batch where merchant_id = %s and status <> 'sent') + (select count(*) from payout_attempt"
                " where merchant_id = %s and (word is null or word not in ('paid', 'returned', 'refused', 'not_found')))",
                merchant,
                merchant,
            )[0][0]
        )

    @staticmethod
    def agree(house: House, shop: HttpShop) -> None:
        merchant = shop.shop.merchant_id
        found = shop.account.simulator.get(f"/_payouts?account={shop.account.name}")
        orders = {each["reference"]: (ENDS[each["status"]], each["amount"]) for each in found["payouts"]}
        assert found["count"] == len(orders) == MANY
        assert found["amount"] == sum(1_000 + number for number in range(MANY))
        rows = house.sql("select end_to_end_id, status, amount_minor from payout where merchant_id = %s", merchant)
        assert {row[0]: (row[1], row[2]) for row in rows} == orders
        ends = Counter[str]()
        for status, minor in orders.values():
            ends[status] += minor
        assert ends["paid"] and ends["returned"] and ends["failed"]
        books = Counter[str]()
        for code, minor in house.sql(
            "select a.code, -e.side * e.amount from ledger.entry e join ledger.account a on a.merchant_id = e.merchant_id"
            " and a.id = e.account_id where e.merchant_id = %s",
            merchant,
        ):
            books[code] += int(minor)
        gone, parked = ends["paid"], ends["returned"]
        assert {code: minor for code, minor in books.items() if minor} == {
            "1201": -(SELLERS * 100_000 - gone),
            "2110": SELLERS * 100_000 - gone - parked,
            "2180": parked,
        }
        assert not house.sql("select 1 from job_run where state = 'dead'")
        checked = subprocess.run([*CLI, "check", "invariants"], env=house.environ(), capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
