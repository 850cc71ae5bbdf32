"""Braintree: the disbursement and fee report (CSV), and disbursed transactions and disputes of its GraphQL API (one JSON object a line).

The transfer id is the key to the bank's line; when a bank's limit splits a deposit there are several, separated by commas. The API says what
was disbursed but not the fees, so only the report can prove them.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from app.core.errors import Invalid
from app.core.money import Money
from app.reconciliation.domain.formats.rows import (
    Row,
    amount,
    csv_rows,
    day,
    header,
    line_of,
    moment,
    refuse_unwritable,
    required,
    row_of,
    same,
    text_lines,
)
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Tally

SUMMARY = ("Transfer ID(s)", "Currency", "Net Disbursed Amount")
DETAIL = ("Record ID", "Net Disbursed Amount", "Gross Settlement Amount", "Total Net Fees")
TRANSFERS = ("Transfer ID(s)", "Transfer ID", "Transfer IDs")
TYPES = ("Record Type", "Transaction Type", "Type")

KINDS = {
    "sale": LineKind.CHARGE,
    "transaction": LineKind.CHARGE,
    "charge": LineKind.CHARGE,
    "credit": LineKind.REFUND,
    "refund": LineKind.REFUND,
    "chargeback": LineKind.DISPUTE,
    "dispute": LineKind.DISPUTE,
    "pre-arbitration": LineKind.DISPUTE,
    "representment": LineKind.DISPUTE_REVERSAL,
    "chargeback reversal": LineKind.DISPUTE_REVERSAL,
    "dispute reversal": LineKind.DISPUTE_REVERSAL,
    "fee": LineKind.FEE,
    "adjustment": LineKind.ADJUSTMENT,
}


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every line of the report, or of the API's objects."""
    start = source.read(1) or b""
    while start and start.isspace():
        start = source.read(1)
    source.seek(0)
    if start == b"{":
        yield from _objects(source)
    else:
        yield from _report(source, tally)


class _Transfers:
    """What each transfer says it disbursed, against what its details add up to."""

    def __init__(self) -> None:
        self.stated: dict[tuple[str, str], int] = {}
        self.counted: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.lines: dict[tuple[str, str], int] = {}
        self.currencies: dict[str, str] = {}

    def state(self, row: Row) -> None:
        """A row of the summary."""
        currency = row["Currency"].upper()
        transfer = _transfer(row)
        try:
            stated = amount(row["Net Disbursed Amount"], currency)
        except Invalid as error:
            raise FileRefused(error.detail, line=row.number) from None
        if (transfer, currency) in self.stated:
            raise FileRefused(f"transfer {transfer} is summed up twice in {currency}.", line=row.number)
        self.stated[transfer, currency] = stated.minor
        self.lines.setdefault((transfer, currency), row.number)
        self.currencies.setdefault(transfer, currency)

    def count(self, line: Line) -> None:
        """A row of the details."""
        if line.net is not None:
            key = (line.batch or "", line.net.currency)
            self.counted[key] += line.net.minor
            self.lines[key] = line.number

    def prove(self, tally: Tally) -> None:
        """Refuse a file whose summary is not the sum of its details."""
        for transfer, currency in self.stated.keys() | self.counted.keys():
            stated, counted = self.stated.get((transfer, currency)), self.counted[transfer, currency]
            if stated is None:
                raise FileRefused(f"transfer {transfer} has details in {currency} but no summary.", line=self.lines[transfer, currency])
            if stated != counted:
                said = f"{Money(stated, currency).decimal()} {currency}, its details come to {Money(counted, currency).decimal()}"
                raise FileRefused(f"transfer {transfer} was disbursed {said}.", line=self.lines[transfer, currency])
            total = tally.total(transfer or None, currency)
            total.is_proven, total.paid_out_minor = True, stated


