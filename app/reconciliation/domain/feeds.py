"""Feeds: reports that are fetched from a provider by the clock."""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from app.core.errors import Conflict, Invalid
from app.core.events import Event


class FetchOutcome(StrEnum):
    """What came of the last look for new reports. Unknown means that no clear answer came; it is tried again by itself."""

    FETCHED = "fetched"
    NOTHING_NEW = "nothing_new"
    FAILED = "failed"
    UNKNOWN = "unknown"


EVERY = {15: "Every 15 minutes", 60: "Every hour", 360: "Every six hours", 1440: "Once a day"}
"""Minutes between two looks, and how a person says it."""
LEASE = timedelta(minutes=10)
"""How long one look may take before another one is begun beside it."""
RETRIES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=60))


def wait_after(tries: int, minutes: int) -> timedelta:
    """How long to wait after so many failed looks in a row; never longer than the source's own interval."""
    usual = timedelta(minutes=minutes)
    return usual if tries == 0 else min(usual, RETRIES[min(tries, len(RETRIES)) - 1])


class FetchAsked(Event, frozen=True, kw_only=True):
    """Somebody wants a source's new reports now."""

    topic: ClassVar[str] = "reconciliation.fetch_asked"


class FeedInvalid(Invalid):
    code = "reconciliation_feed_invalid"
    title = "This cannot be fetched like this"


class FeedMissing(Conflict):
    code = "reconciliation_feed_missing"
    title = "Nothing is fetched for this source"
