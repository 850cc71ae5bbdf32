"""A house of its own for one part of the benchmark: a durable server, keys, a merchant that can sell, and web workers as in production."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path

import msgspec
import psutil
import psycopg

from app.api_access import service as api_access
from app.api_access.domain import SCOPES
from app.cli import installation as installations
from app.cli.installation import ROOT, Installation
from app.cli.migrate import upgrade
from app.core.actors import Actor, ActorKind
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.embedded import EmbeddedPostgres, free_port
from app.core.ids import ConnectionId, MerchantId, PersonId, SellerId, public_id
from app.core.roles import APP, DATABASE
from app.identity import service as identity
from app.identity.domain import Factor
from app.psp.service import connections
from app.sellers import service as sellers
from app.sellers.domain import FeeTerms
from app.tenancy import service as tenancy
from app.tenancy.domain import Role, permissions_of
from app.web import sessions

READY_SECONDS = 60.0
PREFIX = "countinghouse-bench-"
PRODUCT = ("app.main:create_app", "bench.apps:instant", "bench.apps:counted")
LIFTED = {
    "COUNTINGHOUSE_REQUESTS_PER_MINUTE": "1000000000",
    "COUNTINGHOUSE_API_REQUESTS_PER_MINUTE": "1000000000",
    "COUNTINGHOUSE_SESSION_IDLE_MINUTES": "600",
    "COUNTINGHOUSE_STEP_UP_MINUTES": "60",
    "COUNTINGHOUSE_LOG_FORMAT": "json",
    "COUNTINGHOUSE_LOG_LEVEL": "info",
}
"""Limits that a benchmark would run into, and the log as a production has it."""


class House:
    """One running house; what is started in it ends with it.

    With an ``only_web`` the product in all its forms is that one application, started once: for whoever wants to see everything run and does not
    look at the speed.
    """

    def __init__(self, server: EmbeddedPostgres, here: Installation, stack: ExitStack, *, workers: int, only_web: str | None) -> None:
        self.server, self.here, self._stack, self.workers, self.only_web = server, here, stack, workers, only_web
        self._kept: Web | None = None

    @property
    def superuser(self) -> str:
        """The address of the database for whoever fills and inspects it."""
        return self.server.url(database=DATABASE)

    def database_cpu_seconds(self) -> float:
        """Processor time of the application's database connections that are open now; they stay open during a run."""
        assert self.server.pid is not None
        return sum(_backend_cpu_seconds(child) for child in psutil.Process(self.server.pid).children())

    def start(self, *command: str, log: Path | None = None, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process of the house; its log goes into a file or nowhere."""
        with log.open("wb") if log else nullcontext(subprocess.DEVNULL) as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=os.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stack.callback(stop, process)
        return process

    @cached_property
    def simulator(self) -> str:
        """The address of the simulated provider and bank, which is started when it is first asked for."""
        port = self.here.simulator_port
        _wait_for(port, self.start("-m", "app.cli.main", "simulator", "--port", str(port)))
        return self.here.simulator_url

    def web(self, application: str, *, workers: int | None = None, logs: bool = False, **environ: str) -> "Web":
        """Web workers for an application, when each connection is answered."""
        if self.only_web is None or application not in PRODUCT:
            return self._started_web(application, workers or self.workers, logs=logs, is_kept=False, **environ)
        if self._kept is None:
            self._kept = self._started_web(self.only_web, self.workers, logs=True, is_kept=True)
        return self._kept

    def _started_web(self, application: str, workers: int, *, logs: bool, is_kept: bool, **environ: str) -> "Web":
        port = free_port()
        log = self.here.data / f"web-{port}.log"
        process = self.start("-m", "bench.serve", application, str(port), str(workers), log=log if logs else None, **environ)
        _wait_for(port, process)
        if workers > 1:
            time.sleep(0.5)  # the second worker is as far
        return Web(port=port, process=process, log=log, is_kept=is_kept)


class Web(msgspec.Struct, frozen=True):
    """Running web workers."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    is_kept: bool

    def workers(self) -> list[psutil.Process]:
        """The processes that serve; the one that only watches them is left out."""
        children = [child for child in psutil.Process(self.process.pid).children() if "resource_tracker" not in " ".join(child.cmdline())]
        return children or [psutil.Process(self.process.pid)]

    def memory_mb(self) -> float:
        """The resident memory of the largest worker."""
        return max(int(worker.memory_info().rss) for worker in self.workers()) / 1e6

    def cpu_seconds(self) -> float:
        """Processor time of all workers so far."""
        return sum(_cpu_seconds(worker) for worker in self.workers())

    def stop(self) -> None:
        """End the workers, unless the house keeps them."""
        if not self.is_kept:
            stop(self.process)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _backend_cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):  # the server's own helpers come and go
        if APP in " ".join(process.cmdline()):
            return _cpu_seconds(process)
    return 0.0


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """End processes and wait until they are gone: a worker on its way out still takes jobs."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


@contextmanager
def open_house(*, workers: int = 2, only_web: str | None = None) -> Iterator[House]:
    """A house with a server of its own, fsync on, deleted at the end with everything in it."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.chmod(0o711)
    before = dict(os.environ)
    server = EmbeddedPostgres(directory / "postgres")
    try:
        with ExitStack() as stack:
            server.start()
            here = Installation(data=directory, urls=server.urls, port=free_port(), simulator_port=free_port(), environment="demo")
            os.environ.update(LIFTED)
            installations.use(here.environ() | LIFTED)
            installations.ensure_keys(here.key_file)
            upgrade(here.urls.owner)
            yield House(server, here, stack, workers=workers, only_web=only_web)
    finally:
        server.destroy()
        shutil.rmtree(directory, ignore_errors=True)
        os.environ.clear()
        installations.use(before)


