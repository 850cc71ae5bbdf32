"""Any CSV file, by a mapping that says which column holds what: made in the page once per source, kept with it."""

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import BinaryIO

import msgspec

from app.core.errors import Invalid
from app.core.money import CURRENCIES, MalformedAmount, Money
from app.reconciliation.domain.formats.rows import Row, amount, day, line_of, minor, moment, same, table, zone
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, Side, Tally, UnreadableField


class Field(StrEnum):
    """What a column can hold."""

    EXT_ID = "ext_id"
    TYPE = "type"
    GROSS = "gross"
    FEE = "fee"
    NET = "net"
    DEBIT = "debit"
    CREDIT = "credit"
    BALANCE = "balance"
    CURRENCY = "currency"
    BATCH = "batch"
    MERCHANT_REF = "merchant_ref"
    PARENT_EXT_ID = "parent_ext_id"
    ACCOUNT = "account"
    OCCURRED_AT = "occurred_at"
    AVAILABLE_ON = "available_on"
    BOOKED_ON = "booked_on"
    REFERENCE = "reference"
    TEXT = "text"


_SAMPLE = datetime(2026, 2, 28, 13, 30, tzinfo=UTC)
_SWAPPED = str.maketrans(",.", ".,")


class MappingIncomplete(Invalid):
    """The mapping does not say where the amount, the currency or the identifier of a line is."""

    code = "settlement_mapping_incomplete"
    title = "This mapping is not complete"


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which column holds what, and how the file writes amounts and dates."""

    columns: dict[Field, str]
    side: Side = Side.PSP
    delimiter: str = ","
    encoding: str = "utf-8"
    skip_lines: int = 0
    decimal_comma: bool = False
    minor_units: bool = False
    date_format: str = ""
    """As in strptime, such as %d.%m.%Y; without it dates are ISO 8601."""
    time_zone: str = "UTC"
    currency: str = ""
    """The currency of every line, when there is no column for it."""
    kinds: dict[str, LineKind] = {}
    fee_is_negative: bool = False
    """Whether a fee that was taken is written with a minus."""
    closes_to_zero: bool = False
    """Whether each batch holds its own payout, so that its lines come to nothing."""

    def check(self) -> None:
        """Refuse a mapping by which no line could be read."""
        missing: dict[str, str] = {}
        if Field.EXT_ID not in self.columns:
            missing["ext_id"] = "Choose the column that identifies a line."
        if not {Field.NET, Field.GROSS, Field.DEBIT, Field.CREDIT} & self.columns.keys():
            missing["net"] = "Choose a column with an amount."
        if Field.CURRENCY not in self.columns and not self.currency:
            missing["currency"] = "Choose the column of the currency, or enter the one all lines are in."
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            missing["delimiter"] = "Enter one character that is neither a quotation mark nor the end of a line."
        if self.encoding.lower() not in {"utf-8", "latin-1", "cp1252", "iso-8859-1", "iso-8859-15"}:
            missing["encoding"] = "Choose utf-8, latin-1, cp1252 or iso-8859-15."
        missing |= _unknown(self)
        if missing:
            raise MappingIncomplete(" ".join(missing.values()), fields=missing)


def _unknown(mapping: ColumnMapping) -> dict[str, str]:
    """What a mapping says about money and time that nobody could read any line by."""
    wrong: dict[str, str] = {}
    if mapping.currency and mapping.currency.upper() not in CURRENCIES:
        wrong["currency"] = "Enter a three-letter code such as EUR."
    try:
        _parsed(_SAMPLE.strftime(mapping.date_format), mapping.date_format)
    except UnreadableField:
        wrong["date_format"] = "Write it like %d.%m.%Y or %Y-%m-%d %H:%M."
    try:
        zone(mapping.time_zone)
    except UnreadableField:
        wrong["time_zone"] = "This is not a time zone. Use a name such as Europe/Berlin."
    return wrong


def read(source: BinaryIO, tally: Tally, mapping: ColumnMapping) -> Iterator[Line]:
    """Every line; running balances and batches that should close are checked when the mapping says there are some."""
    mapping.check()
    left: defaultdict[tuple[str | None, str], int] = defaultdict(int)
    last: dict[tuple[str | None, str], int] = {}
    balances = _Balances()
    needed = tuple(dict.fromkeys(mapping.columns.values()))
    for row in table(source, needed=needed, delimiter=mapping.delimiter, encoding=mapping.encoding, skip=mapping.skip_lines):
        field = _fields(row, mapping)
        line = line_of(row, lambda row, field=field: _line(row, field, mapping), ext_id=field["ext_id"], raw_type=field["type"])  # type: ignore[misc]
        if line.net is not None:
            key = (line.batch, line.net.currency)
            left[key] += line.net.minor
            last[key] = row.number
            if field["balance"]:
                balances.follow(row.number, line.net, _balance(row.number, field, line.net.currency, mapping))
        yield line
    balances.prove(tally)
    for key, rest in left.items() if mapping.closes_to_zero else ():
        if rest:
            name = f"batch {key[0]}" if key[0] else "the file"
            raise FileRefused(f"{name} does not add up: {Money(rest, key[1]).decimal()} {key[1]} are left over.", line=last[key])
        tally.total(*key).is_proven = True


def _fields(row: Row, mapping: ColumnMapping) -> defaultdict[str, str]:
    return defaultdict(str, {field.value: row[column] for field, column in mapping.columns.items()})


def _line(row: Row, field: defaultdict[str, str], mapping: ColumnMapping) -> Line:
    if not field["ext_id"]:
        raise UnreadableField("the identifier is blank.")
    currency = (field["currency"] or mapping.currency).upper()
    gross, fee, net = _amounts(field, currency, mapping)
    kind = mapping.kinds.get(field["type"])
    if kind is None:
        kind = LineKind.BANK_ENTRY if mapping.side is Side.BANK else LineKind.UNKNOWN if mapping.kinds else _by_sign(net)
    return Line(
        number=row.number,
        side=mapping.side,
        kind=kind,
        raw_type=field["type"],
        ext_id=field["ext_id"],
        parent_ext_id=same(field["parent_ext_id"]),
        merchant_ref=same(field["merchant_ref"]),
        account=same(field["account"]),
        batch=same(field["batch"]),
        gross=gross,
        fee=fee,
        net=net,
        occurred_at=_moment(field["occurred_at"], mapping),
        available_on=_day(field["available_on"], mapping),
        booked_on=_day(field["booked_on"], mapping),
        references=[field["reference"]] if field["reference"] else [],
        text=same(field["text"]),
        problem=None if net == gross - fee else f"net {net.decimal()} is not gross {gross.decimal()} less fee {fee.decimal()}.",
    )


def _amounts(field: defaultdict[str, str], currency: str, mapping: ColumnMapping) -> tuple[Money, Money, Money]:
    """Gross, fee and net; what has no column follows from the others."""
    has = mapping.columns
    fee = _amount(field["fee"], currency, mapping)
    fee = -fee if mapping.fee_is_negative else fee
    if Field.DEBIT in has or Field.CREDIT in has:
        moved = abs(_amount(field["credit"], currency, mapping)) - abs(_amount(field["debit"], currency, mapping))
        return moved, fee, moved - fee
    if Field.NET in has:
        net = _amount(field["net"], currency, mapping)
        return (_amount(field["gross"], currency, mapping) if Field.GROSS in has else net + fee), fee, net
    gross = _amount(field["gross"], currency, mapping)
    return gross, fee, gross - fee


def _amount(text: str, currency: str, mapping: ColumnMapping) -> Money:
    if mapping.minor_units:
        return minor(text or "0", currency)
    if not mapping.decimal_comma:
        return amount(text, currency)
    try:
        # points stand between thousands only: in a file that has a decimal point after all, 12.50 must not become 1,250
        return amount(text.translate(_SWAPPED), currency)
    except MalformedAmount:
        raise UnreadableField(f"“{text[:40]}” is not an amount with a decimal comma, such as 1.234,50.") from None


def _balance(number: int, field: defaultdict[str, str], currency: str, mapping: ColumnMapping) -> Money:
    try:
        return _amount(field["balance"], currency, mapping)
    except Invalid as error:
        raise FileRefused(f"the balance: {error.detail}", line=number) from None


def _by_sign(net: Money) -> LineKind:
    return LineKind.REFUND if net.is_negative else LineKind.CHARGE


def _parsed(text: str, pattern: str) -> datetime:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007 - the mapping says the zone
    except (ValueError, re.error):
        raise UnreadableField(f"“{text[:40]}” is not a date written like {pattern}.") from None


def _moment(text: str, mapping: ColumnMapping) -> datetime | None:
    if not text or not mapping.date_format:
        return moment(text, zone(mapping.time_zone))
    read = _parsed(text, mapping.date_format)
    try:
        return (read if read.tzinfo else read.replace(tzinfo=zone(mapping.time_zone))).astimezone(UTC)
    except OverflowError:
        raise UnreadableField(f"“{text[:40]}” is no time that can be.") from None


def _day(text: str, mapping: ColumnMapping) -> date | None:
    return _parsed(text, mapping.date_format).date() if text and mapping.date_format else day(text)


class _Balances:
    """Running balances, whichever way round the file is: each is the one before it plus a line, oldest or newest first."""

    def __init__(self) -> None:
        self._before: tuple[Money, Money] | None = None
        self._broken: dict[str, int] = {}
        self._count = 0

    def follow(self, number: int, net: Money, balance: Money) -> None:
        """A line and the balance beside it."""
        if self._before is not None and self._before[1].currency == balance.currency:
            earlier_net, earlier = self._before
            if earlier + net != balance:
                self._broken.setdefault("oldest first", number)
            if balance + earlier_net != earlier:
                self._broken.setdefault("newest first", number)
        self._before = (net, balance)
        self._count += 1

    def prove(self, tally: Tally) -> None:
        """At the end: one of the two ways must have held throughout."""
        if len(self._broken) == 2:
            raise FileRefused("the running balance is not the one before it and this line.", line=max(self._broken.values()))
        if self._count > 1:
            for total in tally.totals():
                total.is_proven = True
