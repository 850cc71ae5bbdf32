"""Events: what happened, in the past tense, as the rest of the house and the merchants' own systems hear of it."""

from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. Subclasses (also frozen) name their topic as it appears on the wire: ``payment.captured``."""

    topic: ClassVar[str]


def catalogue() -> list[type[Event]]:
    """Every event class that is loaded and has a topic, for the event catalogue in the docs."""
    pending, found = list(Event.__subclasses__()), []
    while pending:
        event = pending.pop(0)
        pending.extend(event.__subclasses__())
        if hasattr(event, "topic"):
            found.append(event)
    return sorted(found, key=lambda event: event.topic)
