"""Runs one workload on several database connections at once, each in a process of its own, so that no client waits for another's Python."""

import multiprocessing as mp
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID

import msgspec
import psycopg

from bench.figures import percentile

MERCHANT = UUID("00000000-0000-7000-8000-00000000000a")
SELLERS, CONNECTIONS, PAYMENTS, BATCH = 2_000, 2_000, 200_000, 1_000
TOGETHER = 8
"""How many captures travel in one call while a web worker has so many requests under way."""

Work = Callable[[psycopg.Connection, int], Iterator[None]]
"""What one client does, given its connection and its number: each step of the iterator is one unit of work."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one workload reached with so many clients."""

    name: str
    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float


def client(
    url: str, work: Work, number: int, seconds: float, start: "mp.synchronize.Barrier", out: "mp.Queue[tuple[float, list[float]]]"
) -> None:
    """One client process: warm up, wait for the others, work until the time is over or nothing is left, report how long each step took."""
    took: list[float] = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        steps = work(connection, number)
        until = time.perf_counter() + min(1.0, seconds / 4)
        while time.perf_counter() < until:
            next(steps)
        start.wait(60)
        begun = now = time.perf_counter()
        with suppress(StopIteration):
            while now < begun + seconds:
                next(steps)
                before, now = now, time.perf_counter()
                took.append(now - before)
    out.put((now - begun, took))


def measure(url: str, name: str, work: Work, *, clients: int, seconds: float, each: int = 1) -> Measured:
    """Run the work on so many connections at once; ``each`` is how many things one step does."""
    context = mp.get_context("fork")
    start, out = context.Barrier(clients), context.Queue()
    processes = [context.Process(target=client, args=(url, work, number, seconds, start, out)) for number in range(clients)]
    for process in processes:
        process.start()
    reports = [out.get(timeout=seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    milliseconds = sorted(one * 1000 for _, took in reports for one in took)
    return Measured(
        name=name,
        clients=clients,
        per_second=sum(len(took) * each / elapsed for elapsed, took in reports),
        p50_ms=percentile(milliseconds, 50),
        p99_ms=percentile(milliseconds, 99),
    )