def _sweep() -> None:
    """Delete what a run that was killed left behind."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if directory.stat().st_uid == os.geteuid() and (directory / "postgres" / "passwords.json").exists():
            EmbeddedPostgres(directory / "postgres").destroy_if_abandoned()
            if not (directory / "postgres").exists():
                shutil.rmtree(directory, ignore_errors=True)


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant that can sell, and the ways in."""

    merchant_id: MerchantId
    connection_id: ConnectionId
    sellers: list[SellerId]
    key: str
    session: str


async def open_shop(name: str, *, psp: str, values: dict[str, str], seller_count: int = 20) -> Shop:
    """A live merchant with a connection, sellers, a fee, an API key and a signed-in owner."""
    async with unit_of_work(None) as session:
        person = await identity.create_person(
            session, email=f"{name}@bench.example", name=name, password="three quick herons measure", totp_secret=None
        )
        founder = Actor(kind=ActorKind.USER, id=person.id, name=name)
        merchant, _ = await tenancy.open_merchant(session, founder, name=name)
    merchant_id = MerchantId(merchant.id)
    actor = Actor(
        kind=ActorKind.USER,
        id=person.id,
        name=name,
        merchant_id=merchant_id,
        permissions=permissions_of(Role.OWNER, sandbox=False),
        factor_at=now(),
    )
    async with unit_of_work(merchant_id) as session:
        connection = await connections.add_connection(session, actor, psp=psp, name=f"{psp} {name}", values=values)
        await connections.enable_connection(session, actor, connection_id=ConnectionId(connection.id))
        await sellers.set_fee(session, actor, currency="EUR", terms=FeeTerms(basis_points=1000, fixed_minor=25))
        known = [
            await sellers.add_seller(session, actor, reference=f"s-{n}", name=f"Seller {n:04}", email=f"s{n}@bench.example", country="DE")
            for n in range(seller_count)
        ]
        _, key = await api_access.issue_key(session, actor, name="Bench", scopes=SCOPES)
    return Shop(
        merchant_id=merchant_id,
        connection_id=ConnectionId(connection.id),
        sellers=[SellerId(seller.id) for seller in known],
        key=key,
        session=await _sign_in(PersonId(person.id), merchant_id),
    )


async def _sign_in(person_id: PersonId, merchant_id: MerchantId) -> str:
    async with unit_of_work(None) as session:
        await sessions.open_session(session, person_id=person_id, address="127.0.0.1", user_agent="bench", merchant_id=merchant_id)
        found = (await sessions.sessions_of(session, person_id))[0]
        return await sessions.prove_factor(session, found.id, factor=Factor.TOTP)


def fill_orders(house: House, shop: Shop, count: int) -> list[str]:
    """So many open orders, each with a line for two sellers; gives their public ids."""
    with psycopg.connect(house.superuser) as connection:
        found = connection.execute(
            """
            with fresh as (
              insert into sales_order (merchant_id, id, reference, status, currency, total_minor, buyer_name, buyer_email, buyer_email_lc,
                  description, details, created_at, updated_at)
                select %(merchant)s, new_id(clock_timestamp()), 'B-' || new_id(now()), 'open', 'EUR', 10000, 'Lena Hoffmann', 'lena@buyers.example',
                  'lena@buyers.example', '', '{}', now(), now() from generate_series(1, %(count)s) returning id),
            lines as (
              insert into sales_order_line (merchant_id, order_id, position, seller_id, description, quantity, amount_minor)
                select %(merchant)s, id, side, (%(sellers)s::uuid[])[1 + ((hashtext(id::text) & 1023) + side) %% %(many)s], 'Oak chair', 1, 4000 + 2000 * side
                  from fresh, generate_series(0, 1) side)
            select id from fresh
            """,
            {"merchant": shop.merchant_id, "count": count, "sellers": shop.sellers, "many": len(shop.sellers)},
        ).fetchall()
        connection.commit()
        connection.execute("analyze sales_order, sales_order_line")
    return [public_id("ord", row[0]) for row in found]
