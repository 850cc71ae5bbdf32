"""The count of tries: one row a job, written before and after it in single statements on connections of their own.

Not through the unit of work: these writes guard no money. They survive a killed process, which is what they are for, and do not wait
for the disk, which would cost more than most jobs.
"""

import asyncio
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg_pool import AsyncConnectionPool

from app.core.clock import now
from app.core.settings import settings

CONNECTIONS = 4
OPTIONS = "-c synchronous_commit=off -c statement_timeout=5000 -c lock_timeout=5000"

_BEGIN = """
insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, first_at, last_at)
values (%(event_id)s, %(actor)s, %(merchant_id)s, %(topic)s, %(payload)s, 1, 'running', %(now)s, %(now)s)
on conflict (event_id, actor) do update set attempts = job_run.attempts + 1, state = 'running', last_at = excluded.last_at
where job_run.state in ('running', 'failed')
returning attempts
"""
_FINISH = "update job_run set state = %(state)s, error = %(error)s, last_at = %(now)s where event_id = %(event_id)s and actor = %(actor)s"

_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool] = WeakKeyDictionary()


async def begin(*, actor: str, event_id: UUID, merchant_id: UUID | None, topic: str, payload: str) -> int | None:
    """Count this try before it runs; None when the work was already done or given up."""
    values = {"event_id": event_id, "actor": actor, "merchant_id": merchant_id, "topic": topic, "payload": payload, "now": now()}
    async with (await _pool()).connection() as connection:
        row = await (await connection.execute(_BEGIN, values)).fetchone()
    return None if row is None else int(row[0])


async def finish(*, actor: str, event_id: UUID, state: str, error: str | None = None) -> None:
    """Write down how the try ended."""
    values = {"event_id": event_id, "actor": actor, "state": state, "error": error and error[:2000], "now": now()}
    async with (await _pool()).connection() as connection:
        await connection.execute(_FINISH, values)


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
