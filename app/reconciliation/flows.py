"""Reconciliation without a person waiting: files are read, and every merchant is compared and proven; one transaction for each step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile
from typing import BinaryIO
from uuid import UUID

import structlog

from app.core import outbox, rounds
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.failpoints import failpoint
from app.core.ids import AttemptId, MerchantId
from app.payments import flows as payments
from app.psp.domain import Outcome
from app.reconciliation import queries, service
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.balances import flows as balances
from app.reconciliation.breaks import queries as breaks
from app.reconciliation.domain.arrivals import MAX_FILE, ArrivalStatus, Origin
from app.reconciliation.domain.breaks import ComparisonDue
from app.reconciliation.domain.feeds import FetchOutcome
from app.reconciliation.domain.lines import Tally
from app.reconciliation.drops import flows as drops
from app.reconciliation.feeds import service as feeds
from app.reconciliation.invariants import service as invariants
from app.reconciliation.invariants.queries import Proof
from app.reconciliation.runs import service as runs

log = structlog.get_logger()
NIGHTLY, FETCHER = "Nightly reconciliation", "Fetching by the clock"
PROGRESS_SECONDS = 0.7


async def take_file(*, merchant_id: MerchantId, arrival_id: UUID) -> None:
    """Read a file that arrived and compare everything with it. Whenever it dies, doing it again goes on where it was."""
    async with unit_of_work(merchant_id) as session:
        arrival = await arrivals.begin(session, merchant_id=merchant_id, arrival_id=arrival_id)
    await failpoint("reconciliation.begun")
    if arrival.status == ArrivalStatus.READING:
        await _read(merchant_id, arrival_id)
        await failpoint("reconciliation.read")
    await _compare(merchant_id, arrival_id)


async def _compare(merchant_id: MerchantId, arrival_id: UUID) -> None:
    async with unit_of_work(merchant_id) as session:
        arrival = await queries.arrival(session, merchant_id=merchant_id, arrival_id=arrival_id)
    if arrival.status != ArrivalStatus.COMPARING:
        drops.set_aside_refused(arrival)
        return
    tally = Tally()
    tally.lines, tally.read_bytes = arrival.read_lines, arrival.read_bytes
    async with _telling(merchant_id, arrival_id, tally), unit_of_work(merchant_id) as session:
        run = await runs.compare(session, Actor.worker(merchant_id, arrival.brought_by))
        await arrivals.finish(session, merchant_id=merchant_id, arrival_id=arrival_id, run=run)
        await failpoint("reconciliation.comparing")


async def _read(merchant_id: MerchantId, arrival_id: UUID) -> None:
    with TemporaryFile() as kept:
        content: BinaryIO = kept
        async with unit_of_work(merchant_id) as session:
            await arrivals.copy_bytes(session, merchant_id=merchant_id, arrival_id=arrival_id, into=content)
        tally = Tally()
        async with _telling(merchant_id, arrival_id, tally), unit_of_work(merchant_id) as session:
            await arrivals.take(session, merchant_id=merchant_id, arrival_id=arrival_id, content=content, tally=tally)
            await failpoint("reconciliation.reading")


@asynccontextmanager
async def _telling(merchant_id: MerchantId, arrival_id: UUID, tally: Tally) -> AsyncIterator[None]:
    """Tell now and then, in transactions of their own, how far the reading is."""
    done = asyncio.Event()
    teller = asyncio.create_task(_tell(merchant_id, arrival_id, tally, done))
    try:
        yield
    finally:
        done.set()
        await teller


async def _tell(merchant_id: MerchantId, arrival_id: UUID, tally: Tally, done: asyncio.Event) -> None:
    while not await _passed(done, PROGRESS_SECONDS):
        async with unit_of_work(merchant_id) as session:
            await arrivals.tell_progress(
                session, merchant_id=merchant_id, arrival_id=arrival_id, read_bytes=tally.read_bytes, read_lines=tally.lines
            )


async def _passed(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def fetch_due() -> int:
    """Look for new reports wherever the time has come; returns how many sources were looked at."""
    async with unit_of_work(None) as session:
        due = await feeds.due(session, moment=now())

    async def look(which: tuple[MerchantId, UUID]) -> int:
        await fetch(merchant_id=which[0], feed_id=which[1])
        return 1

    return await rounds.each(due, look)


async def fetch(*, merchant_id: MerchantId, feed_id: UUID) -> None:
    """Take one look for a source's new reports. What is fetched is stored at once; what is not, is tried again by the clock."""
    async with unit_of_work(merchant_id) as session:
        looked = await feeds.claim(session, merchant_id=merchant_id, feed_id=feed_id)
    if looked is None:
        return
    offered = await looked.adapter.list_reports(looked.kind, since=looked.since)
    await failpoint("reconciliation.listed")
    if offered.outcome is not Outcome.SUCCEEDED:
        await _looked(merchant_id, looked, _outcome(offered.outcome), f"The list of reports did not come: {_words(offered.code)}.")
        return
    async with unit_of_work(merchant_id) as session:
        names = await feeds.unknown_names(session, merchant_id=merchant_id, source_id=looked.source_id, names=offered.names)
    failures = [failed for name in names if (failed := await _fetch_one(merchant_id, looked, name)) is not None]
    count = len(names) - len(failures)
    if failures:
        await _looked(merchant_id, looked, *failures[-1])
    else:
        await _looked(merchant_id, looked, FetchOutcome.FETCHED if count else FetchOutcome.NOTHING_NEW, None)


