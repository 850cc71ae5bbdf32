"""Adyen: the settlement details report, and the payments accounting report that many accounts download instead.

Accounts add and reorder columns, so they are found by name. Each line has its own time zone column. On a chargeback the penalty is in the
markup: ``Net Debit = Gross Debit + Markup``.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from app.core.money import Money, exponent, total
from app.reconciliation.domain.formats.rows import Row, amount, csv_rows, day, header, line_of, moment, required, row_of, same, zone
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Tally, UnreadableField

SETTLEMENT = ("Type", "Net Currency", "Net Debit (NC)", "Net Credit (NC)", "Batch Number", "Psp Reference")
ACCOUNTING = ("Record Type", "Settlement Currency", "Payable (SC)", "Psp Reference", "Payment Currency")

KINDS = {
    "settled": LineKind.CHARGE,
    "settledreversed": LineKind.REFUND,
    "refunded": LineKind.REFUND,
    "refundedreversed": LineKind.REFUND_REVERSAL,
    "chargeback": LineKind.DISPUTE,
    "secondchargeback": LineKind.DISPUTE,
    "chargebackreversed": LineKind.DISPUTE_REVERSAL,
    "fee": LineKind.FEE,
    "misccosts": LineKind.FEE,
    "invoicededuction": LineKind.FEE,
    "paymentcost": LineKind.FEE,
    "merchantpayout": LineKind.PAYOUT,
    "paidout": LineKind.PAYOUT,
    "paidoutreversed": LineKind.PAYOUT_REVERSAL,
    "bankinstructionreturned": LineKind.PAYOUT_REVERSAL,
    "balancetransfer": LineKind.TRANSFER,
    "depositcorrection": LineKind.RESERVE_HOLD,
    "matchedstatement": LineKind.TOPUP,
    "manualcorrected": LineKind.ADJUSTMENT,
}
FEES = ("Markup", "Scheme Fees", "Interchange")
_RATE = re.compile(r"\d{1,15}(\.\d{1,15})?", re.ASCII)
"""A rate is written out: one with an exponent could be a number of a billion digits."""


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every line; a batch whose credits and debits differ refuses the file."""
    records = csv_rows(source)
    head = next(records, None)
    if head is None:
        raise FileRefused("The file is empty.")
    accounting = "Record Type" in [name.strip() for name in head[1]]
    names = header(*head, needed=ACCOUNTING if accounting else SETTLEMENT)
    rows = (row_of(number, names, fields) for number, fields in records)
    if accounting:
        yield from _accounting(rows)
    else:
        yield from _settlement(rows, tally)


def _settlement(rows: Iterator[Row], tally: Tally) -> Iterator[Line]:
    left: defaultdict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], int] = {}
    for row in rows:
        line = line_of(row, _settlement_line, ext_id=_key(row), raw_type=row["Type"])
        if line.net is not None:
            key = (line.batch or "", line.net.currency)
            left[key] += line.net.minor
            last[key] = row.number
        yield line
    for (batch, currency), minor in left.items():
        if minor:
            raise FileRefused(
                f"batch {batch} does not add up: its credits and debits differ by {Money(minor, currency).decimal()} {currency}.",
                line=last[batch, currency],
            )
        tally.total(batch or None, currency).is_proven = True


