"""Exactly once on the way in: the same ``Idempotency-Key`` has one effect and one answer.

The claim is committed together with the rows it led to, before anyone outside is called. A claim whose process died is taken over by
the next try with the same key, which continues the same object instead of making a second one.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import ClassVar
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.clock import now
from app.core.db import Base
from app.core.errors import Conflict, Invalid
from app.core.ids import MerchantId

LEASE = timedelta(seconds=30)
MAX_KEY_LENGTH = 255


class IdempotencyKeyReused(Invalid):
    """The same key came with another request; a key belongs to one request for ever."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class IdempotencyKeyMissing(Invalid):
    """This call moves money and needs an ``Idempotency-Key`` header."""

    code = "idempotency_key_missing"
    title = "An Idempotency-Key header is needed"


class RequestInProgress(Conflict):
    """The first request with this key is still running; ask again after ``Retry-After`` seconds."""

    status: ClassVar[int] = 429
    code = "request_in_progress"
    title = "The first request with this key is still running"


class IdempotencyRecord(Base):
    __tablename__ = "idempotency_key"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    resource_id: Mapped[UUID | None]
    lease_until: Mapped[datetime]
    status: Mapped[int | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Answer(msgspec.Struct, frozen=True):
    """An answer kept byte for byte."""

    status: int
    body: bytes


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a claim: new work, an answer to repeat, or an object whose work must be continued."""

    key: str
    replay: Answer | None = None
    resource_id: UUID | None = None

    @property
    def is_new(self) -> bool:
        """Whether nobody has worked on this key before."""
        return self.replay is None and self.resource_id is None


def fingerprint(*parts: bytes | str) -> bytes:
    """The identity of a request: method, route and body, hashed."""
    joined = b"\x00".join(part.encode() if isinstance(part, str) else part for part in parts)
    return sha256(joined).digest()


async def claim(session: AsyncSession, *, merchant_id: MerchantId, key: str, request: bytes, resource_id: UUID | None = None) -> Claim:
    """Claim the key for this request. ``resource_id`` names the object the caller is about to make with it."""
    check_key(key)
    moment = now()
    values = {"m": merchant_id, "k": key, "f": request, "r": resource_id, "lease": moment + LEASE, "at": moment}
    if (await session.execute(_CLAIM, values)).first() is not None:
        return Claim(key=key)
    row = (await session.execute(_HELD, values)).one()
    return held(key=key, claim=row.claim, status=row.status, body=row.body, resource_id=row.resource_id)


def check_key(key: str) -> None:
    """Refuse a key that is missing, too long or not printable."""
    if not key or len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise IdempotencyKeyMissing(
            f"Send an Idempotency-Key header of 1 to {MAX_KEY_LENGTH} printable characters, a new one for each request."
        )


def held(*, key: str, claim: str, status: int | None, body: bytes | None, resource_id: UUID | None) -> Claim:
    """What to do about a key that is held already, in the words of idempotency_take_over."""
    if claim == "reused":
        raise IdempotencyKeyReused("Use a new Idempotency-Key for a new request; this one belongs to a request with another body or path.")
    if claim == "running":
        raise RequestInProgress("The first request with this key is still running.", retry_after=1)
    replay = Answer(status, bytes(body)) if status is not None and body is not None else None
    return Claim(key=key, replay=replay, resource_id=resource_id)


async def name_resource(session: AsyncSession, *, merchant_id: MerchantId, key: str, resource_id: UUID) -> None:
    """Name the object the key's work is about, in the transaction that makes it, so that whoever takes over continues it."""
    await session.execute(_NAME, {"m": merchant_id, "k": key, "r": resource_id})


async def let_go(session: AsyncSession, *, merchant_id: MerchantId, key: str) -> None:
    """Give a claim up whose work could not be finished now, so that the next try with the key goes on at once."""
    await session.execute(_LET_GO, {"m": merchant_id, "k": key, "at": now()})


async def finish(session: AsyncSession, *, merchant_id: MerchantId, key: str, answer: Answer) -> None:
    """Keep the answer for every later request with the key; the first one stays."""
    await session.execute(_FINISH, {"m": merchant_id, "k": key, "status": answer.status, "body": answer.body, "at": now()})


_CLAIM = text(
    "insert into idempotency_key (merchant_id, key, fingerprint, resource_id, lease_until, created_at)"
    " values (:m, :k, :f, :r, :lease, :at) on conflict do nothing returning key"
)
_HELD = text("select * from idempotency_take_over(:m, :k, :f, :lease, :at)")
_NAME = text("update idempotency_key set resource_id = :r where merchant_id = :m and key = :k")
_LET_GO = text("update idempotency_key set lease_until = :at where merchant_id = :m and key = :k and status is null")
_FINISH = text(
    "update idempotency_key set status = :status, body = :body, finished_at = :at where merchant_id = :m and key = :k and status is null"
)
