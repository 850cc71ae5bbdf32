"""The way from the outbox to a finished job over a real RabbitMQ, which is killed on the way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import dramatiq
import psycopg
import pytest

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from app.core.outbox import Event, publish
from tests.support.rabbitmq import Rabbit, RabbitMissing, running_rabbit
from workers import broker as brokers
from workers.jobs import Message
from workers.relay import relay_once
from workers.routes import Queue, queue_of

ROUTES = {"test.happened": ("test.note",)}


class Happened(Event, frozen=True):
    topic = "test.happened"
    fails: bool = False


@pytest.fixture(scope="module")
def rabbit() -> Iterator[Rabbit]:
    try:
        with running_rabbit() as running:
            yield running
    except RabbitMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def broker(rabbit: Rabbit, database: Urls) -> Iterator[dramatiq.Broker]:
    made = brokers.connect(rabbit.url)
    brokers.open_queues(made)
    yield made
    made.flush_all()
    made.close()


async def happened(count: int) -> list[UUID]:
    merchant = MerchantId(new_id())
    async with unit_of_work(merchant) as session:
        return [await publish(session, merchant_id=merchant, event=Happened(), object_id=new_id()) for _ in range(count)]


@contextmanager
def working(broker: dramatiq.Broker) -> Iterator[None]:
    """A worker on the broker, as `countinghouse worker` runs one."""
    brokers.declare_one(broker, "test.note")
    worker = dramatiq.Worker(broker, worker_threads=4, worker_timeout=50)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def wait_for(done: Callable[[], bool], seconds: float = 30) -> None:
    """Look until it is so; how long it takes is the broker's affair."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class TestRabbit:
    async def test_events_reach_their_actor(
        self, relay: psycopg.Connection[Any], broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any]
    ) -> None:
        events = await happened(20)
        with working(broker):
            assert relay_once(relay, lambda messages: brokers.send(broker, messages), at=now(), routes=ROUTES) == 20
            wait_for(lambda: len(seen) == 20 and all(job_run(event)[0] == "done" for event in events))
        assert sorted(message.event_id for message in seen) == sorted(events)

    async def test_what_the_broker_took_outlives_it_and_what_it_did_not_take_waits(
        self, relay: psycopg.Connection[Any], rabbit: Rabbit, broker: dramatiq.Broker, seen: list[Message]
    ) -> None:
        def send(messages: Any) -> None:
            brokers.send(broker, messages)

        taken = await happened(10)
        assert relay_once(relay, send, at=now(), routes=ROUTES) == 10
        rabbit.kill()
        waiting = await happened(5)
        assert relay_once(relay, send, at=now(), routes=ROUTES) == 0
        rows = relay.execute("select attempts, last_error is not null from outbox where published_at is null").fetchall()
        assert rows == [(1, True)] * 5
        rabbit.start()
        later = brokers.connect(rabbit.url)
        with working(later):
            wait_for(lambda: relay_once(relay, send, at=now().replace(year=now().year + 1), routes=ROUTES) == 5)
            wait_for(lambda: len(seen) == 15)
        later.close()
        assert sorted(message.event_id for message in seen) == sorted(taken + waiting)

    async def test_a_job_that_fails_comes_back_after_its_delay_and_counts(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.jobs.delay", lambda _attempts: 1)
        message = Message(event_id=new_id(), topic="test.happened", payload={"fails": True})
        with working(broker):
            brokers.send(broker, [brokers.envelope("test.note", message)])
            wait_for(lambda: len(seen) == 5 and job_run(message.event_id)[0] == "dead")
        assert job_run(message.event_id) == ("dead", 5, "RuntimeError: as asked")


class TestQueues:
    def test_every_actor_stands_in_a_line_and_the_critical_one_comes_first(self) -> None:
        assert queue_of("payments.apply_psp_event") is Queue.CRITICAL
        assert queue_of("upkeep.forget_jobs") is Queue.BULK
        assert queue_of("anything.else") is Queue.DEFAULT
        assert sorted(brokers.PRIORITIES, key=brokers.PRIORITIES.__getitem__) == [Queue.CRITICAL, Queue.DEFAULT, Queue.BULK]

    def test_lines_are_only_for_actors_there_are(self) -> None:
        from workers.jobs import JOBS, load_jobs
        from workers.routes import QUEUES

        load_jobs()
        assert set(QUEUES) <= set(JOBS)
