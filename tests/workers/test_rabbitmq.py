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
from workers.rabbit import RabbitConsumer
from workers.relay import relay_once
from workers.routes import Queue, queue_of
from workers.taken import Taken
from workers.tries import Done, Together

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


def put(broker: dramatiq.Broker, count: int) -> list[UUID]:
    """Events addressed to the job, in the queue."""
    events = [Message(event_id=new_id(), topic="test.happened") for _ in range(count)]
    brokers.send(broker, [brokers.envelope("test.note", event) for event in events])
    return [event.event_id for event in events]


def reader(broker: dramatiq.Broker) -> RabbitConsumer:
    return broker.consume(queue_of("test.note"), prefetch=8, timeout=50)  # type: ignore[return-value]


def taken(consumer: RabbitConsumer, count: int) -> list[Taken]:
    """What it hands on, until there are so many."""
    found: list[Taken] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} messages came"
        message = next(consumer)
        found += [message] if isinstance(message, Taken) else []
    return found


def finished(message: Taken) -> Taken:
    """As after its job has ended well."""
    assert message.event is not None
    message.done = Done(event_id=message.event.event_id, actor="test.note", at=now())
    return message


class TestSets:
    def test_all_that_arrived_are_counted_before_one_begins(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any]
    ) -> None:
        events = put(broker, 3)
        consumer = reader(broker)
        assert [message.first is not None for message in taken(consumer, 3)] == [True] * 3
        assert [job_run(event) for event in events] == [("running", 1, None)] * 3
        consumer.close()

    def test_one_under_way_is_not_acknowledged_with_those_around_it(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any]
    ) -> None:
        events = put(broker, 4)
        consumer = reader(broker)
        messages = taken(consumer, 4)
        for place in (3, 0, 2):
            consumer.ack(finished(messages[place]))
        wait_for(lambda: next(consumer) is None and [job_run(event)[0] for event in events] == ["done", "running", "done", "done"])
        consumer.close()
        again = reader(broker)
        assert [message.message_id for message in taken(again, 1)] == [messages[1].message_id]
        assert next(again) is None
        again.close()

    def test_what_goes_back_unbegun_was_not_tried(
        self, broker: dramatiq.Broker, seen: list[Message], superuser: psycopg.Connection[Any]
    ) -> None:
        put(broker, 3)
        consumer = reader(broker)
        begun, *rest = taken(consumer, 3)
        consumer.ack(finished(begun))
        consumer.requeue(rest)
        consumer.close()
        assert superuser.execute("select state, attempts from job_run").fetchall() == [("done", 1)]
        again = reader(broker)
        assert {message.message_id for message in taken(again, 2)} == {message.message_id for message in rest}
        again.close()

    def test_an_end_that_comes_after_its_connection_is_written_and_acknowledges_nothing(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any]
    ) -> None:
        (event,) = put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        consumer.close()
        consumer.ack(finished(message))
        assert job_run(event) == ("done", 1, None)
        again = reader(broker)
        (repeated,) = taken(again, 1)
        assert repeated.message_id == message.message_id and repeated.first is None
        again.ack(message)  # the thread may find this reader only: the two know the message by the same number
        assert next(again) is None
        again.close()
        third = reader(broker)
        assert len(taken(third, 1)) == 1
        third.close()

    def test_while_the_database_is_away_nothing_done_is_acknowledged(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_together: Together) -> psycopg.Connection[Any]:
            raise psycopg.OperationalError("nobody at home")

        (event,) = put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        with monkeypatch.context() as patch:
            patch.setattr(Together, "_open", away)
            consumer.ack(finished(message))
            for _ in range(3):
                assert next(consumer) is None
            assert job_run(event) == ("running", 1, None)
        wait_for(lambda: next(consumer) is None and job_run(event) == ("done", 1, None))
        consumer.close()

    def test_a_message_larger_than_a_frame_arrives_whole(self, broker: dramatiq.Broker, seen: list[Message]) -> None:
        small = Message(event_id=new_id(), topic="test.happened")
        large = Message(event_id=new_id(), topic="test.happened", payload={"text": "ü" * 200_000})
        with working(broker):
            brokers.send(broker, [brokers.envelope("test.note", event) for event in (small, large, small)])
            wait_for(lambda: len(seen) >= 2)
        assert [message for message in seen if message.event_id == large.event_id] == [large]


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
