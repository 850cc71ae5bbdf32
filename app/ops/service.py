"""Repairs: dead jobs get new tries, or are set aside for good with a reason. Both are in the audit trail."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.clock import now
from app.ops import queries
from app.ops.domain import NoDeadJobs, ReasonMissing
from app.ops.queries import Chosen

_REQUEUE = text("select jobs_requeue(:merchant, cast(:events as uuid[]), cast(:actors as text[]), :at)")
_DISCARD = text(
    "update job_run r set state = 'discarded', discarded_by = :name, discarded_because = :reason, last_at = :at"
    " from unnest(cast(:events as uuid[]), cast(:actors as text[])) c(event_id, actor)"
    " where r.event_id = c.event_id and r.actor = c.actor and r.merchant_id = :merchant and r.state = 'dead'"
)


async def requeue_jobs(session: AsyncSession, actor: Actor, *, event: UUID | None, job: str, reason: str | None = None) -> int:
    """Give dead jobs five new tries: one, all of a kind, or all; returns how many. What is done already is not done again."""
    chosen = await _chosen(session, actor, event, job)
    await session.execute(_REQUEUE, {"merchant": actor.merchant, "events": chosen.events, "actors": chosen.actors, "at": now()})
    await _note(session, actor, "jobs.requeued", chosen, reason=reason)
    return len(chosen.events)


async def discard_jobs(session: AsyncSession, actor: Actor, *, event: UUID | None, job: str, reason: str) -> int:
    """Set dead jobs aside for good: one, all of a kind, or all; returns how many. They stay to be looked at, with the reason."""
    if not reason.strip():
        raise ReasonMissing("Say why nothing will be done about it.", fields={"reason": "Say why nothing will be done about it."})
    chosen = await _chosen(session, actor, event, job)
    values = {"merchant": actor.merchant, "events": chosen.events, "actors": chosen.actors, "name": actor.name, "reason": reason.strip()}
    await session.execute(_DISCARD, values | {"at": now()})
    await _note(session, actor, "jobs.discarded", chosen, reason=reason.strip())
    return len(chosen.events)


async def _chosen(session: AsyncSession, actor: Actor, event: UUID | None, job: str) -> Chosen:
    chosen = await queries.dead_jobs(session, actor, event=event, job=job)
    if not chosen.events:
        raise NoDeadJobs("They are done, are being tried again by themselves, or were discarded. Look at the list anew.")
    return chosen


async def _note(session: AsyncSession, actor: Actor, action: str, chosen: Chosen, *, reason: str | None = None) -> None:
    touched = [f"{name} {event}" for event, name in zip(chosen.events, chosen.actors, strict=True)]
    object_id = chosen.events[0] if len(chosen.events) == 1 else None
    await audit.record(session, actor, action=action, object_type="job", object_id=object_id, after={"jobs": touched}, reason=reason)
