"""How many events a second go from the outbox over relay and broker to a finished job, and how long one takes, on both brokers.

Relay and worker are processes as in production, the worker with eight threads; every try is counted before it begins, as always. The floor
is the broker alone: the same messages put in and taken out by the same worker, for a job that is not counted. Nothing may be lost.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import dramatiq
import psutil
import psycopg

from app.core.ids import new_id
from bench.figures import Figure, percentile, table
from bench.house import House, open_house, stop
from tests.support.rabbitmq import RabbitMissing, running_rabbit
from workers import broker as brokers
from workers.routes import Queue

RELAY = ("-m", "bench.carry")
WORKER = ("-m", "dramatiq", "bench.echo", "--processes", "1", "--threads", "8", "--skip-logging")
PATIENCE = 300.0
_PUBLISH = """
insert into outbox (id, topic, payload, created_at, due_at)
  select id, 'bench.tick', '{}', now(), now() from unnest(%s::uuid[]) each (id)
"""
_DONE = "select count(*) from job_run where actor = 'echo.nothing' and state = 'done' and event_id = any(%s)"
_TOOK = """
select extract(epoch from r.last_at - o.created_at) * 1000 from job_run r join outbox o on o.id = r.event_id
 where r.actor = 'echo.nothing' and r.event_id = any(%s)
"""


def run(house: House, *, count: int = 20_000, single: int = 300) -> list[Figure]:
    """Measure PostgreSQL as the broker, then RabbitMQ where there is one."""
    figures = Brokers(house, "PostgreSQL", os.environ["BROKER_URL"]).measure(count, single)
    try:
        with running_rabbit() as rabbit:
            figures += Brokers(house, "RabbitMQ", rabbit.url, server=rabbit.pid).measure(count, single)
    except RabbitMissing as missing:
        print(f"  RabbitMQ is left out: {missing}", flush=True)
    return figures


class Brokers:
    """One broker with a relay and a worker on it."""

    def __init__(self, house: House, name: str, url: str, *, server: int | None = None) -> None:
        self.house, self.name, self.url, self.server = house, name, url, server

    def measure(self, count: int, single: int) -> list[Figure]:
        """The floor, many at once, and a few every second."""
        with psycopg.connect(self.house.superuser, autocommit=True) as connection, self._processes() as parts:
            self._burst(connection, 100)  # everything is open and warm
            floor = self._alone(count)
            name, per_second = f"{self.name} alone", count / floor
            figures = [Figure(part="relay", name=name, clients=1, per_second=per_second)]
            print(f"  {name}: {per_second:,.0f}/s", flush=True)
            before = {part: processor_seconds(pid) for part, pid in parts.items()}
            whole = count / self._burst(connection, count)
            spent = {part: (processor_seconds(pid) - before[part]) / count * 1e6 for part, pid in parts.items()}
            each = "µs of processor time an event: " + ", ".join(f"{part} {time:.0f}" for part, time in spent.items())
            took = self._steady(connection, single, pause=0.01)
        print(
            f"  outbox to job over {self.name}: {whole:,.0f}/s; p50 {percentile(took, 50):.1f} ms at some 100 a second; {each}", flush=True
        )
        figures.append(
            Figure(
                part="relay",
                name=f"outbox to job over {self.name}",
                clients=1,
                per_second=whole,
                p50_ms=percentile(took, 50),
                p99_ms=percentile(took, 99),
                floor=name,
                ratio=whole / per_second,
                note=f"{count + single:,} events, none lost; times at some 100 events a second; {each}",
            )
        )
        return figures

    @contextmanager
    def _processes(self) -> Iterator[dict[str, int]]:
        started = [self.house.start(*command, BROKER_URL=self.url) for command in (RELAY, WORKER)]
        try:
            parts = {self.name: self.server, "relay": started[0].pid, "worker": started[1].pid, "PostgreSQL": self.house.server.pid}
            yield {name: pid for name, pid in parts.items() if pid}
        finally:
            stop(*started)

    def _alone(self, count: int) -> float:
        """Seconds for messages through the broker without relay and count."""
        brokers.prepare(self.url)
        broker = brokers.connect(self.url)
        brokers.open_queues(broker)
        with tempfile.TemporaryDirectory() as directory:
            ended = Path(directory) / "ended"
            began = time.time()
            for start in range(0, count, 500):
                some = [
                    dramatiq.Message[None](queue_name=Queue.DEFAULT, actor_name="bare", args=(count, str(ended)), kwargs={}, options={})
                    for _ in range(min(500, count - start))
                ]
                brokers.send(broker, some)
            _wait(lambda: ended.exists() and bool(ended.read_text()), "the broker alone")
            took = float(ended.read_text()) - began
        broker.close()
        return took

    def _burst(self, connection: psycopg.Connection, count: int) -> float:
        """Seconds until events that were published at once are all worked on."""
        ids = [new_id() for _ in range(count)]
        began = time.perf_counter()
        connection.execute(_PUBLISH, (ids,))
        self._all_done(connection, ids)
        return time.perf_counter() - began

    def _steady(self, connection: psycopg.Connection, count: int, *, pause: float) -> list[float]:
        """Milliseconds from the outbox to the end of the job, one event after the other."""
        ids = []
        for _ in range(count):
            ids.append(new_id())
            connection.execute(_PUBLISH, ([ids[-1]],))
            time.sleep(pause)
        self._all_done(connection, ids)
        return sorted(float(row[0]) for row in connection.execute(_TOOK, (ids,)))

    def _all_done(self, connection: psycopg.Connection, ids: Sequence[UUID]) -> None:
        def done() -> bool:
            # the last one first: asking for all of them every time would take half of a processor from what is measured
            return _count(connection, ids[-1:]) == 1 and _count(connection, ids) == len(ids)

        _wait(done, f"{len(ids)} events over {self.name}")


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds."""
    process, seconds = psutil.Process(pid), 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # PostgreSQL's helpers come and go
            times = each.cpu_times()
            seconds += times.user + times.system
    return seconds


def _count(connection: psycopg.Connection, ids: Sequence[UUID]) -> int:
    row = connection.execute(_DONE, (list(ids),)).fetchone()
    assert row is not None
    return int(row[0])


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not all of it was worked on within {PATIENCE:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    with open_house() as here:
        print(table(run(here, count=int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)))
