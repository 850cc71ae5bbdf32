"""How fast the console's pages are for a merchant with a million payments, and how fast the file of all of them comes out.

Two web workers as in production and a real session. A page's server time is what the web log says of each request. The floor is a bare
handler with one indexed query and a small template.
"""

import asyncio
import http.client
import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import msgspec
import psycopg

from app.core import db
from app.core.ids import public_id
from app.core.paging import Cursor
from app.web import cookies
from bench import client
from bench.figures import Figure, percentile, table
from bench.house import House, Shop, Web, open_house, open_shop
from bench.million import fill
from bench.steps import Visit

FLOOR = "bare page"
LOADED = ("payments, first page", "payments, page at the middle row", "start page")
SELLERS = 200
VARIANTS = 20
"""So many different addresses of each kind, so that no single one is measured warm."""


class Logged(msgspec.Struct):
    """What the web log says of one request."""

    event: str = ""
    path: str = ""
    ms: float = 0.0


def run(
    house: House, *, rows: int = 1_000_000, visits: int = 100, seconds: float = 3.0, clients: int = 4, only: Collection[str] = ()
) -> list[Figure]:
    """Fill a house, open every page often, and download everything once."""
    shop = asyncio.run(_open_shop(min(SELLERS, rows // 10)))
    took = fill(house, shop, rows=rows)
    print(f"  {rows:,} payments written in {took:.0f} s", flush=True)
    with psycopg.connect(house.superuser) as connection:
        pages = {name: paths for name, paths in addresses(connection, shop, rows).items() if not only or name in only}
    bench = Bench(house, shop, visits=visits, seconds=seconds, clients=clients)
    bench.floor()
    bench.pages(pages)
    bench.download(rows)
    return bench.figures


async def _open_shop(sellers: int) -> Shop:
    try:
        return await open_shop("lists", psp="simulated", values=_VALUES, seller_count=sellers)
    finally:
        await db.dispose()


_VALUES = {"api_base_url": "https://psp.example", "account": "bench", "secret_key": "sk_sim_bench", "webhook_secret": "whsec_YmVuY2g="}


def addresses(connection: psycopg.Connection, shop: Shop, rows: int) -> dict[str, list[str]]:
    """The pages that are opened, each in several variants taken from the data."""
    values = {"m": shop.merchant_id, "many": VARIANTS, "half": rows // 2}
    deep = connection.execute(
        "select id, amount_minor from payment where merchant_id = %(m)s order by id desc offset %(half)s limit %(many)s", values
    ).fetchall()
    by_amount = connection.execute(
        "select id, amount_minor from payment where merchant_id = %(m)s order by amount_minor desc, id desc offset %(half)s limit %(many)s",
        values,
    ).fetchall()
    order = connection.execute(
        "select id from sales_order where merchant_id = %(m)s order by id desc offset %(half)s limit %(many)s", values
    ).fetchall()
    some = connection.execute(
        "select id, buyer_email, order_reference, last4, amount_minor, buyer_name from payment"
        " where merchant_id = %(m)s and status = 'captured' and currency = 'EUR' order by id desc offset %(half)s / 3 limit %(many)s * 37",
        values,
    ).fetchall()[::37]
    newest = connection.execute(
        "select id from payment where merchant_id = %(m)s and status = 'captured' order by id desc limit %(many)s", values
    ).fetchall()
    return {
        "payments, first page": ["/payments"],
        "payments, page at the middle row": [f"/payments?after={_cursor(row[0])}" for row in deep],
        "payments, filter and sort by amount": [
            f"/payments?currency=EUR&status=captured&least={n * 10}&sort=-amount" for n in range(1, VARIANTS + 1)
        ],
        "payments, two states by amount, middle": [
            f"/payments?status=captured%2Crefunded&sort=-amount&after={_cursor(row[1], row[0])}" for row in by_amount
        ],
        "search by e-mail": [f"/payments?q={quote_plus(row[1])}" for row in some],
        "search by order reference": [f"/payments?q={row[2]}" for row in some],
        "search by last four": [f"/payments?q={row[3]}" for row in some],
        "search by amount": [f"/payments?q={row[4] // 100}.{row[4] % 100:02}" for row in some],
        "search by buyer's name": [f"/payments?q={quote_plus(row[5][:6])}" for row in some],
        "payment, newest": [f"/payments/{public_id('pay', row[0])}" for row in newest],
        "payment, half a year old": [f"/payments/{public_id('pay', row[0])}" for row in some],
        "orders, first page": ["/orders"],
        "orders, page at the middle row": [f"/orders?after={_cursor(row[0])}" for row in order],
        "wallets": ["/wallets"],
        "sellers": ["/sellers"],
        "start page": ["/"],
    }


def _cursor(*values: object) -> str:
    return Cursor(tuple(value if isinstance(value, int) else str(value) for value in values)).encode()


class Bench:
    """The visits of one run."""

    def __init__(self, house: House, shop: Shop, *, visits: int, seconds: float, clients: int) -> None:
        self.house, self.shop, self.visits, self.seconds, self.clients = house, shop, visits, seconds, clients
        self.visit = Visit(f"{cookies.session_name()}={shop.session}")
        self.figures: list[Figure] = []
        self.floor_p50, self.floor_rate = 0.0, 0.0

    def floor(self) -> None:
        """The bare page, alone and under load."""
        web = self.house.web("bench.floors:bare_list", DATABASE_URL=self.house.superuser)
        path = f"/bare/{self.shop.merchant_id}"
        alone = self._often(web, [path])
        loaded = client.load(web.port, self.visit, [path] * 1_000_000, clients=self.clients, seconds=self.seconds)
        self.floor_p50, self.floor_rate = alone.p(50), loaded.per_second
        self._note(Figure(part="lists", name=FLOOR, clients=1, p50_ms=alone.p(50), p99_ms=alone.p(99)))
        self._note(
            Figure(part="lists", name=FLOOR, clients=self.clients, per_second=loaded.per_second, p50_ms=loaded.p(50), p99_ms=loaded.p(99))
        )
        web.stop()

    def pages(self, pages: dict[str, list[str]]) -> None:
        """Every page one after the other, then some of them under load."""
        counts = self._statements(pages)
        web = self.house.web("app.main:create_app", logs=True)
        for name, paths in pages.items():
            self._page(web, name, paths, counts[name])
        for name in [name for name in LOADED if name in pages]:
            self._loaded(web, name, pages[name])
        self._loaded(web, "every page in turn", [path for paths in pages.values() for path in paths[:3]])
        print(f"  web worker {web.memory_mb():.0f} MB resident", flush=True)
        web.stop()

    def _page(self, web: Web, name: str, paths: Sequence[str], statements: int) -> None:
        skip = web.log.stat().st_size
        seen = self._often(web, paths)
        times = _server_times(web.log, skip)[-self.visits :]
        figure = Figure(
            part="lists",
            name=name,
            clients=1,
            p50_ms=seen.p(50),
            p99_ms=seen.p(99),
            server_p50_ms=percentile(times, 50) if times else None,
            server_p99_ms=percentile(times, 99) if times else None,
            queries=statements,
            floor=FLOOR,
            ratio=seen.p(50) / self.floor_p50,
            note="time over time: less is better",
        )
        self._note(figure)

    def _loaded(self, web: Web, name: str, paths: Sequence[str]) -> None:
        many = [paths[n % len(paths)] for n in range(int(2000 * (self.seconds + 1)))]
        random.Random(1).shuffle(many)
        done = client.load(web.port, self.visit, many, clients=self.clients, seconds=self.seconds)
        ratio = done.per_second / self.floor_rate
        figure = Figure(
            part="lists",
            name=name,
            clients=self.clients,
            per_second=done.per_second,
            p50_ms=done.p(50),
            p99_ms=done.p(99),
            floor=FLOOR,
            ratio=ratio,
        )
        self._note(figure)

    def _often(self, web: Web, paths: Sequence[str]) -> client.Load:
        """One client on one connection, the first visits not counted."""
        many = [paths[n % len(paths)] for n in range(self.visits + 10)]
        return client.load(web.port, self.visit, many, clients=1, seconds=60, warm_up=0.001)

    def _statements(self, pages: dict[str, list[str]]) -> dict[str, int]:
        """How many statements each page takes; the second visit counts, when limits and sessions are known."""
        web = self.house.web("bench.apps:counted", workers=1)
        counts = {}
        for name, paths in pages.items():
            for path in [paths[0], *paths[:3]]:
                counts[name] = _statements_of(web.port, path, self.visit.cookie)
        web.stop()
        return counts

    def download(self, rows: int) -> None:
        """Everything as one file, while the workers' memory is watched."""
        web = self.house.web("app.main:create_app")
        _statements_of(web.port, "/payments", self.visit.cookie)
        before, stop = web.memory_mb(), threading.Event()
        peak = [before]
        watch = threading.Thread(target=_watch, args=(web.memory_mb, stop, peak))
        watch.start()
        began = time.perf_counter()
        count, size = _file(web.port, "/payments/export.csv", self.visit.cookie)
        took = time.perf_counter() - began
        stop.set()
        watch.join()
        if count != rows + 1:
            raise RuntimeError(f"the file has {count:,} lines, {rows + 1:,} were expected")
        copied = _copy_rate(self.house.superuser, self.shop)
        note = f"{size / 1e6:,.0f} MB; worker {before:.0f} MB before, {peak[0]:.0f} MB at its peak"
        self._note(Figure(part="lists", name="COPY, not formatted", clients=1, per_second=copied))
        self._note(
            Figure(
                part="lists",
                name="file of all payments",
                clients=1,
                per_second=rows / took,
                floor="COPY, not formatted",
                ratio=rows / took / copied,
                note=note,
            )
        )
        web.stop()

    def _note(self, figure: Figure) -> None:
        self.figures.append(figure)
        print("  " + table([figure]).splitlines()[1], flush=True)


@contextmanager
def _opened(port: int, path: str, cookie: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET", path, headers={"cookie": cookie, "accept": "text/html"})
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path} answers {answer.status}")
            yield answer


def _statements_of(port: int, path: str, cookie: str) -> int:
    with _opened(port, path, cookie) as answer:
        answer.read()
        return int(answer.getheader("x-statements") or 0)


def _file(port: int, path: str, cookie: str) -> tuple[int, int]:
    """Lines and bytes of a file."""
    lines = size = 0
    with _opened(port, path, cookie) as answer:
        while piece := answer.read(1 << 18):
            lines += piece.count(b"\n")
            size += len(piece)
    return lines, size


def _watch(memory: Callable[[], float], stop: threading.Event, peak: list[float]) -> None:
    while not stop.wait(0.05):
        peak[0] = max(peak[0], memory())


def _copy_rate(superuser: str, shop: Shop) -> float:
    columns = "id, created_at, status, currency, amount_minor, captured_minor, refunded_minor, order_reference, buyer_name, buyer_email, method_brand, last4"
    with psycopg.connect(superuser) as connection, connection.cursor() as cursor:
        began, rows = time.perf_counter(), 0
        statement = f"copy (select {columns} from payment where merchant_id = '{shop.merchant_id}' order by id desc) to stdout (format csv)"
        with cursor.copy(statement.encode()) as copy:
            for piece in copy:
                rows += bytes(piece).count(b"\n")
        return rows / (time.perf_counter() - began)


def _server_times(log: Path, skip: int) -> list[float]:
    with log.open("rb") as file:
        file.seek(skip)
        lines = [line for line in file if b'"request"' in line]
    return sorted(msgspec.json.decode(line, type=Logged).ms for line in lines[10:])


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, rows=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))
