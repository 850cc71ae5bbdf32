"""The scheduler: publishes what the calendar says, through the outbox. Any number may run; a due row is claimed by one of them."""

from datetime import datetime
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import structlog
from apscheduler.triggers.cron import CronTrigger

from app.core.clock import now
from app.core.ids import new_id
from app.core.settings import Settings
from workers.processes import run_process
from workers.routes import CALENDAR, Recurring

TICK_SECONDS, BROKEN_SECONDS = 0.5, 2.0
log = structlog.get_logger(__name__)

_KEEP = """
insert into recurring_job (name, cron, timezone, next_at) values (%s, %s, %s, %s)
on conflict (name) do update set cron = excluded.cron, timezone = excluded.timezone, next_at = excluded.next_at
where (recurring_job.cron, recurring_job.timezone) is distinct from (excluded.cron, excluded.timezone)
"""
_CLAIM = "select name, cron, timezone, next_at from recurring_job where next_at <= %s order by next_at for update skip locked"
_PUBLISH = "insert into outbox (id, topic, payload, created_at, due_at) values (%s, %s, %s, %s, %s)"


def next_time(recurring: Recurring, after: datetime) -> datetime:
    """The first moment strictly after the given one that the crontab line names."""
    found: datetime | None = trigger(recurring).get_next_fire_time(after, after)
    if found is None:
        raise ValueError(f"{recurring.cron!r} never comes")
    return found


def trigger(recurring: Recurring) -> CronTrigger:
    """The crontab line as APScheduler reads it, which has a field for the seconds and counts the days of the week differently."""
    fields = recurring.cron.split()
    second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
    if any(character.isdigit() for character in weekday):
        raise ValueError(f"{recurring.cron!r}: name the days of the week (mon-fri), numbers are read differently by every program")
    zone = ZoneInfo(recurring.timezone)
    return CronTrigger(second=second, minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone)


def write_calendar(connection: psycopg.Connection[Any], calendar: dict[str, Recurring], *, at: datetime) -> None:
    """Bring the table to what the code says; the next time of an unchanged line is kept."""
    with connection.transaction():
        connection.execute("delete from recurring_job where name <> all(%s)", (list(calendar),))
        for name, recurring in sorted(calendar.items()):
            connection.execute(_KEEP, (name, recurring.cron, recurring.timezone, next_time(recurring, at)))


def publish_due(connection: psycopg.Connection[Any], *, at: datetime) -> list[str]:
    """Publish what is due and name it; times missed while nobody ran are made up for once, not once each."""
    with connection.transaction():
        due = connection.execute(_CLAIM, (at,)).fetchall()
        for name, cron, timezone, planned in due:
            payload = msgspec.json.encode({"planned_at": planned}).decode()
            connection.execute(_PUBLISH, (new_id(), name, payload, at, at))
            following = next_time(Recurring(cron, timezone), at)
            connection.execute("update recurring_job set last_at = %s, next_at = %s where name = %s", (at, following, name))
    return [row[0] for row in due]


def run(settings: Settings, stop: Event) -> None:
    """Keep the calendar until asked to stop, waiting out a database that is away."""
    while not stop.is_set():
        try:
            with psycopg.connect(settings.relay_database_url, autocommit=True, application_name="countinghouse-scheduler") as connection:
                write_calendar(connection, CALENDAR, at=now())
                log.info("scheduler_started", jobs=len(CALENDAR))
                while not stop.wait(TICK_SECONDS):
                    for name in publish_due(connection, at=now()):
                        log.debug("scheduled", job=name)
        except psycopg.OperationalError as error:
            log.warning("scheduler_waits_for_the_database", error=str(error).strip())
            stop.wait(BROKEN_SECONDS)


if __name__ == "__main__":
    run_process(run)
