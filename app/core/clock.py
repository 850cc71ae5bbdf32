"""The clock: the only place that asks what time it is, so that tests can travel."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

_offset = timedelta(0)


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC) + _offset


def nanoseconds() -> int:
    """The present moment in nanoseconds since 1970, for identifiers that are ordered by time."""
    return time.time_ns() + int(_offset.total_seconds() * 1_000_000_000)


def today(timezone: str = "UTC") -> date:
    """The present date in a time zone."""
    return now().astimezone(ZoneInfo(timezone)).date()


@cache
def timezones() -> frozenset[str]:
    """The names of all time zones; found once, because looking for them opens every file of the time zone database."""
    return frozenset(available_timezones())


@contextmanager
def travel(to: timedelta | datetime) -> Iterator[None]:
    """Move the clock by a span, or to a moment, for the length of a block; for tests."""
    global _offset  # noqa: PLW0603 - one clock per process is the point
    before = _offset
    _offset = before + to if isinstance(to, timedelta) else to - datetime.now(UTC)
    try:
        yield
    finally:
        _offset = before
