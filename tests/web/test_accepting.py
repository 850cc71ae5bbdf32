"""Connections are shared out: a worker leaves a new one to a worker that has fewer, but never for ever, and never to one that is gone."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from app.core.embedded import free_port
from app.web import accepting
from app.web.accepting import Listener, SharingLoop, Tally, tallied

GREETING = b"come in"


class Greeting(asyncio.Protocol):
    """Greets whoever comes in, so that one can see who took the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(GREETING)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tally"
    file.write_bytes(bytes(8 * accepting.MOST_WORKERS))
    return file


@pytest.fixture
def tally(path: Path) -> Tally:
    return Tally(path)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is there."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def write_down(path: Path, place: int, pid: int, connections: int) -> None:
    """What another worker has written."""
    cells = bytearray(path.read_bytes())
    cells[8 * place : 8 * place + 8] = pid.to_bytes(4, sys.byteorder) + connections.to_bytes(4, sys.byteorder)
    with path.open("r+b") as file:
        file.write(cells)


class TestTally:
    def test_alone_nobody_has_fewer(self, tally: Tally) -> None:
        tally.add(5)
        assert not tally.has_more_than_another()

    def test_another_with_fewer_is_seen_and_one_with_as_many_is_not(
        self, path: Path, tally: Tally, stranger: subprocess.Popen[bytes]
    ) -> None:
        tally.add(2)
        write_down(path, 1, stranger.pid, 1)
        assert tally.has_more_than_another()
        tally.add(-1)
        assert not tally.has_more_than_another()

    def test_one_that_is_gone_does_not_count(self, path: Path, tally: Tally, stranger: subprocess.Popen[bytes]) -> None:
        tally.add(2)
        write_down(path, 1, stranger.pid, 1)
        stranger.kill()
        stranger.wait()
        assert not tally.has_more_than_another()

    def test_its_place_is_given_to_the_next(self, path: Path, stranger: subprocess.Popen[bytes]) -> None:
        write_down(path, 0, stranger.pid, 7)
        stranger.kill()
        stranger.wait()
        newcomer = Tally(path)
        assert path.read_bytes()[:8] == os.getpid().to_bytes(4, sys.byteorder) + bytes(4)
        newcomer.leave()
        assert path.read_bytes()[:8] == bytes(8)

    def test_more_workers_than_places_are_simply_not_counted(self, path: Path) -> None:
        for place in range(accepting.MOST_WORKERS):
            write_down(path, place, os.getpid(), 0)
        late = Tally(path)
        late.add(3)
        assert not late.has_more_than_another()
        late.leave()

    def test_the_file_is_gone_with_those_who_needed_it(self) -> None:
        with tallied():
            path = Path(os.environ[accepting.TALLY_FILE])
            assert path.stat().st_size == 8 * accepting.MOST_WORKERS
        assert not path.exists()
        assert accepting.TALLY_FILE not in os.environ


@pytest.fixture
async def listener(tally: Tally) -> AsyncIterator[Listener]:
    """One that listens with this process's tally."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        loop = cast(SharingLoop, asyncio.get_running_loop())  # all it does here any loop can
        listener = Listener(loop, Greeting, door, tally)
        listener.listen(16)
        yield listener
        listener.close()
        await listener.wait_closed()


async def greeted(listener: Listener) -> None:
    """Come in, be greeted, go."""
    reader, writer = await asyncio.open_connection(*listener.door.getsockname())
    assert await reader.readexactly(len(GREETING)) == GREETING
    writer.close()


async def left_waiting(listener: Listener) -> asyncio.Task[None]:
    """Knock, and be left to another worker again and again."""
    waiting = asyncio.create_task(greeted(listener))
    while listener.left < 5:
        assert not waiting.done()
        await asyncio.sleep(0)
    return waiting


class TestListener:
    async def test_who_has_no_more_than_others_takes_it_and_counts_it(
        self, listener: Listener, path: Path, stranger: subprocess.Popen[bytes]
    ) -> None:
        write_down(path, 1, stranger.pid, 0)
        await greeted(listener)
        assert int.from_bytes(path.read_bytes()[4:8], sys.byteorder) == 1

    async def test_it_is_left_to_one_that_has_fewer_until_that_one_has_as_many(
        self, listener: Listener, tally: Tally, path: Path, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accepting, "PATIENCE", 1_000_000)
        tally.add(1)
        write_down(path, 1, stranger.pid, 0)
        waiting = await left_waiting(listener)
        write_down(path, 1, stranger.pid, 1)
        await waiting

    async def test_it_is_taken_when_that_one_dies(
        self, listener: Listener, tally: Tally, path: Path, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accepting, "PATIENCE", 1_000_000)
        tally.add(1)
        write_down(path, 1, stranger.pid, 0)
        waiting = await left_waiting(listener)
        stranger.kill()
        stranger.wait()
        await waiting

    async def test_it_is_not_left_for_ever_and_the_next_is_left_as_long(
        self, listener: Listener, tally: Tally, path: Path, stranger: subprocess.Popen[bytes]
    ) -> None:
        tally.add(1)
        write_down(path, 1, stranger.pid, 0)
        for _ in range(2):
            await (await left_waiting(listener))

    async def test_what_another_took_meanwhile_is_no_error(self, listener: Listener, path: Path) -> None:
        listener.somebody_knocks()
        await greeted(listener)
        assert int.from_bytes(path.read_bytes()[4:8], sys.byteorder) == 1


@asynccontextmanager
async def two_workers() -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Two real workers; gives what opens a connection that stays, and says which process took it."""
    port, kept = free_port(), []
    start = f"from app.web.accepting import serve; serve('tests.support.whoever:whoever', host='127.0.0.1', port={port}, workers=2)"
    web = subprocess.Popen([sys.executable, "-c", start])

    async def come_in() -> int:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                assert web.poll() is None
                await asyncio.sleep(0.01)
                continue
            kept.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: countinghouse.test\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            return int(await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0])))

    try:
        yield come_in
    finally:
        for writer in kept:
            writer.close()
        web.terminate()
        web.wait()


class TestServing:
    async def test_two_workers_share_those_who_stay(self) -> None:
        """The second one starts a moment later, and catches up."""
        async with two_workers() as come_in:
            taken = Counter[int]()
            while len(taken) < 2:
                taken[await come_in()] += 1
            for _ in range(taken.total() + 16):
                taken[await come_in()] += 1
            fewer, more = sorted(taken.values())
            assert more - fewer <= 4
