"""Lines of a file as the rows in which they go to the database: blocks of CSV for COPY, a few thousand lines at a time."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice

import msgspec

from app.reconciliation.domain.lines import Line, LineKind, Side

LINES_AT_ONCE = 4_000
COLUMNS = (
    "ordinal",
    "side",
    "kind",
    "raw_type",
    "ext_id",
    "parent_ref",
    "our_id",
    "merchant_ref",
    "batch_ref",
    "refs",
    "words",
    "currency",
    "gross_minor",
    "net_currency",
    "fee_minor",
    "net_minor",
    "happened_at",
    "day",
    "content",
)
_OURS = ("att_", "pay_", "cap_", "ref_")
_PUBLIC = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}", re.ASCII)
_DIGITS = str.maketrans("0123456789abcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv")
Cells = tuple[object, ...]


def blocks(lines: Iterator[Line], today: date) -> Iterator[bytes]:
    """The lines as CSV without a header, in ``COLUMNS``; a line without a day of its own is of today."""
    ordinal = 0
    encode = msgspec.json.Encoder().encode
    while some := list(islice(lines, LINES_AT_ONCE)):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([_cells(ordinal + i, line, today, encode) for i, line in enumerate(some, start=1)])
        ordinal += len(some)
        yield out.getvalue().encode()


def _cells(ordinal: int, line: Line, today: date, encode: Callable[[Line], bytes]) -> Cells:
    """One line; what is missing is left blank, which COPY takes for NULL. Only one with a problem is kept whole beside its item."""
    net = line.net
    gross, fee, ours = line.gross or net, line.fee, line.merchant_ref
    happened = line.occurred_at
    return (
        ordinal,
        line.side,
        line.kind,
        line.raw_type,
        line.ext_id,
        line.parent_ext_id,
        None if ours is None or not ours.startswith(_OURS) else our_id(ours),
        ours,
        line.batch,
        _array(line.references) if line.references and _names_something(line) else None,
        line.text,
        gross.currency if gross else None,
        gross.minor if gross else None,
        net.currency if net else None,
        fee.minor if fee else 0,
        net.minor if net else None,
        happened,
        line.booked_on or (happened.date() if happened else line.available_on or today),
        None if line.problem is None else encode(line).decode(),
    )


def our_id(reference: str) -> str | None:
    """The uuid in one of our public ids, as the database writes it; None when there is none in it."""
    digits = reference[-26:]
    return f"{int(digits.translate(_DIGITS), 32):032x}" if _PUBLIC.fullmatch(digits) else None


def _names_something(line: Line) -> bool:
    """Whether the line's references are looked for: a bank's line names batches, a payout the bank's line."""
    return line.side is Side.BANK or line.kind is LineKind.PAYOUT


def _array(values: list[str]) -> str:
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
