"""How a worker's thread has a job done in the event loop, and which message it works on.

The package does this through futures that asyncio and threads share, which costs more than most of what is done around a job. Here jobs that
come at the same moment wake the loop once, and each wakes nobody but its own thread.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any

import dramatiq
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Interrupt, Middleware

from workers.taken import Taken

LOOK_SECONDS = 0.1
"""How long a thread sleeps before it can be told that its time is over."""
CLEAN_UP_SECONDS = 1.0


class Errands(Middleware):
    """Carries jobs from the threads into the event loop; stands behind AsyncIO, which opens the loop."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._waiting: deque[_Errand] = deque()
        self._is_called = False

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """A thread begins its work on a message."""
        self._of_thread.message = message

    def taken(self) -> Taken:
        """The message this thread works on."""
        message = self._of_thread.message
        assert isinstance(message, Taken)
        return message

    def run(self, work: Coroutine[Any, Any, bool | None]) -> bool | None:
        """Have it done in the event loop and wait for it; when this thread is told to stop, so is the work."""
        thread = get_event_loop_thread()
        assert thread is not None
        errand = _Errand(work)
        try:
            self._waiting.append(errand)
            if not self._is_called:
                self._is_called = True
                thread.loop.call_soon_threadsafe(self._start, thread.loop)
            while not errand.over.acquire(timeout=LOOK_SECONDS):
                pass
        except Interrupt as told:
            thread.loop.call_soon_threadsafe(errand.cancel)
            if not errand.over.acquire(timeout=CLEAN_UP_SECONDS):
                raise RuntimeError("the job does not stop") from told
            raise
        return errand.outcome()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_called = False  # first: whoever comes from now on calls again
        while self._waiting:
            self._waiting.popleft().start(loop)


class _Errand:
    """One job on its way."""

    def __init__(self, work: Coroutine[Any, Any, bool | None]) -> None:
        self.over = threading.Lock()
        self.over.acquire()
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._result: bool | None = None
        self._error: BaseException | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._do())

    async def _do(self) -> None:
        try:
            self._result = await self._work
        except BaseException as error:
            self._error = error
        finally:
            self.over.release()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def outcome(self) -> bool | None:
        if self._error is None:
            return self._result
        error, self._error = self._error, None  # the error's own frames must not hold it
        try:
            raise error
        finally:
            del error
