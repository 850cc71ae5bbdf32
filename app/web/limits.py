"""Rate limits that hold across processes: one atomic statement in PostgreSQL, leased in chunks so that a request rarely pays for it.

A chunk is taken from the window's budget before it is used, so no more than the limit is ever admitted, however many processes
there are; what a process leased and did not use is lost with the window. Where every request counts (sign-in) the chunk is one.
The limiter fails closed: without the database nobody is admitted.
"""

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.clock import now
from app.core.db import Base, call
from app.core.errors import AppError

_KEPT = 10_000
_LEASE = text(
    "insert into rate_limit as l (key, window_at, used) values (:key, :window, :chunk) on conflict (key) do update set"
    " used = case when l.window_at between excluded.window_at and :horizon then l.used + excluded.used else excluded.used end,"
    " window_at = case when l.window_at between excluded.window_at and :horizon then l.window_at else excluded.window_at end returning used"
)


class RateLimit(Base):
    __tablename__ = "rate_limit"
    # lost in a crash, and that is fine: a window is a minute
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012 - the shape SQLAlchemy asks for

    key: Mapped[str] = mapped_column(primary_key=True)
    window_at: Mapped[datetime]
    used: Mapped[int]


class TooManyRequests(AppError):
    """More requests than allowed came from this address or with this key; wait as long as Retry-After says."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests per window of so many seconds; ``chunk`` are leased at a time."""

    name: str
    requests: int
    seconds: int = 60
    chunk: int = 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the limiter says of one request, and what the RateLimit headers tell."""

    admitted: bool
    limit: int
    seconds: int
    remaining: int
    reset_seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The RateLimit headers, in the draft standard's form and in the older one."""
        policy = f'"default";r={self.remaining};t={self.reset_seconds}'
        found = [(b"ratelimit", policy.encode()), (b"ratelimit-policy", b'"default";q=%d;w=%d' % (self.limit, self.seconds))]
        found += [(b"ratelimit-limit", b"%d" % self.limit)]
        found += [(b"ratelimit-remaining", b"%d" % self.remaining), (b"ratelimit-reset", b"%d" % self.reset_seconds)]
        return found


class _Lease(msgspec.Struct):
    window: datetime
    left: int
    used_by_all: int


_leases: dict[str, _Lease] = {}


def window_of(moment: datetime, seconds: int) -> datetime:
    """The start of the window a moment falls into."""
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


async def count(limit: Limit, who: str) -> Verdict:
    """Count one request of somebody; the verdict says whether it may go on."""
    moment, key = now(), f"{limit.name}:{who}"
    window = window_of(moment, limit.seconds)
    lease = _leases.get(key)
    if lease is None or lease.window != window or (lease.left <= 0 and lease.used_by_all < limit.requests):
        lease = _leases[key] = await _lease(limit, key, window)
    reset = int((window + timedelta(seconds=limit.seconds) - moment).total_seconds()) + 1
    admitted = lease.left > 0
    lease.left -= admitted
    remaining = max(0, limit.requests - lease.used_by_all) + lease.left
    return Verdict(admitted=admitted, limit=limit.requests, seconds=limit.seconds, remaining=remaining, reset_seconds=reset)


async def admit(limit: Limit, who: str) -> Verdict:
    """Count one request and refuse it when the window's budget is used up."""
    verdict = await count(limit, who)
    if not verdict.admitted:
        raise TooManyRequests(f"Try again in {verdict.reset_seconds} seconds.", retry_after=verdict.reset_seconds)
    return verdict


async def _lease(limit: Limit, key: str, window: datetime) -> _Lease:
    if len(_leases) > _KEPT:
        # addresses come and go; what is forgotten here is only an unused rest
        _leases.clear()
    # a process whose clock is a little behind counts in the window that the others are in already
    horizon = window + timedelta(seconds=2 * limit.seconds)
    row = await call(_LEASE, {"key": key, "window": window, "horizon": horizon, "chunk": limit.chunk})
    return _Lease(window, max(0, min(limit.chunk, limit.requests - (row.used - limit.chunk))), row.used)


async def prune_limits(session: AsyncSession) -> None:
    """Forget windows that are long over."""
    await session.execute(delete(RateLimit).where(RateLimit.window_at < now() - timedelta(hours=1)))


def forget_leases() -> None:
    """Drop what this process has leased; for tests that start from an empty database."""
    _leases.clear()
