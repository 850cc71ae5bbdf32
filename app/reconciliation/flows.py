"""Reconciliation without a person waiting: files are read, and every merchant is compared and proven; one transaction for each step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from uuid import UUID

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.failpoints import failpoint
from app.core.ids import MerchantId
from app.reconciliation import queries, service
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.domain.arrivals import ArrivalStatus
from app.reconciliation.domain.progress import Watched
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import service as runs

NIGHTLY = "Nightly reconciliation"
PROGRESS_SECONDS = 0.7


async def take_file(*, merchant_id: MerchantId, arrival_id: UUID) -> None:
    """Read a file that arrived and compare everything with it. Whenever it dies, doing it again goes on where it was."""
    async with unit_of_work(merchant_id) as session:
        arrival = await arrivals.begin(session, merchant_id=merchant_id, arrival_id=arrival_id)
    await failpoint("reconciliation.begun")
    if arrival.status == ArrivalStatus.READING:
        await _read(merchant_id, arrival_id)
        await failpoint("reconciliation.read")
    async with unit_of_work(merchant_id) as session:
        arrival = await queries.arrival(session, merchant_id=merchant_id, arrival_id=arrival_id)
        if arrival.status != ArrivalStatus.COMPARING:
            return
        run = await runs.compare(session, Actor.worker(merchant_id, arrival.brought_by))
        await arrivals.finish(session, merchant_id=merchant_id, arrival_id=arrival_id, run=run)
        await failpoint("reconciliation.comparing")


async def _read(merchant_id: MerchantId, arrival_id: UUID) -> None:
    with TemporaryFile() as kept:
        content: BinaryIO = kept
        async with unit_of_work(merchant_id) as session:
            await arrivals.copy_bytes(session, merchant_id=merchant_id, arrival_id=arrival_id, into=content)
        watched = Watched(content)
        async with _telling(merchant_id, arrival_id, watched), unit_of_work(merchant_id) as session:
            await arrivals.take(session, merchant_id=merchant_id, arrival_id=arrival_id, content=cast(BinaryIO, watched))
            await failpoint("reconciliation.reading")


@asynccontextmanager
async def _telling(merchant_id: MerchantId, arrival_id: UUID, watched: Watched) -> AsyncIterator[None]:
    """Tell now and then, in transactions of their own, how far the reading is."""
    done = asyncio.Event()
    teller = asyncio.create_task(_tell(merchant_id, arrival_id, watched, done))
    try:
        yield
    finally:
        done.set()
        await teller


async def _tell(merchant_id: MerchantId, arrival_id: UUID, watched: Watched, done: asyncio.Event) -> None:
    while not await _passed(done, PROGRESS_SECONDS):
        async with unit_of_work(merchant_id) as session:
            await arrivals.tell_progress(
                session, merchant_id=merchant_id, arrival_id=arrival_id, read_bytes=watched.read_bytes, read_lines=watched.read_lines
            )


async def _passed(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def compare_all() -> int:
    """Compare every merchant that has sources; returns how many there were."""
    async with unit_of_work(None) as session:
        due = await service.merchants_due(session, moment=now())
    for merchant_id in due:
        await compare_one(merchant_id)
    return len(due)


async def compare_one(merchant_id: MerchantId) -> None:
    """Compare one merchant, then prove that its books hold."""
    actor = Actor.worker(merchant_id, NIGHTLY)
    async with unit_of_work(merchant_id) as session:
        await runs.compare(session, actor)
    async with unit_of_work(merchant_id) as session:
        await invariants.check(session, actor)
