"""A registered job to send, and the connections of relay and broker."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import dramatiq
import psycopg
import pytest

from app.core.embedded import Urls
from workers import broker as brokers
from workers import jobs
from workers.jobs import Message


@pytest.fixture
def relay(database: Urls) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.relay, autocommit=True) as connection:
        yield connection


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """What the registered job `test.note` was called with; it fails while the payload says so."""
    calls: list[Message] = []

    async def note(message: Message) -> None:
        calls.append(message)
        if message.payload.get("fails"):
            raise RuntimeError("as asked")

    monkeypatch.setitem(jobs.JOBS, "test.note", note)
    return calls


@pytest.fixture
def broker(database: Urls) -> Iterator[dramatiq.Broker]:
    brokers.prepare(database.broker)
    with psycopg.connect(database.broker, autocommit=True) as connection:
        connection.execute("truncate dramatiq.queue")
    made = brokers.connect(database.broker)
    yield made
    made.close()


@pytest.fixture
def job_run(superuser: psycopg.Connection[Any]) -> "LookAtRun":
    return LookAtRun(superuser)


class LookAtRun:
    """The state, attempts and error of the one job run of an event."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def __call__(self, event_id: UUID) -> tuple[str, int, str | None]:
        row = self.connection.execute("select state, attempts, error from job_run where event_id = %s", (event_id,)).fetchone()
        assert row is not None
        return row[0], row[1], row[2]
