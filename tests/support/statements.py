"""Counting what is sent to the database: in the driver, where everything comes by."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []
    execute = psycopg.AsyncCursor.execute

    def noting(self: Any, query: Any, *arguments: Any, **options: Any) -> Awaitable[Any]:
        sent.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(self, query, *arguments, **options)

    psycopg.AsyncCursor.execute = noting  # type: ignore[method-assign,assignment]
    try:
        yield sent
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]
