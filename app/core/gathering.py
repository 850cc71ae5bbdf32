"""Group commit: what several requests of one merchant want to write at the same moment travels as one call and commits as one transaction.

A call that comes while nothing is on its way leaves at once and alone. What comes while a call is on its way waits for it to return and
leaves together. Where several travelled together last time, the next call waits up to five milliseconds until as many are there again, or
one more: without that, busy callers fall into calls of one and two, each of which costs the database nearly what eight together cost, and
those who begin a payment while others finish one never meet them. Calls of two kinds may take turns on one road (``beside``), so that those who
do one thing are joined by those who come back from the other. A call that stays away (it may wait for a lock that somebody holds) does not hold up the others for longer than ``PATIENCE``. When the database refuses a call, everything of it is undone, and each is sent once more alone, so that one refusal is one caller's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

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
    """Gathers the calls of one kind in one process. ``send`` writes all that a group asks for in one transaction, and gives an answer for each, in order.

    ``beside`` is a gathering of another kind whose calls these take turns with: while a call of either is on its way, what comes for both waits.
    """

    def __init__(
        self, send: Callable[[Group, Sequence[One]], Awaitable[Sequence[Row]]], *, beside: "Gathering[Group, Any, Any] | None" = None
    ) -> None:
        self._send = send
        self._lanes: dict[Hashable, _Lane[One, Row]] = {}
        self._roads: dict[Hashable, _Road] = {} if beside is None else beside._roads  # noqa: SLF001 - of the same class

    async def __call__(self, group: Group, one: One) -> Row:
        """Send one with the others of its group; returns its own answer, or raises its own refusal."""
        key = (asyncio.get_running_loop(), group)
        lane = self._lanes.get(key)
        if lane is None:
            road = self._roads.setdefault(key, _Road())
            lane = self._lanes[key] = _Lane(partial(self._send, group), partial(self._close, key), road)
        return await lane.add(one)

    def _close(self, key: Hashable) -> None:
        lane = self._lanes.pop(key)
        if lane.road.without(lane):
            self._roads.pop(key)


class _Road:
    """What the lanes of one group share: the calls that are on their way, of whichever kind."""

    def __init__(self) -> None:
        self.lanes: list[_Lane[Any, Any]] = []
        self.on_their_way: set[asyncio.Task[None]] = set()

    def take(self, journey: Coroutine[Any, Any, None]) -> None:
        """Let a call set out."""
        task = asyncio.get_running_loop().create_task(journey)
        self.on_their_way.add(task)
        task.add_done_callback(self._arrived)

    def without(self, lane: "_Lane[Any, Any]") -> bool:
        """Close a lane; true when it was the last one."""
        self.lanes.remove(lane)
        return not self.lanes

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self.on_their_way.discard(task)
        others_stay_away = bool(self.on_their_way)
        for lane in sorted(self.lanes, key=lambda lane: lane.since):
            lane.go_on(at_once=others_stay_away)


class _Lane(Generic[One, Row]):
    """The calls that may travel together; gone when nobody waits and nothing was on its way lately."""

    def __init__(self, send: Callable[[Sequence[One]], Awaitable[Sequence[Row]]], close: Callable[[], object], road: _Road) -> None:
        self._send, self._close, self.road = send, close, road
        self.since = 0.0
        self._waiting: list[tuple[One, asyncio.Future[Row]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 1
        road.lanes.append(self)

    def add(self, one: One) -> asyncio.Future[Row]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row] = loop.create_future()
        if not self._waiting:
            self._stop_waiting()  # nobody waited: it was only to close the lane
            self.since = loop.time()
        self._waiting.append((one, answer))
        self._look()
        return answer

    def go_on(self, *, at_once: bool) -> None:
        """A call has arrived: whoever waits may leave, at once when another call stays away."""
        self._stop_waiting()
        if self._waiting and at_once:
            self._leave()
        elif self._waiting:
            self._look()
        elif not self.road.on_their_way:
            self._wait(IDLE, self._leave)

    def _look(self) -> None:
        """Leave when as many are there as last time; wait for them a moment, or for the call before them a little longer."""
        busy = self.road.on_their_way
        if len(self._waiting) >= (MOST if busy else self._expected):
            self._leave()
        elif self._timer is None:
            self._wait(PATIENCE, self._leave) if busy else self._wait(MOMENT, self._moment_is_over)

    def _moment_is_over(self) -> None:
        """Leave with whoever came, unless a call of another kind has set out meanwhile."""
        self._timer = None
        self._look() if self.road.on_their_way else self._leave()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

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
            self.road.take(self._travel(leaving))
        elif not self.road.on_their_way:
            self._close()

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
