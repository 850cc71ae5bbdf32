"""What crosses the edge about routing: pages of the rules, forms, and the decision about one payment."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from app.core.ids import ConnectionId, SellerId, public_id
from app.core.money import Money
from app.routing.domain import (
    CaptureMode,
    Change,
    Difference,
    Rule,
    VersionStatus,
)
from app.routing.models import RoutingVersion

Names = Mapping[UUID, str]
MOST_COUNTED = 10_000
COLOURS = ("c-f1", "c-f2", "c-f3", "c-f4")


def version_id_text(version_id: UUID) -> str:
    """A version in an address."""
    return public_id("rtv", version_id)


class ConnectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that rules can name."""

    id: ConnectionId
    name: str
    is_active: bool


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the history."""

    id: str
    number: int
    status: VersionStatus
    based_on: int | None
    edited_by: str
    requested_by: str | None
    requested_at: datetime | None
    reason: str
    digest: str | None
    approved_by: str | None
    refused_by: str | None
    refusal: str | None
    activated_at: datetime | None
    retired_at: datetime | None
    updated_at: datetime

    @classmethod
    def of(cls, row: RoutingVersion) -> "VersionRow":
        """The version as pages show it."""
        return cls(
            id=version_id_text(row.id),
            number=row.number,
            status=VersionStatus(row.status),
            based_on=row.based_on,
            edited_by=row.edited_by_name,
            requested_by=row.requested_by_name,
            requested_at=row.requested_at,
            reason=row.reason,
            digest=row.digest,
            approved_by=row.approved_by_name,
            refused_by=row.refused_by_name,
            refusal=row.refusal,
            activated_at=row.activated_at,
            retired_at=row.retired_at,
            updated_at=row.updated_at,
        )

    @property
    def label(self) -> str:
        """What the version is called."""
        words = {VersionStatus.LIVE: "Live version", VersionStatus.DRAFT: "Draft", VersionStatus.PENDING: "Draft"}
        return f"{words.get(self.status, 'Version')} {self.number}"

    @property
    def in_use(self) -> tuple[datetime, datetime | None] | None:
        """From when to when it chose connections."""
        return (self.activated_at, self.retired_at) if self.activated_at else None


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that a rule names, as its sentence says it."""

    name: str
    percent: int | None
    is_active: bool


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as a sentence, with how many payments it decided about lately."""

    id: str
    place: int
    name: str
    conditions: list[str]
    split: list[TargetRow]
    fallback: list[TargetRow]
    change: Change | None
    was: str | None
    is_last: bool
    can_go_up: bool
    can_go_down: bool
    payments: int
    by_connection: list[tuple[str, int]]
    percent: int | None

    @property
    def counted(self) -> str:
        """How many payments, as far as they are counted."""
        return f"{MOST_COUNTED:,}+" if self.payments > MOST_COUNTED else f"{self.payments:,}"

    @property
    def meter(self) -> list[tuple[float, str]]:
        """The bar: which part of all payments it decided about, by connection."""
        parts = zip(self.by_connection, COLOURS * 3, strict=False)
        return [(count * (self.percent or 0) / self.payments, shade) for (_, count), shade in parts if self.payments]

    @property
    def told(self) -> str:
        """What the bar shows, in words."""
        split = ", ".join(f"{count:,} through {name}" for name, count in self.by_connection)
        return f"{self.counted} payments in 7 days" + (f": {split}" if split else "")


def sentences(rule: Rule, sellers: Names) -> list[str]:
    """The conditions of a rule, one after the other, as a person says them."""
    wanted, said = rule.conditions, list[str]()
    if wanted.currencies:
        said.append(f"Currency {' or '.join(wanted.currencies)}")
    if wanted.at_least is not None:
        said.append(f"Amount at least {wanted.at_least.format()}")
    if wanted.below is not None:
        said.append(f"Amount below {wanted.below.format()}")
    if wanted.capture is not None:
        said.append("Captured later" if wanted.capture is CaptureMode.MANUAL else "Captured at once")
    if wanted.seller is not None:
        said.append(f"{sellers.get(wanted.seller, 'A seller')} sells some of it")
    return said


def whole(rule: Rule, connections: Names, sellers: Names) -> str:
    """A rule in one line, for lists of what is to be approved and of what was."""
    return f"{'If ' + ' and '.join(said) if (said := sentences(rule, sellers)) else 'Always'}: {target(rule, connections)}"


def target(rule: Rule, connections: Names) -> str:
    """Where a rule sends payments, in one line."""
    split = " and ".join(
        f"{connections.get(share.connection, '–')}{f' {share.percent}%' if len(rule.split) > 1 else ''}" for share in rule.split
    )
    return split + "".join(f", then {connections.get(one, '–')}" for one in rule.fallback)


class SplitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes what falls to one part of a split, as the connections stand now."""

    percent: int
    drawn: str
    taken: str | None
    is_skipped: bool


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says to a payment that is tried."""

    place: int
    name: str
    is_hit: bool
    is_reached: bool
    why_not: str
    outcomes: list[SplitOutcome] = []


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that is tried on the rules."""

    amount: Money
    capture: CaptureMode = CaptureMode.AUTOMATIC
    seller: SellerId | None = None