async def _fetch_one(merchant_id: MerchantId, looked: feeds.Claimed, name: str) -> tuple[FetchOutcome, str] | None:
    """Fetch one report and store its bytes; says why it was not possible, if it was not."""
    with TemporaryFile() as kept:
        report = await looked.adapter.fetch_report(looked.kind, name, into=kept, most_bytes=MAX_FILE)
        await failpoint("reconciliation.fetched")
        if report.outcome is not Outcome.SUCCEEDED:
            return _outcome(report.outcome), f"{name} did not come: {_words(report.code)}."
        kept.seek(0)
        try:
            async with unit_of_work(merchant_id) as session:
                source = await queries.source(session, merchant_id=merchant_id, source_id=looked.source_id)
                actor = Actor.worker(merchant_id, FETCHER)
                await arrivals.receive(session, actor, source=source, name=name, content=kept, origin=Origin.FETCH, report=name)
        except AppError as refused:
            return FetchOutcome.FAILED, f"{name}: {refused.detail}"
    return None


async def _looked(merchant_id: MerchantId, looked: feeds.Claimed, outcome: FetchOutcome, reason: str | None) -> None:
    async with unit_of_work(merchant_id) as session:
        await feeds.record(session, merchant_id=merchant_id, looked=looked, outcome=outcome, reason=reason)


def _outcome(outcome: Outcome) -> FetchOutcome:
    """A clear no is a failure; anything else is not known."""
    return FetchOutcome.FAILED if outcome in {Outcome.DECLINED, Outcome.NOT_SENT} else FetchOutcome.UNKNOWN


def _words(code: str | None) -> str:
    return (code or "no clear answer").replace("_", " ")


async def compare_all() -> int:
    """Have every merchant compared that has sources, each by a job of its own; returns how many.

    So one that fails, or takes long, keeps no other from its nightly proof, and is tried again by itself.
    """
    async with unit_of_work(None) as session:
        due = await service.merchants_due(session, moment=now())
    for merchant_id in due:
        async with unit_of_work(merchant_id) as session:
            await outbox.publish(session, merchant_id=merchant_id, event=ComparisonDue())
    return len(due)


async def compare_one(merchant_id: MerchantId) -> None:
    """Compare one merchant, ask its providers about what only they know, then prove that its books hold."""
    actor = Actor.worker(merchant_id, NIGHTLY)
    async with unit_of_work(merchant_id) as session:
        await runs.compare(session, actor)
        undecided = await breaks.undecided_attempts(session, merchant_id=merchant_id)
    if await _ask(merchant_id, undecided):
        async with unit_of_work(merchant_id) as session:
            await runs.compare(session, actor)
    await prove(actor)


async def prove(actor: Actor) -> Proof:
    """Ask every provider what it owes, then check every invariant of a merchant and keep what was found."""
    told = await balances.ask(merchant_id=actor.merchant)
    async with unit_of_work(actor.merchant) as session:
        return await invariants.check(session, actor, balances=told)


async def _ask(merchant_id: MerchantId, attempts: list[AttemptId]) -> int:
    """Ask the provider about what its file has and the books are not sure of; returns how often it was asked."""
    for attempt_id in attempts:
        try:
            await payments.ask(merchant_id=merchant_id, attempt_id=attempt_id)
        except Exception:
            log.exception("asking about a break failed; it stays open", attempt=str(attempt_id))
    return len(attempts)
