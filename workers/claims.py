"""The PostgreSQL broker with a memory of what it took: messages are counted and put down many at a time, and none stays taken by a worker that lost it.

The package settles every message in a transaction of its own, and gives a message back only when the worker that took it is gone. A worker
that lives on forgets messages when the server crashes: those it had taken and not begun, those whose taking was never answered, and those
whose end was not on disk yet. Here every taking is known by its moment, so that a late word about one cannot touch the next.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any

import dramatiq
import psycopg
import structlog
from dramatiq.broker import MessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message
from dramatiq_postgres import PostgresBroker
from dramatiq_postgres.broker import CLAIM_BATCH_MAX, PostgresConsumer

from workers.taken import Taken, count, take_back
from workers.tries import Done, Together

SETTLE_SECONDS, SETTLE_MOST = 0.02, 100
"""How long what was done may wait to be put down with others. A worker that is killed meanwhile does it again, as every job must bear."""
UNSETTLED_MOST = 1_000
"""With so much to put down a worker takes no more: whatever keeps its word from arriving would only grow with it."""
FORGOTTEN_SECONDS = 10.0
"""A message that was taken so long ago is in the memory of who took it, if it ever got there."""
LOOK_SECONDS, BROKEN_SECONDS = 4.0, 1.0
AHEAD_SECONDS = 0.05
"""A worker takes so much more than it has places for as it was quick lately; what waits in its hand no other worker can take."""
log = structlog.get_logger(__name__)
_CLAIM = """
with next as (
  select message_id from dramatiq.queue where queue_name = %s and state = 'queued' and available_at <= now()
   order by available_at, position limit %s for update skip locked)
update dramatiq.queue q set state = 'consumed', worker_id = %s, consumed_at = now(), mtime = now()
  from next where q.message_id = next.message_id returning q.message::text, extract(epoch from q.consumed_at)::text
"""
# Lists, not joins: a queue is empty whenever it is counted, and the planner would read all of it for each of the list's rows. The state is
# compared as text because its index finds a row in the same mistaken way.
SETTLE = """
delete from dramatiq.queue q
 where q.message_id = any(%s::uuid[]) and q.message_id || ' ' || extract(epoch from q.consumed_at) = any(%s::text[])
   and q.state::text = 'consumed' and q.worker_id = %s
"""
GIVE_BACK = """
update dramatiq.queue q set state = 'queued', worker_id = null, consumed_at = null, mtime = now()
 where q.state = 'consumed' and q.worker_id = %s and q.mtime < now() - make_interval(secs => %s)
   and q.message_id || ' ' || extract(epoch from q.consumed_at) <> all(%s::text[])
"""
Taking = tuple[str, str]
"""The id of a message and the moment, in seconds as the database writes them: it travels back as it came."""


class Memory:
    """What this process has taken and not put down yet, by its id and the moment it was taken; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[str]] = {}
        self._done: dict[Taking, Done | None] = {}
        self._since = 0.0

    def take(self, takings: Iterable[Taking]) -> None:
        """Remember messages that were taken."""
        with self._lock:
            for name, moment in takings:
                self._held.setdefault(name, []).append(moment)

    def end(self, name: str, done: Done | None = None) -> bool:
        """The work on a message is over; it is put down with the next ones, and what is done is written down before. Says whether it is the first of them."""
        with self._lock:
            is_first = not self._done
            if moment := self._pop(name):
                self._since = time.monotonic() if is_first else self._since
                self._done[name, moment] = done
            return is_first

    def forget(self, names: Iterable[str]) -> None:
        """Messages that nobody here will ever work on, or that were put back."""
        with self._lock:
            for name in names:
                self._pop(name)

    def due(self, *, all_of_it: bool) -> dict[Taking, Done | None]:
        """What is to be put down now; it stays remembered until ``settled``."""
        with self._lock:
            waits = not self.is_full() and time.monotonic() - self._since < SETTLE_SECONDS
            return {} if waits and not all_of_it else dict(self._done)

    def waits(self) -> bool:
        """Whether there is something to put down before long."""
        return bool(self._done)

    def is_full(self) -> bool:
        """Whether there is so much to put down that nothing is gained by waiting for more."""
        return len(self._done) >= SETTLE_MOST

    def is_overfull(self) -> bool:
        """Whether what is done is not put down, for whatever reason."""
        return len(self._done) >= UNSETTLED_MOST

    def settled(self, takings: Iterable[Taking]) -> None:
        """These are put down."""
        with self._lock:
            for taking in takings:
                del self._done[taking]
            self._since = time.monotonic()

    def everything(self) -> list[Taking]:
        """All that is taken, and what is done and not put down."""
        with self._lock:
            return [*self._done, *((name, moment) for name, moments in self._held.items() for moment in moments)]

    def _pop(self, name: str) -> str | None:
        # the same message twice: it was put back and taken again before the word of its first end came
        moments = self._held.get(name)
        moment = moments.pop(0) if moments else None
        if not moments:
            self._held.pop(name, None)
        return moment


class Pace:
    """How many messages a reader may have in hand: as many as ended in the last moment, never fewer than it has places for."""

    def __init__(self, least: int) -> None:
        self._least = self._most = least
        self._ended, self._since = 0, time.monotonic()

    def ended(self) -> None:
        """The work on one is over."""
        self._ended += 1

    def most(self) -> int:
        """So many; where jobs begin to take longer, fewer before long."""
        passed = time.monotonic() - self._since
        if passed >= AHEAD_SECONDS:
            self._most = max(self._least, min(CLAIM_BATCH_MAX, int(self._ended * AHEAD_SECONDS / passed)))
            self._ended, self._since = 0, time.monotonic()
        return self._most


