"""The RabbitMQ broker that counts and acknowledges messages many at a time.

The package hands on and acknowledges each message by itself, and each acknowledgement wakes the connection's thread. Here what has arrived is
counted together before any of it begins, and what is over is written down together and acknowledged with it.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import dramatiq
import psycopg
import structlog
from dramatiq.broker import MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.common import dq_name
from pika import BasicProperties, DeliveryMode, frame, spec
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from workers.taken import Taken, count, take_back
from workers.tries import Together

SETTLE_SECONDS, BROKEN_SECONDS = 0.02, 1.0
"""How long what is over may wait to be acknowledged with others."""
PERSISTENT = BasicProperties(delivery_mode=DeliveryMode.Persistent.value)
log = structlog.get_logger(__name__)


class RabbitBroker(RabbitmqBroker):
    """The package's broker, with that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.together = Together()

    @property
    def consumer_class(self) -> type["RabbitConsumer"]:
        """What reads a queue."""
        return RabbitConsumer

    def send_all(self, messages: Sequence["dramatiq.Message[None]"]) -> None:
        """Put messages into their queues, all or none, in one AMQP transaction; on return they are on disk.

        A confirmation for each message costs a round trip each: 1,700 messages a second instead of 10,800, measured here. And pika sends each
        message in three packets, which costs us and RabbitMQ more than all else; here the frames of all of them leave together.
        """
        try:
            for queue in {message.queue_name for message in messages}:
                self.declare_queue(queue, ensure=True)
            channel = self._transactions()
            inner = channel.connection._impl  # noqa: SLF001 - pika has no open way to send several messages at once
            inner._output_marshaled_frames([_frames(channel.channel_number, messages, most=inner._body_max_length)])  # noqa: SLF001
            channel.tx_commit()
        except AMQPError:
            # the next batch begins with a connection of its own, and makes the queues anew should the broker have lost them
            del self.connection
            self.queues_pending |= set(self.queues)
            raise

    def _transactions(self) -> BlockingChannel:
        """This thread's channel for transactions."""
        channel: BlockingChannel | None = getattr(self.state, "transactions", None)
        if channel is None or not channel.is_open:
            channel = self.state.transactions = self.connection.channel()
            channel.tx_select()
        return channel

    def close(self) -> None:
        """Close the connections."""
        self.together.close()
        super().close()


class RabbitConsumer(_RabbitmqConsumer):
    """The package's reader of one queue."""

    broker: RabbitBroker

    def __init__(self, broker: RabbitBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.is_delayed = queue_name == dq_name(queue_name)
        # half of it may be over and not acknowledged yet
        self.places = prefetch if self.is_delayed else 2 * prefetch
        super().__init__(broker, queue_name, self.places, timeout)  # type: ignore[no-untyped-call] # the package has no types here
        self._hand: deque[Taken] = deque()
        self._lock = threading.Lock()
        self._over: list[Taken] = []
        self._is_timed = self._is_closed = False

    def __next__(self) -> MessageProxy | None:
        if not self._hand:
            self._take()
        return self._hand.popleft() if self._hand else None

    def _take(self) -> None:
        """Wait for a message and take it with all that have arrived."""
        some = [super().__next__()]  # type: ignore[no-untyped-call]
        while self.channel.get_waiting_message_count():
            some.append(super().__next__())  # type: ignore[no-untyped-call]
        taken = [Taken(each._message, tag=each._tag, reader=self) for each in some if each is not None]  # noqa: SLF001
        if not self.is_delayed:
            count(self.broker.together, taken)
        self._hand += taken

    def ack(self, message: MessageProxy) -> None:
        """The work is over."""
        assert isinstance(message, Taken)
        with self._lock:
            if message.reader is self:
                self.known_tags.discard(message.tag)
            self._over.append(message)
            is_enough, is_timed, self._is_timed = len(self._over) == self.places // 2, self._is_timed, True
        if self._is_closed:
            self._finish()
        elif is_enough or not is_timed:
            with suppress(AMQPError):  # the connection is lost: its thread will close this reader, and settle then
                self.connection.add_callback_threadsafe(self._settle if is_enough else self._settle_soon)

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Messages were not begun; RabbitMQ gives them to another worker when this connection ends."""
        take_back(self.broker.together, messages)

    def close(self) -> None:
        """Settle what is over, then close the connection."""
        self._is_closed = True
        take_back(self.broker.together, self._hand)
        self._hand.clear()
        with suppress(AMQPError):
            self._settle()
        super().close()  # type: ignore[no-untyped-call]

    def _nack(self, tag: int) -> None:
        """Refuse at once what nobody can read, before a word for all up to a later one includes it."""
        self.channel.basic_nack(tag, requeue=False)

    def _settle_soon(self) -> None:
        self.connection.call_later(SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        """Write down what is done, then acknowledge what is over."""
        self._is_timed = False
        over, lowest = self._finish()
        self._acknowledge([each for each in over if each.reader is self], lowest)

    def _finish(self) -> tuple[list[Taken], int | None]:
        """What is over, after what is done was written down, and the first message that is under way."""
        with self._lock:
            over, self._over = self._over, []
            lowest = min(self.known_tags, default=None)
        try:
            self.broker.together.finish([each.done for each in over if each.done])
        except psycopg.OperationalError as error:
            log.warning("ends_wait_for_the_database", jobs=len(over), error=str(error).strip())
            with self._lock:
                self._over, self._is_timed = over + self._over, True
            if not self._is_closed:
                self.connection.call_later(BROKEN_SECONDS, self._settle)
            return [], None
        return over, lowest

    def _acknowledge(self, over: list[Taken], lowest: int | None) -> None:
        """Up to the first message under way they go in one word; one that came over another connection is not ours to acknowledge any more."""
        for each in over:
            if each.failed:
                self.channel.basic_nack(each.tag, requeue=False)
        tags = sorted(each.tag for each in over if not each.failed)
        together = [tag for tag in tags if lowest is None or tag < lowest]
        if together:
            self.channel.basic_ack(together[-1], multiple=True)
        for tag in tags[len(together) :]:
            self.channel.basic_ack(tag)


def _frames(channel: int, messages: Iterable["dramatiq.Message[None]"], *, most: int) -> bytes:
    """What is sent for messages: where each goes, its size, and itself, in pieces as large as a frame may be."""
    frames = []
    for message in messages:
        body = message.encode()
        frames.append(frame.Method(channel, spec.Basic.Publish(exchange="", routing_key=message.queue_name)).marshal())
        frames.append(frame.Header(channel, len(body), PERSISTENT).marshal())
        frames += [frame.Body(channel, body[start : start + most]).marshal() for start in range(0, len(body), most)]
    return b"".join(frames)
