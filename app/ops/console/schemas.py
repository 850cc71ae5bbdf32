"""What crosses the edge about the operators' console."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from app.core.money import Money


class VisitRow(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    opened_at: datetime
    ends_at: datetime
    is_open: bool


class ConsolePage(msgspec.Struct, frozen=True, kw_only=True):
    """The console's first page: the open visit, or the form to open one, and one's earlier visits."""

    until: datetime | None
    reason: str
    visits: list[VisitRow]
    choices: list[tuple[int, str]]


class DeadJobRow(msgspec.Struct, frozen=True, kw_only=True):
    merchant_id: str
    merchant: str
    event_id: str
    actor: str
    topic: str
    attempts: int
    error: str
    first_at: datetime
    last_at: datetime


class DeadJobsPage(msgspec.Struct, frozen=True, kw_only=True):
    jobs: list[DeadJobRow]
    reason: str
    until: datetime | None
    may_be_more: bool


class UnknownRow(msgspec.Struct, frozen=True, kw_only=True):
    merchant_id: str
    merchant: str
    noun: Literal["payment", "payout"]
    id: str
    amount: Money
    since: datetime


class UnknownPage(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[UnknownRow]
    reason: str
    until: datetime | None
    may_be_more: bool


class VisitForm(msgspec.Struct, frozen=True, kw_only=True):
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=300)]
    minutes: Annotated[int, msgspec.Meta(ge=5, le=60)]


class JobForm(msgspec.Struct, frozen=True, kw_only=True):
    merchant: str
    event: UUID
    job: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class AskForm(msgspec.Struct, frozen=True, kw_only=True):
    merchant: str
    noun: Literal["payment", "payout"]
    id: str
