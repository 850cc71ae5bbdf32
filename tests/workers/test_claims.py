"""What a worker took and lost comes back while the worker lives, what it still has does not, and a late word about one taking leaves the next alone."""

from collections.abc import Iterator
from typing import Any, LiteralString

import dramatiq
import psycopg
import pytest
from dramatiq.common import dq_name
from psycopg.types.json import Jsonb

from app.core.embedded import Urls
from app.core.ids import new_id
from workers import broker as brokers
from workers import claims
from workers.claims import RememberingBroker, RememberingConsumer
from workers.jobs import Message
from workers.routes import queue_of
from workers.tries import BY_INDEX

QUEUE = queue_of("orders.expire_due")


@pytest.fixture
def queue(database: Urls) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.broker, autocommit=True) as connection:
        yield connection


def put(broker: dramatiq.Broker, count: int) -> list[str]:
    """Messages in the queue, in this order."""
    envelopes = [brokers.envelope("orders.expire_due", Message(event_id=new_id(), topic="test.happened")) for _ in range(count)]
    brokers.send(broker, envelopes)
    return [each.message_id for each in envelopes]


def taken(consumer: RememberingConsumer, most: int = 5) -> list[dramatiq.MessageProxy]:
    """What it hands on within a few looks."""
    return [message for _ in range(most) if (message := next(consumer)) is not None]


def reader(broker: dramatiq.Broker, *, prefetch: int = 4, queue: str = QUEUE) -> RememberingConsumer:
    return broker.consume(queue, prefetch=prefetch, timeout=10)  # type: ignore[return-value]


def long_ago(queue: psycopg.Connection[Any], broker: RememberingBroker) -> None:
    """Time passes: what is taken was taken long ago, and it is time to look."""
    queue.execute("update dramatiq.queue set mtime = mtime - interval '1 minute'")
    broker._look_at = 0.0


