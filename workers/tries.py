"""The count of tries: one row a job, written before and after it on connections of their own, many jobs at a time in one statement.

Not through the unit of work: these writes guard no money. They survive a killed process, which is what they are for, and do not wait
for the disk, which would cost more than most jobs.

A worker counts the first tries of the messages it takes in one statement, before it begins any of them (`Together`). Should one of them kill
the process, its neighbours are charged with a try they never had. That happens to a job once at most: whatever was counted before is counted
again only when it begins, by itself. And what twice was under way when its process died begins alone (`alone`): of those that are suspected
only the one that kills is charged again.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from app.core.clock import now
from app.core.gathering import Gathering
from app.core.settings import settings

CONNECTIONS = 4
SUSPECT_TRIES, ALONE_SECONDS = 2, 10.0
BY_INDEX = (
    "-c plan_cache_mode=force_custom_plan -c random_page_cost=1.1"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_material=off"
)
"""For statements that name a few rows of a table by their ids: a plan made while the table was small, and kept, would read all of it later."""
OPTIONS = f"-c synchronous_commit=off -c statement_timeout=5000 -c lock_timeout=5000 {BY_INDEX}"

_BEGIN = """
insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, first_at, last_at)
select event_id, actor, merchant_id, topic, payload::jsonb, 1, 'running', %(now)s, %(now)s
  from unnest(%(events)s::uuid[], %(actors)s::text[], %(merchants)s::uuid[], %(topics)s::text[], %(payloads)s::text[])
    each (event_id, actor, merchant_id, topic, payload) order by event_id, actor
on conflict (event_id, actor) do update set attempts = job_run.attempts + 1, state = 'running', last_at = excluded.last_at
where job_run.state = 'failed' or job_run.state = 'running' and (job_run.attempts < %(suspect)s or %(alone)s)
returning event_id, actor, attempts
"""
_FINISH = """
update job_run j set state = each.state, error = each.error, last_at = %(now)s
  from unnest(%(events)s::uuid[], %(actors)s::text[], %(states)s::text[], %(errors)s::text[]) each (event_id, actor, state, error)
 where j.event_id = each.event_id and j.actor = each.actor
"""
_GIVE_BACK = """
update job_run set attempts = attempts - 1, state = 'failed', error = 'its worker was asked to stop', last_at = %(now)s
 where event_id = %(event_id)s and actor = %(actor)s and state = 'running'
"""


_FIRST = """
insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, first_at, last_at)
select event_id, actor, merchant_id, topic, payload, 1, 'running', %(now)s, %(now)s
  from json_to_recordset(%(rows)s::json) each (event_id uuid, actor text, merchant_id uuid, topic text, payload jsonb) order by event_id, actor
on conflict (event_id, actor) do nothing
returning event_id, actor
"""
_DONE = """
update job_run j set state = 'done', error = null, last_at = each.at
  from json_to_recordset(%(rows)s::json) each (event_id uuid, actor text, at timestamptz)
 where j.event_id = each.event_id and j.actor = each.actor
"""
_NOT_BEGUN = """
delete from job_run j using json_to_recordset(%(rows)s::json) each (event_id uuid, actor text)
 where j.event_id = each.event_id and j.actor = each.actor and j.state = 'running' and j.attempts = 1
