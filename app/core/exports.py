"""Files of rows: the server's COPY, streamed. Memory stays flat however long the file gets.

The statement's columns are ours; a text that came from outside passes through ``harmless``, an amount through ``decimal``.
"""

from collections.abc import AsyncIterator, Mapping

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import public_ids
from app.core.money import CURRENCIES

ROWS_AT_ONCE = 1000
MINUTES = 10
_UUID = 36


def decimal(column: str) -> str:
    """An amount as a decimal number in the currency beside it, without floating point. For amounts that are never negative."""
    cases = "".join(
        f" when currency in ({_codes(places)}) then {_with_places(column, places)}" for places in sorted(set(CURRENCIES.values()) - {2})
    )
    return f"case{cases} else {_with_places(column, 2)} end"


def _codes(places: int) -> str:
    return ", ".join(f"'{code}'" for code, other in CURRENCIES.items() if other == places)


def _with_places(column: str, places: int) -> str:
    if places == 0:
        return f"{column}::text"
    unit = 10**places
    return f"({column} / {unit})::text || '.' || lpad(mod({column}, {unit})::text, {places}, '0')"


def harmless(column: str) -> str:
    """A spreadsheet takes a text that begins so for a formula; an apostrophe before it makes it a text again."""
    return f"case when {column} ~ '^[=+@\\t\\r-]' then '''' || {column} else {column} end"


def harmless_text(text: str) -> str:
    """The same for a text that we have at hand."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


async def copied(
    session: AsyncSession, columns: Mapping[str, str], rest: str, values: Mapping[str, object], *, prefix: str
) -> AsyncIterator[bytes]:
    """The rows of ``select columns rest`` as CSV with a head, some at a time. The first column is the id, and is written as people know it."""
    yield (",".join(columns) + "\n").encode()
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, AsyncConnection)
    async with connection.cursor() as cursor:
        # a file may take longer than a page may
        await cursor.execute(f"set local statement_timeout = '{MINUTES}min'")
        async with cursor.copy(f"copy (select {', '.join(columns.values())} {rest}) to stdout (format csv)", values) as copy:
            rows: list[bytes] = []
            async for row in copy:
                rows.append(bytes(row))
                if len(rows) == ROWS_AT_ONCE:
                    yield _with_public_ids(rows, prefix)
                    rows = []
            if rows:
                yield _with_public_ids(rows, prefix)


def _with_public_ids(rows: list[bytes], prefix: str) -> bytes:
    values = bytes.fromhex(b"".join([row[:_UUID] for row in rows]).decode().replace("-", ""))
    ids = public_ids(prefix, values)
    width = len(ids) // len(rows)
    return b"".join([part for place, row in enumerate(rows) for part in (ids[place * width : (place + 1) * width], row[_UUID:])])