def left(queue: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    return [
        (str(row[0]), row[1]) for row in queue.execute("select message_id, state::text from dramatiq.queue order by position").fetchall()
    ]


def test_what_a_lost_reader_had_in_hand_comes_back_and_what_is_under_way_does_not(
    broker: RememberingBroker, queue: psycopg.Connection[Any]
) -> None:
    names = put(broker, 3)
    first = reader(broker)
    (running,) = taken(first, most=1)
    assert [state for _, state in left(queue)] == ["consumed"] * 3
    first.close()  # its connection is gone, and with it what was in its hand
    second = reader(broker)
    assert taken(second) == []  # not before it is certain that nobody has them
    long_ago(queue, broker)
    again = taken(second)
    assert [message.message_id for message in again] == names[1:]
    for message in (running, *again):
        second.ack(message)
    broker.settle(broker.pool, all_of_it=True)
    assert left(queue) == []
    second.close()


def test_what_waited_for_its_time_comes_back_too(broker: RememberingBroker, queue: psycopg.Connection[Any]) -> None:
    (name,) = put(broker, 1)
    consumer = reader(broker)
    (message,) = taken(consumer, most=1)
    broker.enqueue(message, delay=1)
    consumer.ack(message)
    later = reader(broker, queue=dq_name(QUEUE))
    queue.execute("update dramatiq.queue set available_at = now()")
    assert [found.message_id for found in taken(later, most=1)] == [name]
    later.close()
    long_ago(queue, broker)
    again = reader(broker, queue=dq_name(QUEUE))
    assert [found.message_id for found in taken(again)] == [name]
    again.close()
    consumer.close()


def test_an_end_that_the_server_forgot_is_told_again(broker: RememberingBroker, queue: psycopg.Connection[Any]) -> None:
    (name,) = put(broker, 1)
    consumer = reader(broker)
    (message,) = taken(consumer, most=1)
    row = queue.execute("select message_id, queue_name, state, message, worker_id, consumed_at from dramatiq.queue").fetchone()
    consumer.ack(message)
    broker.settle(broker.pool, all_of_it=True)
    assert left(queue) == []
    # the server crashed before that was on its disk
    assert row is not None
    columns = "insert into dramatiq.queue (message_id, queue_name, state, message, worker_id, consumed_at) values (%s, %s, %s, %s, %s, %s)"
    queue.execute(columns, (*row[:3], Jsonb(row[3]), *row[4:]))
    long_ago(queue, broker)
    assert [found.message_id for found in taken(consumer)] == [name]
    consumer.close()


def test_a_late_end_leaves_the_next_taking_alone(broker: RememberingBroker, database: Urls, queue: psycopg.Connection[Any]) -> None:
    (name,) = put(broker, 1)
    consumer, other = reader(broker), brokers.connect(database.broker)
    (message,) = taken(consumer, most=1)
    broker.enqueue(message)  # it is to be tried again, and somebody else takes it at once
    (again,) = taken(reader(other), most=1)
    assert again.message_id == name
    consumer.ack(message)
    broker.settle(broker.pool, all_of_it=True)
    assert left(queue) == [(name, "consumed")]
    other.close()
    consumer.close()


def test_a_hundred_ends_are_one_statement(broker: RememberingBroker, queue: psycopg.Connection[Any]) -> None:
    put(broker, 100)
    consumer = reader(broker, prefetch=200)
    for message in taken(consumer, most=100):
        consumer.ack(message)
    assert len(broker.memory.due(all_of_it=False)) == 100
    assert taken(consumer, most=1) == []
    assert left(queue) == []
    consumer.close()


class TestAgainstACountOfNothing:
    """A queue is empty whenever it is counted; a plan made for that must not read all of it for each message that is named."""

    def test_ends_are_found_by_their_ids(self, broker: RememberingBroker, queue: psycopg.Connection[Any], database: Urls) -> None:
        consumer = with_many_in_hand(broker, queue)
        for message in taken(consumer, most=50):
            consumer.ack(message)
        done = broker.memory.due(all_of_it=True)
        values = (claims.as_list(name for name, _ in done), claims.as_list(map(" ".join, done)), broker.worker_id)
        steps = explained(database, claims.SETTLE, values)
        assert [step["Index Name"] for step in steps if "Index Name" in step] == ["queue_pkey"]
        assert steps[1]["Actual Rows"] == 50
        assert not any("Join" in step["Node Type"] or "Loop" in step["Node Type"] for step in steps)
        consumer.close()

    def test_what_is_in_hand_is_looked_up(self, broker: RememberingBroker, queue: psycopg.Connection[Any], database: Urls) -> None:
        consumer = with_many_in_hand(broker, queue)
        long_ago(queue, broker)
        values = (broker.worker_id, 10.0, claims.as_list(map(" ".join, broker.memory.everything())))
        steps = explained(database, claims.GIVE_BACK, values)
        assert [step["Rows Removed by Filter"] for step in steps if "Rows Removed by Filter" in step] == [200]
        assert not any("Join" in step["Node Type"] or "Loop" in step["Node Type"] for step in steps)
        consumer.close()


def with_many_in_hand(broker: RememberingBroker, queue: psycopg.Connection[Any]) -> RememberingConsumer:
    """A reader that took two hundred messages from a queue that was empty when it was counted."""
    queue.execute("vacuum analyze dramatiq.queue")
    put(broker, 200)
    consumer = reader(broker)
    consumer.claim(200)
    return consumer


def explained(database: Urls, statement: LiteralString, values: tuple[object, ...]) -> list[dict[str, Any]]:
    """The steps that a statement took on a worker's connection; what it did is taken back."""
    with psycopg.connect(database.broker, options=BY_INDEX) as connection:
        row = connection.execute(f"explain (analyze, format json) {statement}", values).fetchone()
        connection.rollback()
    assert row is not None

    def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for inner in plan.get("Plans", []):
            yield from steps(inner)

    return list(steps(row[0][0]["Plan"]))


def test_who_cannot_put_down_takes_no_more(
    broker: RememberingBroker, queue: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "UNSETTLED_MOST", 4)
    monkeypatch.setattr(broker, "settle", lambda _connection, **_: None)  # its word never arrives
    put(broker, 12)
    consumer = reader(broker)
    for _ in range(3):
        for message in taken(consumer, most=4):
            consumer.ack(message)
    assert [state for _, state in left(queue)] == ["consumed"] * 4 + ["queued"] * 8
    consumer.wakeup.set()
    assert next(consumer) is None and not consumer.wakeup.is_set()  # it sleeps meanwhile: an end that was told is told no more
    monkeypatch.undo()
    broker.settle(broker.pool, all_of_it=True)
    assert len(taken(consumer, most=4)) == 4
    consumer.close()
