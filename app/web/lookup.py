"""One statement in one round trip, for what must be known before there is a merchant: whose cookie, whose key, how many requests.

Such a statement is its own transaction. Everything that belongs to a merchant goes through ``unit_of_work``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, Row

from app.core.db import database


async def lookup(statement: Executable, values: Mapping[str, object]) -> Row[Any] | None:
    """Run one statement at once and give its first row."""
    async with database().engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        return (await connection.execute(statement, values)).first()


async def lookup_all(statement: Executable, values: Mapping[str, object]) -> Sequence[Row[Any]]:
    """Run one statement at once and give all its rows."""
    async with database().engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        return (await connection.execute(statement, values)).all()
