"""What every settlement file and bank statement comes down to: lines in one shape, and the totals that prove them.

Amounts are signed from our side: what raises our balance at the provider or bank is positive. A fee is positive when it is taken, so that
``net = gross - fee``.
"""

from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import BinaryIO

import msgspec

from app.core.errors import Invalid
from app.core.money import Money


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """The bytes of an open file, a piece at a time."""
    while some := source.read(1 << 16):
        yield some


class Side(StrEnum):
    """Whose word a line is."""

    LEDGER = "ledger"
    PSP = "psp"
    BANK = "bank"


class LineKind(StrEnum):
    """What a line says happened, in our words."""

    CHARGE = "charge"
    REFUND = "refund"
    REFUND_REVERSAL = "refund_reversal"
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"
    FEE = "fee"
    PAYOUT = "payout"
    PAYOUT_REVERSAL = "payout_reversal"
    RESERVE_HOLD = "reserve_hold"
    RESERVE_RELEASE = "reserve_release"
    CONVERSION = "conversion"
    TOPUP = "topup"
    TRANSFER = "transfer"
    ADJUSTMENT = "adjustment"
    BANK_ENTRY = "bank_entry"
    UNKNOWN = "unknown"


MAX_ID_LENGTH = 120
"""The longest name of a line, a payment or a batch in characters: it becomes part of the ledger's event key, which holds 200, and of indexes."""
_UNKNOWN = LineKind.UNKNOWN
PAID_OUT = frozenset({LineKind.PAYOUT, LineKind.PAYOUT_REVERSAL})


class FileRefused(Invalid):
    """The file does not prove itself: it cannot be read, or its own totals do not add up. Nothing of it is taken."""

    code = "settlement_file_refused"
    title = "This file was refused"

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(f"Line {line}: {reason}" if line else reason, line=line)
        self.reason = reason
        self.line = line


class UnreadableField(Invalid):
    """A field of a line is not what its column promises."""

    code = "settlement_field_unreadable"
    title = "A field cannot be read"


class Line(msgspec.Struct, frozen=True, kw_only=True, tag="line"):
    """One line of a file. ``number`` is where it stands; with a ``problem`` it is listed for a person and takes no part in matching."""

    number: int
    side: Side = Side.PSP
    kind: LineKind
    raw_type: str
    ext_id: str
    parent_ext_id: str | None = None
    merchant_ref: str | None = None
    account: str | None = None
    batch: str | None = None
    gross: Money | None = None
    fee: Money | None = None
    net: Money | None = None
    rate: str | None = None
    occurred_at: datetime | None = None
    available_on: date | None = None
    booked_on: date | None = None
    references: list[str] = []
    """Ids in which a bank's line may name a batch, or a provider's payout the bank's line."""
    text: str | None = None
    problem: str | None = None


def check_ids(line: Line) -> None:
    """Refuse a file whose names could not be kept whole; a column of text taken for a column of ids is the usual cause."""
    names = (line.ext_id, line.parent_ext_id or "", line.merchant_ref or "", line.batch or "", *line.references)
    if max(map(len, names)) <= MAX_ID_LENGTH:
        return
    for name in names:
        if len(name) > MAX_ID_LENGTH:
            raise FileRefused(f"“{name[:40]}…” is {len(name):,} characters long; an id has at most {MAX_ID_LENGTH}.", line=line.number)


class ControlTotal(msgspec.Struct, kw_only=True, tag="total"):
    """What a batch or account comes to in one currency, in minor units. ``paid_out`` is what the file itself says was paid out of it."""

    batch: str | None
    currency: str
    count: int = 0
    gross_minor: int = 0
    fee_minor: int = 0
    net_minor: int = 0
    paid_out_minor: int = 0
    is_proven: bool = False
    """Whether the file states a total of its own that the lines add up to."""
    account: str | None = None
    statement: str | None = None
    """The number of a bank's statement; with the balances, what tells whether one is missing."""
    opening_minor: int | None = None
    closing_minor: int | None = None


class Summary(msgspec.Struct, kw_only=True, tag="summary"):
    """How much of a file could be read."""

    format: str
    lines: int
    problems: int
    unknown_types: int


class Tally:
    """Adds lines up per batch and currency as they pass."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str | None, str], ControlTotal] = {}
        self.lines = 0
        self.problems = 0
        self.unknown_types = 0
        self.read_bytes = 0

    def total(self, batch: str | None, currency: str) -> ControlTotal:
        """The total of a batch in a currency, begun when it is first asked for."""
        found = self._totals.get((batch, currency))
        if found is None:
            found = self._totals[batch, currency] = ControlTotal(batch=batch, currency=currency)
        return found

    def add(self, line: Line) -> None:
        """Count one line. Money paid out is kept apart from what it was made of."""
        self.lines += 1
        self.problems += line.problem is not None
        self.unknown_types += line.kind is _UNKNOWN
        net, gross = line.net, line.gross
        if net is None:
            return
        total = self.total(line.batch, net.currency)
        total.count += 1
        if line.kind in PAID_OUT:
            total.paid_out_minor -= net.minor
            return
        total.net_minor += net.minor
        if line.fee is not None:
            total.fee_minor += line.fee.minor
        if gross is not None:
            (total if gross.currency == net.currency else self.total(line.batch, gross.currency)).gross_minor += gross.minor

    def totals(self) -> Iterator[ControlTotal]:
        """Every total, sorted by batch and currency."""
        yield from (self._totals[key] for key in sorted(self._totals, key=lambda key: (key[0] or "", key[1])))

    def summary(self, name: str) -> Summary:
        """How much of it could be read."""
        return Summary(format=name, lines=self.lines, problems=self.problems, unknown_types=self.unknown_types)
