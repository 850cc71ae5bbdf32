"""Group commit: what several requests of one merchant want to write at the same moment travels as one call and commits as one transaction.

A call that comes while nothing is on its way leaves at once and alone. What comes while a call is on its way waits for it to return and
leaves together. Where several travelled together last time, the next call waits up to five milliseconds until as many are there again, or
one more: without that, busy callers fall into calls of one and two, each of which costs the database nearly what eight together cost, and
those who begin a payment while others finish one never meet them. A call that stays away (it may wait for a lock that somebody holds) does not hold up the others for longer than ``PATIENCE``. When the database refuses a call, everything of it is undone, and each is sent once more alone, so that one refusal is one caller's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from psycopg import errors as postgres

Group = TypeVar("Group", bound=Hashable)
One = TypeVar("One")
Row = TypeVar("Row")

MOST = 32
PATIENCE = 0.05
"""Seconds after which those who wait stop waiting for the call before them."""
MOMENT = 0.005
"""Seconds that a call waits at most for as many as travelled together last time."""
IDLE = 1.0
"""Seconds after which a lane forgets how many travelled together."""


class Gathering(Generic[Group, One, Row]):
    """Gathers the calls of one kind in one process. ``send`` writes all that a group asks for in one transaction, and gives an answer for each, in order."""

    def __init__(self, send: Callable[[Group, Sequence[One]], Awaitable[Sequence[Row]]]) -> None:
        self._send = send
        self._lanes: dict[Hashable, _Lane[One, Row]] = {}

    async def __call__(self, group: Group, one: One) -> Row:
        """Send one with the others of its group; returns its own answer, or raises its own refusal."""
        key = (asyncio.get_running_loop(), group)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(partial(self._send, group), partial(self._lanes.pop, key))
        return await lane.add(one)


class _Lane(Generic[One, Row]):
    """The calls that may travel together; gone when nobody waits and nothing was on its way lately."""

    def __init__(self, send: Callable[[Sequence[One]], Awaitable[Sequence[Row]]], close: Callable[[], object]) -> None:
        self._send, self._close = send, close
        self._waiting: list[tuple[One, asyncio.Future[Row]]] = []
        self._on_their_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 1

    def add(self, one: One) -> asyncio.Future[Row]:
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._stop_waiting()  # nobody waited: it was only to close the lane
        self._waiting.append((one, answer))
        self._look()
        return answer

    def _look(self) -> None:
        """Leave when as many are there as last time; wait for them a moment, or for the call before them a little longer."""
        if len(self._waiting) >= (MOST if self._on_their_way else self._expected):
            self._leave()
        elif self._timer is None:
            self._wait(PATIENCE if self._on_their_way else MOMENT)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._leave)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._stop_waiting()
        # whoever went away before anything was sent is left behind: nothing has happened for him
        leaving, self._waiting = [each for each in self._waiting if not each[1].cancelled()], []
        if leaving:
            # one more than came, unless that was hoped for in vain just now; whoever comes alone is not kept waiting
            self._expected = len(leaving) + (1 < len(leaving) >= self._expected)
            task = asyncio.get_running_loop().create_task(self._travel(leaving))
            self._on_their_way.add(task)
            task.add_done_callback(self._arrived)
        elif not self._on_their_way:
            self._close()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._on_their_way.discard(task)
        self._stop_waiting()
        if self._waiting and self._on_their_way:
            self._leave()
        elif self._waiting:
            self._look()
        elif not self._on_their_way:
            self._wait(IDLE)

    async def _travel(self, leaving: Sequence[tuple[One, asyncio.Future[Row]]]) -> None:
        try:
            rows = await self._send([one for one, _ in leaving])
        except BaseException as error:
            if len(leaving) > 1 and isinstance(error, postgres.Error) and error.sqlstate is not None:
                for each in leaving:
                    await self._travel([each])
                return
            _fail(leaving, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, answer), row in zip(leaving, rows, strict=True):
                if not answer.done():
                    answer.set_result(row)


def _fail(leaving: Sequence[tuple[object, "asyncio.Future[Row]"]], error: BaseException) -> None:
    for _, answer in leaving:
        if not answer.done():
            answer.set_exception(error) if isinstance(error, Exception) else answer.cancel()