def _report(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    transfers = _Transfers()
    names: list[str] = []
    is_detail = False
    for number, fields in csv_rows(source):
        found = {field.strip() for field in fields}
        if found.issuperset(DETAIL) or found.issuperset(SUMMARY):
            is_detail = "Record ID" in found
            names = header(number, fields, needed=DETAIL if is_detail else SUMMARY)
        elif not names:
            continue  # the title of the report stands above its first header
        elif is_detail:
            row = row_of(number, names, fields)
            line = line_of(row, lambda row: _detail(row, transfers), ext_id=row["Record ID"], raw_type=row.first(*TYPES))
            transfers.count(line)
            yield line
        else:
            transfers.state(row_of(number, names, fields))
    if not names:
        raise FileRefused(f"no header with {', '.join(SUMMARY)} was found.")
    transfers.prove(tally)


def _transfer(row: Row) -> str:
    """The transfer ids in one writing: sorted, without blanks."""
    return ",".join(sorted(part.strip() for part in row.first(*TRANSFERS).split(",") if part.strip()))


def _detail(row: Row, transfers: _Transfers) -> Line:
    known = list(transfers.currencies)
    transfer = _transfer(row) or (known[0] if len(known) == 1 else "")
    currency = row.first("Currency", "Settlement Currency").upper() or transfers.currencies.get(transfer, "")
    gross, fee = amount(row["Gross Settlement Amount"], currency), amount(row["Total Net Fees"], currency)
    net = amount(row["Net Disbursed Amount"], currency)
    # the report writes fees as what they do to the balance in some accounts, as what they cost in others
    fee = -fee if net != gross - fee and net == gross + fee else fee
    raw_type = row.first(*TYPES)
    return Line(
        number=row.number,
        kind=KINDS.get(raw_type.lower().replace("_", " "), LineKind.UNKNOWN) if raw_type else _by_sign(gross),
        raw_type=raw_type,
        ext_id=required(row, "Record ID"),
        parent_ext_id=same(row.first("Original Transaction ID", "Transaction ID")),
        merchant_ref=same(row["Order ID"]),
        account=same(row["Merchant Account ID"]),
        batch=transfer or None,
        gross=gross,
        fee=fee,
        net=net,
        occurred_at=moment(row.first("Settlement Date", "Transaction Date", "Disbursement Date")),
        available_on=day(row["Disbursement Date"]),
        references=[part for part in transfer.split(",") if part],
        problem=None if net == gross - fee else f"net {net.decimal()} is not gross {gross.decimal()} less fees {fee.decimal()}.",
    )


def _by_sign(gross: Money) -> LineKind:
    if gross.is_zero:
        return LineKind.FEE
    return LineKind.REFUND if gross.is_negative else LineKind.CHARGE


class _Amount(msgspec.Struct):
    value: str
    currencyCode: str  # noqa: N815 - Braintree's name

    @property
    def money(self) -> Money:
        """The amount."""
        return amount(self.value, self.currencyCode)


class _Disbursement(msgspec.Struct):
    date: str | None = None
    amount: _Amount | None = None
    exchangeRate: str | None = None  # noqa: N815


class _Change(msgspec.Struct):
    settlementBatchId: str | None = None  # noqa: N815
    disbursementDate: str | None = None  # noqa: N815


class _Transaction(msgspec.Struct):
    id: str
    legacyId: str | None = None  # noqa: N815
    orderId: str | None = None  # noqa: N815
    status: str = ""


class _Object(msgspec.Struct):
    id: str
    status: str = ""
    legacyId: str | None = None  # noqa: N815
    orderId: str | None = None  # noqa: N815
    createdAt: str | None = None  # noqa: N815
    merchantAccountId: str | None = None  # noqa: N815
    amount: _Amount | None = None
    disbursementDetails: _Disbursement | None = None  # noqa: N815
    statusHistory: list[_Change | list[str]] = []  # noqa: N815 - empty lists stand between the changes
    type: str | None = None
    amountDisputed: _Amount | None = None  # noqa: N815
    amountWon: _Amount | None = None  # noqa: N815
    transaction: _Transaction | None = None
    receivedDate: str | None = None  # noqa: N815
    refundedTransaction: _Transaction | None = None  # noqa: N815


_decoder = msgspec.json.Decoder(_Object)


def _objects(source: BinaryIO) -> Iterator[Line]:
    for number, text in enumerate(text_lines(source), start=1):
        if not text.strip():
            continue
        refuse_unwritable(text, line=number)
        try:
            found = _decoder.decode(text)
        except msgspec.ValidationError as error:
            yield Line(number=number, kind=LineKind.UNKNOWN, raw_type="", ext_id="", text=text[:500], problem=f"{error}.")
            continue
        except msgspec.DecodeError as error:
            raise FileRefused(f"is not a JSON object: {error}.", line=number) from None
        row = Row(number, {"id": found.id})
        yield line_of(row, lambda row, found=found: _from_object(row.number, found), ext_id=found.id, raw_type=found.type or found.status)  # type: ignore[misc]


def _from_object(number: int, found: _Object) -> Line:
    return _dispute(number, found, found.amountDisputed) if found.amountDisputed else _transaction(number, found)


def _transaction(number: int, found: _Object) -> Line:
    disbursed = found.disbursementDetails or _Disbursement()
    charged = found.amount.money if found.amount else None
    net = disbursed.amount.money if disbursed.amount else None
    is_refund = found.refundedTransaction is not None
    batches = [change.settlementBatchId for change in found.statusHistory if isinstance(change, _Change) and change.settlementBatchId]
    return Line(
        number=number,
        kind=LineKind.REFUND if is_refund else LineKind.CHARGE,
        raw_type=found.status,
        ext_id=found.legacyId or found.id,
        parent_ext_id=found.refundedTransaction.id if found.refundedTransaction else None,
        merchant_ref=found.orderId,
        account=found.merchantAccountId,
        batch=batches[0] if batches else None,
        gross=-charged if charged and is_refund else charged,
        net=-net if net and is_refund else net,
        rate=disbursed.exchangeRate,
        occurred_at=moment(found.createdAt or ""),
        available_on=day(disbursed.date or ""),
        problem=None if net else "was not disbursed.",
    )


def _dispute(number: int, found: _Object, disputed: _Amount) -> Line:
    # money goes when the dispute is opened and comes back when it is won; what is lost went before
    won = found.status == "WON"
    amount_ = (found.amountWon or disputed).money if won else -disputed.money
    dates = [change.disbursementDate for change in found.statusHistory if isinstance(change, _Change) and change.disbursementDate]
    return Line(
        number=number,
        kind=LineKind.DISPUTE_REVERSAL if won else LineKind.DISPUTE,
        raw_type=found.type or "",
        ext_id=found.legacyId or found.id,
        parent_ext_id=(found.transaction.legacyId or found.transaction.id) if found.transaction else None,
        merchant_ref=found.transaction.orderId if found.transaction else None,
        gross=amount_,
        net=amount_,
        occurred_at=moment(found.createdAt or ""),
        available_on=day(dates[-1] if dates else ""),
        text=found.status,
    )
