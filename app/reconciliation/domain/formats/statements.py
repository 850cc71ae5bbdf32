"""What bank statements of every format have to prove: opening balance plus entries is the closing balance, and one statement follows the next."""

import re
from datetime import date

import msgspec

from app.core.money import Money
from app.reconciliation.domain.lines import FileRefused, LineKind, Tally

FEES = re.compile(r"(^|-)(CHRG|COMM|COMT|FEES)$|^[NFS](CHG|COM)$|^698$")
"""The bank's own charges: sub-families of ISO 20022 (CHRG, COMM, COMT, FEES), MT940's CHG and COM, BAI2's 698."""


_NO_REFERENCE = {"", "NONREF", "NONE", "NOREF", "NOTPROVIDED"}


def is_reference(text: str) -> bool:
    """Whether a bank named something: words for nothing, and noughts, stand in thousands of entries and would make them one."""
    return text.strip(" 0").upper() not in _NO_REFERENCE


def kind_of(code: str, net: Money) -> LineKind:
    """What a booked line is: the bank's own fee when its code says so and it is taken, else any entry."""
    return LineKind.FEE if net.is_negative and FEES.search(code) else LineKind.BANK_ENTRY


class Statement(msgspec.Struct, kw_only=True):
    """One statement of one account while it is read."""

    account: str
    currency: str
    number: str = ""
    opening: Money | None = None
    closing: Money | None = None
    closed_on: date | None = None
    entries_minor: int = 0
    line: int | None = None

    @property
    def batch(self) -> str:
        """The statement's name: the account and its number or day."""
        return f"{self.account}/{self.number or self.closed_on or 'statement'}"

    def name_of(self, place: str | int) -> str:
        """A name for an entry that the bank gave none: banks number entries anew in each statement, and statements anew each year."""
        parts = (self.account, self.closed_on.isoformat() if self.closed_on else "", self.number, str(place))
        return ".".join(part for part in parts if part)


class Chain:
    """The statements of a file in their order, per account and currency."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last: dict[tuple[str, str], Statement] = {}

    def close(self, statement: Statement) -> None:
        """Check a statement that was read to its end against itself and the one before it."""
        self._add_up(statement)
        before = self._last.get((statement.account, statement.currency))
        if before is not None:
            self._follow(before, statement)
        self._last[statement.account, statement.currency] = statement

    def _add_up(self, statement: Statement) -> None:
        total = self._tally.total(statement.batch, statement.currency)
        if statement.opening is None or statement.closing is None:
            return
        expected = statement.opening + Money(statement.entries_minor, statement.currency)
        if expected != statement.closing:
            said = f"opening balance and entries come to {expected.decimal()}, the closing balance is {statement.closing.decimal()}"
            raise FileRefused(f"statement {statement.batch}: {said} {statement.currency}.", line=statement.line)
        total.is_proven = True
        total.account, total.statement, total.closed_on = statement.account, statement.number, statement.closed_on
        total.opening_minor, total.closing_minor = statement.opening.minor, statement.closing.minor

    @staticmethod
    def _follow(before: Statement, after: Statement) -> None:
        numbers = before.number.split("/")[0], after.number.split("/")[0]
        if all(number.isdecimal() for number in numbers) and int(numbers[1]) - int(numbers[0]) not in {0, 1} and int(numbers[1]) != 1:
            raise FileRefused(f"statement {after.number} follows {before.number}: there is one missing.", line=after.line)
        if before.closing is not None and after.opening is not None and before.closing != after.opening:
            said = f"opens with {after.opening.decimal()}, the one before closed with {before.closing.decimal()} {after.currency}"
            raise FileRefused(f"statement {after.batch} {said}.", line=after.line)
