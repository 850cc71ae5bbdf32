"""PayPal: the settlement report (STL). Rows say what they are in their first field; amounts are unsigned, CR and DR give the sign.

PayPal writes every currency in hundredths, yen too ("100.00 yen and $100.00 are both 10000"), whatever ISO 4217 says.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from app.core.money import Money, exponent
from app.reconciliation.domain.formats.rows import Row, csv_rows, header, line_of, moment, required, row_of, same
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Tally, UnreadableField

NEEDED = (
    "Transaction ID",
    "Transaction Event Code",
    "Transaction Debit or Credit",
    "Gross Transaction Amount",
    "Gross Transaction Currency",
    "Fee Debit or Credit",
    "Fee Amount",
    "Fee Currency",
)
KNOWN = ("RH", "FH", "SH", "CH", "SB", "SF", "SC", "RF", "RC", "FF")
SUMS = ("gross credits", "gross debits", "fee credits", "fee debits")
PLACES = 2

CODES = {
    "T1106": LineKind.REFUND,
    "T1107": LineKind.REFUND,
    "T1101": LineKind.PAYOUT_REVERSAL,
    "T1105": LineKind.RESERVE_RELEASE,
    "T1108": LineKind.FEE,
    "T1109": LineKind.FEE,
    "T1110": LineKind.RESERVE_HOLD,
    "T1111": LineKind.RESERVE_RELEASE,
    "T1114": LineKind.TRANSFER,
    "T1115": LineKind.TRANSFER,
    "T1201": LineKind.DISPUTE,
    "T1202": LineKind.DISPUTE_REVERSAL,
}
GROUPS = {
    "T01": LineKind.FEE,
    "T02": LineKind.CONVERSION,
    "T03": LineKind.TOPUP,
    "T04": LineKind.PAYOUT,
    "T05": LineKind.ADJUSTMENT,
    "T06": LineKind.PAYOUT,
    "T08": LineKind.ADJUSTMENT,
    "T09": LineKind.ADJUSTMENT,
    "T11": LineKind.REFUND,
    "T12": LineKind.ADJUSTMENT,
    "T15": LineKind.RESERVE_HOLD,
    "T17": LineKind.ADJUSTMENT,
    "T18": LineKind.ADJUSTMENT,
    "T19": LineKind.ADJUSTMENT,
    "T20": LineKind.TRANSFER,
    "T21": LineKind.RESERVE_HOLD,
    "T22": LineKind.TRANSFER,
    "T23": LineKind.TRANSFER,
}

Sums = dict[str, list[int]]


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every transaction; sections and the report that do not add up to their footers refuse the file."""
    report = _Report()
    for number, fields in csv_rows(source):
        line = report.take(number, fields)
        if line is not None:
            yield line
    report.close()
    for currency in report.all:
        tally.total(report.batch, currency).is_proven = True


