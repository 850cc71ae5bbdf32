"""What crosses the edge about the operators' console."""

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from app.core.paging import Page


class VisitRow(msgspec.Struct, frozen=True, kw_only=True):
    who: str
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


class VisitFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which visits are shown: of one operator by e-mail address, those that are open, those that are over."""

    who: Annotated[str, msgspec.Meta(max_length=320)] = ""
    status: Literal["", "open", "over"] = ""

    def href(self, after: str) -> str:
        """The address of another page of the same list."""
        return _href("/operator/visits", {"who": self.who, "status": self.status, "after": after})


class VisitListPage(msgspec.Struct, frozen=True, kw_only=True):
    visits: Page[VisitRow]
    filter: VisitFilter

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Which visits can be asked for."""
        return [("", "Open or over"), ("open", "Open now"), ("over", "Over")]


class DeadJobRow(msgspec.Struct, frozen=True, kw_only=True):
    merchant_id: str
    merchant: str
    is_sandbox: bool
    event_id: str
    actor: str
    topic: str
    attempts: int
    error: str
    first_at: datetime
    last_at: datetime


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead jobs are shown: of one merchant (its id, or a part of its name), of one kind."""

    merchant: Annotated[str, msgspec.Meta(max_length=200)] = ""
    job: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def href(self, after: str) -> str:
        """The address of another page of the same list."""
        return _href("/operator/jobs", {"merchant": self.merchant, "job": self.job, "after": after})


class DeadJobsPage(msgspec.Struct, frozen=True, kw_only=True):
    jobs: Page[DeadJobRow]
    filter: JobFilter
    reason: str


class MerchantRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    is_sandbox: bool
    status: str
    since: datetime
    people: int
    connections: int
    unknown: str
    dead: str
    queue_href: str
    jobs_href: str


class MerchantListPage(msgspec.Struct, frozen=True, kw_only=True):
    merchants: Page[MerchantRow]
    q: str
    reason: str

    def href(self, after: str) -> str:
        """The address of another page of the same list."""
        return _href("/operator/merchants", {"q": self.q, "after": after})


class VisitForm(msgspec.Struct, frozen=True, kw_only=True):
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=300)]
    minutes: Annotated[int, msgspec.Meta(ge=5, le=60)]


class JobForm(msgspec.Struct, frozen=True, kw_only=True):
    merchant: str
    event: UUID
    job: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


def _href(base: str, values: dict[str, str]) -> str:
    return base + "?" + urlencode({name: value for name, value in values.items() if value})
