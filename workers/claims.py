"""The PostgreSQL broker with a memory of what it took: messages are put down many at a time, and none stays taken by a worker that lost it.

The package settles every message in a transaction of its own, and gives a message back only when the worker that took it is gone. A worker
that lives on forgets messages when the server crashes: those it had taken and not begun, those whose taking was never answered, and those
whose end was not on disk yet. Here every taking is known by its moment, so that a late word about one cannot touch the next.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import dramatiq
import psycopg
from dramatiq.broker import MessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.broker import CLAIM_BATCH_MAX, PostgresConsumer
from dramatiq_postgres.utils import transaction

SETTLE_SECONDS, SETTLE_MOST = 0.02, 100
"""How long what was done may wait to be put down with others. A worker that is killed meanwhile hears of it again and knows that it is done."""
FORGOTTEN_SECONDS = 10.0
"""A message that was taken so long ago is in the memory of who took it, if it ever got there."""
LOOK_SECONDS = 4.0
_CLAIM = """
with next as (
  select message_id from dramatiq.queue where queue_name = %s and state = 'queued' and available_at <= now()
   order by available_at, position limit %s for update skip locked)
update dramatiq.queue q set state = 'consumed', worker_id = %s, consumed_at = now(), mtime = now()
  from next where q.message_id = next.message_id returning q.message::text, q.consumed_at
"""
_SETTLE = """
delete from dramatiq.queue q using unnest(%s::uuid[], %s::timestamptz[]) done (id, at)
 where q.message_id = done.id and q.consumed_at = done.at and q.state = 'consumed' and q.worker_id = %s
"""
_GIVE_BACK = """
update dramatiq.queue q set state = 'queued', worker_id = null, consumed_at = null, mtime = now()
 where q.state = 'consumed' and q.worker_id = %s and q.mtime < now() - make_interval(secs => %s)
   and not exists (select from unnest(%s::uuid[], %s::timestamptz[]) held (id, at) where held.id = q.message_id and held.at = q.consumed_at)
"""
Taking = tuple[str, datetime]


class Memory:
    """What this process has taken and not put down yet, by its id and the moment it was taken; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[datetime]] = {}
        self._done: list[Taking] = []
        self._since = 0.0

    def take(self, takings: Iterable[Taking]) -> None:
        """Remember messages that were taken."""
        with self._lock:
            for name, moment in takings:
                self._held.setdefault(name, []).append(moment)

    def end(self, name: str) -> None:
        """The work on a message is over; it is put down with the next ones."""
        with self._lock:
            if moment := self._pop(name):
                self._since = self._since if self._done else time.monotonic()
                self._done.append((name, moment))

    def forget(self, names: Iterable[str]) -> None:
        """Messages that nobody here will ever work on, or that were put back."""
        with self._lock:
            for name in names:
                self._pop(name)

    def due(self, *, all_of_it: bool) -> list[Taking]:
        """What is to be put down now; it stays remembered until ``settled``."""
        with self._lock:
            waits = len(self._done) < SETTLE_MOST and time.monotonic() - self._since < SETTLE_SECONDS
            return [] if waits and not all_of_it else list(self._done)

    def settled(self, takings: Sequence[Taking]) -> None:
        """These are put down."""
        gone = set(takings)
        with self._lock:
            self._done = [each for each in self._done if each not in gone]
            self._since = time.monotonic()

    def everything(self) -> list[Taking]:
        """All that is taken, and what is done and not put down."""
        with self._lock:
            return [*self._done, *((name, moment) for name, moments in self._held.items() for moment in moments)]

    def _pop(self, name: str) -> datetime | None:
        # the same message twice: it was put back and taken again before the word of its first end came
        moments = self._held.get(name)
        moment = moments.pop(0) if moments else None
        if not moments:
            self._held.pop(name, None)
        return moment


