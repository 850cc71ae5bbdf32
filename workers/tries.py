"""The count of tries: one row a job, written before and after it on connections of their own, many jobs at a time in one statement.

Not through the unit of work: these writes guard no money. They survive a killed process, which is what they are for, and do not wait
for the disk, which would cost more than most jobs.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from psycopg_pool import AsyncConnectionPool

from app.core.clock import now
from app.core.gathering import Gathering
from app.core.settings import settings

CONNECTIONS = 4
OPTIONS = "-c synchronous_commit=off -c statement_timeout=5000 -c lock_timeout=5000"

_BEGIN = """
insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, first_at, last_at)
select event_id, actor, merchant_id, topic, payload::jsonb, 1, 'running', %(now)s, %(now)s
  from unnest(%(events)s::uuid[], %(actors)s::text[], %(merchants)s::uuid[], %(topics)s::text[], %(payloads)s::text[])
    each (event_id, actor, merchant_id, topic, payload) order by event_id, actor
on conflict (event_id, actor) do update set attempts = job_run.attempts + 1, state = 'running', last_at = excluded.last_at
where job_run.state in ('running', 'failed')
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


class _Try(msgspec.Struct, frozen=True, kw_only=True):
    event_id: UUID
    actor: str
    merchant_id: UUID | None
    topic: str
    payload: str


class _End(msgspec.Struct, frozen=True, kw_only=True):
    event_id: UUID
    actor: str
    state: str
    error: str | None


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool] = WeakKeyDictionary()


async def begin(*, actor: str, event_id: UUID, merchant_id: UUID | None, topic: str, payload: str) -> int | None:
    """Count this try before it runs; None when the work was already done or given up."""
    return await _begins("all", _Try(event_id=event_id, actor=actor, merchant_id=merchant_id, topic=topic, payload=payload))


async def finish(*, actor: str, event_id: UUID, state: str, error: str | None = None) -> None:
    """Write down how the try ended."""
    await _ends("all", _End(event_id=event_id, actor=actor, state=state, error=error and error[:2000]))


async def _begin(_all: str, some: Sequence[_Try]) -> list[int | None]:
    values = {
        "events": [one.event_id for one in some],
        "actors": [one.actor for one in some],
        "merchants": [one.merchant_id for one in some],
        "topics": [one.topic for one in some],
        "payloads": [one.payload for one in some],
        "now": now(),
    }
    async with (await _pool()).connection() as connection:
        rows = await (await connection.execute(_BEGIN, values)).fetchall()
    attempts = {(row[0], row[1]): int(row[2]) for row in rows}
    return [attempts.get((one.event_id, one.actor)) for one in some]


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
