"""Bank statements in SWIFT MT940, read with the ``mt-940`` package one statement at a time."""

import logging
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import BinaryIO

import mt940

from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, amount, line_of, same, text_lines
from app.reconciliation.domain.formats.statements import Chain, Statement, is_reference, kind_of
from app.reconciliation.domain.lines import FileRefused, Line, Side, Tally, UnreadableField

MAX_STATEMENT = 4 << 20
# it writes what it cannot read into the log, line by line: names, amounts and texts of the bank's customers
logging.getLogger("mt940").setLevel(logging.CRITICAL)
_START = re.compile(r"^:20:", re.MULTILINE)
_TRAILER = re.compile(r"^-\}?")
_SIGNS = {"C": 1, "D": -1, "RD": 1, "RC": -1, "EC": 1, "ED": -1}
"""A reversed debit gives money back, a reversed credit takes it."""


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every entry; a statement that does not add up, or does not follow the one before it, refuses the file."""
    chain, found = Chain(tally), False
    for number, text in _statements(source):
        found = True
        yield from _statement(number, text, chain)
    if not found:
        raise FileRefused("There is no statement (:20:) in this file.")


def _statements(source: BinaryIO) -> Iterator[tuple[int, str]]:
    """The texts from one :20: to the next, each with the number of its first line."""
    lines: list[str] = []
    size = start = 0
    for number, line in enumerate(text_lines(source, encoding="latin-1"), start=1):
        inside = line.split("{4:")[-1]
        if inside.startswith(":20:"):
            if lines:
                yield start, "".join(lines)
            lines, size, start = [inside], 0, number
        elif lines and not _TRAILER.match(inside) and not inside.startswith("{"):
            lines.append(inside)
            size += len(inside)
            if size > MAX_STATEMENT:
                raise FileRefused(f"a statement is longer than {MAX_STATEMENT >> 20} MiB.", line=start)
    if lines:
        yield start, "".join(lines)


def _statement(start: int, text: str, chain: Chain) -> Iterator[Line]:
    wanted = len(re.findall(r"^:61:", text, re.MULTILINE))
    parsed = mt940.models.Transactions(options=mt940.options.Options(merge_keeps_values=True))
    try:
        parsed.parse(text)
    except (RuntimeError, ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
        raise FileRefused(f"the statement that begins here cannot be read: {str(error)[:200]}.", line=start) from None
    if len(parsed.transactions) != wanted:
        raise FileRefused(f"the statement that begins here has {wanted} entries, {len(parsed.transactions)} could be read.", line=start)
    data: Mapping[str, object] = parsed.data
    statement = _headed(start, data, parsed.currency or "")
    for index, transaction in enumerate(parsed.transactions, start=1):
        row = Row(start, {"entry": str(index)})
        entry: Mapping[str, object] = transaction.data
        line = line_of(row, lambda row, entry=entry, index=index: _line(row, index, entry, statement), ext_id="", raw_type=":61:")  # type: ignore[misc]
        if line.net is None:
            raise FileRefused(f"entry {index} of the statement that begins here: {line.problem}", line=start)
        statement.entries_minor += line.net.minor
        yield line
    chain.close(statement)


def _headed(start: int, data: Mapping[str, object], currency: str) -> Statement:
    number = "/".join(str(value) for value in (data.get("statement_number"), data.get("sequence_number")) if value)
    opening, closing = (
        data.get(f"final_{name}_balance") or data.get(f"intermediate_{name}_balance") or data.get(f"{name}_balance")
        for name in ("opening", "closing")
    )
    if opening is None or closing is None:
        raise FileRefused("the statement that begins here has no opening (:60F:) or closing (:62F:) balance.", line=start)
    return Statement(
        account=str(data.get("account_identification") or ""),
        currency=currency,
        number=number,
        opening=_balance(opening, start),
        closing=_balance(closing, start),
        closed_on=_date(getattr(closing, "date", None)),
        line=start,
    )


def _balance(balance: object, start: int) -> Money:
    found = getattr(balance, "amount", None)
    try:
        # the package has made the sign part of the amount
        return _money(str(getattr(found, "amount", "")), str(getattr(found, "currency", "")))
    except UnreadableField as error:
        raise FileRefused(error.detail, line=start) from None


def _money(text: str, currency: str) -> Money:
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    if not re.fullmatch(r"\d{1,15}(\.\d*)?", digits, re.ASCII):
        raise UnreadableField(f"“{text[:40]}” is not an amount.")
    whole, _, rest = digits.partition(".")
    rest = rest.rstrip("0")
    return amount(f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}", currency)


def _line(row: Row, index: int, entry: Mapping[str, object], statement: Statement) -> Line:
    status = str(entry.get("status") or "")
    if status not in _SIGNS:
        raise UnreadableField(f"“{status[:10]}” is neither a credit nor a debit.")
    found = entry.get("amount")
    size = abs(_money(str(getattr(found, "amount", "")), statement.currency))
    net = size if _SIGNS[status] > 0 else -size
    ours, theirs = (str(entry.get(name) or "").strip() for name in ("customer_reference", "bank_reference"))
    text = " ".join(str(value) for value in (entry.get("transaction_details"), entry.get("purpose"), entry.get("extra_details")) if value)
    references = [value for value in (ours, theirs, str(entry.get("end_to_end_reference") or "")) if is_reference(value)]
    return Line(
        number=row.number,
        side=Side.BANK,
        kind=kind_of(str(entry.get("id") or ""), net),
        raw_type=str(entry.get("id") or ""),
        ext_id=theirs if is_reference(theirs) else statement.name_of(index),
        account=same(statement.account),
        batch=statement.batch,
        gross=net,
        net=net,
        booked_on=_date(entry.get("entry_date") or entry.get("date")),
        available_on=_date(entry.get("date")),
        references=references,
        text=same(" ".join(text.split())[:2000]),
    )


def _date(value: object) -> date | None:
    return date(value.year, value.month, value.day) if isinstance(value, date) else None