class RememberingBroker(PostgresBroker):  # type: ignore[misc] # the package has no types
    """The package's broker, with that memory."""

    forgotten_seconds = FORGOTTEN_SECONDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.memory = Memory()
        self._settling = threading.Lock()
        self._look_at = 0.0

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> "RememberingConsumer":
        """Read a queue."""
        return RememberingConsumer(broker=self, queue_name=queue_name, prefetch=prefetch, timeout=timeout)

    def settle(self, connection: Any, *, all_of_it: bool = False) -> None:
        """Put down what is done, in one statement; should that fail, it is tried with the next ones."""
        # whoever comes while another thread does it goes on: its heartbeat must not wait behind a slow statement
        if not self._settling.acquire(blocking=all_of_it):
            return
        try:
            if done := self.memory.due(all_of_it=all_of_it):
                with transaction(connection) as cursor:
                    cursor.execute(_SETTLE, (*_columns(done), self.worker_id))
                self.memory.settled(done)
        finally:
            self._settling.release()

    def give_back_forgotten(self, connection: Any) -> None:
        """Put back, every few seconds, what is taken in this worker's name and not in its memory."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        with transaction(connection) as cursor:
            cursor.execute(_GIVE_BACK, (self.worker_id, self.forgotten_seconds, *_columns(self.memory.everything())))

    def close(self) -> None:
        """Put down what is done, then close the connections."""
        # should that fail, another worker is told of it again and knows that it is done
        with suppress(psycopg.Error, BrokerConnectionError):
            self.settle(self.pool, all_of_it=True)
        super().close()


class RememberingConsumer(PostgresConsumer):  # type: ignore[misc] # the package has no types
    """The package's reader of one queue: it takes messages some at a time and leaves putting them down to the broker."""

    def __next__(self) -> "MessageProxy | None":
        connection = self._connected()
        self.wakeup.clear()  # before it is counted what runs: an end that comes now is not slept over
        if not self.buffer:
            # a few at a time: taking one for each that ends would cost a statement a message
            capacity = self.prefetch - len(self.in_processing)
            if capacity >= max(1, self.prefetch // 4):
                self.claim(min(capacity, CLAIM_BATCH_MAX))
        if self.buffer:
            message = self.buffer.pop(0)
            self.in_processing.add(message.message_id)
            return MessageProxy(message)
        self.wakeup.wait(min(self.timeout_s, self.broker.poll_interval))
        self._settle(connection)
        return None

    def claim(self, limit: int) -> None:
        """Take the next messages of the queue."""
        try:
            with transaction(self.get_consume_conn()) as cursor:
                cursor.execute(_CLAIM, (self.queue_name, limit, self.broker.worker_id))
                rows = cursor.fetchall()
        except psycopg.OperationalError as lost:
            raise _gone(lost) from lost
        messages = [(Message.decode(payload.encode()), moment) for payload, moment in rows]
        self.broker.memory.take((message.message_id, moment) for message, moment in messages)
        self.buffer += [message for message, _ in messages]

    def ack(self, message: "dramatiq.MessageProxy") -> None:
        """The work is over."""
        self.broker.memory.end(message.message_id)
        self.in_processing.discard(message.message_id)
        self.wakeup.set()

    def nack(self, message: "dramatiq.MessageProxy") -> None:
        """Nobody can ever do the work."""
        super().nack(message)
        self.broker.memory.forget([message.message_id])

    def requeue(self, messages: Iterable["dramatiq.MessageProxy"]) -> None:
        """Put messages back that were not begun."""
        kept = list(messages)
        super().requeue(kept)
        self.broker.memory.forget(message.message_id for message in kept)

    def close(self) -> None:
        """What was taken and not handed on is lost with this reader, and so is what waited for its time; both are given back before long."""
        lost = [message.message_id for message in self.buffer]
        if self.queue_name == dq_name(self.queue_name):
            lost += self.in_processing
        self.broker.memory.forget(lost)
        self.buffer.clear()
        super().close()

    def _connected(self) -> Any:
        try:
            connection = self.get_consume_conn()
            self.broker.maybe_heartbeat(connection)
            self.broker.maybe_maintenance(connection)
            self.broker.give_back_forgotten(connection)
        except psycopg.OperationalError as lost:
            raise _gone(lost) from lost
        self._settle(connection)
        return connection

    def _settle(self, connection: Any) -> None:
        try:
            self.broker.settle(connection)
        except psycopg.OperationalError as lost:
            raise _gone(lost) from lost


def _gone(error: psycopg.Error) -> BrokerConnectionError:
    return BrokerConnectionError(str(error))  # type: ignore[no-untyped-call]


def _columns(takings: Sequence[Taking]) -> tuple[list[str], list[datetime]]:
    return [name for name, _ in takings], [moment for _, moment in takings]
