"""`countinghouse demo` and `countinghouse dev`: everything on this machine, in one terminal."""

import asyncio
import http.client
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import msgspec
import psycopg

from app.cli import installation as installations
from app.cli.installation import Installation
from app.cli.migrate import upgrade
from app.cli.operators import appoint
from app.cli.output import step
from app.cli.processes import RELAY, SCHEDULER, worker_command
from app.cli.strays import forget, remember, stop_strays
from app.cli.supervisor import Child, Supervisor
from app.core.embedded import EmbeddedPostgres, free_port, port_is_free
from app.core.errors import Conflict, Unavailable

READY_SECONDS = 60.0
HISTORY_DAYS = 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortTaken(Conflict):
    """Another program listens on the port the demo wants."""

    code = "port_taken"
    title = "The port is taken"


class NotReady(Unavailable):
    """A process did not answer in time."""

    code = "process_not_ready"
    title = "A process did not become ready"


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=8000,
    show_default=True,
    help="Port of the web pages; the simulator takes the next free one.",
)
@click.option("--check", is_flag=True, help="Start everything apart on free ports, take one order and one payout all the way, stop.")
@click.option("--empty", is_flag=True, help="Without demo data.")
@click.pass_obj
def demo(settled: dict[str, Path], port: int, check: bool, empty: bool) -> None:
    """Run the whole house on this machine, with demo data that is kept from run to run.

    \b
    Examples:
      countinghouse demo
      countinghouse demo --port 9000
      countinghouse demo --check        # exit code 0 when an order reached both wallets and a payout the bank
    """
    if check:
        with scratch() as data:
            run_check(data)
        return
    run(settled["data"], port=port, environment="demo", days=0 if empty else HISTORY_DAYS)


@click.command()
@click.option("--port", type=click.IntRange(1, 65534), default=8000, show_default=True, help="Port of the web pages.")
@click.pass_obj
def dev(settled: dict[str, Path], port: int) -> None:
    """Run the demo for a developer: the web server starts again when the code changes.

    \b
    Example:
      countinghouse dev
    """
    run(settled["data"], port=port, environment="development", days=HISTORY_DAYS)


def run(data: Path, *, port: int, environment: str, days: int) -> None:
    """Start everything, say where it is, and keep it running until Ctrl-C."""
    began = time.perf_counter()
    stop_strays(data)
    require_free(port)
    plan = started(data, port=port, simulator_port=simulator_port(data, port), environment=environment, days=days)
    try:
        with ended_by_signals(), plan as (here, supervisor, watch):
            click.echo(welcome(here, time.perf_counter() - began))
            supervisor.watch(watch)
    except KeyboardInterrupt:
        click.echo("\nStopped. The next run finds the data as they are now.")


