"""The audit trail: who did what to which object, from where and with which factor. Append-only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Index, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import Base
from app.core.ids import MerchantId, new_id


class AuditEntry(Base):
    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_object", "merchant_id", "object_type", "object_id"),
        Index("ix_audit_entry_action", "merchant_id", "action", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    address: Mapped[str | None]
    factor_at: Mapped[datetime | None]
    request_id: Mapped[str]
    action: Mapped[str]
    object_type: Mapped[str]
    object_id: Mapped[UUID | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as it is to be recorded."""

    actor: Actor
    action: str
    object_type: str
    object_id: UUID | None
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    reason: str | None = None


async def record(
    session: AsyncSession,
    actor: Actor,
    *,
    action: str,
    object_type: str,
    object_id: UUID | None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    reason: str | None = None,
    merchant_id: MerchantId | None = None,
) -> UUID:
    """Write one entry beside the change it records. Secrets go in as fingerprints, never as they are."""
    one = Entry(actor=actor, action=action, object_type=object_type, object_id=object_id, before=before, after=after, reason=reason)
    values = _row(one, merchant_id or actor.merchant)
    await session.execute(_INSERT, values)
    return UUID(str(values["id"]))


async def record_all(session: AsyncSession, entries: Sequence[Entry]) -> None:
    """Write the entries of many changes at once."""
    if entries:
        await session.execute(_INSERT, [_row(one, one.actor.merchant) for one in entries])


def _row(one: Entry, merchant_id: MerchantId) -> dict[str, object]:
    actor = one.actor
    return {
        "merchant_id": merchant_id,
        "id": new_id(),
        "at": now(),
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "address": actor.address,
        "factor_at": actor.factor_at,
        "request_id": actor.request_id,
        "action": one.action,
        "object_type": one.object_type,
        "object_id": one.object_id,
        "before": _json(one.before),
        "after": _json(one.after),
        "reason": one.reason,
    }


def _json(value: Mapping[str, object] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_INSERT = text(
    "insert into audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type, object_id,"
    " before, after, reason) values (:merchant_id, :id, :at, :actor_kind, :actor_id, :actor_name, :address, :factor_at, :request_id, :action,"
    " :object_type, :object_id, cast(:before as jsonb), cast(:after as jsonb), :reason)"
)
