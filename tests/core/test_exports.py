"""Files of rows: all of them, in order, and an error that comes late is still an error."""

import pytest
from psycopg import DataError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import unit_of_work
from app.core.exports import ROWS_AT_ONCE, copied

pytestmark = pytest.mark.usefixtures("database")


async def file(count: int, column: str = "n") -> list[bytes]:
    found = b""
    async with unit_of_work(None) as session:
        rest = f"from generate_series(1, {count}) n"
        async for rows in copied(session, {"id": "new_id(now())", "n": column}, rest, {}, prefix="pay"):
            found += rows
        # the transaction goes on after the file
        assert await session.scalar(text("select 1")) == 1
    return found.splitlines()


class TestCopied:
    @pytest.mark.parametrize("count", [0, 1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE])
    async def test_sends_every_row_once_and_in_order(self, count: int) -> None:
        head, *rows = await file(count)
        assert head == b"id,n"
        assert [int(row.partition(b",")[2]) for row in rows] == list(range(1, count + 1))
        assert all(row.startswith(b"pay_") and row.index(b",") == 30 for row in rows)

    async def test_what_fails_in_the_middle_is_not_taken_for_the_end(self) -> None:
        with pytest.raises((DataError, SQLAlchemyError), match="division by zero"):
            await file(3 * ROWS_AT_ONCE, f"1 / (n - {2 * ROWS_AT_ONCE + 7})")
        assert len(await file(2)) == 3
