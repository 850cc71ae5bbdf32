"""New connections shared out evenly among the web workers, which all listen on one socket.

The kernel wakes every worker, and whichever runs first takes what is waiting and keeps it for as long as the other side stays connected: of 16
such clients two workers got 4 and 12, and the fuller worker was the measure of both. So each worker writes down how many connections it has,
and leaves a new one for a moment to a worker that has fewer.

Used through two settings of uvicorn, ``loop`` and ``http``; where only one process serves, nothing here has an effect.
"""

import asyncio
import errno
import fcntl
import gc
import mmap
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TALLY_FILE = "WEB_TALLY_FILE"
"""The environment variable in which the workers are told where they write down their connections."""
MOST_WORKERS = 64
MOMENT = 0.002
"""Seconds after which a worker that left a connection to another looks whether it was taken."""
PATIENCE = 25
"""So many moments a connection is left to another worker; one that has fewer may be too busy to come for it."""
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
OBJECTS_AT_ONCE = 10_000
"""So many objects more than were let go, and the garbage collector looks for cycles; Python's 700 are those of three requests."""
PAUSE = 1.0
"""Seconds without a new connection after the system had no more to give."""


class Tally:
    """How many connections each worker has, in a small file that all of them look into: a process id and a number for each."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two workers that start together take two places
            self._memory = mmap.mmap(file.fileno(), _SIZE)
            self._cells = memoryview(self._memory).cast("i")
            self._place = next((place for place in range(0, len(self._cells), 2) if not _is_alive(self._cells[place])), None)
            if self._place is not None:
                self._cells[self._place], self._cells[self._place + 1] = os.getpid(), 0
            fcntl.flock(file, fcntl.LOCK_UN)  # closing does not let go: the memory keeps the file open

    def add(self, number: int) -> None:
        """Count connections that came, or went."""
        if self._place is not None:
            self._cells[self._place + 1] += number

    def has_more_than_another(self) -> bool:
        """Whether a worker that is still there has fewer connections than this one."""
        mine, cells = self._place, self._cells
        if mine is None:
            return False
        return any(
            cells[place + 1] < cells[mine + 1] and place != mine and _is_alive(cells[place])
            for place in range(0, len(cells), 2)
            if cells[place]
        )

    def leave(self) -> None:
        """Take this worker off the list."""
        if self._place is not None:
            self._cells[self._place] = self._cells[self._place + 1] = 0
        self._place = None


_SIZE = 2 * 4 * MOST_WORKERS


def _is_alive(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def tallied() -> Iterator[None]:
    """Give the workers that are started meanwhile a place to write down their connections."""
    with tempfile.NamedTemporaryFile(prefix="web-tally-") as file:
        file.truncate(_SIZE)
        os.environ[TALLY_FILE] = file.name
        try:
            yield
        finally:
            del os.environ[TALLY_FILE]


class Listener:
    """Takes connections from a socket that other workers listen on as well, one at a time, and leaves them to a worker that has fewer."""

    def __init__(self, loop: "SharingLoop", make_protocol: Callable[[], asyncio.BaseProtocol], door: socket.socket, tally: Tally) -> None:
        self._loop, self._make_protocol, self.door, self._tally = loop, make_protocol, door, tally
        self._arriving: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.left = 0

    def listen(self, backlog: int) -> None:
        """Begin to take connections."""
        self.door.setblocking(False)
        self.door.listen(backlog)
        self._look()

    def close(self) -> None:
        """Take no more connections; those that are there stay."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.door)
        self._tally.leave()

    async def wait_closed(self) -> None:
        """Wait until those who were about to come in are in."""
        await asyncio.gather(*self._arriving)

    def _look(self) -> None:
        self._timer = None
        self._loop.add_reader(self.door, self.somebody_knocks)

    def _look_away(self, seconds: float) -> None:
        self._loop.remove_reader(self.door)
        self._timer = self._loop.call_later(seconds, self._look)

    def somebody_knocks(self) -> None:
        """Take one connection, unless it is another worker's turn."""
        if self.left < PATIENCE and self._tally.has_more_than_another():
            self.left += 1
            self._look_away(MOMENT)
            return
        self.left = 0
        try:
            connection, _ = self.door.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or whoever knocked has gone
        except OSError as error:
            if error.errno not in OUT_OF_FILES:
                raise
            self._look_away(PAUSE)
            return
        self._tally.add(1)
        task = self._loop.create_task(self._let_in(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _let_in(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # gone again before it was in
            self._tally.add(-1)
            connection.close()


def _keep_what_is_there() -> None:
    """Let the garbage collector pass over what was loaded before the first request: a third of a million objects that stay as long as the worker.

    Looking at each of them stopped a worker for a fifth of a second, in the middle of somebody's request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_AT_ONCE)


class SharingLoop(uvloop.Loop):
    """An event loop whose server on a socket given to it shares the connections with the other workers."""

    tally: Tally | None = None

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        """Listen as asked; on a socket that several workers were given, by turns with them."""
        door, path = options.get("sock"), os.environ.get(TALLY_FILE)
        if door is None or path is None or options.get("ssl") is not None:
            return await super().create_server(protocol_factory, *args, **options)
        _keep_what_is_there()
        self.tally = Tally(Path(path))
        listener = Listener(self, protocol_factory, door, self.tally)
        listener.listen(options["backlog"])
        return listener


class CountedProtocol(HttpToolsProtocol):
    """HTTP on a connection that is counted until it is lost."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it off, and end it."""
        if isinstance(self.loop, SharingLoop) and self.loop.tally is not None:
            self.loop.tally.add(-1)
        super().connection_lost(exc)


def serve(application: str, *, host: str, port: int, workers: int, reload: bool = False, proxies: str = "") -> None:
    """Serve an application that is made anew in each of so many processes; with ``reload`` in one that starts again when the code changes."""
    with tallied():
        uvicorn.run(
            application,
            factory=True,
            host=host,
            port=port,
            workers=None if reload else workers,
            reload=reload,
            reload_dirs=["app", "templates", "static"] if reload else None,
            loop="app.web.accepting:SharingLoop",
            http=CountedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies or None,
            timeout_graceful_shutdown=10,
            timeout_keep_alive=30,
        )
