"""Reads about a merchant's stuck jobs."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.jobs import JobRun
from app.core.paging import fetch_page
from app.ops.domain import MOST_AT_ONCE, JobNotFound, JobState, object_path
from app.ops.schemas import JobListPage, JobRow, RepairPage

_STATES = {"": "Every state", JobState.DEAD: "Given up", JobState.FAILED: "Being tried again", JobState.DISCARDED: "Discarded"}
_STUCK = JobRun.state.in_([state.value for state in JobState])
_SHOWN = 10


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Dead jobs that somebody chose: their events and actors, side by side."""

    events: list[UUID]
    actors: list[str]


async def jobs(session: AsyncSession, actor: Actor, *, state: str = JobState.DEAD, job: str = "", after: str | None = None) -> JobListPage:
    """Jobs that failed, the latest first: by state and by what they do."""
    statement = select(*JobRun.__table__.c).where(JobRun.merchant_id == actor.merchant, _STUCK)
    if state:
        statement = statement.where(JobRun.state == state)
    if job:
        statement = statement.where(JobRun.actor == job)
    page = (await fetch_page(session, statement, keys=[JobRun.last_at, JobRun.event_id, JobRun.actor], after=after)).map(_row)
    counts = await _counts(session, actor)
    kept = {"status": state, "job": job}
    return JobListPage(
        jobs=page,
        states=list(_STATES.items()),
        state=state,
        kinds=[("", "Every job"), *((name, name) for name in sorted({name for name, _ in counts} | ({job} if job else set())))],
        job=job,
        dead=sum(count for (name, known), count in counts.items() if known == JobState.DEAD and job in ("", name)),
        may_repair=actor.can("jobs.repair"),
        query=urlencode({"job": job} if job else {}),
        next_href=_href(kept, page.next),
        previous_href=_href(kept, page.previous),
    )


async def _counts(session: AsyncSession, actor: Actor) -> dict[tuple[str, str], int]:
    counted = select(JobRun.actor, JobRun.state, func.count()).where(JobRun.merchant_id == actor.merchant, _STUCK)
    rows = await session.execute(counted.group_by(JobRun.actor, JobRun.state))
    return {(name, state): count for name, state, count in rows}


async def repair_page(session: AsyncSession, actor: Actor, *, event: UUID | None, job: str) -> RepairPage:
    """What trying again or discarding would touch, without touching it."""
    count = await session.scalar(_dead(actor, event, job, func.count())) or 0
    if event is not None and not count and await session.scalar(_one(actor, event, job)) is None:
        raise JobNotFound("There is no job of this event.")
    rows = await session.execute(_dead(actor, event, job, *JobRun.__table__.c).order_by(JobRun.last_at.desc()).limit(_SHOWN))
    return RepairPage(
        count=min(count, MOST_AT_ONCE),
        left=max(0, count - MOST_AT_ONCE),
        first=[_row(row) for row in rows],
        event=str(event or ""),
        job=job,
    )


async def dead_jobs(session: AsyncSession, actor: Actor, *, event: UUID | None, job: str) -> Chosen:
    """The dead jobs that were chosen, the longest dead first, kept from others until the transaction ends."""
    statement = _dead(actor, event, job, JobRun.event_id, JobRun.actor).order_by(JobRun.last_at, JobRun.event_id, JobRun.actor)
    rows: Sequence[Row[Any]] = (await session.execute(statement.limit(MOST_AT_ONCE).with_for_update())).all()
    return Chosen(events=[row.event_id for row in rows], actors=[row.actor for row in rows])


def _dead(actor: Actor, event: UUID | None, job: str, *columns: Any) -> Select[Any]:
    statement = select(*columns).where(JobRun.merchant_id == actor.merchant, _STUCK, JobRun.state == JobState.DEAD)
    if event is not None:
        statement = statement.where(JobRun.event_id == event)
    return statement.where(JobRun.actor == job) if job else statement


def _one(actor: Actor, event: UUID, job: str) -> Select[UUID]:
    statement = select(JobRun.event_id).where(JobRun.merchant_id == actor.merchant, JobRun.event_id == event)
    return statement.where(JobRun.actor == job) if job else statement


def _row(row: Row[Any]) -> JobRow:
    payload = row.payload.get("payload") or {}
    return JobRow(
        event_id=str(row.event_id),
        actor=row.actor,
        topic=row.topic,
        state=row.state,
        attempts=row.attempts,
        error=row.error or "",
        first_at=row.first_at,
        last_at=row.last_at,
        object_path=object_path(payload),
        payload=payload,
        discarded=f"Discarded by {row.discarded_by}: {row.discarded_because}" if row.state == JobState.DISCARDED else "",
    )


def _href(kept: dict[str, str], pointer: str | None) -> str | None:
    return None if pointer is None else "/jobs?" + urlencode(kept | {"after": pointer})
