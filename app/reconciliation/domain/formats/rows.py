"""Reading text row by row: encodings, lines that are too long, columns by header name, amounts and times as providers write them."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from typing import BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from app.core.errors import Invalid
from app.core.money import Money
from app.reconciliation.domain.lines import FileRefused, Line, LineKind, UnreadableField

MAX_LINE = 1 << 20
MAX_COLUMNS = 500
_MINOR = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_BLANKS = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNWRITABLE = re.compile(rf"\\u0000|{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")
_WIDE = (b"\xff\xfe", b"\xfe\xff")

ABBREVIATED = {
    "UTC": 0,
    "GMT": 0,
    "WET": 0,
    "BST": 1,
    "WEST": 1,
    "CET": 1,
    "CEST": 2,
    "EET": 2,
    "EEST": 3,
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "SGT": 8,
    "HKT": 8,
    "JST": 9,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
    "BRT": -3,
}
"""Hours from UTC of the abbreviations reports use; each stands for one offset, summer time has a word of its own."""


def text_lines(source: BinaryIO, *, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a file as text. A byte order mark is taken off; another encoding, binary content and endless lines are refused."""
    number = 0
    while raw := source.readline(MAX_LINE):
        number += 1
        if number == 1:
            raw = _without_mark(raw)
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise FileRefused(f"longer than {MAX_LINE:,} bytes; this is no file of lines.", line=number)
        if b"\x00" in raw:
            raise FileRefused("holds a zero byte; this is no text file.", line=number)
        try:
            yield raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise FileRefused(f"is not {encoding.upper()} text (byte {error.start + 1}).", line=number) from None


def refuse_unwritable(text: str, *, line: int | None = None) -> None:
    """Refuse JSON with an escaped zero character, or with half of a character: no database keeps them, and no provider means them."""
    if found := _UNWRITABLE.search(text):
        raise FileRefused(f"holds {found[0]}, which is no character of a text.", line=line)


def _without_mark(raw: bytes) -> bytes:
    if raw.startswith(_WIDE):
        raise FileRefused("is UTF-16; save the file as UTF-8.", line=1)
    return raw.removeprefix(b"\xef\xbb\xbf")


class Row(msgspec.Struct, frozen=True):
    """One row of a table: where it stands, and its fields by column name, without blanks around them."""

    number: int
    fields: Mapping[str, str]
    problem: str | None = None

    def __getitem__(self, column: str) -> str:
        """A field; a column the file does not have is blank."""
        return self.fields.get(column, "")

    def first(self, *columns: str) -> str:
        """The first of the columns that is not blank."""
        return next((value for column in columns if (value := self[column])), "")


def csv_rows(source: BinaryIO, *, delimiter: str = ",", encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file with the number of the line each ends on; blank ones are passed over."""
    reader = csv.reader(text_lines(source, encoding=encoding), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if any(fields):
                yield reader.line_num, fields
    except csv.Error as error:
        raise FileRefused(f"is not proper CSV: {error}.", line=reader.line_num) from None


def table(source: BinaryIO, *, needed: tuple[str, ...], delimiter: str = ",", encoding: str = "utf-8", skip: int = 0) -> Iterator[Row]:
    """The rows of a CSV file below its header. Columns are found by name, in any order; more of them do no harm."""
    records = csv_rows(source, delimiter=delimiter, encoding=encoding)
    for _ in range(skip):
        next(records, None)
    head = next(records, None)
    if head is None:
        raise FileRefused("The file is empty.")
    names = header(*head, needed=needed)
    for number, fields in records:
        yield row_of(number, names, fields)


def header(number: int, fields: list[str], *, needed: tuple[str, ...]) -> list[str]:
    """The names of the columns; one that is missing or there twice is refused, because nobody could say what is in it."""
    names = [field.strip() for field in fields]
    if len(names) > MAX_COLUMNS:
        raise FileRefused(f"has {len(names)} columns; at most {MAX_COLUMNS} are read.", line=number)
    missing = [name for name in needed if name not in names]
    if missing:
        raise FileRefused(f"the header lacks {', '.join(f'“{name}”' for name in missing)}.", line=number)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise FileRefused(f"the header has {', '.join(f'“{name}”' for name in twice)} twice.", line=number)
    return names


def row_of(number: int, names: list[str], fields: list[str]) -> Row:
    """A record by column name; one with too few or too many fields says so."""
    values = dict(zip(names, map(str.strip, fields), strict=False))
    values.pop("", None)
    off = len(fields) != len(names) and any(field.strip() for field in fields[len(names) :] or ["?"])
    return Row(number, values, f"has {len(fields)} fields where the header has {len(names)}." if off else None)


def line_of(row: Row, build: Callable[[Row], Line], *, ext_id: str, raw_type: str) -> Line:
    """The row as a line; what cannot be read is kept with the reason instead of being dropped."""
    reason = row.problem
    if reason is None:
        try:
            return build(row)
        except Invalid as error:
            reason = error.detail
    known = {name: value for name, value in row.fields.items() if value}
    text = ", ".join(f"{name}={value}" for name, value in known.items())[:500]
    return Line(number=row.number, kind=LineKind.UNKNOWN, raw_type=raw_type, ext_id=ext_id, text=text, problem=reason)


def amount(text: str, currency: str) -> Money:
    """A decimal amount; nothing written is nothing."""
    return Money.parse(text or "0", currency.upper())


def minor(text: str, currency: str) -> Money:
    """A whole number of minor units."""
    if not _MINOR.fullmatch(text):
        raise UnreadableField(f"“{text[:40]}” is not a whole number of minor units.")
    return Money.taken(int(text), currency.upper())


def required(row: Row, column: str) -> str:
    """A field that must not be blank."""
    value = row.fields.get(column)
    if not value:
        raise UnreadableField(f"“{column}” is blank.")
    return value


def moment(text: str, zone: tzinfo = UTC) -> datetime | None:
    """A time in UTC; without an offset it is of the zone. Nothing written is no time."""
    if not text:
        return None
    if text[-1] == "Z":
        # as most providers write it; what is not quite right is looked at more closely below
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    try:
        read = datetime.fromisoformat(_BLANKS.sub("", text.replace("/", "-")))
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableField(f"“{text[:40]}” is not a date and time.") from None


@lru_cache(maxsize=1_000)
def day(text: str) -> date | None:
    """A date, also when a time follows it. Nothing written is no date."""
    if not text:
        return None
    try:
        return date.fromisoformat(text.replace("/", "-")[:10])
    except ValueError:
        raise UnreadableField(f"“{text[:40]}” is not a date.") from None


@cache
def zone(name: str) -> tzinfo:
    """A time zone by its abbreviation or its name; nothing written is UTC."""
    if not name:
        return UTC
    if name.upper() in ABBREVIATED:
        return timezone(timedelta(hours=ABBREVIATED[name.upper()]), name.upper())
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnreadableField(f"“{name[:40]}” is not a time zone.") from None


def same(value: str) -> str | None:
    """The text, or None when there is none."""
    return value or None
