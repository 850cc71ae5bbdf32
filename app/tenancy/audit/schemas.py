"""What crosses the edge about the audit trail."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Self
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from app.core.errors import Invalid
from app.core.ids import public_id
from app.core.paging import Page
from app.tenancy.audit.domain import FieldChange

OBJECTS = {
    "merchant": ("mer", ""),
    "person": ("usr", ""),
    "membership": ("mem", ""),
    "merchant_role": ("rol", ""),
    "api_key": ("key", ""),
    "api_client": ("cli", "/api-clients/oauth"),
    "payment": ("pay", "/payments"),
    "order": ("ord", "/orders"),
    "seller": ("sel", "/sellers"),
    "refund": ("ref", ""),
    "capture": ("cap", ""),
    "connection": ("con", "/connections"),
    "payout": ("po", "/payouts"),
    "payout_batch": ("pob", "/payouts/batches"),
    "psp_event": ("pev", ""),
    "recon_break": ("brk", "/reconciliation/breaks"),
    "recon_file": ("rfi", "/reconciliation/files"),
    "recon_source": ("rsc", "/reconciliation/sources"),
    "audit_entry": ("aud", "/audit"),
}
"""How objects of each kind are written for people, and where their pages are."""
COLUMNS = (
    "id",
    "at",
    "action",
    "actor",
    "actor_kind",
    "object_type",
    "object_id",
    "address",
    "second_factor_at",
    "request_id",
    "reason",
    "before",
    "after",
)
"""The columns of the file; the last two are JSON."""


class AuditFilterMalformed(Invalid):
    """A filter of the audit log cannot be read."""

    code = "audit_filter_malformed"
    title = "This filter cannot be used"


class AuditFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted: every filter given must fit; days are those of UTC, both included."""

    action: str = ""
    who: str = ""
    q: str = ""
    address: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Self:
        """The filters of an address; a day that is none is refused by its name."""
        texts = {name: values.get(name, "").strip() for name in ("action", "who", "q", "address")}
        return cls(**texts, since=_day(values, "since"), until=_day(values, "until"))

    @property
    def kept(self) -> dict[str, str]:
        """The filters as they travel in an address."""
        found = {"action": self.action, "who": self.who, "q": self.q, "address": self.address}
        days = {"since": self.since and self.since.isoformat(), "until": self.until and self.until.isoformat()}
        return {name: value for name, value in (found | days).items() if value}

    def href(self, path: str, **more: str) -> str:
        """An address with these filters."""
        given = self.kept | more
        return f"{path}?{urlencode(given)}" if given else path

    @property
    def end(self) -> date | None:
        """The first day that is not wanted any more."""
        return self.until + timedelta(days=1) if self.until and self.until < date.max else None


class AuditRow(msgspec.Struct, kw_only=True):
    id: str
    at: datetime
    actor: str
    actor_kind: str
    action: str
    object_type: str
    object_id: str | None
    object_href: str | None
    address: str | None
    request_id: str
    reason: str | None
    changed: list[str]

    @property
    def href(self) -> str:
        """The page of the entry."""
        return f"/audit/{self.id}"

    @property
    def noun(self) -> str:
        """What the object is called."""
        return self.object_type.replace("recon_", "reconciliation_").replace("_", " ")


class ChainState(msgspec.Struct, kw_only=True):
    """Where the chain stands, and what the last comparison with it found."""

    number: int
    head: str
    made_at: datetime
    checked_at: datetime | None = None
    checked_by: str = ""
    checked_entries: int = 0
    problem: str | None = None


class AuditPage(msgspec.Struct, kw_only=True):
    entries: Page[AuditRow]
    actions: list[tuple[str, str]]
    filters: AuditFilters
    chain: ChainState | None

    @property
    def export_href(self) -> str:
        """The same entries as a file."""
        return self.filters.href("/audit/export.csv")

    @property
    def next_href(self) -> str | None:
        """Older entries."""
        return self._page(self.entries.next)

    @property
    def previous_href(self) -> str | None:
        """Newer entries."""
        return self._page(self.entries.previous)

    def _page(self, pointer: str | None) -> str | None:
        return None if pointer is None else self.filters.href("/audit", after=pointer)


class AuditEntryPage(msgspec.Struct, kw_only=True):
    row: AuditRow
    factor_at: datetime | None
    changes: list[FieldChange]
    block: int | None
    block_hash: str | None
    sealed_at: datetime | None
    same_request: list[AuditRow]


def shown_object(kind: str, value: UUID | None) -> tuple[str | None, str | None]:
    """The id of an object as people see it, and its page where it has one."""
    if value is None:
        return None, None
    prefix, base = OBJECTS.get(kind, ("", ""))
    text = public_id(prefix, value) if prefix else str(value)
    return text, f"{base}/{text}" if base else None


def _day(values: Mapping[str, str], name: str) -> date | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        problem = f"“{text[:40]}” is not a day; write it as 2026-11-28."
        raise AuditFilterMalformed(problem, fields={name: problem}) from None