class TryPanel(msgspec.Struct, frozen=True, kw_only=True):
    """The form that tries a payment, and what came of it."""

    version: str
    amount: str
    currency: str
    capture: str
    seller: str
    currencies: list[str]
    sellers: list[tuple[str, str]]
    problem: str = ""
    trace: list[TraceRow] = []


class ReplayRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many payments went through one connection and would go through another."""

    went: str
    goes: str
    payments: int


class ReplayPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a version would have done with the payments of the last days."""

    version: VersionRow
    looked_at: int
    is_cut: bool
    same: int
    by_name: int
    nobody: int
    rerouted: int
    moves: list[ReplayRow]
    by_connection: list[tuple[str, int, int]]


class RoutingPage(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one version, what differs from the live one, and what may be done."""

    shown: VersionRow | None
    live: VersionRow | None
    draft: VersionRow | None
    rules: list[RuleRow]
    removed: list[str]
    difference: int
    off: list[str]
    tried: TryPanel | None
    has_connection: bool
    may_write: bool
    may_approve: bool
    is_own: bool

    @property
    def is_draft(self) -> bool:
        """Whether what is shown can be changed."""
        return self.shown is not None and self.draft is not None and self.shown.id == self.draft.id

    @property
    def is_waiting(self) -> bool:
        """Whether what is shown waits for a second person."""
        return self.is_draft and self.shown is not None and self.shown.status is VersionStatus.PENDING

    @property
    def said(self) -> str:
        """The line under the heading."""
        first = "Rules run from top to bottom. The first match decides."
        if self.shown is None:
            return first
        if self.is_draft and self.live is not None:
            rules = f"{self.difference} rule{'' if self.difference == 1 else 's'}"
            return f"{first} Draft {self.shown.number} changes {rules} of live version {self.live.number}."
        if self.is_draft:
            return f"{first} Nothing is live yet: payments take the oldest active connection until this is published."
        return first


class VersionListPage(msgspec.Struct, frozen=True, kw_only=True):
    """All versions, newest first."""

    rows: list[VersionRow]
    has_draft: bool
    may_write: bool


class NamedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection in the form of a rule: its share, or its turn in the fallback list."""

    id: str
    name: str
    is_active: bool
    share: str
    turn: str


class RuleFormPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a rule."""

    action: str
    title: str
    name: str
    is_last: bool
    currencies: list[tuple[str, str]]
    chosen: list[str]
    at_least: Money | None
    below: Money | None
    capture: str
    seller: str
    sellers: list[tuple[str, str]]
    rows: list[NamedRow]

    @property
    def codes(self) -> list[str]:
        """The currencies an amount can be in."""
        return [code for code, _ in self.currencies]

    @property
    def turns(self) -> list[tuple[str, str]]:
        """The places of the fallback list."""
        return [(str(turn), str(turn)) for turn in range(1, len(self.rows) + 1)]


class RemovePage(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to take a rule out of the draft, or to give the draft up."""

    action: str
    title: str
    text: str
    submit: str


class PublishPage(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody else is asked to agree to."""

    number: int
    replaces: int | None
    lines: list[tuple[str, str]]
    off: list[str]


def lines_of(
    difference: Difference, live: Sequence[Rule], draft: Sequence[Rule], connections: Names, sellers: Names
) -> list[tuple[str, str]]:
    """Everything that a draft says, rule by rule, with what differs marked: what an approver is shown."""
    before = {rule.key: rule for rule in live}
    lines = []
    for place, rule in enumerate(draft, 1):
        change = difference.changes.get(rule.key) if live else None
        text = whole(rule, connections, sellers)
        if change is Change.CHANGED:
            text = f"{text} (was: {whole(before[rule.key], connections, sellers)})"
        lines.append((f"{place}. {rule.name}{f', {change}' if change else ''}", text))
    return lines + [(f"Removed: {rule.name}", whole(rule, connections, sellers)) for rule in difference.removed]
