"""Double entry: accounts by code, lines with a side and a positive amount, and the journals as pure functions.

The ledger knows no merchant, seller or PSP: an account's owner is an opaque (type, id). A journal returns lines; whoever posts them
names the source and the event key that makes the event count once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from enum import IntEnum, StrEnum
from typing import NewType
from uuid import UUID

import msgspec

from app.core.actors import Actor
from app.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from app.core.money import Money, total

TransactionId = NewType("TransactionId", int)
AccountId = NewType("AccountId", int)


class Side(IntEnum):
    """Where an amount is written: debits raise assets and expenses, credits raise liabilities and revenue."""

    DEBIT = 1
    CREDIT = -1

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side(-self)


class AccountClass(IntEnum):
    """What an account is, in the order of a trial balance."""

    ASSET = 1
    LIABILITY = 2
    EQUITY = 3
    REVENUE = 4
    EXPENSE = 5
    MEMO = 6


class AccountStatus(IntEnum):
    """What may move: everything, only what comes in, nothing until reopened, nothing for ever."""

    OPEN = 1
    FROZEN_OUT = 2
    FROZEN = 3
    CLOSED = 4


class Code(StrEnum):
    """The chart of accounts; the table ledger.chart holds the same codes with their rules."""

    PSP_RECEIVABLE = "1100"
    PSP_RESERVE = "1120"
    PSP_DISPUTE_HOLD = "1130"
    BANK_OPERATING = "1200"
    BANK_SAFEGUARDED = "1201"
    SETTLEMENT_IN_TRANSIT = "1210"
    SELLER_RECEIVABLE = "1300"
    RECONCILIATION_SUSPENSE = "1900"
    SELLER_PENDING = "2100"
    SELLER_AVAILABLE = "2110"
    SELLER_RESERVE = "2120"
    SELLER_DISPUTE_HOLD = "2130"
    PAYOUT_RESERVED = "2140"
    PAYOUT_IN_TRANSIT = "2150"
    REFUND_IN_TRANSIT = "2160"
    REFUND_UNCLAIMED = "2170"
    PAYOUT_RETURNED = "2180"
    GIFT_CARD = "2200"
    GIFT_CARD_PROMOTIONAL = "2210"
    TAX_COLLECTED = "2300"
    UNIDENTIFIED_RECEIPTS = "2400"
    CURRENCY_POSITION = "3900"
    PLATFORM_FEE = "4100"
    DISPUTE_FEE = "4110"
    PAYOUT_FEE = "4120"
    CURRENCY_MARKUP = "4200"
    CURRENCY_GAIN = "4210"
    GIFT_CARD_BREAKAGE = "4300"
    RECONCILIATION_GAIN = "4900"
    PSP_FEE = "5100"
    INTERCHANGE = "5101"
    SCHEME_FEE = "5102"
    PSP_MARKUP = "5103"
    DISPUTE_COST = "5120"
    CHARGEBACK_LOSS = "5130"
    BANK_FEE = "5140"
    BAD_DEBT = "5150"
    CURRENCY_LOSS = "5200"
    PROMOTION = "5300"
    RECONCILIATION_WRITE_OFF = "5900"
    AUTHORISED = "9100"
    AUTHORISED_CONTRA = "9200"


class Kind(StrEnum):
    """What a transaction records."""

    AUTHORISED = "payment.authorised"
    AUTHORISATION_RELEASED = "payment.authorisation_released"
    CAPTURED = "payment.captured"
    PSP_FEE = "payment.psp_fee"
    PLATFORM_FEE = "payment.platform_fee"
    AVAILABLE = "payment.available"
    REFUND_REQUESTED = "refund.requested"
    REFUND_CONFIRMED = "refund.confirmed"
    REFUND_FAILED = "refund.failed"
    REFUND_RETURNED = "refund.returned"
    CONFLICT_TAKEN = "conflict.taken"
    CONFLICT_GIVEN_BACK = "conflict.given_back"
    CONFLICT_RETURNED = "conflict.returned"
    DEBT_RECOVERED = "debt.recovered"
    DEBT_WRITTEN_OFF = "debt.written_off"
    DEBT_RESTORED = "debt.restored"
    RESERVE_HELD = "reserve.held"
    RESERVE_RELEASED = "reserve.released"
    SETTLEMENT_REPORTED = "settlement.reported"
    SETTLEMENT_RECEIVED = "settlement.received"
    PAYOUT_REQUESTED = "payout.requested"
    PAYOUT_RELEASED = "payout.released"
    PAYOUT_SENT = "payout.sent"
    PAYOUT_PAID = "payout.paid"
    PAYOUT_FAILED = "payout.failed"
    PAYOUT_RETURNED = "payout.returned"
    PAYOUT_FREED = "payout.freed"
    SETTLEMENT_ASSIGNED = "settlement.assigned"
    SETTLEMENT_FEE_CORRECTED = "settlement.fee_corrected"
    SETTLEMENT_RATE_BOOKED = "settlement.rate_booked"
    BREAK_RESOLVED = "reconciliation.resolved"
    REVERSED = "ledger.reversed"
    ADJUSTED = "ledger.adjusted"


class Unbalanced(Invalid):
    """Debits and credits of a transaction differ, or a line has no positive amount."""

    code = "ledger_unbalanced"
    title = "This transaction does not balance"


class InsufficientFunds(Conflict):
    """The account does not hold enough for this; nothing was moved."""

    code = "insufficient_funds"
    title = "There is not enough money in this account"


class PeriodClosed(Conflict):
    """The books of that day are closed; use a later effective date."""

    code = "ledger_period_closed"
    title = "The books of that day are closed"


class AccountFrozen(Conflict):
    """The account is frozen or closed for this movement."""

    code = "ledger_account_frozen"
    title = "This account is frozen"


class LedgerIdempotencyConflict(Conflict):
    """The same event was posted before with other content."""

    code = "ledger_idempotency_conflict"
    title = "This event was posted before with other content"


class AlreadyReversed(Conflict):
    """A transaction is reversed at most once, and a hold ended at most once."""

    code = "ledger_already_reversed"
    title = "This was already reversed"


class UnknownAccount(Invalid):
    """The chart of accounts, the list of kinds or the books have no such thing."""

    code = "ledger_unknown_account"
    title = "The ledger does not know this account"


class AccountNotFound(NotFound):
    """There is no such account in this book."""

    code = "ledger_account_not_found"
    title = "There is no such account"


class TransactionNotFound(NotFound):
    """There is no such transaction in this book."""

    code = "ledger_transaction_not_found"
    title = "There is no such transaction"


class BookNotOpen(Forbidden):
    """The work at hand runs for another merchant than the one whose book it would write."""

    code = "ledger_book_not_open"
    title = "This book is not open to you"


class LedgerBusy(Unavailable):
    """Others are writing to the same accounts; nothing was moved, try again."""

    code = "ledger_busy"
    title = "The ledger is busy"


class AccountRef(msgspec.Struct, frozen=True):
    """An account by name. The currency comes from the amount; without an owner it is the book's own."""

    code: str
    owner_type: str | None = None
    owner_id: UUID | None = None


