"""The outbox: what the rest of the house must hear of, written in the transaction that made it true.

A relay publishes the rows to the broker afterwards. A row that is due later is delayed work: that is how “ask again in five
minutes” and “these funds become available on Thursday” are kept across restarts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Index, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.clock import now
from app.core.db import Base
from app.core.events import Event
from app.core.ids import MerchantId, new_id


class OutboxMessage(Base):
    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "due_at", postgresql_where=text("published_at is null")),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    merchant_id: Mapped[UUID | None]
    topic: Mapped[str]
    payload: Mapped[dict[str, Any]]
    object_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    published_at: Mapped[datetime | None]


async def publish(
    session: AsyncSession, *, merchant_id: MerchantId | None, event: Event, object_id: UUID | None = None, due_at: datetime | None = None
) -> UUID:
    """Write the event beside the change it tells of; it leaves when the transaction does, or at ``due_at``."""
    event_id = new_id()
    await session.execute(_INSERT, _row(event_id, merchant_id, event, object_id, due_at))
    return event_id


async def publish_all(session: AsyncSession, *, merchant_id: MerchantId, events: Sequence[tuple[Event, UUID]]) -> None:
    """Write events about several objects at once."""
    if events:
        await session.execute(_INSERT, [_row(new_id(), merchant_id, event, object_id) for event, object_id in events])


def _row(
    event_id: UUID, merchant_id: MerchantId | None, event: Event, object_id: UUID | None, due_at: datetime | None = None
) -> dict[str, object]:
    moment = now()
    return {
        "id": event_id,
        "merchant_id": merchant_id,
        "topic": event.topic,
        "payload": msgspec.json.encode(event).decode(),
        "object_id": object_id,
        "at": moment,
        "due_at": due_at or moment,
    }


_INSERT = text(
    "insert into outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)"
    " values (:id, :merchant_id, :topic, cast(:payload as jsonb), :object_id, :at, :due_at)"
)
