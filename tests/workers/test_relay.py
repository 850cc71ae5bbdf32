"""The relay: at least once, in batches, when due; and the whole way from the outbox to a finished job."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import dramatiq
import msgspec
import psycopg
import pytest

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from app.core.outbox import Event, publish
from app.core.settings import settings
from workers import broker as brokers
from workers import relay as relays
from workers.jobs import Message
from workers.relay import relay_once

ROUTES = {"test.happened": ("test.note",)}


class Happened(Event, frozen=True):
    topic = "test.happened"
    fails: bool = False


class Sent:
    """A broker that only writes down, or is away."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.away = False

    def __call__(self, messages: Sequence[Any]) -> None:
        if self.away:
            raise ConnectionError("nobody at home")
        self.messages += messages


@pytest.fixture
def sent() -> Sent:
    return Sent()


async def happened(*, due_at: datetime | None = None) -> Any:
    merchant = MerchantId(new_id())
    async with unit_of_work(merchant) as session:
        return await publish(session, merchant_id=merchant, event=Happened(), object_id=new_id(), due_at=due_at)


class TestRelayOnce:
    async def test_publishes_an_event_once(self, relay: psycopg.Connection[Any], sent: Sent) -> None:
        event_id = await happened()
        assert relay_once(relay, sent, at=now(), routes=ROUTES) == 1
        assert relay_once(relay, sent, at=now(), routes=ROUTES) == 0
        (message,) = sent.messages
        assert message.actor_name == "test.note"
        assert msgspec.convert(message.args[0], Message).event_id == event_id

    async def test_keeps_an_event_until_it_is_due(self, relay: psycopg.Connection[Any], sent: Sent) -> None:
        moment = now()
        await happened(due_at=moment + timedelta(minutes=5))
        assert relay_once(relay, sent, at=moment + timedelta(minutes=4), routes=ROUTES) == 0
        assert relay_once(relay, sent, at=moment + timedelta(minutes=6), routes=ROUTES) == 1

    async def test_an_event_nobody_listens_to_is_done(self, relay: psycopg.Connection[Any], sent: Sent) -> None:
        await happened()
        assert relay_once(relay, sent, at=now(), routes={}) == 1
        assert sent.messages == []

    async def test_keeps_events_while_the_broker_is_away(self, relay: psycopg.Connection[Any], sent: Sent) -> None:
        await happened()
        sent.away = True
        assert relay_once(relay, sent, at=now(), routes=ROUTES) == 0
        assert relay.execute("select attempts, last_error from outbox").fetchone() == (1, "nobody at home")
        sent.away = False
        assert relay_once(relay, sent, at=now() + timedelta(seconds=3), routes=ROUTES) == 1
        assert relay.execute("select attempts, last_error from outbox").fetchone() == (2, None)

    async def test_two_relays_share_the_work(self, relay: psycopg.Connection[Any], database: Urls, sent: Sent) -> None:
        await happened()
        with psycopg.connect(database.relay) as other:
            claimed = other.execute("select id from outbox for update").fetchall()
            assert len(claimed) == 1
            assert relay_once(relay, sent, at=now(), routes=ROUTES) == 0
        assert relay_once(relay, sent, at=now(), routes=ROUTES) == 1

    async def test_killed_after_sending_it_sends_the_same_message_again(
        self, relay: psycopg.Connection[Any], broker: dramatiq.Broker
    ) -> None:
        await happened()

        def killed(messages: Sequence[Any]) -> None:
            brokers.send(broker, messages)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            relay_once(relay, killed, at=now(), routes=ROUTES)
        relay_once(relay, lambda messages: brokers.send(broker, messages), at=now(), routes=ROUTES)
        with psycopg.connect(settings().broker_url) as connection:
            assert connection.execute("select count(*) from dramatiq.queue").fetchone() == (1,)


class TestFromOutboxToJob:
    async def test_an_event_reaches_its_actor(
        self, broker: dramatiq.Broker, seen: list[Message], job_run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(relays.ROUTES, "test.happened", ("test.note",))
        brokers.declare_one(broker, "test.note")
        worker, stop = dramatiq.Worker(broker, worker_threads=2, worker_timeout=50), threading.Event()
        relay = threading.Thread(target=relays.run, args=(settings(), stop))
        worker.start()
        relay.start()
        try:
            event_id = await happened()
            deadline = time.monotonic() + 10
            while not seen and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            stop.set()
            relay.join()
            worker.stop()
        assert [message.event_id for message in seen] == [event_id]
        assert job_run(event_id) == ("done", 1, None)


class TestConnect:
    def test_an_unknown_broker_is_named(self) -> None:
        with pytest.raises(brokers.BrokerUnknown, match="redis://"):
            brokers.connect("redis://127.0.0.1/0")


class TestForgetting:
    async def test_what_was_published_long_ago_goes_and_the_rest_stays(self, relay: psycopg.Connection[Any], sent: Sent) -> None:
        async with unit_of_work(None) as session:
            for _ in range(3):
                await publish(session, merchant_id=None, event=Happened())
        relay_once(relay, sent, at=now() + timedelta(seconds=1), routes=ROUTES, limit=2)
        assert relays.forget_published(relay, at=now() + relays.KEPT - timedelta(minutes=1)) == 0
        assert relays.forget_published(relay, at=now() + relays.KEPT + timedelta(minutes=1)) == 2
        assert relay.execute("select count(*) from outbox").fetchone() == (1,)
