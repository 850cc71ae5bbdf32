"""What waits in the outbox, which jobs were given up, and sending them once more."""

from datetime import datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec
import psycopg
from psycopg.rows import class_row

from app.cli.installation import attached
from app.cli.output import emit, table
from app.core.clock import now
from app.core.errors import NotFound
from app.core.settings import settings


class EventMissing(NotFound):
    """No event of this id is kept in the outbox."""

    code = "outbox_event_not_found"
    title = "There is no such event in the outbox"


class Waiting(msgspec.Struct, frozen=True):
    """An event that is not published yet."""

    id: UUID
    topic: str
    merchant_id: UUID | None
    due_at: datetime
    attempts: int
    last_error: str | None


class Stuck(msgspec.Struct, frozen=True):
    """A job that failed, or was given up."""

    event_id: UUID
    actor: str
    state: str
    attempts: int
    error: str | None
    last_at: datetime


_WAITING = "select id, topic, merchant_id, due_at, attempts, last_error from outbox where published_at is null order by due_at limit %s"
_STUCK = (
    "select event_id, actor, state, attempts, error, last_at from job_run where state in ('failed', 'dead') order by last_at desc limit %s"
)
_AGAIN = "update outbox set published_at = null, due_at = %s, last_error = null where id = any(%s)"
_TRY_AGAIN = "update job_run set state = 'failed', attempts = 0 where event_id = any(%s) and state in ('failed', 'dead')"


@click.group()
def outbox() -> None:
    """Look at events on their way and at jobs that were given up."""


@outbox.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.pass_obj
def list_outbox(settled: dict[str, Path], limit: int) -> None:
    """Show what is not published yet and which jobs failed.

    \b
    Example:
      countinghouse outbox list --json
    """
    with attached(settled["data"]):
        waiting, stuck = waiting_events(limit), stuck_jobs(limit)
    events = table(
        ["event", "topic", "due", "tries", "error"],
        [[str(e.id), e.topic, f"{e.due_at:%F %T}", str(e.attempts), e.last_error or ""] for e in waiting],
    )
    jobs = table(
        ["event", "job", "state", "tries", "error"],
        [[str(j.event_id), j.actor, j.state, str(j.attempts), (j.error or "")[:80]] for j in stuck],
    )
    emit({"waiting": waiting, "stuck": stuck}, f"{len(waiting)} events wait\n{events}\n\n{len(stuck)} jobs failed\n{jobs}")


@outbox.command()
@click.argument("event_ids", nargs=-1, type=click.UUID)
@click.option("--dead", is_flag=True, help="Every job that was given up.")
@click.pass_obj
def replay(settled: dict[str, Path], event_ids: tuple[UUID, ...], dead: bool) -> None:
    """Publish events again; jobs that are done stay done, the others get five new tries.

    \b
    Examples:
      countinghouse outbox replay 0197c0de-0000-7000-8000-000000000001
      countinghouse outbox replay --dead
    """
    with attached(settled["data"]):
        chosen = sorted({*event_ids, *(job.event_id for job in stuck_jobs(10_000) if dead and job.state == "dead")})
        if not chosen and not dead:
            raise click.UsageError("name events, or say --dead")
        replayed = publish_again(chosen)
    emit({"replayed": replayed}, f"{replayed} events will be published again.")


def waiting_events(limit: int) -> list[Waiting]:
    """Unpublished events, the longest due first."""
    with psycopg.connect(settings().relay_database_url) as connection, connection.cursor(row_factory=class_row(Waiting)) as cursor:
        return cursor.execute(_WAITING, (limit,)).fetchall()


def stuck_jobs(limit: int) -> list[Stuck]:
    """Jobs that failed or were given up, the latest first."""
    with psycopg.connect(settings().database_url) as connection, connection.cursor(row_factory=class_row(Stuck)) as cursor:
        return cursor.execute(_STUCK, (limit,)).fetchall()


def publish_again(event_ids: list[UUID]) -> int:
    """Make the events due now and give their unfinished jobs new tries."""
    with psycopg.connect(settings().database_url) as connection:
        connection.execute(_TRY_AGAIN, (event_ids,))
    with psycopg.connect(settings().relay_database_url) as connection:
        found = connection.execute(_AGAIN, (now(), event_ids)).rowcount
        if found < len(event_ids):
            raise EventMissing(f"Only {found} of {len(event_ids)} events are kept in the outbox; nothing was published again.")
    return found
