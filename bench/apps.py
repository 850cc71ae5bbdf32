"""The product under measurement, but for one thing: with the instant PSP, or with a counter of its statements."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import psycopg
from litestar import Litestar
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from bench import psp


def instant() -> Litestar:
    """The product, with a PSP that answers inside the process."""
    psp.plug_in()
    return create_app()


_count: ContextVar[list[int] | None] = ContextVar("_count", default=None)


class Counting:
    """Says in a header of each answer how many statements it took, however they were sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request."""
        statements = [0]
        token = _count.set(statements)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-statements", b"%d" % statements[0])]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            _count.reset(token)


def counted(make: Callable[[], Litestar] = create_app) -> Counting:
    """The product, with its statements counted: in the driver, where everything comes by."""
    execute = psycopg.AsyncCursor.execute

    def counting(self: Any, *arguments: Any, **options: Any) -> Awaitable[Any]:
        statements = _count.get()
        if statements is not None:
            statements[0] += 1
        return execute(self, *arguments, **options)

    psycopg.AsyncCursor.execute = counting  # type: ignore[method-assign,assignment]
    return Counting(make())


def both() -> Counting:
    """The product with the instant PSP and the counter."""
    return counted(instant)
