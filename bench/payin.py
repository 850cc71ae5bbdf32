"""How many payments a second come in over HTTP, from the request to the captured payment with everything it entails, answered and durable.

Two web workers as in production, clients on keep-alive connections in a process of their own. The floor is a bare handler with one
insert, on the same server with the same workers.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import httpx2
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.cli.processes import RELAY, worker_command
from app.core import db
from app.core.ids import public_id
from app.ledger import queries as ledger
from bench import client, floors, psp
from bench.client import Load, Step
from bench.figures import Figure, table
from bench.house import House, Shop, Web, fill_orders, open_house, open_shop, stop
from bench.steps import AuthoriseAndCapture, OrderAndPay, Pay

FLOOR = "bare insert"
PER_SECOND = 2_500
"""Orders are prepared for at most so many payments a second."""


class Bench:
    """The workloads of one run, each beside the floor with the same number of clients."""

    def __init__(self, house: House, seconds: float, warm_up: float) -> None:
        self.house, self.seconds, self.warm_up = house, seconds, warm_up
        self.figures: list[Figure] = []
        self.floors: dict[int, float] = {}

    def measure(self, name: str, web: Web, step: Step, items: Sequence[str], *, clients: int, note: str = "") -> Load:
        """Put one workload under load and note its figures."""
        items = self._settle(web, step, items, clients)
        web_before, database_before = web.cpu_seconds(), self.house.database_cpu_seconds()
        done = client.load(web.port, step, items, clients=clients, seconds=self.seconds, warm_up=self.warm_up)
        answers = sum(done.statuses.values())
        if name == FLOOR:
            self.floors[clients] = done.per_second
        busy = done.cpu_seconds / done.seconds
        figure = Figure(
            part="payin",
            name=name,
            clients=clients,
            per_second=done.per_second,
            p50_ms=done.p(50),
            p99_ms=done.p(99),
            web_cpu_ms=(web.cpu_seconds() - web_before) * 1000 / answers,
            database_cpu_ms=(self.house.database_cpu_seconds() - database_before) * 1000 / answers,
            floor="" if name == FLOOR else FLOOR,
            ratio=None if name == FLOOR else done.per_second / self.floors[clients],
            note=", ".join(part for part in (note, f"client used {busy:.0%} of a core") if part),
        )
        self.figures.append(figure)
        spent = f"web {figure.web_cpu_ms:.2f} ms, database {figure.database_cpu_ms:.2f} ms of a core each"
        print(
            f"  {name}, {clients} clients: {done.per_second:,.0f}/s, p50 {done.p(50):.1f} ms, p99 {done.p(99):.1f} ms; {spent}", flush=True
        )
        return done

    def _settle(self, web: Web, step: Step, items: Sequence[str], clients: int) -> Sequence[str]:
        """Do a little of it first and let PostgreSQL count its tables, as autovacuum does in a database that is older than a minute."""
        few = max(40, len(items) // 50)
        client.load(web.port, step, items[:few], clients=clients, seconds=self.seconds / 6, warm_up=0.0)
        with psycopg.connect(self.house.superuser, autocommit=True) as connection:
            connection.execute("analyze")
        return items[few:]

    def orders(self, shop: Shop, clients: int) -> list[str]:
        """Enough orders for one run."""
        rate = PER_SECOND if clients > 1 else PER_SECOND // 3
        return fill_orders(self.house, shop, int(rate * (self.seconds + self.warm_up)) + 10 * clients)


def run(house: House, *, seconds: float = 6.0, warm_up: float = 1.5, clients: Sequence[int] = (1, 16)) -> list[Figure]:
    """Measure everything, then look whether the books agree with the payments and with the provider."""
    with psycopg.connect(house.here.urls.owner, autocommit=True) as connection:
        connection.execute(floors.BARE)
        connection.execute("grant select, insert on bench_bare to countinghouse_app")
    inside, outside = asyncio.run(_open_shops(house))
    bench = Bench(house, seconds, warm_up)
    most = max(clients)
    _floors(bench, clients)
    _inside(bench, inside, clients, most)
    _outside(bench, outside, most)
    _with_workers(bench, inside, most)
    verify(house, inside, outside)
    return bench.figures


def _floors(bench: Bench, clients: Sequence[int]) -> None:
    web = bench.house.web("bench.floors:bare_insert")
    for number in clients:
        bench.measure(FLOOR, web, Pay("none"), [str(n) for n in range(int(12_000 * (bench.seconds + bench.warm_up)))], clients=number)
    web.stop()


def _inside(bench: Bench, shop: Shop, clients: Sequence[int], most: int) -> None:
    """The PSP answers within the process: what our own code can do."""
    web = bench.house.web("bench.apps:instant")
    for number in clients:
        bench.measure("pay, PSP in the process", web, Pay(shop.key), bench.orders(shop, number), clients=number)
    sales = [f"{time.time_ns()}{n:06}" for n in range(int(PER_SECOND * (bench.seconds + bench.warm_up)))]
    sellers = [public_id("sel", seller) for seller in shop.sellers]
    bench.measure("order, then pay", web, OrderAndPay(shop.key, sellers), sales, clients=most, note="two requests")
    step = AuthoriseAndCapture(shop.key, mode="manual")
    bench.measure("authorise, then capture", web, step, bench.orders(shop, most), clients=most, note="two requests")
    _note_memory(bench, web)
    web.stop()


def _outside(bench: Bench, shop: Shop, clients: int) -> None:
    """The PSP is another process on the same cores, called over HTTP."""
    web = bench.house.web("app.main:create_app")
    bench.measure(
        "pay, simulator over HTTP", web, Pay(shop.key), bench.orders(shop, clients), clients=clients, note="simulator shares the cores"
    )
    web.stop()


def _with_workers(bench: Bench, shop: Shop, clients: int) -> None:
    """The same with relay and worker at their jobs on the same cores; the events of all runs before wait for them."""
    house = bench.house
    web, orders = house.web("bench.apps:instant"), bench.orders(shop, clients)
    jobs = [house.start(*RELAY[1:]), house.start(*worker_command(processes=1, threads=8)[1:])]
    time.sleep(1.5 if bench.seconds > 1 else 0.1)
    bench.measure("pay, relay and worker busy", web, Pay(shop.key), orders, clients=clients, note="they share the cores")
    stop(*jobs)
    web.stop()


def _note_memory(bench: Bench, web: Web) -> None:
    note = f"web worker {web.memory_mb():.0f} MB resident"
    bench.figures.append(Figure(part="payin", name="memory after the load", clients=0, note=note))


async def _open_shops(house: House) -> tuple[Shop, Shop]:
    psp.plug_in()
    opened = httpx2.post(f"{house.simulator}/_accounts", json={"name": "bench"}, timeout=10).raise_for_status().json()
    values = {
        "api_base_url": house.simulator,
        "account": "bench",
        "secret_key": opened["secret_keys"][0],
        "webhook_secret": opened["webhook_secret"],
    }
    try:
        return (
            await open_shop("inside", psp=psp.NAME, values={"api_base_url": "https://psp.example"}),
            await open_shop("outside", psp="simulated", values=values),
        )
    finally:
        psp.unplug()
        await db.dispose()


_COUNTS = """
select (select count(*) from payment where merchant_id = %(m)s and status = 'captured'),
       (select count(*) from payment where merchant_id = %(m)s and status <> 'captured'),
       (select count(*) from ledger.txn where merchant_id = %(m)s and kind = 'payment.captured'),
       (select coalesce(sum(captured_minor), 0)::bigint from payment where merchant_id = %(m)s),
       (select coalesce(sum(e.amount), 0)::bigint from ledger.entry e join ledger.txn t on t.merchant_id = e.merchant_id and t.id = e.txn_id
          join ledger.account a on a.merchant_id = e.merchant_id and a.id = e.account_id
         where t.merchant_id = %(m)s and t.kind = 'payment.captured' and a.code = '1100' and e.side = 1)
