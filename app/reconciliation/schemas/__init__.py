"""What the pages of reconciliation are made of."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from app.core.money import Money
from app.core.paging import Page
from app.ledger.domain.seals import Block
from app.reconciliation.domain.breaks import BreakKind, BreakStatus
from app.reconciliation.domain.formats import CSV, FORMATS
from app.reconciliation.domain.journals import Target
from app.reconciliation.schemas.kinds import KIND_NAMES
from app.web.charts import AreaChart, ColumnChart, shares

TARGET_NAMES: list[tuple[str, str]] = [
    (Target.PSP_FEE, "PSP fees"),
    (Target.BANK_FEE, "Bank fees"),
    (Target.DISPUTE_COST, "Dispute costs"),
    (Target.CHARGEBACK_LOSS, "Chargeback losses"),
    (Target.CURRENCY_LOSS, "Currency losses"),
    (Target.CURRENCY_GAIN, "Currency gains"),
    (Target.UNIDENTIFIED, "Unidentified receipts"),
]


class SumRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the three say in one currency: the ledger against the provider, and the provider against the bank."""

    expected: Money
    waiting: Money
    settled: Money
    psp: Money
    due: Money
    bank: Money
    bank_waiting: Money
    bank_settled: Money
    fee_booked: Money
    fee_charged: Money

    @property
    def expected_still(self) -> Money:
        """What the ledger expects, less what people and rules have seen to."""
        return self.expected - self.settled

    @property
    def unexplained(self) -> Money:
        """What the provider settled less than the ledger still expects by now."""
        return self.expected_still - self.psp

    @property
    def due_at_bank(self) -> Money:
        """What the bank should have shown by now of what the provider paid out, less what was seen to."""
        return self.due - self.bank_waiting - self.bank_settled

    @property
    def at_bank(self) -> Money:
        """What the bank should have shown by now and has not."""
        return self.due_at_bank - self.bank


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One time everything was compared."""

    id: str
    at: datetime
    by: str
    seconds: int
    matches: int
    rules: list[tuple[str, int]]
    open_breaks: int
    sums: list[SumRow]

    @property
    def shares(self) -> list[tuple[float, str]]:
        """How much is matched and how much is open, for the meter."""
        return shares([self.matches, self.open_breaks], ["c-ok", "c-bad"])


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where files come from."""

    id: str
    name: str
    side: str
    format: str
    files: int
    refused: int
    newest_at: datetime | None
    open_breaks: int


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was handed in."""

    id: str
    name: str
    status: str
    lines: int
    new_lines: int
    problems: int
    size_bytes: int
    at: datetime
    by: str
    reason: str | None
    reason_line: int | None
    sha256: str
    source_id: str
    source: str


class OverviewPage(msgspec.Struct, kw_only=True):
    """Where reconciliation stands."""

    runs: list[RunRow]
    sources: list[SourceRow]
    ages: ColumnChart
    cleared: AreaChart | None
    open_breaks: int
    overdue: int

    @property
    def latest(self) -> RunRow | None:
        """The last run."""
        return self.runs[0] if self.runs else None

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        """How far the work is, for the stepper."""
        handed_in = sum(source.files - source.refused for source in self.sources)
        compared = self.latest is not None
        done = compared and not self.open_breaks
        return [
            ("Sources", f"{len(self.sources)} set up", "done" if self.sources else "now"),
            ("Received", f"{handed_in} files", "done" if handed_in else "now" if self.sources else "todo"),
            (
                "Matched",
                f"{self.latest.matches:,} matches" if self.latest else "not compared yet",
                "done" if compared else "now" if handed_in else "todo",
            ),
            ("Review", f"{self.open_breaks} breaks open", "done" if done else "now" if compared else "todo"),
        ]


class RunListPage(msgspec.Struct, kw_only=True):
    """Every run, newest first."""

    runs: Page[RunRow]


class RunPage(msgspec.Struct, kw_only=True):
    """One run with the breaks that are open now."""

    run: RunRow
    breaks: "list[BreakRow]"
    open_now: int

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        """How far the work on it is, for the stepper."""
        is_explained = all(sum.unexplained.is_zero for sum in self.run.sums)
        return [
            ("Compared", f"in {self.run.seconds} s", "done"),
            ("Matched", f"{self.run.matches:,} matches", "done"),
            ("Review", f"{self.open_now} of {self.run.open_breaks} breaks open now", "now" if self.open_now else "done"),
            ("Explained", "to the cent" if is_explained else "not yet", "done" if is_explained else "todo"),
        ]


class BreakRow(msgspec.Struct, frozen=True, kw_only=True):
    """A break in a list."""

    id: str
    kind: BreakKind
    reference: str
    source: str
    ledger: Money | None
    other: Money | None
    difference: Money | None
    status: str
    owner: str | None
    age_days: int
    due_on: date
    is_overdue: bool

    @property
    def name(self) -> str:
        """What is wrong, in words."""
        return KIND_NAMES[self.kind][0]

    @property
    def icon(self) -> str:
        """Its mark."""
        return KIND_NAMES[self.kind][1]


class PreviewLine(msgspec.Struct, frozen=True):
    """One line a resolution would post."""

    account: str
    debit: Money | None
    credit: Money | None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may be the same money; only a person decides that."""

    id: str
    title: str
    amount: Money
    on: date
    days_apart: int


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done about a break."""

    action: str
    by: str
    at: datetime
    reason: str
    amount: Money | None
    transaction: str | None


class BreakPage(msgspec.Struct, kw_only=True):
    """A break with both sides, what can be done about it, and what was done."""

    row: BreakRow
    compared: list[tuple[str, str, str]]
    cause: str
    left_over: Money | None
    write_off: list[PreviewLine]
    alone_up_to: Money | None
    candidates: list[Candidate]
    steps: list[StepRow]
    asked_parts: str
    asked_for: str
    requested_by_you: bool
    can_be_undone: bool
    is_linked: bool
    file: FileRow | None

    @property
    def needs_second_person(self) -> bool:
        """Whether a write-off would have to be approved."""
        return self.left_over is not None and self.alone_up_to is not None and abs(self.left_over) > self.alone_up_to

    @property
    def is_open(self) -> bool:
        """Whether something can be done about it now."""
        return self.row.status in {BreakStatus.OPEN, BreakStatus.PARKED}

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Where what is left over may go."""
        return TARGET_NAMES


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must never be true and is."""

    merchant: str
    subject: str
    detail: str


class InvariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """One time every invariant was checked."""

    at: datetime
    by: str
    milliseconds: int
    is_sound: bool
    results: list[tuple[str, list[Finding], list[str]]]

    @property
    def broken(self) -> int:
        """How many do not hold."""
        return sum(bool(found) for _, found, _ in self.results)


class InvariantPage(msgspec.Struct, kw_only=True):
    """The nightly proof."""

    checks: list[InvariantRow]
    seal: Block | None

    @property
    def latest(self) -> InvariantRow | None:
        """The last one."""
        return self.checks[0] if self.checks else None


class SourceListPage(msgspec.Struct, kw_only=True):
    """Every source."""

    sources: list[SourceRow]


class SourceFormPage(msgspec.Struct, kw_only=True):
    """The form of a new source."""

    connections: list[tuple[str, str]]
    banks: list[tuple[str, str]]

    @property
    def formats(self) -> list[tuple[str, str]]:
        """What can be read."""
        return [(name, known.title) for name, known in FORMATS.items() if name != CSV]


class MappingPage(msgspec.Struct, kw_only=True):
    """The form of a new CSV source: which column holds what."""

    connections: list[tuple[str, str]]
    banks: list[tuple[str, str]]

    @property
    def fields(self) -> Sequence[tuple[str, str, str]]:
        """What a column can hold: name, label, hint."""
        return MAPPING_FIELDS


class FilePage(msgspec.Struct, kw_only=True):
    """A file: what it proved, or why it was refused."""

    file: FileRow
    totals: list[tuple[str, int, Money, Money, Money, bool]]
    problems: list[tuple[int, str, str]]


MAPPING_FIELDS: Sequence[tuple[str, str, str]] = (
    ("ext_id", "Identifier of a line", "Must be different in every line."),
    ("type", "Kind of line", "Its words are explained below."),
    ("gross", "Amount before fees", ""),
    ("fee", "Fee", ""),
    ("net", "Amount after fees", ""),
    ("debit", "Debit", "For statements with two columns."),
    ("credit", "Credit", ""),
    ("balance", "Running balance", "Proves that no line is missing."),
    ("currency_column", "Currency", "Or one for all lines, below."),
    ("batch", "Batch or payout", ""),
    ("parent_ext_id", "Payment at the provider", ""),
    ("merchant_ref", "Our reference", ""),
    ("occurred_at", "Date and time", ""),
    ("booked_on", "Booking date", ""),
    ("reference", "End-to-end reference", ""),
    ("text", "Remittance text", ""),
)