def run_check(data: Path) -> None:
    """Take one two-seller order over HTTP through to both wallets, and a payout to the bank, on an installation of its own."""
    from app.cli.check import take_an_order
    from app.cli.check_payouts import pay_out

    began = time.perf_counter()
    plan = started(data, port=free_port(), simulator_port=free_port(), environment="demo", days=2, checked=True)
    with ended_by_signals(), plan as (here, _, _watch):
        known = msgspec.json.decode(here.demo_file.read_bytes())
        asyncio.run(take_an_order(known, here.urls.owner))
        asyncio.run(pay_out(known, here.urls.owner))
    click.echo(f"The whole check took {time.perf_counter() - began:.1f} s.")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl-C, a closed terminal and a polite kill all leave the block, whose clean-up is then not interrupted again."""

    def leave(number: int, frame: object) -> NoReturn:
        for ignored in SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Started = tuple[Installation, Supervisor, Callable[[], None]]


@contextmanager
def started(data: Path, *, port: int, simulator_port: int, environment: str, days: int, checked: bool = False) -> Iterator[Started]:
    """Everything running; on leaving, the processes end before the database does. What is to be checked is quiet, and nothing in it is wrong on purpose."""
    data.mkdir(parents=True, exist_ok=True)
    server = None if "DATABASE_URL" in os.environ else EmbeddedPostgres(data / "postgres")
    with step("Database is running"):
        urls = server.start().urls if server else installations.given_urls(os.environ)
    here = Installation(data=data, urls=urls, port=port, simulator_port=simulator_port, environment=environment)
    supervisor = Supervisor(here.environ())
    try:
        prepare(here)
        start_processes(here, supervisor, days=days, compared=not checked)
        supervisor.quiet = checked
        yield here, supervisor, (server.revive if server else lambda: None)
    finally:
        supervisor.stop()
        forget(data)
        if server:
            server.stop()


def prepare(here: Installation) -> None:
    """Keys and tables."""
    installations.use(here.environ())
    with step("Keys are there"):
        installations.ensure_keys(here.key_file)
    with step("Migrations are applied"):
        upgrade(here.urls.owner)


def start_processes(here: Installation, supervisor: Supervisor, *, days: int, compared: bool = True) -> None:
    """Start the processes: first what a browser waits for; the simulator has a part in making the demo data."""
    cli, port = [sys.executable, "-m", "app.cli.main"], str(here.simulator_port)
    simulator = supervisor.start("simulator", [*cli, "simulator", "--port", port, "--journal", str(here.data / "simulator.journal")])
    web = supervisor.start("web", [*cli, "web", *(["--reload"] if here.environment == "development" else [])])
    with step("Simulator answers"):
        wait_for(here.simulator_port, "/healthz", simulator)
    with step("Demo data are there"):
        sow(here, days=days, compared=compared)
    with step("Web answers"):
        wait_for(here.port, "/healthz", web)
    supervisor.start("relay", RELAY)
    supervisor.start("scheduler", SCHEDULER)
    supervisor.start("worker", worker_command(processes=1, threads=8))
    remember(here.data, [child.process.pid for child in supervisor.children if child.process])


def sow(here: Installation, *, days: int, compared: bool = True) -> None:
    """Make so many days of demo data in an empty house, and write down how to use it."""
    known = msgspec.json.decode(here.demo_file.read_bytes()) if here.demo_file.exists() else {}
    if days and is_empty(here.urls.owner):
        from app.seed import OPERATOR, plant

        known = asyncio.run(plant(simulator_url=here.simulator_url, days=days, compared=compared))
        for person in msgspec.convert(known["people"], list[dict[str, str]]):
            if person["role"] == OPERATOR:
                appoint(here.urls.owner, person["email"])
    elif "api_keys" in known:
        from app.seed import point_webhooks

        accounts = {key["id"]: key["connection"] for key in known["api_keys"]} | known.get("accounts", {})
        asyncio.run(point_webhooks(here.simulator_url, accounts))
    known |= {"url": here.web_url, "port": here.port, "simulator_url": here.simulator_url, "simulator_port": here.simulator_port}
    write(here.demo_file, msgspec.json.format(msgspec.json.encode(known), indent=2))


def is_empty(owner_url: str) -> bool:
    """Tell whether no merchant was ever made."""
    with psycopg.connect(owner_url) as connection:
        return connection.execute("select 1 from merchant limit 1").fetchone() is None


def write(path: Path, content: bytes) -> None:
    """Write a file only we can read: it holds the demo's passwords."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def wait_for(port: int, path: str, child: Child) -> None:
    """Wait until a process answers; one that died while starting will not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and child.is_running:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status < 500:
                return
        except OSError:
            pass  # nobody listens yet
        finally:
            connection.close()
        time.sleep(0.05)
    raise NotReady(f"{child.name} does not answer on port {port}; its last lines:\n" + "\n".join(child.last_lines))


def require_free(port: int) -> None:
    """Refuse a port another program listens on."""
    if not port_is_free(port):
        raise PortTaken(
            f"Another program listens on port {port}. Stop it, or choose another port: make demo ARGS='--port {next_free(port + 1)}'."
        )


def simulator_port(data: Path, port: int) -> int:
    """The simulator's port of the last run, because the demo's connections point there; otherwise the next free one."""
    demo = data / "demo.json"
    last = int(msgspec.json.decode(demo.read_bytes()).get("simulator_port", 0)) if demo.exists() else 0
    return last if last and last != port and port_is_free(last) else next_free(port + 1)


def next_free(port: int) -> int:
    """The first free port from here on."""
    while not port_is_free(port):
        port += 1
    return port


def welcome(here: Installation, seconds: float) -> str:
    """Where everything is and how to get in."""
    known = msgspec.json.decode(here.demo_file.read_bytes())
    command = str(Path(sys.executable).with_name("countinghouse")) + ("" if here.data == installations.DATA else f" --data {here.data}")
    lines = ["", click.style(f"Countinghouse is ready after {seconds:.1f} s: {here.web_url}", bold=True)]
    people = known.get("people", [])
    for label, shown in (("Sign in", people[:1]), ("Operator", [each for each in people if each["role"] == "operator"])):
        for person in shown:
            lines.append(f"  {label:<16} {person['email']}   {person['password']}")
            lines.append(f"  Second factor    {command} code {person['email']}")
    lines += [
        f"  Everybody else   {here.demo_file}",
        f"  PSP simulator    {here.simulator_url}",
        f"  Mails            {here.web_url}/dev/mails",
        "  Ctrl-C stops everything; the data stay.",
        "",
    ]
    return "\n".join(lines)


@contextmanager
def scratch() -> Iterator[Path]:
    """A data directory that is deleted afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="countinghouse-check-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        EmbeddedPostgres(directory / "postgres").destroy()
        shutil.rmtree(directory, ignore_errors=True)