class RememberingBroker(PostgresBroker):  # type: ignore[misc] # the package has no types
    """The package's broker, with that memory."""

    forgotten_seconds = FORGOTTEN_SECONDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.memory = Memory()
        self.together = Together()
        self._settling = threading.Lock()
        self._look_at = self._finish_at = 0.0

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
                if not self._finish(done.values()):
                    return
                _execute(connection, SETTLE, (as_list(name for name, _ in done), as_list(map(" ".join, done)), self.worker_id))
                self.memory.settled(done)
        finally:
            self._settling.release()

    def _finish(self, done: Iterable[Done | None]) -> bool:
        """Write down what is done; while that cannot be, its messages are kept."""
        if time.monotonic() < self._finish_at:
            return False
        try:
            self.together.finish([each for each in done if each])
        except psycopg.OperationalError as error:
            log.warning("ends_wait_for_the_database", error=str(error).strip())
            self._finish_at = time.monotonic() + BROKEN_SECONDS
            return False
        return True

    def give_back_forgotten(self, connection: Any) -> None:
        """Put back, every few seconds, what is taken in this worker's name and not in its memory."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        held = as_list(map(" ".join, self.memory.everything()))
        _execute(connection, GIVE_BACK, (self.worker_id, self.forgotten_seconds, held))

    def put_down(self) -> None:
        """Put down all that is done; should that fail, another worker is told of it again, as of everything that was not written down."""
        with suppress(psycopg.Error, BrokerConnectionError):
            self.settle(self.pool, all_of_it=True)

    def close(self) -> None:
        """Put down what is done, then close the connections."""
        self.put_down()
        self.together.close()
        super().close()


class RememberingConsumer(PostgresConsumer):  # type: ignore[misc] # the package has no types
    """The package's reader of one queue: it takes messages some at a time and leaves putting them down to the broker."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.buffer: deque[Taken] = deque()
        self.is_delayed = self.queue_name == dq_name(self.queue_name)
        self._pace, self._enough = Pace(self.prefetch), 0

    def __next__(self) -> "MessageProxy | None":
        if not self.buffer:
            self._fill()
        if self.buffer:
            message = self.buffer.popleft()
            self.in_processing.add(message.message_id)
            return message
        # only now: whoever waits for a message does not wait for the word about others
        self._settle(self._consume_conn)
        soon = SETTLE_SECONDS if self.broker.memory.waits() else self.broker.poll_interval
        self.wakeup.wait(min(self.timeout_s, soon))
        return None

    def _fill(self) -> None:
        connection = self._connected()
        if self.broker.memory.is_full():
            self._settle(connection)
        self.wakeup.clear()  # before it is counted what runs: an end that comes now is not slept over
        if self.broker.memory.is_overfull():
            return
        # some at a time: taking one for each that ends would cost a statement a message
        most = self._pace.most()
        self._enough = most - max(1, most // 4)
        if len(self.in_processing) <= self._enough:
            self.claim(min(most - len(self.in_processing), CLAIM_BATCH_MAX))

    def get_consume_conn(self) -> Any:
        """Its connection; each of our statements there is a transaction of its own."""
        connection = super().get_consume_conn()
        if not connection.autocommit:
            connection.autocommit = True
        return connection

    def claim(self, limit: int) -> None:
        """Take the next messages of the queue, and count their first tries together."""
        try:
            rows = self.get_consume_conn().execute(_CLAIM, (self.queue_name, limit, self.broker.worker_id)).fetchall()
        except psycopg.OperationalError as lost:
            raise _gone(lost) from lost
        found = [(Taken(Message.decode(payload)), moment) for payload, moment in rows]
        self.broker.memory.take((each.message_id, moment) for each, moment in found)
        self.buffer += (each for each, _ in found)
        if not self.is_delayed:
            count(self.broker.together, self.buffer)

    def ack(self, message: "dramatiq.MessageProxy") -> None:
        """The work is over."""
        is_first = self.broker.memory.end(message.message_id, message.done if isinstance(message, Taken) else None)
        self.in_processing.discard(message.message_id)
        self._pace.ended()
        if is_first or len(self.in_processing) <= self._enough:
            self.wakeup.set()

    def nack(self, message: "dramatiq.MessageProxy") -> None:
        """Nobody can ever do the work."""
        super().nack(message)
        self.broker.memory.forget([message.message_id])

    def requeue(self, messages: Iterable["dramatiq.MessageProxy"]) -> None:
        """Put messages back that were not begun."""
        kept = list(messages)
        take_back(self.broker.together, kept)
        super().requeue(kept)
        self.broker.memory.forget(message.message_id for message in kept)

    def close(self) -> None:
        """What was taken and not handed on is lost with this reader, and so is what waited for its time; both are given back before long."""
        lost = [message.message_id for message in self.buffer]
        if self.is_delayed:
            lost += self.in_processing
        take_back(self.broker.together, self.buffer)
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
        return connection

    def _settle(self, connection: Any) -> None:
        try:
            self.broker.settle(connection)
        except psycopg.OperationalError as lost:
            raise _gone(lost) from lost


def _gone(error: psycopg.Error) -> BrokerConnectionError:
    return BrokerConnectionError(str(error))  # type: ignore[no-untyped-call]


def _execute(connection: Any, statement: str, values: tuple[object, ...]) -> None:
    """On a reader's own connection, or on one of the broker's."""
    with nullcontext(connection) if isinstance(connection, psycopg.Connection) else connection.connection() as one:
        one.execute(statement, values)


def as_list(values: Iterable[str]) -> str:
    """A list as PostgreSQL writes it, of texts without quotation marks: the driver takes several times as long to make one of Python's."""
    return '{"' + '","'.join(values) + '"}' if (values := list(values)) else "{}"
