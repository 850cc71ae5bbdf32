"""Bank statements in BAI2: records 01 to 99, each with the count and the sum of what it closes. Amounts are minor units without a sign.

Type codes 100 to 399 are credits, 400 to 699 debits; 010 and 015 are the ledger's opening and closing balance.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import BinaryIO

import msgspec

from app.core.errors import Invalid
from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, line_of, minor, same, text_lines
from app.reconciliation.domain.formats.statements import Chain, Statement, is_reference, kind_of
from app.reconciliation.domain.lines import FileRefused, Line, Side, Tally, UnreadableField

OPENING, CLOSING = "010", "015"
MAX_FIELDS = 2000
_AMOUNT = re.compile(r"[+-]?\d{0,15}", re.ASCII)


class _Record(msgspec.Struct):
    number: int
    fields: list[str]
    lines: int = 1

    def field(self, place: int) -> str:
        """A field; one that is not there is blank."""
        return self.fields[place] if place < len(self.fields) else ""


class _Group(msgspec.Struct, kw_only=True):
    currency: str
    as_of: date | None
    accounts: int = 0
    records: int = 1
    total: int = 0


class _Account(msgspec.Struct, kw_only=True):
    statement: Statement
    records: int = 0
    total: int = 0
    entries: int = 0


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every transaction; an account, group or file whose control totals are wrong refuses the file."""
    reading = _Reading(Chain(tally))
    for record in _records(source):
        line = reading.take(record)
        if line is not None:
            yield line
    reading.finish()


def _records(source: BinaryIO) -> Iterator[_Record]:
    """The records, with their continuations (88) joined to them."""
    pending: _Record | None = None
    for number, text in enumerate(text_lines(source, encoding="latin-1"), start=1):
        line = text.strip("\r\n ")
        if not line:
            continue
        if line.startswith("88"):
            if pending is None:
                raise FileRefused("a continuation (88) stands before anything it could continue.", line=number)
            # a text goes on in the next line; anything else goes on field by field
            pending.fields += line.removesuffix("/").split(",")[1:]
            pending.lines += 1
            if len(pending.fields) > MAX_FIELDS:
                raise FileRefused(f"a record has more than {MAX_FIELDS} fields.", line=number)
            continue
        if pending is not None:
            yield pending
        pending = _Record(number, line.removesuffix("/").split(","))
    if pending is not None:
        yield pending


