"""What operators do: open and close visits, and act at one merchant. The merchant reads all of it in its audit trail."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.ids import MerchantId, PersonId, new_id, parse_id
from app.ops import service
from app.ops.models import OperatorVisit

_LOOK = text("select operator_note_look(:visit, :now, :what, cast(:merchants as uuid[]), cast(:entries as uuid[]), cast(:actor as jsonb))")


async def open_visit(session: AsyncSession, *, person_id: PersonId, reason: str, minutes: int) -> OperatorVisit:
    """Say why one has to look across merchants; it ends by itself. Another visit that is open ends now."""
    await close_visit(session, person_id=person_id)
    moment = now()
    ends = moment + timedelta(minutes=minutes)
    row = OperatorVisit(id=new_id(), person_id=person_id, reason=reason.strip(), opened_at=moment, expires_at=ends, closed_at=None)
    session.add(row)
    await session.flush()
    return row


async def close_visit(session: AsyncSession, *, person_id: PersonId) -> None:
    """End the visit; nothing across merchants can be seen after it."""
    mine = update(OperatorVisit).where(OperatorVisit.person_id == person_id, OperatorVisit.closed_at.is_(None))
    await session.execute(mine.where(OperatorVisit.expires_at > now()).values(closed_at=now()))


async def note_look(session: AsyncSession, actor: Actor, *, visit: UUID | None, merchants: Iterable[str], what: str) -> None:
    """Write into each merchant's audit trail that an operator saw something of it, and the visit's reason why. Takes public ids."""
    seen = [parse_id("mer", merchant) for merchant in sorted(set(merchants))]
    who = {"id": actor.id, "name": actor.name, "address": actor.address, "factor_at": actor.factor_at, "request_id": actor.request_id}
    values = {"visit": visit, "now": now(), "what": what, "merchants": seen, "entries": [new_id() for _ in seen]}
    if seen:
        await session.execute(_LOOK, values | {"actor": msgspec.json.encode(who).decode()})


@asynccontextmanager
async def noting(actor: Actor, *, visit: UUID | None, merchants: Iterable[str], what: str) -> AsyncIterator[None]:
    """An act whose refusal shows again what it was chosen from: then that look is written down, although nothing else of the act is."""
    try:
        yield
    except AppError:
        async with unit_of_work(None) as session:
            await note_look(session, actor, visit=visit, merchants=merchants, what=what)
        raise


async def note_act(session: AsyncSession, actor: Actor, *, object_type: str, object_id: UUID, what: str, reason: str) -> None:
    """Write into the merchant's audit trail what an operator did, and why."""
    await audit.record(session, actor, action=f"operator.{what}", object_type=object_type, object_id=object_id, reason=reason)


def at(actor: Actor, merchant_id: MerchantId, permission: str) -> Actor:
    """The operator while acting at one merchant: with the one permission that the act needs."""
    return msgspec.structs.replace(actor, merchant_id=merchant_id, permissions=frozenset({permission}))


async def requeue_job(session: AsyncSession, actor: Actor, *, event: UUID, job: str, reason: str) -> None:
    """Give a merchant's dead job new tries."""
    actor.require("jobs.repair")
    await service.requeue_jobs(session, actor, event=event, job=job, reason=reason)


async def discard_job(session: AsyncSession, actor: Actor, *, event: UUID, job: str, reason: str) -> None:
    """Set a merchant's dead job aside for good."""
    actor.require("jobs.repair")
    await service.discard_jobs(session, actor, event=event, job=job, reason=reason)
