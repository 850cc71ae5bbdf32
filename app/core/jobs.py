"""Jobs as the database knows them: how often each was tried, how it ended, and what runs by the clock."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class JobRun(Base):
    """One actor's work on one event. The attempt is counted and committed before it runs, so that a job which kills its process is counted."""

    __tablename__ = "job_run"
    __table_args__ = (
        CheckConstraint("state in ('running', 'done', 'failed', 'dead', 'discarded')", name="state"),
        Index("ix_job_run_unfinished", "state", "last_at", postgresql_where=text("state <> 'done'")),
        Index(
            "ix_job_run_stuck",
            "merchant_id",
            "last_at",
            "event_id",
            "actor",
            postgresql_where=text("state in ('failed', 'dead', 'discarded')"),
        ),
    )

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(primary_key=True)
    merchant_id: Mapped[UUID | None]
    topic: Mapped[str]
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    state: Mapped[str]
    error: Mapped[str | None]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    discarded_by: Mapped[str | None]
    discarded_because: Mapped[str | None]


class RecurringJob(Base):
    """Something that happens by the clock: which event to publish, when, and when next."""

    __tablename__ = "recurring_job"

    name: Mapped[str] = mapped_column(primary_key=True)
    cron: Mapped[str]
    timezone: Mapped[str]
    next_at: Mapped[datetime]
    last_at: Mapped[datetime | None]


_FORGET = text("delete from job_run where state = 'done' and last_at < :before")


async def forget_done(session: AsyncSession, *, before: datetime) -> None:
    """Remove the runs of jobs that ended well before a moment; what failed or died stays."""
    await session.execute(_FORGET, {"before": before})