class _Report:
    """Where the reading stands: the columns, the section, and what was counted since the last footer."""

    def __init__(self) -> None:
        self.names: list[str] | None = None
        self.batch: str | None = None
        self.account: str | None = None
        self.section: Sums = defaultdict(lambda: [0, 0, 0, 0])
        self.all: Sums = defaultdict(lambda: [0, 0, 0, 0])
        self.footers: Sums = {}
        self.sections: Sums = {}
        self.report_footers: Sums = {}
        self.rows = self.rows_of_section = 0
        self.number = 0
        self.closed = False

    def take(self, number: int, fields: list[str]) -> Line | None:
        """One row of the file; a line, when it is a transaction."""
        self.number = number
        match fields[0].strip():
            case "RH" | "FH":
                pass
            case "SH":
                self._open_section(fields)
            case "CH":
                self.names = header(number, fields, needed=NEEDED)
            case "SB":
                return self._transaction(number, fields)
            case "SF":
                self._footer(self.footers, number, fields)
            case "SC":
                self._close_section(number, fields)
            case "RF":
                self._footer(self.report_footers, number, fields)
            case "RC":
                _must_be(self.rows, fields, number, "the report")
                self.closed = True
            case "FF":
                _must_be(self.rows, fields, number, "the file")
                self.closed = True
            case other:
                raise FileRefused(f"begins with “{other[:20]}”; rows of this report begin with {', '.join(KNOWN)}.", line=number)
        return None

    def close(self) -> None:
        """After the last row: the report is whole, and its footers are the sums of its sections."""
        if not self.closed:
            raise FileRefused("the report ends without its count (RC); it was cut off.", line=self.number or None)
        if self.report_footers and self.report_footers != self.sections:
            raise FileRefused("the footers of the report (RF) are not the sums of the footers of its sections (SF).", line=self.number)

    def _open_section(self, fields: list[str]) -> None:
        started = fields[1].strip() if len(fields) > 1 else ""
        self.account = fields[3].strip() if len(fields) > 3 else None
        self.batch = "-".join(part for part in (self.account, started[:10].replace("/", "")) if part) or None
        self.section.clear()
        self.footers = {}
        self.rows_of_section = 0

    def _transaction(self, number: int, fields: list[str]) -> Line:
        if self.names is None:
            raise FileRefused("a transaction (SB) stands before the header of columns (CH).", line=number)
        self.rows += 1
        self.rows_of_section += 1
        row = row_of(number, self.names, fields)
        # the first field names the kind of row, in the header too
        line = line_of(row, self._line, ext_id=row["Transaction ID"], raw_type=row["Transaction Event Code"])
        if line.gross is not None and line.fee is not None:
            for sums in (self.section, self.all):
                _count(sums[line.gross.currency], line.gross.minor, 0)
                _count(sums[line.fee.currency], -line.fee.minor, 2)
        return line

    def _line(self, row: Row) -> Line:
        code = required(row, "Transaction Event Code")
        currency = required(row, "Gross Transaction Currency")
        gross = _amount(row["Gross Transaction Amount"], row["Transaction Debit or Credit"], currency)
        fee_currency = row["Fee Currency"] or currency
        fee = -_amount(row["Fee Amount"] or "0", row["Fee Debit or Credit"] or "DR", fee_currency)
        one = fee.currency == gross.currency
        return Line(
            number=row.number,
            kind=_kind(code, is_credit=not gross.is_negative),
            raw_type=code,
            ext_id=required(row, "Transaction ID"),
            parent_ext_id=same(row["PayPal Reference ID"]),
            merchant_ref=same(row.first("Invoice ID", "Custom Field")),
            account=self.account,
            batch=self.batch,
            gross=gross,
            fee=fee,
            net=gross - fee if one else gross,
            occurred_at=moment(row.first("Transaction Completion Date", "Transaction Initiation Date")),
            references=[value for value in (row["Bank Reference ID"], row["Payment Tracking ID"]) if value],
            text=same(row["Custom Field"]),
            problem=None if one or fee.is_zero else f"the fee is in {fee.currency}, the amount in {gross.currency}.",
        )

    def _footer(self, into: Sums, number: int, fields: list[str]) -> None:
        currency = fields[1].strip() if len(fields) > 5 else ""
        if not currency or not all(field.strip().isdecimal() for field in fields[2:6]):
            raise FileRefused("the footer has no currency and four sums.", line=number)
        stated = [_minor(int(field.strip()), currency, number) for field in fields[2:6]]
        into[currency] = [old + new for old, new in zip(into.get(currency, [0] * 4), stated, strict=True)]
        if into is self.footers:
            _compare(self.section[currency], stated, currency, number)

    def _close_section(self, number: int, fields: list[str]) -> None:
        _must_be(self.rows_of_section, fields, number, "the section")
        for currency, sums in self.section.items():
            # a currency that was wholly converted away has no footer of its own, and comes to nothing
            if currency not in self.footers and sums[0] - sums[1] + sums[2] - sums[3]:
                raise FileRefused(f"the section has transactions in {currency} but no footer (SF) for it.", line=number)
        for currency, stated in self.footers.items():
            self.sections[currency] = [old + new for old, new in zip(self.sections.get(currency, [0] * 4), stated, strict=True)]


def _compare(counted: list[int], stated: list[int], currency: str, number: int) -> None:
    for what, mine, theirs in zip(SUMS, counted, stated, strict=True):
        if mine != theirs:
            difference = f"{Money(mine, currency).decimal()}, the footer says {Money(theirs, currency).decimal()} {currency}"
            raise FileRefused(f"the {what} of the section come to {difference}.", line=number)


def _count(sums: list[int], minor: int, place: int) -> None:
    sums[place + (minor < 0)] += abs(minor)


def _must_be(rows: int, fields: list[str], number: int, what: str) -> None:
    stated = fields[1].strip() if len(fields) > 1 else ""
    if not stated.isdecimal() or int(stated) != rows:
        raise FileRefused(f"{what} has {rows} transactions, its count says “{stated[:20]}”.", line=number)


def _amount(text: str, sign: str, currency: str) -> Money:
    if sign not in {"CR", "DR"}:
        raise UnreadableField(f"“{sign[:20]}” is neither CR nor DR.")
    if not text.isdecimal() or len(text) > 15:
        raise UnreadableField(f"“{text[:40]}” is not an unsigned number of hundredths.")
    places = exponent(currency)
    if places < PLACES and int(text) % 10 ** (PLACES - places):
        raise UnreadableField(f"{currency} has {places} decimals; “{text}” hundredths has more.")
    amount = Money.taken(_scaled(int(text), places), currency)
    return amount if sign == "CR" else -amount


def _minor(hundredths: int, currency: str, number: int) -> int:
    places = exponent(currency)
    if places < PLACES and hundredths % 10 ** (PLACES - places):
        raise FileRefused(f"{currency} has {places} decimals; {hundredths} hundredths has more.", line=number)
    return _scaled(hundredths, places)


def _scaled(hundredths: int, places: int) -> int:
    return hundredths * int(10 ** (places - PLACES)) if places >= PLACES else hundredths // int(10 ** (PLACES - places))


def _kind(code: str, *, is_credit: bool) -> LineKind:
    if code.startswith("T00"):
        return LineKind.CHARGE if is_credit else LineKind.TRANSFER
    kind = CODES.get(code) or GROUPS.get(code[:3], LineKind.UNKNOWN)
    return LineKind.RESERVE_RELEASE if kind is LineKind.RESERVE_HOLD and is_credit else kind
