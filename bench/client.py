"""A small HTTP/1.1 client that costs little: raw asyncio on keep-alive connections, in a process of its own.

It knows only what our server sends: a status line, a Content-Length, a body. Anything else ends the run.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import cast

import msgspec
import uvloop

from bench.figures import percentile

PATIENCE = 30.0


class Answer(msgspec.Struct, frozen=True):
    """One answer."""

    status: int
    head: bytes
    body: bytes


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How one run under load went. One step may be several requests, such as an order and its payment."""

    steps: int
    seconds: float
    latencies_ms: list[float]
    statuses: dict[int, int]
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds

    def p(self, percent: int) -> float:
        """A percentile of the time one step took, in milliseconds."""
        return percentile(self.latencies_ms, percent)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request on its way at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: asyncio.Future[Answer] | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Some more of the answer."""
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        start = self.received.lower().find(b"content-length:", 0, end)
        if start < 0:
            self._fail(f"an answer without a length: {self.received[:200]!r}")
            return
        length = int(self.received[start + 15 : self.received.index(b"\r", start)])
        if len(self.received) < end + 4 + length or self.waiting is None:
            return
        answer = Answer(int(self.received[9:12]), self.received[:end], self.received[end + 4 :])
        self.received = b""
        self.waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """The server closed the connection."""
        self._fail(f"the server closed the connection: {error}")

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer."""
        assert self.transport is not None
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self.waiting, PATIENCE)

    def _fail(self, problem: str) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(RuntimeError(problem))


Step = Callable[[Connection, str], Awaitable[Answer]]
"""What is done with one item of the list, over one connection."""


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """One request as it travels; ``idempotency_key`` becomes ``idempotency-key``."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def connect(port: int) -> Connection:
    """A new connection to the server on this machine."""
    return (await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port))[1]


class _Run:
    """All clients of one run take their items from one list."""

    def __init__(self, step: Step, items: Sequence[str]) -> None:
        self.step, self.items = step, iter(items)
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()

    async def client(self, connection: Connection, until: float) -> None:
        """One client: item after item until the time is over or nothing is left."""
        for item in self.items:
            began = time.perf_counter()
            answer = await self.step(connection, item)
            ended = time.perf_counter()
            self.statuses[answer.status] += 1
            self.latencies.append((ended - began) * 1000)
            if ended >= until:
                return


async def _load(port: int, step: Step, items: Sequence[str], clients: int, warm_up: float, seconds: float) -> Load:
    connections = [await connect(port) for _ in range(clients)]
    run = _Run(step, items)
    await asyncio.gather(*(run.client(connection, time.perf_counter() + warm_up) for connection in connections))
    run.latencies.clear()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(run.client(connection, began + seconds) for connection in connections))
    took = time.perf_counter() - began
    return Load(
        steps=len(run.latencies),
        seconds=took,
        latencies_ms=sorted(run.latencies),
        statuses=dict(run.statuses),
        cpu_seconds=time.process_time() - cpu,
    )


def _here(port: int, step: Step, items: Sequence[str], clients: int, warm_up: float, seconds: float) -> Load:
    return uvloop.run(_load(port, step, items, clients, warm_up, seconds))


@cache
def _process() -> ProcessPoolExecutor:
    """The clients' process; it lives as long as this one."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def load(
    port: int,
    step: Step,
    items: Sequence[str],
    *,
    clients: int,
    seconds: float,
    warm_up: float | None = None,
    expect: frozenset[int] = frozenset({200, 201}),
) -> Load:
    """Put the server under load from a process of its own, for a second at most before it counts; an answer nobody expects ends the run."""
    warm_up = min(1.0, seconds) if warm_up is None else warm_up
    done = _process().submit(_here, port, step, items, clients, warm_up, seconds).result()
    if not done.steps or set(done.statuses) - expect:
        raise RuntimeError(f"unexpected answers under load: {done.statuses}, {done.steps} steps")
    return done
