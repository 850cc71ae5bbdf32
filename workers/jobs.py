"""A job: one actor's work on one event, tried a limited number of times, each try counted before it begins.

Actors are written as plain async functions under `@job`; only `workers.main` turns them into Dramatiq's, so tests call them directly.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import structlog

from app.core.failpoints import failpoint
from app.core.ids import MerchantId
from workers import tries

MAX_ATTEMPTS = 5
log = structlog.get_logger(__name__)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it travels: what happened, to which object of which merchant."""

    event_id: UUID
    topic: str
    merchant_id: UUID | None = None
    object_id: UUID | None = None
    payload: dict[str, Any] = {}

    @property
    def merchant(self) -> MerchantId:
        """The merchant the event belongs to; asking a house-wide event for one is a mistake in the routing table."""
        if self.merchant_id is None:
            raise ValueError(f"{self.topic} belongs to no merchant")
        return MerchantId(self.merchant_id)


Work = Callable[[Message], Awaitable[object]]
JOBS: dict[str, Work] = {}
GIVE_BACK_MS = 1_000
_running: dict["asyncio.Task[object]", bool] = {}
"""The jobs that are under way, and whether each was told to go back."""


INFRASTRUCTURE = frozenset(
    {"__init__", "broker", "claims", "errands", "jobs", "main", "processes", "rabbit", "relay", "routes", "scheduler", "taken", "tries"}
)


def load_jobs() -> None:
    """Import every module of jobs, which registers them."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in INFRASTRUCTURE:
            import_module(f"workers.{path.stem}")


class TryAgain(Exception):
    """The job failed and has tries left; the broker delivers the message again after the delay."""

    def __init__(self, delay_ms: int) -> None:
        super().__init__(f"again in {delay_ms} ms")
        self.delay_ms = delay_ms


def job(work: Work) -> Work:
    """Register an actor under `<module>.<function>`, the name the routing table uses."""
    name = f"{work.__module__.rpartition('.')[2]}.{work.__name__}"
    if name in JOBS:
        raise ValueError(f"two jobs are called {name}")
    JOBS[name] = work
    return work


async def run_job(actor: str, message: Message) -> None:
    """Do an actor's work on an event once; a job that failed or killed its process five times is set aside as dead."""
    if attempts := await begin(actor, message):
        await _do(actor, message, attempts)
    else:
        async with tries.alone():
            if attempts := await begin(actor, message, alone=True):
                await _do(actor, message, attempts)


async def _do(actor: str, message: Message, attempts: int) -> None:
    # written at once: were it to wait for others, a job beside it that kills the process would have it charged and done again
    if await attempt(actor, message, attempts=attempts):
        await finish(actor, message, state="done")


async def attempt(actor: str, message: Message, *, attempts: int) -> bool:
    """Do the work once a try is counted; says whether it is done, which is still to be written."""
    if attempts > MAX_ATTEMPTS:
        await finish(actor, message, state="dead", error="at every try its process was killed, or it took too long")
        return False
    task = asyncio.current_task()
    assert task is not None
    _running[task] = False
    try:
        await failpoint("workers.job_begun")
        return await _work(actor, message, attempts)
    except asyncio.CancelledError:
        if not _running[task]:
            raise
        log.info("job_given_back", actor=actor, topic=message.topic)
        await tries.give_back(actor=actor, event_id=message.event_id)
        raise TryAgain(GIVE_BACK_MS) from None
    finally:
        del _running[task]


async def _work(actor: str, message: Message, attempts: int) -> bool:
    try:
        await JOBS[actor](message)
    except Exception as error:
        await failed(actor, message, attempts=attempts, error=error)
        return False
    await failpoint("workers.job_worked")
    return True


def give_back_all() -> None:
    """Interrupt every job that is under way in this event loop; each goes back to its queue, and the try does not count."""
    for task in _running:
        _running[task] = True
        task.cancel()


async def failed(actor: str, message: Message, *, attempts: int, error: Exception) -> None:
    """Record a failed try and ask for another one while there are any left."""
    final = attempts >= MAX_ATTEMPTS
    reason = f"{type(error).__name__}: {error}"
    log.error("job_dead" if final else "job_failed", actor=actor, topic=message.topic, attempt=attempts, error=reason, exc_info=final)
    await finish(actor, message, state="dead" if final else "failed", error=reason)
    if not final:
        raise TryAgain(delay(attempts)) from error


def delay(attempts: int) -> int:
    """Milliseconds until the next try: about 1, 4, 16, 60 seconds, spread so that a recovered service is not stormed."""
    return int(min(60_000, 1_000 * 4 ** (attempts - 1)) * random.uniform(0.8, 1.2))  # noqa: S311 - spreading, not secrecy


async def begin(actor: str, message: Message, *, alone: bool = False) -> int | None:
    """Count this try before it runs; None when the work was already done or given up, or may be begun alone only."""
    return await tries.begin(
        actor=actor,
        event_id=message.event_id,
        merchant_id=message.merchant_id,
        topic=message.topic,
        payload=msgspec.json.encode(message).decode(),
        alone=alone,
    )


async def finish(actor: str, message: Message, *, state: str, error: str | None = None) -> None:
    """Write down how the try ended."""
    await tries.finish(actor=actor, event_id=message.event_id, state=state, error=error)