def _settlement_line(row: Row) -> Line:
    currency = required(row, "Net Currency")
    net = amount(row["Net Credit (NC)"], currency) - amount(row["Net Debit (NC)"], currency)
    gross_currency = row["Gross Currency"] or currency
    gross = amount(row["Gross Credit (GC)"], gross_currency) - amount(row["Gross Debit (GC)"], gross_currency)
    fees = [amount(row[f"{name} (NC)"], currency) for name in FEES]
    fee = amount(row["Commission (NC)"], currency) + total(fees, currency)
    kind = KINDS.get(_type(row["Type"]), LineKind.UNKNOWN)
    if gross.is_zero:
        # Account-level lines have no gross amount; what they move is what they are.
        gross, problem = net + fee, None
    else:
        problem = _difference(gross, fee, net, row["Exchange Rate"])
    return Line(
        number=row.number,
        kind=kind,
        raw_type=row["Type"],
        ext_id=_key(row),
        parent_ext_id=same(row["Psp Reference"]),
        merchant_ref=same(row.first("Modification Merchant Reference", "Merchant Reference", "Merchant Order Reference")),
        account=same(row["Merchant Account"]),
        batch=required(row, "Batch Number"),
        gross=gross,
        fee=fee,
        net=net,
        rate=same(row["Exchange Rate"]),
        occurred_at=moment(row.first("Booking Date", "Creation Date"), zone(row.first("Booking Date TimeZone", "TimeZone"))),
        references=[value for value in (row["Modification Reference"], row["Psp Reference"]) if value],
        text=same(row["Modification Reference"] if kind is LineKind.PAYOUT else row["Payment Method"]),
        problem=problem,
    )


def _difference(gross: Money, fee: Money, net: Money, rate: str) -> str | None:
    """What is wrong with gross · rate = net + fee, to within the rounding of a minor unit; None when nothing is."""
    if gross.currency != net.currency and not rate:
        return f"has no exchange rate from {gross.currency} to {net.currency}."
    if rate and not _RATE.fullmatch(rate):
        raise UnreadableField(f"“{rate[:40]}” is not an exchange rate.")
    expected = Fraction(gross.minor, 10 ** exponent(gross.currency)) * Fraction(rate or "1") * 10 ** exponent(net.currency)
    slack = 0 if gross.currency == net.currency else 1
    if abs(expected - (net + fee).minor) <= slack:
        return None
    return f"gross {gross.decimal()} {gross.currency} at {rate or '1'} is not net {net.decimal()} and fees {fee.decimal()} {net.currency}."


def _accounting(rows: Iterator[Row]) -> Iterator[Line]:
    for row in rows:
        yield line_of(row, _accounting_line, ext_id=_key(row), raw_type=row["Record Type"])


def _accounting_line(row: Row) -> Line:
    currency = required(row, "Settlement Currency")
    net, record = amount(row["Payable (SC)"], currency), row["Record Type"]
    fees = [amount(row[f"{name} (SC)"], currency) for name in FEES]
    fee = amount(row["Commission (SC)"], currency) + total(fees, currency)
    captured = amount(row["Captured (PC)"], required(row, "Payment Currency"))
    gross = net + fee if captured.is_zero else captured
    return Line(
        number=row.number,
        kind=KINDS.get(_type(record), LineKind.UNKNOWN),
        raw_type=record,
        ext_id=_key(row),
        parent_ext_id=same(row["Psp Reference"]),
        merchant_ref=same(row.first("Modification Merchant Reference", "Merchant Reference")),
        account=same(row["Merchant Account"]),
        batch=same(row["Payable Batch"]),
        gross=gross,
        fee=fee,
        net=net,
        rate=same(row["Exchange Rate"]),
        occurred_at=moment(row.first("Booking Date", "Creation Date"), zone(row["TimeZone"])),
        available_on=day(row["Payout Date"]),
        references=[value for value in (row["Modification Psp Reference"], row["Psp Reference"], row["ARN"]) if value],
        text=same(row["Payment Method"]),
        problem=_difference(gross, fee, net, row["Exchange Rate"]),
    )


def _type(text: str) -> str:
    """A type without the word that says it happened at another acquirer."""
    return text.replace(" ", "").lower().removesuffix("externally")


def _key(row: Row) -> str:
    """What identifies a line: the modification where there is one (a refund has its own), else the payment. A payout has neither but its batch."""
    known = row.first("Modification Reference", "Modification Psp Reference", "Psp Reference")
    return known or f"batch:{row.first('Batch Number', 'Payable Batch')}:{row.first('Type', 'Record Type')}:{row.number}"
