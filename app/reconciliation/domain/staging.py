"""Lines of a file as the rows in which they go to the database: blocks for COPY, a few thousand lines at a time."""

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
_SPECIAL = re.compile(r"[\\\n\r]")
_TABS = len(COLUMNS) - 1


def blocks(lines: Iterator[Line], today: date) -> Iterator[bytes]:
    """The lines in ``COLUMNS`` as COPY reads them in its text format, with nothing for NULL; a line without a day of its own is of today."""
    ordinal = 0
    encode = msgspec.json.Encoder().encode
    while some := list(islice(lines, LINES_AT_ONCE)):
        yield "".join([_row(ordinal + i, line, today, encode) for i, line in enumerate(some, start=1)]).encode()
        ordinal += len(some)


def _row(ordinal: int, line: Line, today: date, encode: Callable[[Line], bytes]) -> str:
    """One line; only one with a problem is kept whole beside its item."""
    refs = _array(line.references) if line.references and _names_something(line) else ""
    row = _cells(ordinal, line, today, refs)
    if line.problem is None and row.count("\t") == _TABS - 1 and not _SPECIAL.search(row):
        return f"{row}\t\n"
    # a character that means something to COPY is rare: such a line is written again with every text made safe
    texts = {name: _safe(value) for name in _TEXTS if isinstance(value := getattr(line, name), str)}
    safe = msgspec.structs.replace(line, **texts)
    return f"{_cells(ordinal, safe, today, _safe(refs))}\t{_safe(encode(line).decode()) if line.problem is not None else ''}\n"


_TEXTS = ("raw_type", "ext_id", "parent_ext_id", "merchant_ref", "batch", "text")


def _safe(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _cells(ordinal: int, line: Line, today: date, refs: str) -> str:
    """All but the last column."""
    net = line.net
    gross, fee, ours, happened = line.gross or net, line.fee, line.merchant_ref, line.occurred_at
    on = line.booked_on or (happened.date() if happened else line.available_on or today)
    known = our_id(ours) if ours and ours.startswith(_OURS) else None
    money = f"{gross.currency}\t{gross.minor}\t{net.currency}\t{fee.minor if fee else 0}\t{net.minor}" if net and gross else "\t\t\t\t"
    return (
        f"{ordinal}\t{line.side}\t{line.kind}\t{line.raw_type}\t{line.ext_id}\t{line.parent_ext_id or ''}\t{known or ''}\t{ours or ''}"
        f"\t{line.batch or ''}\t{refs}\t{line.text or ''}\t{money}\t{happened or ''}\t{on}"
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
