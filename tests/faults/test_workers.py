"""A worker that is asked to stop finishes what it began, or gives it back; either way the job is done once."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from app.cli.processes import RELAY, worker_command
from app.core.ids import new_id
from tests.faults.house import House, Process, until
from tests.support.rabbitmq import RabbitMissing, running_rabbit
from workers import broker as brokers
from workers.claims import RememberingBroker
from workers.jobs import Message
from workers.routes import queue_of

JOB = "orders.expire_due"
# the failpoint holds up every job: with few threads, events that other tests still cause would stand before the one that is watched
WORKER = worker_command(processes=1, threads=16)


@pytest.fixture
def published(house: House) -> UUID:
    """An event that one actor hears of, and nothing else to do: what other tests left in the queue is taken out."""
    house.sql("update outbox set published_at = now() where published_at is null")
    if house.sql("select to_regclass('dramatiq.queue') is not null")[0][0]:
        house.sql("delete from dramatiq.queue")
    event = new_id()
    house.sql("insert into outbox (id, topic, payload, created_at, due_at) values (%s, 'clock.orders_due', '{}', now(), now())", event)
    return event


def run_of(house: House, event: UUID) -> list[tuple[object, ...]]:
    return house.sql("select state, attempts from job_run where event_id = %s and actor = %s", event, JOB)


def ends_well(process: Process) -> None:
    """It is asked to stop and ends by itself."""
    process.ask_to_end()
    until(lambda: not process.is_running, f"it did not end:\n{process.log.read_text()[-2000:]}", seconds=20)
    assert process.exit_code == 0, process.log.read_text()[-2000:]


def stops_in_the_middle(house: House, published: UUID, settings: dict[str, str]) -> None:
    """One job is finished within the time there is; one that takes longer goes back at once, uncounted, and is done by another worker."""
    slow = {"COUNTINGHOUSE_FAILPOINTS": "workers.job_begun=sleep:60000", "COUNTINGHOUSE_WORKER_GRACE_SECONDS": "0.3"}
    with house.running(house.start("relay", RELAY, **settings)):
        first = house.start("worker", WORKER, **settings, **slow)
        with house.running(first):
            until(lambda: run_of(house, published) == [("running", 1)], "it was not begun")
            ends_well(first)
        assert run_of(house, published) == [("failed", 0)]
        second = house.start("worker", WORKER, **settings, COUNTINGHOUSE_FAILPOINTS="workers.job_begun=sleep:700")
        with house.running(second):
            until(lambda: run_of(house, published) == [("running", 1)], "it did not go back")
            ends_well(second)
    assert run_of(house, published) == [("done", 1)]


class TestStopped:
    def test_over_postgresql(self, house: House, published: UUID) -> None:
        stops_in_the_middle(house, published, {})

    def test_over_rabbitmq(self, house: House, published: UUID) -> None:
        try:
            with running_rabbit() as rabbit:
                stops_in_the_middle(house, published, {"BROKER_URL": rabbit.url})
        except RabbitMissing as missing:
            pytest.skip(str(missing))


POISONED = [sys.executable, "-m", "dramatiq", "tests.faults.poison", "--processes", "1", "--threads", "4", "--skip-logging"]


def poison_among_neighbours(house: House, url: str, settings: dict[str, str], file: Path) -> None:
    """It kills its worker five times and is set aside; the others, which were taken and counted with it or begun beside it, are done."""
    brokers.prepare(url)
    broker = brokers.connect(url)
    brokers.open_queues(broker)
    payload = {"file": str(file)}
    events = [(new_id(), "poison.kill" if number == 5 else "poison.neighbour") for number in range(40)]
    brokers.send(
        broker, [brokers.envelope(actor, Message(event_id=event, topic="test.happened", payload=payload)) for event, actor in events]
    )
    broker.close()
    poison = events[5][0]

    def states() -> dict[UUID, tuple[str, int]]:
        found = house.sql("select event_id, state, attempts from job_run where event_id = any(%s)", [event for event, _ in events])
        return {row[0]: (row[1], row[2]) for row in found}

    def are_ended() -> bool:
        return sorted(state for state, _ in states().values()) == ["dead"] + ["done"] * 39

    def has_stopped(worker: Process) -> bool:
        return not worker.is_running or are_ended()

    for _ in range(12):
        worker = house.start("worker", POISONED, **settings)
        with house.running(worker):
            until(partial(has_stopped, worker), "it neither died nor came to an end")
            if are_ended():
                break
        if not settings:  # PostgreSQL gives back what a dead worker had after ten seconds; they are over
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("update dramatiq.worker set heartbeat_at = heartbeat_at - interval '1 minute'")
    assert [event for event, (state, _) in states().items() if state == "dead"] == [poison]
    lines = file.read_text().split()
    assert lines.count(str(poison)) == 5
    assert {UUID(line) for line in lines} == {event for event, _ in events}
    house.sql("delete from job_run where event_id = %s", poison)  # another test looks whether anything was given up


class TestPoison:
    def test_over_postgresql(self, house: House, published: UUID, tmp_path: Path) -> None:
        poison_among_neighbours(house, house.server.urls.broker, {}, tmp_path / "noted")

    def test_over_rabbitmq(self, house: House, published: UUID, tmp_path: Path) -> None:
        try:
            with running_rabbit() as rabbit:
                poison_among_neighbours(house, rabbit.url, {"BROKER_URL": rabbit.url}, tmp_path / "noted")
        except RabbitMissing as missing:
            pytest.skip(str(missing))


class TestDatabaseStopped:
    def test_a_worker_that_lives_on_gets_what_it_had_taken(self, house: House) -> None:
        """PostgreSQL is stopped at once while a worker has a message in hand: it has it again while it lives, not only when it ends."""
        brokers.prepare(house.server.urls.broker)
        broker = brokers.connect(house.server.urls.broker)
        assert isinstance(broker, RememberingBroker)
        broker.forgotten_seconds = 0.5
        self.sql(house, "delete from dramatiq.queue")
        names = set()
        for _ in range(2):
            message = brokers.envelope(JOB, Message(event_id=new_id(), topic="clock.orders_due"))
            brokers.send(broker, [message])
            names.add(message.message_id)
        consumer = broker.consume(queue_of(JOB), prefetch=4, timeout=10)
        begun = next(consumer)
        assert begun is not None
        house.sql("checkpoint")  # the taking is on disk, as it is a moment later anyway
        pid = house.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)  # what `pg_ctl stop -m immediate` does
        until(lambda: house.server.pid is None, "PostgreSQL did not stop")
        house.server.revive()
        consumer.close()  # what Dramatiq does with a reader that lost its connection: what it had in hand is gone
        consumer = broker.consume(queue_of(JOB), prefetch=4, timeout=10)
        found: list[str] = []
        deadline = time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            broker._look_at = 0.0
            found += [message.message_id for message in [next(consumer)] if message is not None]
        assert found == list(names - {begun.message_id})
        consumer.ack(begun)
        broker.settle(broker.pool, all_of_it=True)
        assert [str(row[0]) for row in self.sql(house, "delete from dramatiq.queue returning message_id")] == found
        consumer.close()
        broker.close()

    @staticmethod
    def sql(house: House, statement: LiteralString) -> list[tuple[object, ...]]:
        """What the broker's own database says."""
        with psycopg.connect(house.server.urls.broker, autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []
