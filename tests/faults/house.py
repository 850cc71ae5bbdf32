"""A whole installation of real processes on a PostgreSQL of its own, so that any of them can be killed."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.cli.processes import RELAY, SCHEDULER, worker_command
from app.cli.supervisor import kill_tree
from app.core import db, secrets
from app.core.embedded import EmbeddedPostgres, free_port
from app.core.ids import parse_id, public_id
from app.core.settings import settings
from app.ledger import queries
from tests.faults.nursery import born
from tests.support.factories.api_access import make_key
from tests.support.shop import ScriptedPsp, Shop, balances, open_shop
from tests.support.simulator import SimulatedAccount, Simulator

CLI = [sys.executable, "-m", "app.cli.main"]
PATIENCE = 40.0
T = TypeVar("T")


def until(holds: Callable[[], T], otherwise: str, *, seconds: float = PATIENCE) -> T:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{otherwise} within {seconds:.0f} s"
        time.sleep(0.05)
    return found


class Process:
    """One process of the house."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        log.touch()
        self.process = born(command, environ, log)

    @property
    def is_running(self) -> bool:
        return self.process.is_alive()

    @property
    def exit_code(self) -> int | None:
        """How it ended; nothing while it runs."""
        return self.process.exitcode

    def ask_to_end(self) -> None:
        """What Ctrl-C and every supervisor do first."""
        self.process.terminate()

    def kill(self) -> None:
        """End it at once, with everything it started."""
        assert self.process.pid is not None
        kill_tree(self.process.pid)
        self.process.join(20)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.is_running:
            self.ask_to_end()
            self.process.join(10)
        if self.is_running:
            self.kill()

    def wait_until_dead(self) -> None:
        """A failpoint kills it."""
        self.process.join(PATIENCE)
        assert not self.is_running, f"it did not die within {PATIENCE:.0f} s; its log:\n{self.log.read_text()[-2000:]}"


