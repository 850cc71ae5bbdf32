"""What crosses the edge about stuck jobs."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from app.core.paging import Page


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    event_id: str
    actor: str
    topic: str
    state: str
    attempts: int
    error: str
    first_at: datetime
    last_at: datetime
    object_path: str | None
    payload: dict[str, object]
    discarded: str


class JobListPage(msgspec.Struct, frozen=True, kw_only=True):
    jobs: Page[JobRow]
    states: list[tuple[str, str]]
    state: str
    kinds: list[tuple[str, str]]
    job: str
    dead: int
    may_repair: bool
    query: str
    next_href: str | None
    previous_href: str | None


class ChosenForm(msgspec.Struct, frozen=True, kw_only=True):
    """One job by its event and name, or every dead one of that name, or every dead one."""

    event: UUID | None = None
    job: Annotated[str, msgspec.Meta(max_length=200)] = ""


class DiscardForm(ChosenForm, frozen=True, kw_only=True):
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class RepairPage(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done, before it is done."""

    count: int
    left: int
    first: list[JobRow]
    event: str
    job: str
