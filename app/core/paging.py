"""Lists by keyset: a page is as fast at row 500,000 as at row 1, and stays put while new rows arrive."""

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.errors import Invalid

PAGE_SIZE = 25
MAX_PAGE_SIZE = 100

R = TypeVar("R")
T = TypeVar("T")


class MalformedCursor(Invalid):
    """The page pointer is not one of ours."""

    code = "malformed_cursor"
    title = "This page address is not valid"


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page starts: the sort values of the row next to it, and in which direction to read."""

    values: tuple[str | int, ...]
    backwards: bool = False

    def encode(self) -> str:
        """The cursor as it travels in an address."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read a cursor from an address."""
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.ValidationError):
            raise MalformedCursor("Go back to the first page of the list.") from None


class Page(msgspec.Struct, Generic[R], frozen=True):
    """Some rows of a list, with pointers to the pages beside it."""

    items: list[R]
    next: str | None = None
    previous: str | None = None

    def map(self, convert: Callable[[R], T]) -> "Page[T]":
        """The same page with each row turned into something else."""
        return Page([convert(item) for item in self.items], self.next, self.previous)


def _plain(value: object) -> str | int:
    return value if isinstance(value, int) else value.isoformat() if isinstance(value, datetime) else str(value)


def _typed(values: Sequence[str | int], columns: Sequence[InstrumentedAttribute[Any]]) -> list[object]:
    readers: dict[type, Callable[[str], object]] = {UUID: UUID, datetime: datetime.fromisoformat, int: _whole, str: _word}
    if len(values) != len(columns):
        raise MalformedCursor("Go back to the first page of the list.")
    try:
        return [readers[column.expression.type.python_type](str(value)) for value, column in zip(values, columns, strict=True)]
    except (ValueError, KeyError):
        raise MalformedCursor("Go back to the first page of the list.") from None


def _whole(text: str) -> int:
    if not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError("larger than a column")
    return int(text)


def _word(text: str) -> str:
    if "\x00" in text:
        raise ValueError("no text of a database")
    return text


async def fetch_page(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    *,
    keys: Sequence[InstrumentedAttribute[Any]],
    after: str | None = None,
    size: int = PAGE_SIZE,
    descending: bool = True,
) -> Page[Any]:
    """One page of a query sorted by ``keys`` (unique together, all the same direction). The key columns must be selected under their names."""
    size = max(1, min(size, MAX_PAGE_SIZE))
    cursor = Cursor.decode(after) if after else None
    backwards = cursor is not None and cursor.backwards
    downwards = descending != backwards
    if cursor is not None:
        here = tuple_(*_typed(cursor.values, keys))
        statement = statement.where(tuple_(*keys) < here if downwards else tuple_(*keys) > here)
    statement = statement.order_by(*(key.desc() if downwards else key.asc() for key in keys)).limit(size + 1)
    rows = list((await session.execute(statement)).all())
    return page_of(rows, [key.key for key in keys], cursor=cursor, size=size)


def page_of(rows: list[Any], names: Sequence[str], *, cursor: Cursor | None, size: int = PAGE_SIZE) -> Page[Any]:
    """A page made of rows as they were read in the cursor's direction, one more than the page shows where there is one."""
    backwards = cursor is not None and cursor.backwards
    more, rows = len(rows) > size, rows[:size]
    if backwards:
        rows.reverse()
    if not rows:
        return Page([])
    has_next, has_previous = more or backwards, more if backwards else cursor is not None
    return Page(
        rows,
        _pointer(rows[-1], names, backwards=False) if has_next else None,
        _pointer(rows[0], names, backwards=True) if has_previous else None,
    )


def _pointer(row: Any, names: Sequence[str], *, backwards: bool) -> str:
    return Cursor(tuple(_plain(getattr(row, name)) for name in names), backwards).encode()


def place(after: str | None, *readers: Callable[[str], object]) -> tuple[Cursor | None, list[object]]:
    """Where a page of a function of the database starts: the cursor, and its values as the function takes them; nothing at the first page."""
    if not after:
        return None, [None] * len(readers)
    cursor = Cursor.decode(after)
    if len(cursor.values) != len(readers):
        raise MalformedCursor("Go back to the first page of the list.")
    try:
        return cursor, [reader(_word(str(value))) for reader, value in zip(readers, cursor.values, strict=True)]
    except ValueError:
        raise MalformedCursor("Go back to the first page of the list.") from None
