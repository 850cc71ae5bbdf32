"""First tries are counted together when messages are taken, ends are written down together before messages are put down; neither charges a job with what is not its fault."""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import dramatiq
import psycopg
import pytest

from app.core.clock import now
from app.core.embedded import Urls
from app.core.ids import new_id
from workers import broker as brokers
from workers import jobs
from workers.claims import Pace, RememberingBroker, RememberingConsumer
from workers.jobs import MAX_ATTEMPTS, Message, run_job
from workers.routes import queue_of
from workers.taken import Taken, count
from workers.tries import Done, Together

JOB = "test.note"
LookAtRun = Callable[[object], tuple[str, int, str | None]]


def put(broker: dramatiq.Broker, count: int) -> list[UUID]:
    """Events addressed to the job, in the queue."""
    events = [Message(event_id=new_id(), topic="test.happened") for _ in range(count)]
    brokers.send(broker, [brokers.envelope(JOB, event) for event in events])
    return [event.event_id for event in events]


def reader(broker: dramatiq.Broker, *, prefetch: int = 8) -> RememberingConsumer:
    return broker.consume(queue_of(JOB), prefetch=prefetch, timeout=10)  # type: ignore[return-value]


def taken(consumer: RememberingConsumer, most: int) -> list[Taken]:
    """What it hands on within so many looks."""
    return [message for _ in range(most) if isinstance(message := next(consumer), Taken)]


def finished(message: Taken) -> Taken:
    """As after its job has ended well."""
    assert message.event is not None
    message.done = Done(event_id=message.event.event_id, actor=JOB, at=now())
    return message


def until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


