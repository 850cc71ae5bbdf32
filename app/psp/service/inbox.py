"""Writes about the webhook inbox: a verified event is stored once and acted on later."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import enter_merchant
from app.core.ids import ConnectionId, MerchantId, PspEventId, new_id, public_id
from app.core.logs import redact
from app.psp import queries
from app.psp.domain import INBOX, ConnectionNotFound, EventReceived, InboxStatus, PspEvent, SignatureRejected
from app.psp.models import Connection, InboxEvent
from app.psp.service.connections import adapter_of
from app.psp.service.health import count_bad_signature

_MERCHANT_OF = text("select psp_connection_merchant(:connection_id)")


async def receive_webhook(session: AsyncSession, *, connection_id: ConnectionId, raw: bytes, headers: Mapping[str, str]) -> int:
    """Verify a provider's webhook over its raw bytes and store each of its events once; says how many were new."""
    merchant_id = (await session.execute(_MERCHANT_OF, {"connection_id": connection_id})).scalar_one_or_none()
    if merchant_id is None:
        raise ConnectionNotFound("There is no such connection.")
    await enter_merchant(session, merchant_id)
    connection = await queries.connection(session, merchant_id=merchant_id, connection_id=connection_id)
    try:
        events = adapter_of(connection).verify_webhook(raw, headers)
    except SignatureRejected:
        count_bad_signature(merchant_id=merchant_id, connection_id=connection_id)
        raise
    body = str(redact(raw.decode("utf-8", "replace")))
    return sum([await _store(session, connection, event, body) for event in events])


async def _store(session: AsyncSession, connection: Connection, event: PspEvent, body: str) -> bool:
    row = {
        "merchant_id": connection.merchant_id,
        "id": new_id(),
        "connection_id": connection.id,
        "provider_event_id": event.provider_event_id,
        "kind": event.kind,
        "provider_reference": event.provider_reference,
        "our_reference": event.our_reference,
        "amount_minor": event.amount.minor if event.amount else None,
        "currency": event.amount.currency if event.amount else None,
        "payload": event.payload,
        "body": body,
        "status": InboxStatus.RECEIVED,
        "occurred_at": event.occurred_at,
        "received_at": now(),
    }
    statement = insert(InboxEvent).values(row).on_conflict_do_nothing().returning(InboxEvent.id)
    stored = (await session.execute(statement)).scalar_one_or_none()
    if stored is None:
        return False
    await _announce(session, event, merchant_id=MerchantId(connection.merchant_id), event_id=stored, connection_id=connection.id)
    return True


async def mark_applied(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId) -> None:
    """The event changed something and needs no more work."""
    await _decide(session, merchant_id, event_id, "apply", None)


async def mark_ignored(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId, reason: str) -> None:
    """The event told nothing new: late, repeated in other words, or about something that is not ours."""
    await _decide(session, merchant_id, event_id, "ignore", reason)


async def mark_failed(session: AsyncSession, *, merchant_id: MerchantId, event_id: PspEventId, reason: str) -> None:
    """The event could not be applied; it waits for another try."""
    await _decide(session, merchant_id, event_id, "fail", reason)


async def retry_event(session: AsyncSession, actor: Actor, *, event_id: PspEventId) -> InboxEvent:
    """Have an event that failed applied again."""
    event = await queries.psp_event(session, merchant_id=actor.merchant, event_id=event_id)
    INBOX.next(InboxStatus(event.status), "apply")
    await _announce(session, event, merchant_id=actor.merchant, event_id=event.id, connection_id=event.connection_id)
    await audit.record(session, actor, action="psp_event.retried", object_type="psp_event", object_id=event_id)
    return event


async def _decide(session: AsyncSession, merchant_id: MerchantId, event_id: PspEventId, event: str, reason: str | None) -> None:
    row = await session.get(InboxEvent, (merchant_id, event_id), with_for_update=True)
    if row is None:
        row = await queries.psp_event(session, merchant_id=merchant_id, event_id=event_id)
    if not INBOX.can(InboxStatus(row.status), event):
        return  # the job ran before; what was decided stays
    row.status = INBOX.next(InboxStatus(row.status), event)
    row.attempts += 1
    row.error, row.decided_at = reason, now()


async def _announce(
    session: AsyncSession, event: InboxEvent | PspEvent, *, merchant_id: MerchantId, event_id: UUID, connection_id: UUID
) -> None:
    told = EventReceived(connection_id=public_id("con", connection_id), kind=event.kind, our_reference=event.our_reference)
    await outbox.publish(session, merchant_id=merchant_id, event=told, object_id=event_id)