class _Reading:
    """Where the reading stands: file, group and account, and what was counted in each."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._group: _Group | None = None
        self._account: _Account | None = None
        self._records = self._groups = self._total = 0
        self._open = self._closed = False

    def take(self, record: _Record) -> Line | None:
        """One record; a line, when it is a transaction."""
        if self._closed:
            raise FileRefused("something stands after the end of the file (99).", line=record.number)
        self._records += record.lines
        match record.fields[0]:
            case "01":
                self._open = True
            case "02":
                self._begin_group(record)
            case "03":
                self._begin_account(record)
            case "16":
                return self._transaction(record)
            case "49":
                self._end_account(record)
            case "98":
                self._end_group(record)
            case "99":
                self._end_file(record)
            case other:
                raise FileRefused(f"begins with “{other[:10]}”; BAI2 has 01, 02, 03, 16, 49, 88, 98 and 99.", line=record.number)
        return None

    def finish(self) -> None:
        """After the last record."""
        if not self._closed:
            raise FileRefused("the file ends without its trailer (99); it was cut off.")

    def _begin_group(self, record: _Record) -> None:
        if not self._open or self._group is not None:
            raise FileRefused("a group (02) begins where none may.", line=record.number)
        self._group = _Group(currency=record.field(6) or "USD", as_of=_date(record.field(4), record.number), records=record.lines)

    def _begin_account(self, record: _Record) -> None:
        if self._group is None or self._account is not None:
            raise FileRefused("an account (03) begins outside a group, or before the last one ended.", line=record.number)
        currency = record.field(2) or self._group.currency
        as_of = self._group.as_of
        statement = Statement(account=record.field(1), currency=currency, closed_on=as_of, line=record.number)
        self._account = _Account(statement=statement, records=record.lines)
        place = 3
        while place < len(record.fields):
            code, value, funds = record.field(place), record.field(place + 1), record.field(place + 3)
            if code or value:
                self._summary(record, code, value)
            place += 4 + _funds_fields(record, place + 3) if funds else 4

    def _summary(self, record: _Record, code: str, value: str) -> None:
        assert self._account is not None
        size = _whole(value, record.number)
        self._account.total += size
        statement = self._account.statement
        if code in {OPENING, CLOSING}:
            balance = _money(size, statement.currency, record.number)
            if code == OPENING:
                statement.opening = balance
            else:
                statement.closing = balance

    def _transaction(self, record: _Record) -> Line:
        account = self._account
        if account is None or self._group is None:
            raise FileRefused("a transaction (16) stands outside an account.", line=record.number)
        account.records += record.lines
        account.entries += 1
        account.total += _whole(record.field(2), record.number)
        row = Row(record.number, {"record": ",".join(record.fields)})
        line = line_of(row, lambda row: _line(record, account, self._group), ext_id="", raw_type=record.field(1))
        if line.net is not None:
            account.statement.entries_minor += line.net.minor
        return line

    def _end_account(self, record: _Record) -> None:
        account, group = self._account, self._group
        if account is None or group is None:
            raise FileRefused("an account ends (49) that did not begin.", line=record.number)
        account.records += record.lines
        _must_be(account.total, record.field(1), record.number, "the amounts of the account come to")
        _must_be(account.records, record.field(2), record.number, "the records of the account number")
        account.statement.line = record.number
        self._chain.close(account.statement)
        group.accounts += 1
        group.records += account.records
        group.total += account.total
        self._account = None

    def _end_group(self, record: _Record) -> None:
        group = self._group
        if group is None or self._account is not None:
            raise FileRefused("a group ends (98) that did not begin, or before its last account did.", line=record.number)
        _must_be(group.total, record.field(1), record.number, "the accounts of the group come to")
        _must_be(group.accounts, record.field(2), record.number, "the accounts of the group number")
        _must_be(group.records + record.lines, record.field(3), record.number, "the records of the group number")
        self._total += group.total
        self._groups += 1
        self._group = None

    def _end_file(self, record: _Record) -> None:
        if self._group is not None:
            raise FileRefused("the file ends (99) before its last group did.", line=record.number)
        _must_be(self._total, record.field(1), record.number, "the groups of the file come to")
        _must_be(self._groups, record.field(2), record.number, "the groups of the file number")
        _must_be(self._records, record.field(3), record.number, "the records of the file number")
        self._closed = True


def _line(record: _Record, account: _Account, group: _Group | None) -> Line:
    code, statement = record.field(1), account.statement
    size = minor(record.field(2) or "0", statement.currency)
    if not (code.isdecimal() and (100 <= int(code) <= 699)):
        raise UnreadableField(f"type {code[:10]} is neither a credit (100 to 399) nor a debit (400 to 699).")
    net = size if int(code) < 400 else -size
    place = 4 + _funds_fields(record, 3)
    bank, customer = record.field(place).strip(), record.field(place + 1).strip()
    text = ",".join(record.fields[place + 2 :]).strip()
    as_of = group.as_of if group else None
    return Line(
        number=record.number,
        side=Side.BANK,
        kind=kind_of(code, net),
        raw_type=code,
        ext_id=bank if is_reference(bank) else f"{statement.account}.{as_of}.{account.entries}",
        account=same(statement.account),
        batch=statement.batch,
        gross=net,
        net=net,
        booked_on=as_of,
        available_on=_value_date(record, as_of),
        references=[value for value in (customer, bank) if is_reference(value)],
        text=same(" ".join(text.split())[:2000]),
    )


def _funds_fields(record: _Record, place: int) -> int:
    """How many fields follow a funds type: S has three amounts, V a date and time, D a number and as many pairs."""
    match record.field(place):
        case "S":
            return 3
        case "V":
            return 2
        case "D":
            pairs = record.field(place + 1)
            return 1 + 2 * int(pairs) if pairs.isdecimal() and len(pairs) < 4 else 1
        case _:
            return 0


def _value_date(record: _Record, otherwise: date | None) -> date | None:
    return _date(record.field(4), record.number) if record.field(3) == "V" else otherwise


def _date(text: str, number: int) -> date | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%y%m%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        raise FileRefused(f"“{text[:20]}” is not a date (YYMMDD).", line=number) from None


def _whole(text: str, number: int) -> int:
    if not _AMOUNT.fullmatch(text) or text in {"+", "-"}:
        raise FileRefused(f"“{text[:40]}” is not a whole number of minor units.", line=number)
    return int(text or "0")


def _money(minor_units: int, currency: str, number: int) -> Money:
    try:
        return Money.taken(minor_units, currency)
    except Invalid as error:
        raise FileRefused(error.detail, line=number) from None


def _must_be(counted: int, stated: str, number: int, what: str) -> None:
    if counted != _whole(stated, number):
        raise FileRefused(f"{what} {counted}, the control total says {stated or 'nothing'}.", line=number)