class Owner(msgspec.Struct, frozen=True):
    """Whose account it is, in words the ledger does not interpret: ("seller", id), ("connection", id)."""

    type: str
    id: UUID

    def account(self, code: str) -> AccountRef:
        """This owner's account with the code."""
        return AccountRef(code, self.type, self.id)


class Line(msgspec.Struct, frozen=True):
    """One line of a transaction. ``clear_key`` names what the line is expected to clear against."""

    account: AccountRef
    side: Side
    amount: Money
    clear_key: str | None = None


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One balanced transaction to post. The same source and event key are posted once."""

    kind: str
    source_type: str
    source_id: UUID
    event_key: str
    effective_on: date
    lines: list[Line]
    description: str | None = None
    actor: Actor | None = None


class Balance(msgspec.Struct, frozen=True):
    """What an account holds: the sums of both sides, posted and held, in minor units; ``balance`` counts its normal side as positive."""

    debits: int
    credits: int
    debits_pending: int
    credits_pending: int
    balance: Money
    available: Money
    """The balance less what holds have set aside."""


def debit(account: AccountRef, amount: Money, clear_key: str | None = None) -> Line:
    """A debit line."""
    return Line(account, Side.DEBIT, amount, clear_key)


def credit(account: AccountRef, amount: Money, clear_key: str | None = None) -> Line:
    """A credit line."""
    return Line(account, Side.CREDIT, amount, clear_key)


def inverse(lines: Iterable[Line]) -> list[Line]:
    """The same lines on the opposite sides: what undoes an event."""
    return [Line(line.account, line.side.opposite, line.amount, line.clear_key) for line in lines]


def net(lines: Iterable[Line]) -> dict[tuple[AccountRef, str], int]:
    """What the lines change per account and currency, debits positive; accounts that end unchanged are left out."""
    sums: defaultdict[tuple[AccountRef, str], int] = defaultdict(int)
    for line in lines:
        sums[line.account, line.amount.currency] += line.side * line.amount.minor
    return {key: value for key, value in sums.items() if value}


def check_balanced(lines: Sequence[Line]) -> None:
    """Refuse lines that do not balance in every currency, have fewer than two lines or an amount that is not positive."""
    sums: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        if not line.amount.is_positive:
            raise Unbalanced(f"Every line needs a positive amount; {line.account.code} has {line.amount.decimal()}.")
        sums[line.amount.currency] += line.side * line.amount.minor
    off = sorted(currency for currency, value in sums.items() if value)
    if off:
        raise Unbalanced(f"Debits and credits differ in {', '.join(off)}.")
    if len(lines) < 2:
        raise Unbalanced("A transaction has at least two lines.")


def without_zeroes(lines: Iterable[Line]) -> list[Line]:
    """The lines that move something, debits first; a journal's optional parts may come to nothing, but never to less than nothing."""
    kept = sorted((line for line in lines if not line.amount.is_zero), key=lambda line: -line.side)
    check_balanced(kept)
    return kept


def sum_of(amounts: Iterable[Money], like: Money) -> Money:
    """The sum of the amounts, in the currency of ``like``."""
    return total(list(amounts), like.currency)