class TestTaking:
    def test_all_are_counted_before_one_begins(self, broker: RememberingBroker, seen: list[Message], job_run: LookAtRun) -> None:
        events = put(broker, 3)
        consumer = reader(broker)
        assert next(consumer) is not None
        assert [job_run(event) for event in events] == [("running", 1, None)] * 3
        assert seen == []
        consumer.close()

    async def test_what_was_tried_before_is_counted_when_it_begins(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any], job_run: LookAtRun
    ) -> None:
        (event,) = put(broker, 1)
        superuser.execute(
            "insert into job_run (event_id, actor, topic, payload, attempts, state, first_at, last_at)"
            " values (%s, %s, 'test.happened', '{}', 3, 'failed', now(), now())",
            (event, JOB),
        )
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        assert message.first is None and job_run(event) == ("failed", 3, None)
        assert message.event is not None
        await run_job(JOB, message.event)
        assert job_run(event) == ("done", 4, None)
        consumer.close()

    def test_of_two_messages_about_the_same_work_one_is_counted(self, database: Urls, seen: list[Message], job_run: LookAtRun) -> None:
        event, together = Message(event_id=new_id(), topic="test.happened"), Together()
        both = [Taken(brokers.envelope(JOB, event)) for _ in range(2)]
        count(together, both)
        together.close()
        assert [each.first is not None for each in both] == [True, False]
        assert job_run(event.event_id) == ("running", 1, None)

    def test_a_neighbour_is_charged_once_however_often_its_worker_dies(
        self, database: Urls, broker: RememberingBroker, seen: list[Message], job_run: LookAtRun
    ) -> None:
        events = put(broker, 3)
        with psycopg.connect(database.broker, autocommit=True) as queue:
            for _ in range(2 * MAX_ATTEMPTS):
                another = brokers.connect(database.broker)
                assert len(taken(reader(another), 3)) == 3
                # its process is killed here; what it had goes back as that of every dead worker
                queue.execute("update dramatiq.queue set state = 'queued', worker_id = null, consumed_at = null")
                another.close()
        assert [job_run(event) for event in events] == [("running", 1, None)] * 3

    def test_while_the_database_is_away_each_is_counted_when_it_begins(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(broker, 2)
        monkeypatch.setattr(Together, "_open", away)
        consumer = reader(broker)
        assert [message.first for message in taken(consumer, 2)] == [None, None]
        assert superuser.execute("select count(*) from job_run").fetchone() == (0,)
        consumer.close()

    def test_a_message_that_cannot_be_read_holds_up_no_other(
        self, broker: RememberingBroker, seen: list[Message], job_run: LookAtRun
    ) -> None:
        spoilt = dramatiq.Message[None](queue_name=queue_of(JOB), actor_name=JOB, args=({"topic": 1},), kwargs={}, options={})
        spoilt = spoilt.copy(message_id=str(new_id()))
        brokers.send(broker, [spoilt])
        (event,) = put(broker, 1)
        consumer = reader(broker)
        assert len(taken(consumer, 2)) == 2
        assert job_run(event) == ("running", 1, None)
        consumer.close()


def away(_together: Together) -> psycopg.Connection[Any]:
    raise psycopg.OperationalError("nobody at home")


class TestGivingBack:
    def test_what_was_not_begun_was_not_tried(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any], database: Urls
    ) -> None:
        put(broker, 3)
        consumer = reader(broker)
        begun, *rest = taken(consumer, 3)
        consumer.requeue(rest)
        consumer.ack(finished(begun))
        broker.settle(broker.pool, all_of_it=True)
        assert superuser.execute("select state, attempts from job_run").fetchall() == [("done", 1)]
        with psycopg.connect(database.broker) as queue:
            assert queue.execute("select state::text from dramatiq.queue").fetchall() == [("queued",)] * 2
        consumer.close()

    def test_what_another_worker_has_begun_meanwhile_stays_counted(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any], job_run: LookAtRun
    ) -> None:
        (event,) = put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        superuser.execute("update job_run set attempts = 2 where event_id = %s", (event,))
        consumer.requeue([message])
        assert job_run(event) == ("running", 2, None)
        consumer.close()

    async def test_a_worker_that_is_stopped_leaves_nothing_counted_that_it_did_not_begin(
        self, broker: RememberingBroker, superuser: psycopg.Connection[Any], database: Urls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[Message] = []

        async def slow(message: Message) -> None:
            begun.append(message)
            await asyncio.sleep(0.3)

        monkeypatch.setitem(jobs.JOBS, JOB, slow)
        brokers.declare_one(broker, JOB)
        events = put(broker, 5)
        worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
        monkeypatch.setattr(worker, "queue_prefetch", 8)
        worker.start()
        until(lambda: bool(begun), "it was not begun")
        worker.stop()
        rows = superuser.execute("select event_id, state, attempts from job_run").fetchall()
        assert rows == [(message.event_id, "done", 1) for message in begun]
        with psycopg.connect(database.broker) as queue:
            left = queue.execute("select state::text, count(*) from dramatiq.queue group by 1").fetchall()
        assert left == [("queued", len(events) - len(begun))]


class TestEnding:
    def test_what_is_done_is_written_before_its_message_is_put_down(
        self, broker: RememberingBroker, seen: list[Message], job_run: LookAtRun, database: Urls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (event,) = put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        consumer.ack(finished(message))
        with monkeypatch.context() as patch:
            patch.setattr(Together, "_open", away)
            broker.settle(broker.pool, all_of_it=True)
        with psycopg.connect(database.broker, autocommit=True) as queue:
            assert queue.execute("select count(*) from dramatiq.queue").fetchone() == (1,)
            assert job_run(event)[0] == "running"
            broker._finish_at = 0.0
            broker.settle(broker.pool, all_of_it=True)
            assert queue.execute("select count(*) from dramatiq.queue").fetchone() == (0,)
        assert job_run(event) == ("done", 1, None)
        consumer.close()

    def test_when_it_ended_is_written_not_when_that_was_written(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any]
    ) -> None:
        put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        consumer.ack(finished(message))
        time.sleep(0.05)
        broker.settle(broker.pool, all_of_it=True)
        assert message.done is not None
        assert superuser.execute("select last_at from job_run").fetchone() == (message.done.at,)
        consumer.close()

    def test_an_end_is_put_down_while_nothing_else_happens(
        self, broker: RememberingBroker, seen: list[Message], job_run: LookAtRun
    ) -> None:
        (event,) = put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        consumer.ack(finished(message))
        began = time.monotonic()
        while job_run(event)[0] != "done" and time.monotonic() < began + 5:
            next(consumer)
        assert job_run(event) == ("done", 1, None)
        consumer.close()

    def test_a_connection_the_server_dropped_is_replaced(
        self, broker: RememberingBroker, seen: list[Message], superuser: psycopg.Connection[Any], job_run: LookAtRun
    ) -> None:
        put(broker, 1)
        consumer = reader(broker)
        (message,) = taken(consumer, 1)
        dropped = superuser.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'countinghouse-jobs' and datname = current_database()"
        ).fetchone()
        assert dropped is not None and dropped[0] >= 1
        consumer.ack(finished(message))
        broker.settle(broker.pool, all_of_it=True)
        (event,) = put(broker, 1)
        assert len(taken(consumer, 3)) == 1
        assert job_run(event) == ("running", 1, None)
        consumer.close()


class TestPace:
    def test_a_quick_worker_takes_ahead_and_a_slow_one_what_it_has_places_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        moment = 100.0
        monkeypatch.setattr("workers.claims.time.monotonic", lambda: moment)
        pace = Pace(16)
        assert pace.most() == 16
        for _ in range(200):
            pace.ended()
        moment += 0.1
        assert pace.most() == 100
        moment += 0.01
        assert pace.most() == 100
        pace.ended()
        moment += 0.1
        assert pace.most() == 16
        for _ in range(10_000):
            pace.ended()
        moment += 0.1
        assert pace.most() == 256