class House:
    """PostgreSQL, simulator, and whatever processes a test starts."""

    def __init__(self, server: EmbeddedPostgres, simulator: Simulator, directory: Path) -> None:
        self.server, self.simulator, self.directory = server, simulator, directory
        self.key_file = directory / "keys.json"
        secrets.write_ring(self.key_file, secrets.new_ring())
        self.port = free_port()
        self.shops: list[HttpShop] = []
        self._numbers = iter(range(1, 10_000))

    def environ(self, **more: str) -> dict[str, str]:
        """The settings of a process."""
        urls = self.server.urls
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COUNTINGHOUSE_", "COV"))},
            "DATABASE_URL": urls.app,
            "BROKER_URL": urls.broker,
            "ALLOW_INSECURE_PSP_URLS": "true",
            "COUNTINGHOUSE_ENVIRONMENT": "test",
            "COUNTINGHOUSE_OWNER_DATABASE_URL": urls.owner,
            "COUNTINGHOUSE_RELAY_DATABASE_URL": urls.relay,
            "COUNTINGHOUSE_KEY_FILE": str(self.key_file),
            "COUNTINGHOUSE_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "COUNTINGHOUSE_PSP_TOTAL_SECONDS": "1.0",
            "COUNTINGHOUSE_REQUESTS_PER_MINUTE": "1000000",
            "COUNTINGHOUSE_LOG_LEVEL": "info",
        } | more

    def start(self, name: str, command: list[str], **settings: str) -> Process:
        """Start a process."""
        return Process(command, self.environ(**settings), self.directory / f"{name}-{next(self._numbers)}.log")

    def web(self, *, port: int | None = None, workers: int = 2, failpoints: str = "") -> Process:
        """Start a web server and wait until it answers."""
        port = port or self.port
        settings = {"COUNTINGHOUSE_FAILPOINTS": failpoints} if failpoints else {}
        process = self.start("web", [*CLI, "web", "--port", str(port), "--workers", str(workers)], **settings)

        def answers() -> bool:
            assert process.is_running, process.log.read_text()[-2000:]
            try:
                return httpx2.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
            except httpx2.HTTPError:
                return False

        until(answers, "the web server does not answer")
        return process

    def relay(self) -> Process:
        return self.start("relay", RELAY)

    def scheduler(self) -> Process:
        return self.start("scheduler", SCHEDULER)

    def worker(self, *, failpoints: str = "") -> Process:
        settings = {"COUNTINGHOUSE_FAILPOINTS": failpoints} if failpoints else {}
        return self.start("worker", worker_command(processes=1, threads=4), **settings)

    @contextmanager
    def running(self, *processes: Process) -> Iterator[None]:
        """The processes, while the block runs."""
        try:
            yield
        finally:
            for process in reversed(processes):
                process.stop()

    def inside(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something of the application's own in this house's database."""
        found: list[T] = []
        problems: list[BaseException] = []

        async def whole() -> None:
            try:
                found.append(await work())
            finally:
                await db.dispose()

        def run() -> None:
            try:
                asyncio.run(whole())
            except BaseException as error:
                problems.append(error)

        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environ())
        settings.cache_clear()
        secrets.ring.cache_clear()
        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            os.environ.clear()
            os.environ.update(before)
            settings.cache_clear()
            secrets.ring.cache_clear()
        if problems:
            raise problems[0]
        return found[0]

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Look behind the walls."""
        with psycopg.connect(self.server.url(database="countinghouse"), autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def lease_runs_out(self, key: str) -> None:
        """What would happen half a minute after the process died."""
        self.sql("update idempotency_key set lease_until = now() where status is null and key = %s", key)

    def questions_are_due(self) -> None:
        """What would happen a minute after an answer was lost."""
        self.sql("update payment_attempt set next_ask_at = now() where next_ask_at is not null")

    def minutes_pass(self) -> None:
        """What would happen six minutes after an answer was lost: no PSP can still be working on the request."""
        self.sql(
            "update payment_attempt set created_at = created_at - interval '6 minutes', next_ask_at = now() where next_ask_at is not null"
        )

    def books_balance(self) -> bool:
        """What `countinghouse ledger check` finds."""

        async def check() -> bool:
            engine = create_async_engine(self.server.urls.owner)
            async with AsyncSession(engine) as session:
                report = await queries.check(session, merchant_id=None)
            await engine.dispose()
            return report.is_sound

        return self.inside(check)

    def open_shop(self) -> "HttpShop":
        """A merchant with a connection to an account of its own at the simulator, and an API key."""
        account = self.simulator.account()

        async def make() -> tuple[Shop, str]:
            shop = await open_shop(ScriptedPsp(), settings=account.settings)
            return shop, (await make_key(shop.merchant_id))[1]

        shop, key = self.inside(make)
        connection = public_id("con", shop.connection_id)
        self.simulator.post("/_accounts", {"name": account.name, "webhook_url": f"http://127.0.0.1:{self.port}/webhooks/{connection}"})
        self.shops.append(HttpShop(self, shop, account, key))
        return self.shops[-1]

    def close_shops(self) -> None:
        """Hang up every merchant's connections."""
        while self.shops:
            self.shops.pop().client.close()


class HttpShop:
    """A merchant as its own server sees us: over HTTP, with retries."""

    def __init__(self, house: House, shop: Shop, account: SimulatedAccount, key: str) -> None:
        self.house, self.shop, self.account = house, shop, account
        self.headers = {"authorization": f"Bearer {key}"}
        self.client = httpx2.Client(headers=self.headers, timeout=20)

    def send(self, path: str, body: Mapping[str, object], *, key: str, port: int | None = None) -> httpx2.Response:
        """One request."""
        url = f"http://127.0.0.1:{port or self.house.port}{path}"
        return self.client.post(url, json=body, headers={"idempotency-key": key})

    def insist(self, path: str, body: Mapping[str, object], *, key: str) -> httpx2.Response:
        """The same request until it is answered, as every client should; a lease that a dead process left runs out."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, "no answer"
            try:
                answer = self.send(path, body, key=key)
                if answer.status_code < 400:
                    return answer
                assert answer.status_code in (429, 503), answer.text
                if answer.status_code == 429:
                    self.house.lease_runs_out(key)
            except (httpx2.HTTPError, psycopg.OperationalError):
                pass  # the web server or the database is away: that is what the test is about
            time.sleep(0.05)

    def order(self) -> str:
        """An order of 100.00 for two sellers."""
        lines = [
            {"seller": public_id("sel", seller), "amount": {"minor": minor, "currency": "EUR"}}
            for seller, minor in ((self.shop.anna, 6000), (self.shop.bert, 4000))
        ]
        key = os.urandom(8).hex()
        return str(self.insist("/v1/orders", {"reference": key, "currency": "EUR", "lines": lines}, key=key).json()["id"])

    def view(self, payment: str) -> dict[str, Any]:
        """A payment as it stands; asked again when we asked too often, or while the house is away."""
        return until(lambda: self._view(payment), f"{payment} is not shown")

    def _view(self, payment: str) -> dict[str, Any] | None:
        answer = httpx2.get(f"http://127.0.0.1:{self.house.port}/v1/payments/{payment}", headers=self.headers, timeout=20)
        assert answer.status_code in (200, 429, 503), answer.text
        return answer.json() if answer.status_code == 200 else None

    def reaches(self, payment: str, *statuses: str) -> dict[str, Any]:
        """Wait until a payment is in one of the states."""
        seen: list[dict[str, Any]] = []

        def arrived() -> bool:
            seen.append(self.view(payment))
            return seen[-1]["status"] in statuses

        until(arrived, f"{payment} is not in one of {statuses}")
        return seen[-1]

    def charged(self) -> tuple[int, int]:
        """How often and how much the buyers were really charged."""
        found = self.account.charges()
        return found["count"], found["amount"]

    def refunded(self) -> int:
        """How much was really given back."""
        return sum(
            each["amount"]
            for each in self.account.operations()["operations"]
            if each["object"] == "refund" and each["status"] == "succeeded"
        )

    def posted(self) -> int:
        """What the books say the PSP owes us, before its fees."""
        with psycopg.connect(self.house.server.url(database="countinghouse"), autocommit=True) as connection:
            found = balances(connection, self.shop.merchant_id)
        return sum(minor for (code, _), minor in found.items() if code in ("1100", "5100"))

    def attempts(self, payment: str) -> int:
        """How many operations were begun on a payment."""
        return int(self.house.sql("select count(*) from payment_attempt where payment_id = %s", parse_id("pay", payment))[0][0])
