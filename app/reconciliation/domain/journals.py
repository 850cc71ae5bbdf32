"""What reconciliation writes into the ledger. Pure; numbers are those of the chart of journals.

Provider lines move from what the provider owes us (1100) to what is on its way (1210), bank lines from there to the bank (1201). What nobody
can name yet waits in suspense (1900) or as an unidentified receipt (2400), never in income.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from app.core.money import Money
from app.ledger.domain import AccountRef, Code, Line, Owner
from app.ledger.domain.journals import signed
from app.reconciliation.domain.lines import LineKind

EXPECTED_KINDS = frozenset(
    {LineKind.CHARGE, LineKind.REFUND, LineKind.REFUND_REVERSAL, LineKind.DISPUTE, LineKind.DISPUTE_REVERSAL},
)
"""Lines that have a counterpart in the ledger, or should have."""

RESERVE_KINDS = frozenset({LineKind.RESERVE_HOLD, LineKind.RESERVE_RELEASE})
"""What the provider keeps back of what it owes, and gives back (23)."""

PSP_FEE = AccountRef(Code.PSP_FEE)
BANK_FEE = AccountRef(Code.BANK_FEE)
PSP_MARKUP = AccountRef(Code.PSP_MARKUP)
CURRENCY_POSITION = AccountRef(Code.CURRENCY_POSITION)
CURRENCY_GAIN, CURRENCY_LOSS = AccountRef(Code.CURRENCY_GAIN), AccountRef(Code.CURRENCY_LOSS)
WRITE_OFF = AccountRef(Code.RECONCILIATION_WRITE_OFF)
GAIN = AccountRef(Code.RECONCILIATION_GAIN)


class Target(StrEnum):
    """Where a person may move what a break leaves over."""

    PSP_FEE = "psp_fee"
    BANK_FEE = "bank_fee"
    DISPUTE_COST = "dispute_cost"
    CHARGEBACK_LOSS = "chargeback_loss"
    CURRENCY_LOSS = "currency_loss"
    CURRENCY_GAIN = "currency_gain"
    UNIDENTIFIED = "unidentified"


TARGETS: dict[Target, Code] = {
    Target.PSP_FEE: Code.PSP_FEE,
    Target.BANK_FEE: Code.BANK_FEE,
    Target.DISPUTE_COST: Code.DISPUTE_COST,
    Target.CHARGEBACK_LOSS: Code.CHARGEBACK_LOSS,
    Target.CURRENCY_LOSS: Code.CURRENCY_LOSS,
    Target.CURRENCY_GAIN: Code.CURRENCY_GAIN,
    Target.UNIDENTIFIED: Code.UNIDENTIFIED_RECEIPTS,
}


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's line as the ledger needs it: ``key`` is what it clears on 1100, ``batch`` what it is on its way in."""

    kind: LineKind
    gross: Money
    fee: Money
    net: Money
    key: str
    batch: str


def report(line: Reported, *, psp: Owner, source: Owner) -> list[Line]:
    """The provider settles a line (6); account-level fees are booked on the way (31), a conversion goes over the currency position (24p), what it keeps back into its reserve (23)."""
    receivable, moved = psp.account(Code.PSP_RECEIVABLE), signed(psp.account(Code.SETTLEMENT_IN_TRANSIT), line.net, line.batch)
    if line.kind is LineKind.FEE:
        return [moved, signed(PSP_MARKUP, -line.net), signed(receivable, line.net, line.key), signed(receivable, -line.net, line.key)]
    if line.kind in RESERVE_KINDS:
        return [moved, signed(psp.account(Code.PSP_RESERVE), -line.net, f"reserve:{line.net.currency}")]
    if line.kind not in EXPECTED_KINDS:
        return [moved, signed(source.account(Code.RECONCILIATION_SUSPENSE), -line.net, line.key)]
    if line.gross.currency == line.net.currency:
        return [moved, signed(receivable, -line.net, line.key)]
    return [
        moved,
        signed(receivable, -line.gross, line.key),
        signed(CURRENCY_POSITION, line.gross),
        signed(CURRENCY_POSITION, -(line.net + line.fee)),
        signed(PSP_FEE, line.fee),
    ]


def reassign(line: Reported, *, psp: Owner, before: str) -> list[Line]:
    """A line that was settled turns out to belong to another payment than the books said."""
    moved = line.net if line.gross.currency == line.net.currency else line.gross
    receivable = psp.account(Code.PSP_RECEIVABLE)
    return [signed(receivable, moved, before), signed(receivable, -moved, line.key)]


def correct_fee(*, psp: Owner, fee: Money, key: str) -> list[Line]:
    """The provider took more (positive) or less than was booked (3a)."""
    return [signed(PSP_FEE, fee), signed(psp.account(Code.PSP_RECEIVABLE), -fee, key)]


def rate(brought: Money, *, before: Money) -> list[Line]:
    """A conversion brought more (positive) or less than at the usual rate, and before it was thought to have brought something else: the
    currency position stands at the usual rate, the rest is a gain (4210) or a loss (5200).
    """
    result, was = (CURRENCY_LOSS if money.is_negative else CURRENCY_GAIN for money in (brought, before))
    return [signed(CURRENCY_POSITION, brought - before), signed(result, -brought), signed(was, before)]


def receive(*, bank: Owner, parts: Mapping[tuple[AccountRef, str | None], Money]) -> list[Line]:
    """A bank line: into or out of the bank account. From batches on their way (7), as an unidentified receipt (30), as a debit in suspense,
    or as the bank's own fee. What a payout wrote already (20, 22) it only moves to the account whose statement it is: mostly the same.
    """
    safeguarded = bank.account(Code.BANK_SAFEGUARDED)
    return [line for (account, key), money in parts.items() for line in (signed(safeguarded, money), signed(account, -money, key))]


def write_off(place: AccountRef, key: str, residual: Money) -> list[Line]:
    """What is left over at a place becomes a loss, or a gain (28)."""
    return [signed(place, -residual, key), signed(GAIN if residual.is_negative else WRITE_OFF, residual)]


def move(place: AccountRef, key: str, parts: Iterable[tuple[AccountRef, str | None, Money]]) -> list[Line]:
    """What is left over at a place goes where a person says, in one or several parts."""
    return [line for account, to_key, money in parts for line in (signed(place, -money, key), signed(account, money, to_key))]


def netted(lines: Iterable[Line]) -> list[Line]:
    """The lines with what cancels out left away, debits first: what a posting has to say."""
    sums: defaultdict[tuple[AccountRef, str | None, str], int] = defaultdict(int)
    for line in lines:
        sums[line.account, line.clear_key, line.amount.currency] += line.side * line.amount.minor
    kept = [signed(account, Money(minor, currency), key) for (account, key, currency), minor in sums.items() if minor]
    return sorted(kept, key=lambda line: -line.side)
