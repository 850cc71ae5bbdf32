"""The processes of an installation, each of which can run alone: web, worker, relay, scheduler, simulator."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from app.cli.installation import attached
from app.core.settings import settings

RELAY = [sys.executable, "-m", "workers.relay"]
SCHEDULER = [sys.executable, "-m", "workers.scheduler"]


def worker_command(*, processes: int, threads: int, queues: Sequence[str] = ()) -> list[str]:
    """How Dramatiq is started; our jobs bring their own logging."""
    shape = ["--processes", str(processes), "--threads", str(threads), *(["--queues", *queues] if queues else [])]
    return [sys.executable, "-m", "dramatiq", "workers.main", *shape, "--skip-logging"]


@click.command()
@click.option("--host", help="Address to listen on; the setting otherwise.")
@click.option("--port", type=int, help="Port to listen on; the setting otherwise.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes; the setting otherwise.")
@click.option("--reload", is_flag=True, help="Start again when the code changes (one process).")
@click.pass_obj
def web(settled: dict[str, Path], host: str | None, port: int | None, workers: int | None, reload: bool) -> None:
    """Serve the pages and the API.

    \b
    Example:
      countinghouse web --port 8080 --workers 4
    """
    from app.web.accepting import serve

    with attached(settled["data"]):
        here = settings()
        serve(
            "app.main:create_app",
            host=host or here.host,
            port=port or here.port,
            workers=workers or here.web_workers,
            reload=reload,
            proxies=here.trusted_proxies,
        )


@click.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Jobs at a time in each process.")
@click.option(
    "--queue",
    "queues",
    type=click.Choice(["critical", "default", "bulk"]),
    multiple=True,
    help="Take from this queue only; may be repeated.",
)
@click.pass_obj
def worker(settled: dict[str, Path], processes: int, threads: int, queues: tuple[str, ...]) -> None:
    """Do the jobs that events ask for, critical ones first.

    \b
    Examples:
      countinghouse worker --processes 2
      countinghouse worker --queue critical
    """
    become(settled["data"], worker_command(processes=processes, threads=threads, queues=queues))


@click.command()
@click.pass_obj
def relay(settled: dict[str, Path]) -> None:
    """Carry events from the outbox to the broker."""
    become(settled["data"], RELAY)


@click.command()
@click.pass_obj
def scheduler(settled: dict[str, Path]) -> None:
    """Publish what the calendar says."""
    become(settled["data"], SCHEDULER)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8001, show_default=True, help="Port to listen on.")
@click.option(
    "--journal", type=click.Path(dir_okay=False, path_type=Path), help="File that keeps its accounts and payments from run to run."
)
def simulator(host: str, port: int, journal: Path | None) -> None:
    """Play a payment provider: accounts, hosted payment page, webhooks, and every fault a provider can have.

    \b
    Example:
      countinghouse simulator --port 9001
    """
    from app.psp.simulator import serve

    serve(host=host, port=port, journal=journal)


def become(data: Path, command: list[str]) -> None:
    """Run a command as this process; where the private PostgreSQL has to be kept running meanwhile, as a child of it."""
    if "DATABASE_URL" in os.environ:
        os.execve(command[0], command, os.environ)  # noqa: S606 - our own interpreter and module
    with attached(data):
        child = subprocess.Popen(command)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: child.send_signal(received))
        sys.exit(child.wait())
