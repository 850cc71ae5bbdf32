"""The relay: takes due events out of the outbox and puts them into the broker, at least once.

It polls instead of listening: NOTIFY takes a lock of the whole server at commit, so the transactions that write money would queue behind
each other. A look at the partial index of unpublished rows costs a tenth of a millisecond.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import dramatiq
import psycopg
import structlog
from psycopg.rows import class_row

from app.core.clock import now
from app.core.settings import Settings
from workers import broker as brokers
from workers.jobs import Message
from workers.processes import run_process
from workers.routes import ROUTES

BATCH = 500
BUSY_SECONDS, IDLE_SECONDS, BROKEN_SECONDS = 0.01, 0.1, 2.0
log = structlog.get_logger(__name__)

Send = Callable[[Sequence["dramatiq.Message[None]"]], None]

KEPT = timedelta(days=14)
"""How long a published event stays to be looked at and replayed."""
_FORGET = "delete from outbox where id in (select id from outbox where published_at < %s limit 10000)"
_CLAIM = """
select id as event_id, topic, merchant_id, object_id, payload from outbox
where published_at is null and due_at <= %s order by due_at limit %s for update skip locked
"""
_PUBLISHED = "update outbox set published_at = %s, attempts = attempts + 1, last_error = null where id = any(%s)"
_FAILED = "update outbox set attempts = attempts + 1, last_error = %s, due_at = %s where id = any(%s)"


def relay_once(
    connection: psycopg.Connection[Any], send: Send, *, at: datetime, routes: dict[str, tuple[str, ...]] = ROUTES, limit: int = BATCH
) -> int:
    """Publish the due events of one batch and say how many there were; a killed relay publishes them again."""
    with connection.transaction():
        with connection.cursor(row_factory=class_row(Message)) as cursor:
            events = cursor.execute(_CLAIM, (at, limit)).fetchall()
        if not events:
            return 0
        try:
            send([brokers.envelope(actor, event) for event in events for actor in routes.get(event.topic, ())])
        except Exception as error:
            # The broker is away or refuses: the events stay, a little later in the line, and say why they wait.
            log.warning("relay_failed", events=len(events), error=str(error))
            connection.execute(_FAILED, (str(error)[:2000], at + timedelta(seconds=BROKEN_SECONDS), [event.event_id for event in events]))
            return 0
        connection.execute(_PUBLISHED, (at, [event.event_id for event in events]))
    return len(events)


def forget_published(connection: psycopg.Connection[Any], *, at: datetime) -> int:
    """Remove what was published long ago, a piece at a time; returns how many events went."""
    forgotten = 0
    while (piece := connection.execute(_FORGET, (at - KEPT,)).rowcount) > 0:
        forgotten += piece
    return forgotten


def run(settings: Settings, stop: Event) -> None:
    """Relay until asked to stop, waiting out a database that is away."""
    brokers.prepare(settings.broker_url)
    broker = brokers.connect(settings.broker_url)
    brokers.open_queues(broker)
    wait = IDLE_SECONDS
    while not stop.is_set():
        try:
            with psycopg.connect(settings.relay_database_url, autocommit=True, application_name="countinghouse-relay") as connection:
                log.info("relay_started", forgotten=forget_published(connection, at=now()))
                tidied = now()
                while not stop.wait(wait):
                    published = relay_once(connection, lambda messages: brokers.send(broker, messages), at=now())
                    if now() - tidied > timedelta(hours=1):
                        forget_published(connection, at=now())
                        tidied = now()
                    wait = 0.0 if published == BATCH else BUSY_SECONDS if published else min(IDLE_SECONDS, wait * 1.5 or BUSY_SECONDS)
        except psycopg.OperationalError as error:
            log.warning("relay_waits_for_the_database", error=str(error).strip())
            stop.wait(BROKEN_SECONDS)
    broker.close()


if __name__ == "__main__":
    run_process(run)
