"""What a worker has in its hands: each message with what was counted when it was taken, and with its end until that is written down."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import dramatiq
import msgspec
from dramatiq.broker import Consumer, MessageProxy

from workers.jobs import JOBS, Message
from workers.tries import Done, First, Together


class Taken(MessageProxy):
    """A message that this worker took."""

    def __init__(self, envelope: "dramatiq.Message[Any]", *, tag: int = 0, reader: Consumer | None = None) -> None:
        super().__init__(envelope)
        self.tag, self.reader = tag, reader
        self.event: Message | None = None
        self.first: First | None = None
        self.done: Done | None = None


def count(together: Together, some: Iterable[Taken]) -> None:
    """Count the first tries of messages that were just taken. One that was tried before is counted when it begins, by itself: should it kill
    the process, that must be no other job's fault."""
    firsts = [(taken, first) for taken in some if (first := _first(taken))]
    counted = together.begin([first for _, first in firsts])
    for taken, first in firsts:
        if (name := (first.event_id, first.actor)) in counted:
            counted.remove(name)  # of two messages about the same work one is counted
            taken.first = first


def _first(taken: Taken) -> First | None:
    if taken.actor_name not in JOBS or "retries" in taken.options:
        return None
    with suppress(msgspec.ValidationError, IndexError):  # what cannot be read is the job's failure, not its neighbours'
        event = taken.event = msgspec.convert(taken.args[0], Message)
        return First(
            event_id=event.event_id,
            actor=taken.actor_name,
            merchant_id=event.merchant_id,
            topic=event.topic,
            payload=msgspec.Raw(msgspec.json.encode(event)),
        )
    return None


def take_back(together: Together, some: Iterable[MessageProxy]) -> None:
    """Messages go back that were not begun."""
    together.take_back([each.first for each in some if isinstance(each, Taken) and each.first])
