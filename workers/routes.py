"""Who acts on what: every topic with the actors that hear of it, and what the clock brings."""

import msgspec

ROUTES: dict[str, tuple[str, ...]] = {}
"""Topic of an event -> the actors, named `<module under workers>.<function>`. A topic nobody listens to needs no line."""


class Recurring(msgspec.Struct, frozen=True):
    """An event the clock publishes: a crontab line, read in a time zone."""

    cron: str
    timezone: str = "UTC"


CALENDAR: dict[str, Recurring] = {}
"""Topic the scheduler publishes -> when."""
