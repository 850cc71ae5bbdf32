"""Files of rows: the server's COPY, streamed. Memory stays flat however long the file gets.

The statement's columns are ours; a text that came from outside passes through ``harmless``, an amount through ``decimal``.
"""

from collections.abc import AsyncIterator, Mapping

from psycopg import AsyncCopy
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus
from psycopg.waiting import WAIT_R
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import driver
from app.core.ids import public_ids
from app.core.money import CURRENCIES

ROWS_AT_ONCE = 1000
MINUTES = 10
_UUID = 36


def decimal(column: str) -> str:
    """An amount as a decimal number in the currency beside it, without floating point. For amounts that are never negative."""
    others = "".join(f" when {_is_one_of(places)} then {_with_places(column, places)}" for places in sorted(set(CURRENCIES.values()) - {2}))
    return f"case when {_is_one_of(2)} then {_with_places(column, 2)}{others} end"


def _is_one_of(places: int) -> str:
    # a long list is looked up by hash, so the many with two decimals come first and cost one probe
    return f"currency = any('{{{','.join(code for code, other in CURRENCIES.items() if other == places)}}}'::text[])"


def _with_places(column: str, places: int) -> str:
    if places == 0:
        return f"{column}::text"
    unit = 10**places
    return f"({column} / {unit})::text || '.' || lpad(mod({column}, {unit})::text, {places}, '0')"


def harmless(column: str) -> str:
    """A spreadsheet takes a text that begins so for a formula; an apostrophe before it makes it a text again."""
    # all these signs sort before the letters, which spares most rows the pattern
    return f"""case when {column} collate "C" < 'A' and {column} ~ '^[=+@\\t\\r-]' then '''' || {column} else {column} end"""


def harmless_text(text: str) -> str:
    """The same for a text that we have at hand."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


async def copied(
    session: AsyncSession, columns: Mapping[str, str], rest: str, values: Mapping[str, object], *, prefix: str
) -> AsyncIterator[bytes]:
    """The rows of ``select columns rest`` as CSV with a head, some at a time. The first column is the id, and is written as people know it."""
    yield (",".join(columns) + "\n").encode()
    connection = driver(session)
    async with connection.cursor() as cursor:
        # a file may take longer than a page may
        await cursor.execute(f"set local statement_timeout = '{MINUTES}min'")
        async with cursor.copy(f"copy (select {', '.join(columns.values())} {rest}) to stdout (format csv)", values) as copy:
            more = True
            while more:
                rows = await connection.wait(_some(copy))
                more = len(rows) == ROWS_AT_ONCE
                if rows:
                    yield _with_public_ids(rows, prefix)


def _some(copy: AsyncCopy) -> PQGen[list[bytes]]:
    """The next rows in one go: asking the driver for each by itself takes three times as long as reading it."""
    pgconn = copy.connection.pgconn
    rows: list[bytes] = []
    dry = False
    while len(rows) < ROWS_AT_ONCE:
        size, row = pgconn.get_copy_data(1)
        if size > 0:
            rows.append(bytes(row))
            dry = False
        elif size == 0:
            if dry:
                yield WAIT_R
            # more has often arrived meanwhile, and looking costs less than a turn of the event loop
            pgconn.consume_input()
            dry = True
        else:
            (result,) = yield from fetch_many(pgconn)
            copy._finished = True  # noqa: SLF001 - the end was read here
            if result.status != ExecStatus.COMMAND_OK:
                raise error_from_result(result)
            break
    return rows


def _with_public_ids(rows: list[bytes], prefix: str) -> bytes:
    values = bytes.fromhex(b"".join([row[:_UUID] for row in rows]).decode().replace("-", ""))
    ids = public_ids(prefix, values)
    width = len(ids) // len(rows)
    return b"".join([part for place, row in enumerate(rows) for part in (ids[place * width : (place + 1) * width], row[_UUID:])])