"""


def verify(house: House, inside: Shop, outside: Shop) -> None:
    """Nothing fast counts unless payments, ledger and provider agree afterwards."""
    with psycopg.connect(house.superuser) as connection:
        counts = [_agreeing(connection, shop) for shop in (inside, outside)]
    answer = httpx2.get(f"{house.simulator}/_charges", params={"account": "bench"}, timeout=60).raise_for_status()
    charged = answer.json()["count"]
    if charged != counts[1]:
        raise RuntimeError(f"the simulator charged {charged} times, we captured {counts[1]} payments")
    print(f"  {sum(counts):,} payments captured = captures in the ledger; {charged:,} of them = charges of the simulator", flush=True)
    asyncio.run(check_books(house.here.urls.owner))


async def check_books(owner_url: str) -> None:
    """What `countinghouse ledger check` looks at, as the owner who may read every book."""
    engine = create_async_engine(owner_url)
    try:
        async with AsyncSession(engine) as session:
            report = await ledger.check(session, merchant_id=None)
    finally:
        await engine.dispose()
    if not report.is_sound:
        raise RuntimeError(f"the books do not balance after the run: {report.violations[:5]}")
    print(f"  the books balance: {report.transactions:,} transactions, {report.entries:,} entries", flush=True)


def _agreeing(connection: psycopg.Connection, shop: Shop) -> int:
    row = connection.execute(_COUNTS, {"m": shop.merchant_id}).fetchone()
    assert row is not None
    captured, others, posted, minor, booked = row
    if others or captured != posted or minor != booked:
        raise RuntimeError(f"{captured} captured, {others} not; {posted} in the ledger; {minor} collected, {booked} booked")
    return int(captured)


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 6.0)))