"""
log = structlog.get_logger(__name__)


class _Try(msgspec.Struct, frozen=True, kw_only=True):
    event_id: UUID
    actor: str
    merchant_id: UUID | None
    topic: str
    payload: str


class First(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a worker took and nobody tried yet."""

    event_id: UUID
    actor: str
    merchant_id: UUID | None
    topic: str
    payload: msgspec.Raw


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended well, and when."""

    event_id: UUID
    actor: str
    at: datetime


class _End(msgspec.Struct, frozen=True, kw_only=True):
    event_id: UUID
    actor: str
    state: str
    error: str | None


_alone: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool] = WeakKeyDictionary()


async def begin(*, actor: str, event_id: UUID, merchant_id: UUID | None, topic: str, payload: str, alone: bool = False) -> int | None:
    """Count this try before it runs; None when the work was already done or given up, or may be begun alone only."""
    one = _Try(event_id=event_id, actor=actor, merchant_id=merchant_id, topic=topic, payload=payload)
    return await _begins("alone" if alone else "all", one)


@asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """For a job that twice was under way when its process died: one such job at a time, so that only the guilty one is charged.

    Should the one before it take long, it is hardly the one that kills: the next is not kept waiting for ever.
    """
    lock = _alone.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    is_held = False
    with suppress(TimeoutError):
        async with asyncio.timeout(ALONE_SECONDS):
            is_held = await lock.acquire()
    try:
        yield
    finally:
        if is_held:
            lock.release()


async def finish(*, actor: str, event_id: UUID, state: str, error: str | None = None) -> None:
    """Write down how the try ended."""
    await _ends("all", _End(event_id=event_id, actor=actor, state=state, error=error and error[:2000]))


async def _begin(group: str, some: Sequence[_Try]) -> list[int | None]:
    values = _columns(some) | {"suspect": SUSPECT_TRIES, "alone": group == "alone"}
    async with (await _pool()).connection() as connection:
        rows = await (await connection.execute(_BEGIN, values)).fetchall()
    attempts = {(row[0], row[1]): int(row[2]) for row in rows}
    return [attempts.get((one.event_id, one.actor)) for one in some]


def _columns(some: Sequence[_Try]) -> dict[str, object]:
    return {
        "events": [one.event_id for one in some],
        "actors": [one.actor for one in some],
        "merchants": [one.merchant_id for one in some],
        "topics": [one.topic for one in some],
        "payloads": [one.payload for one in some],
        "now": now(),
    }


async def _finish(_all: str, some: Sequence[_End]) -> list[None]:
    values = {
        "events": [one.event_id for one in some],
        "actors": [one.actor for one in some],
        "states": [one.state for one in some],
        "errors": [one.error for one in some],
        "now": now(),
    }
    async with (await _pool()).connection() as connection:
        await connection.execute(_FINISH, values)
    return [None] * len(some)


_begins: Gathering[str, _Try, int | None] = Gathering(_begin)
_ends: Gathering[str, _End, None] = Gathering(_finish)


async def give_back(*, actor: str, event_id: UUID) -> None:
    """Take back that a try was begun: its process was asked to stop, which is not the job's fault."""
    async with (await _pool()).connection() as connection:
        await connection.execute(_GIVE_BACK, {"event_id": event_id, "actor": actor, "now": now()})


async def dispose() -> None:
    """Close the running loop's connections, if it has any."""
    found = _pools.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


async def _pool() -> AsyncConnectionPool:
    loop = asyncio.get_running_loop()
    found = _pools.get(loop)
    if found is None:
        kwargs = {"autocommit": True, "options": OPTIONS, "application_name": "countinghouse-jobs"}
        found = AsyncConnectionPool(
            settings().database_url, min_size=1, max_size=CONNECTIONS, open=False, kwargs=kwargs, check=AsyncConnectionPool.check_connection
        )
        _pools[loop] = found
        await found.open()
    return found


class Together:
    """The count for many jobs in one statement, for the threads that take messages and put them down. It has one connection, made anew when it is lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def begin(self, some: Sequence[First]) -> set[tuple[UUID, str]]:
        """Count those that were never tried; says which they are. The others are counted when they begin, and so are all when this cannot be done."""
        if not some:
            return set()
        try:
            return {(row[0], row[1]) for row in self._execute(_FIRST, some).fetchall()}
        except psycopg.Error as error:
            log.warning("tries_are_counted_one_by_one", jobs=len(some), error=str(error).strip())
            return set()

    def finish(self, some: Sequence[Done]) -> None:
        """Write down what is done."""
        if some:
            self._execute(_DONE, some)

    def take_back(self, some: Sequence[First]) -> None:
        """Forget first tries that were counted and never begun; should that fail, they keep the try they did not have."""
        if some:
            with suppress(psycopg.Error):
                self._execute(_NOT_BEGUN, some)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _execute(self, statement: LiteralString, rows: Sequence[msgspec.Struct]) -> psycopg.Cursor[Any]:
        # one text of all rows: the driver takes several times as long to write a list for each column
        values = {"rows": msgspec.json.encode(rows).decode(), "now": now()}
        with self._lock:
            for last in (False, True):
                try:
                    return self._open().execute(statement, values)
                except psycopg.OperationalError:
                    # each of these statements may be sent again: what the first one did, the second one finds done
                    if last or self._connection is None or not self._connection.closed:
                        raise
                    self._drop()
            raise AssertionError

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                settings().database_url,
                autocommit=True,
                options=OPTIONS,
                application_name="countinghouse-jobs",
                connect_timeout=5,
                tcp_user_timeout=10_000,
            )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
