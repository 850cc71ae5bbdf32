"""How well a connection works: counted in memory, written a few times a minute.

A row per connection and minute that every payment updated would line all payments of a connection up behind one row lock, so
each process counts by itself and adds its counts in the transaction of a call every other second. A killed process loses two
seconds of statistics, never money.
"""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import ConnectionId, MerchantId
from app.psp.domain import LATENCY_STEPS, Outcome, Result, latency_step

FLUSH_EVERY = timedelta(seconds=2)
KEPT = timedelta(hours=25)

_ADD = text(
    "insert into psp_health as h (merchant_id, connection_id, minute_at, calls, succeeded, declined, technical, bad_signatures, latencies,"
    " failed_at, succeeded_at) values (:merchant_id, :connection_id, :minute_at, :calls, :succeeded, :declined, :technical, :bad_signatures,"
    " :latencies, :failed_at, :succeeded_at)"
    " on conflict (merchant_id, connection_id, minute_at) do update set calls = h.calls + excluded.calls,"
    " succeeded = h.succeeded + excluded.succeeded, declined = h.declined + excluded.declined, technical = h.technical + excluded.technical,"
    " bad_signatures = h.bad_signatures + excluded.bad_signatures, failed_at = greatest(h.failed_at, excluded.failed_at),"
    " succeeded_at = greatest(h.succeeded_at, excluded.succeeded_at), latencies = (select array_agg(a + b order by place)"
    " from unnest(h.latencies, excluded.latencies) with ordinality as step(a, b, place))"
)
_FORGET = text("delete from psp_health where merchant_id = :merchant_id and connection_id = :connection_id and minute_at < :before")


class Tally(msgspec.Struct, kw_only=True):
    """What this process saw of a connection in one minute and has not written yet."""

    minute_at: datetime
    calls: int = 0
    succeeded: int = 0
    declined: int = 0
    technical: int = 0
    bad_signatures: int = 0
    latencies: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_STEPS) + 1))
    failed_at: datetime | None = None
    succeeded_at: datetime | None = None


Key = tuple[MerchantId, ConnectionId]
_tallies: dict[Key, dict[datetime, Tally]] = {}
_written: dict[Key, datetime] = {}


async def record_call(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId, result: Result) -> None:
    """Count a call to a provider; call it last in the transaction that records the result."""
    if count_call(merchant_id=merchant_id, connection_id=connection_id, result=result):
        await write_tallies(session, merchant_id=merchant_id, connection_id=connection_id)


def count_call(*, merchant_id: MerchantId, connection_id: ConnectionId, result: Result) -> bool:
    """Count a call in memory and say whether it is time to write the counts down."""
    moment = now()
    tally = _tally(merchant_id, connection_id, moment)
    tally.calls += 1
    tally.latencies[latency_step(result.latency_ms)] += 1
    if result.is_technical_failure:
        tally.technical += 1
        tally.failed_at = moment
    else:
        tally.succeeded_at = moment
        tally.declined += result.outcome is Outcome.DECLINED
        tally.succeeded += result.outcome in (Outcome.SUCCEEDED, Outcome.PENDING)
    # A failure is written at once, so that every process opens the circuit together.
    last = _written.get((merchant_id, connection_id))
    return last is None or moment - last >= FLUSH_EVERY or moment < last or result.is_technical_failure


def count_bad_signature(*, merchant_id: MerchantId, connection_id: ConnectionId) -> None:
    """Count a webhook whose signature was wrong; nothing else is kept of it."""
    _tally(merchant_id, connection_id, now()).bad_signatures += 1


async def write_tallies(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> None:
    """Add this process's counts of a connection to the database."""
    key, moment = (merchant_id, connection_id), now()
    last = _written.get(key)
    for tally in _tallies.pop(key, {}).values():
        values = {"merchant_id": merchant_id, "connection_id": connection_id} | msgspec.structs.asdict(tally)
        await session.execute(_ADD, values)
    if last is None or last.hour != moment.hour:
        await session.execute(_FORGET, {"merchant_id": merchant_id, "connection_id": connection_id, "before": moment - KEPT})
    _written[key] = moment


def _tally(merchant_id: MerchantId, connection_id: ConnectionId, moment: datetime) -> Tally:
    minute = moment.replace(second=0, microsecond=0)
    minutes = _tallies.setdefault((merchant_id, connection_id), {})
    found = minutes.get(minute)
    if found is None:
        found = minutes[minute] = Tally(minute_at=minute)
    return found
