"""The broker that carries jobs: PostgreSQL by default, RabbitMQ when BROKER_URL says amqp://. Nothing else here depends on which."""

import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid5

import dramatiq
import msgspec
import psycopg
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import AsyncIO, Middleware, Retries, ShutdownNotifications, TimeLimit
from dramatiq_postgres import PostgresBroker, init

from app.core.clock import now
from app.core.db import dispose
from app.core.settings import settings
from workers import tries
from workers.claims import RememberingBroker
from workers.errands import Errands
from workers.jobs import JOBS, Message, TryAgain, attempt, give_back_all, run_job
from workers.rabbit import RabbitBroker
from workers.routes import Queue, queue_of
from workers.tries import Done

PRIORITIES = {queue: place for place, queue in enumerate(Queue)}
JOB_MILLISECONDS = 120_000
BULK_MILLISECONDS = 900_000
"""Large files are read by jobs of the last line: nobody's money waits behind them."""
# A killed worker's jobs go to another one after about ten seconds; the package's own minute is too long for somebody who waits for money.
HEARTBEAT = {"heartbeat_interval": 2.0, "heartbeat_ttl": 10.0, "maintenance_interval": 4.0, "poll_interval": 0.5}
_ENQUEUE = """
with put as (
  insert into dramatiq.queue (queue_name, message_id, state, message)
    select queue_name, message_id, 'queued', message::jsonb from unnest(%s::text[], %s::uuid[], %s::text[]) each (queue_name, message_id, message)
  on conflict (message_id) do update set state = 'queued', message = excluded.message, queue_name = excluded.queue_name,
    available_at = excluded.available_at, worker_id = null, consumed_at = null, mtime = now()
  returning queue_name)
select pg_notify('dramatiq.' || queue_name || '.enqueue', '') from (select distinct queue_name from put) each
"""
"""What the package does for one message, for many."""


class QuickEncoder(dramatiq.Encoder):
    """Messages as JSON, as the package writes them, in a tenth of its time."""

    _plain = dramatiq.JSONEncoder()

    def encode(self, data: dict[str, Any]) -> bytes:
        """A message as it travels."""
        try:
            return msgspec.json.encode(data)
        except (ValueError, OverflowError):
            # half a character in an error's text, or a number beyond 64 bits: the package's own way knows them
            return self._plain.encode(data)

    def decode(self, data: bytes | str) -> dict[str, Any]:
        """What arrived."""
        return msgspec.json.decode(data, type=dict[str, Any])


dramatiq.set_encoder(QuickEncoder())


class CloseDatabase(Middleware):
    """Writes down what is done, and closes the database connections of the worker's event loop before AsyncIO ends the loop."""

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Give the connections back when the last job is done."""
        if isinstance(broker, RememberingBroker):
            broker.put_down()
        loop = get_event_loop_thread()
        if loop is not None:
            loop.run_coroutine(dispose())
            loop.run_coroutine(tries.dispose())


class Grace(Middleware):
    """What is not done some seconds after the worker was asked to stop goes back to its queue, for another worker."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """The time begins."""
        loop = get_event_loop_thread()
        if loop is not None:
            self._timer = threading.Timer(self._seconds, loop.loop.call_soon_threadsafe, [give_back_all])
            self._timer.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """All jobs are done or given back."""
        if self._timer is not None:
            self._timer.cancel()


class BrokerUnknown(Exception):
    """BROKER_URL names a kind of broker we cannot speak to."""


def middleware() -> list[Middleware]:
    """What Dramatiq does around a job. Counting tries is ours (`run_job`); its Prometheus server is left out, it would listen on every address."""
    retries = Retries(max_retries=100, min_backoff=1_000, max_backoff=60_000)
    grace = Grace(settings().worker_grace_seconds)
    return [TimeLimit(time_limit=JOB_MILLISECONDS), ShutdownNotifications(), AsyncIO(), CloseDatabase(), Errands(), grace, retries]


def connect(url: str, *, takes: bool = False) -> dramatiq.Broker:
    """The broker at an address; one that only takes messages out need not wait for the disk.

    What a worker says of its messages can be lost in a crash of the server: they come again and are recognised. It is never lost in part:
    a message put back is on disk before the word that the old one is done.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres"):
        hasty = f"{'&' if urlsplit(url).query else '?'}options={quote('-c synchronous_commit=off ' + tries.BY_INDEX)}" if takes else ""
        broker: dramatiq.Broker = RememberingBroker(url=f"{url}{hasty}", results=False, middleware=middleware(), **HEARTBEAT)
        return broker
    if scheme in ("amqp", "amqps"):
        return RabbitBroker(url=url, confirm_delivery=True, middleware=middleware())
    raise BrokerUnknown(f"BROKER_URL begins with {scheme}://; it must be postgresql:// or amqp://")


def prepare(url: str) -> None:
    """Create the queue's tables when the broker is a PostgreSQL and they are missing."""
    if urlsplit(url).scheme in ("postgresql", "postgres"):
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            init(cursor)


def declare(broker: dramatiq.Broker) -> None:
    """Make every registered job known to the broker as a Dramatiq actor."""
    for name in JOBS:
        declare_one(broker, name)


def declare_one(broker: dramatiq.Broker, name: str) -> None:
    """Make one job known: its message is unpacked, the try counted, a wish for another try passed on."""

    errands = next(each for each in broker.middleware if isinstance(each, Errands))

    def run(body: dict[str, object]) -> None:
        taken = errands.taken()
        event = taken.event or msgspec.convert(body, Message)
        try:
            if taken.first is None:
                errands.run(run_job(name, event))
            elif errands.run(attempt(name, event, attempts=1)):
                taken.done = Done(event_id=event.event_id, actor=name, at=now())
        except TryAgain as again:
            raise dramatiq.errors.Retry(str(again), delay=again.delay_ms) from again

    queue = queue_of(name)
    longest = BULK_MILLISECONDS if queue is Queue.BULK else JOB_MILLISECONDS
    dramatiq.actor(actor_name=name, queue_name=queue, priority=PRIORITIES[queue], broker=broker, time_limit=longest)(run)


def envelope(actor: str, message: Message) -> "dramatiq.Message[None]":
    """The event addressed to one actor. Its id follows from both, so that publishing twice puts one message into the queue."""
    return dramatiq.Message(
        queue_name=queue_of(actor),
        actor_name=actor,
        args=(msgspec.to_builtins(message),),
        kwargs={},
        options={},
        message_id=str(message_id(message.event_id, actor)),
    )


def message_id(event_id: UUID, actor: str) -> UUID:
    """The id of the message that carries an event to an actor."""
    return uuid5(event_id, actor)


def open_queues(broker: dramatiq.Broker) -> None:
    """Make the queues before anything is put into them, whether a worker ever ran or not."""
    for queue in Queue:
        broker.declare_queue(queue)


def send(broker: dramatiq.Broker, messages: Sequence["dramatiq.Message[None]"]) -> None:
    """Put messages into their queues, all or none; on return the broker has them on disk."""
    if isinstance(broker, PostgresBroker) and messages:
        unique = {message.message_id: message for message in messages}
        bodies = [message.encode().decode() for message in unique.values()]
        with broker.pool.connection() as connection:
            connection.execute(_ENQUEUE, ([message.queue_name for message in unique.values()], list(unique), bodies))
    elif isinstance(broker, RabbitBroker) and messages:
        broker.send_all(messages)
