"""Reports that are fetched by the clock: who looks next, what is known already, and what came of it."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, outbox
from app.core.actors import Actor
from app.core.clock import now, today
from app.core.errors import AppError
from app.core.ids import ConnectionId, MerchantId, new_id
from app.psp import service as connections
from app.psp.domain import ReportingAdapter, ReportKind
from app.reconciliation.domain.feeds import EVERY, LEASE, FeedInvalid, FeedMissing, FetchAsked, FetchOutcome, wait_after
from app.reconciliation.models import Source
from app.reconciliation.models.arrivals import Arrival, Feed

LOOK_BACK = timedelta(days=60)
"""Reports that are older are handed in by a person: a look has to come to an end."""
MOST = 1_000
_DUE = text("select merchant_id, id from recon_feeds_due(:moment, :most)")


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A look for new reports that somebody is about to take; nobody else takes it meanwhile."""

    feed_id: UUID
    claim: UUID
    source_id: UUID
    kind: ReportKind
    since: date
    adapter: ReportingAdapter


async def set_feed(
    session: AsyncSession, actor: Actor, *, source: Source, connection_id: ConnectionId | None, minutes: int, since: date, is_on: bool
) -> Feed:
    """Say from where a source's reports are fetched, how often, and from which day on; the first look is taken at once."""
    connection_id = ConnectionId(source.connection_id) if source.connection_id else connection_id
    if connection_id is None:
        raise FeedInvalid("Choose the connection they are fetched through.", fields={"feed_connection": "Choose a connection."})
    if minutes not in EVERY:
        raise FeedInvalid("Choose how often.", fields={"minutes": "Choose one of these."})
    if since > today():
        raise FeedInvalid("Nothing can be fetched of days to come.", fields={"since": "Choose today or a day before."})
    await connections.reporter_for(session, merchant_id=actor.merchant, connection_id=connection_id)
    changed = {
        "connection_id": connection_id,
        "minutes": minutes,
        "since": since,
        "is_on": is_on,
        "next_at": now(),
        "claim": None,
        "tries": 0,
    }
    report = ReportKind.SETTLEMENT if source.side == "psp" else ReportKind.STATEMENT
    values = {"merchant_id": actor.merchant, "id": new_id(), "source_id": source.id, "report": report, **changed}
    statement = insert(Feed).values(values).on_conflict_do_update(index_elements=["merchant_id", "source_id"], set_=changed)
    feed = (await session.execute(statement.returning(Feed), execution_options={"populate_existing": True})).scalar_one()
    after = {"connection": str(connection_id), "minutes": minutes, "since": since.isoformat(), "on": is_on}
    await audit.record(session, actor, action="reconciliation.feed_set", object_type="recon_source", object_id=source.id, after=after)
    return feed


async def ask_now(session: AsyncSession, actor: Actor, *, source: Source) -> Feed:
    """Look for new reports now, whatever the clock says."""
    feed = await feed_of(session, source=source, lock=True)
    if feed is None:
        raise FeedMissing("Say first from where its reports are fetched.")
    feed.next_at, feed.is_on = now(), True
    await outbox.publish(session, merchant_id=actor.merchant, event=FetchAsked(), object_id=feed.id)
    await audit.record(session, actor, action="reconciliation.fetch_asked", object_type="recon_source", object_id=source.id)
    return feed


async def feed_of(session: AsyncSession, *, source: Source, lock: bool = False) -> Feed | None:
    """What is fetched for a source."""
    statement = select(Feed).where(Feed.merchant_id == source.merchant_id, Feed.source_id == source.id)
    return (await session.execute(statement.with_for_update() if lock else statement)).scalar_one_or_none()


async def due(session: AsyncSession, *, moment: datetime) -> list[tuple[MerchantId, UUID]]:
    """The feeds whose time has come, of all merchants."""
    found = await session.execute(_DUE, {"moment": moment, "most": MOST})
    return [(MerchantId(row.merchant_id), row.id) for row in found]


async def claim(session: AsyncSession, *, merchant_id: MerchantId, feed_id: UUID) -> Claimed | None:
    """Take the next look of a feed, if its time has come and nobody else has taken it."""
    statement = select(Feed).where(Feed.merchant_id == merchant_id, Feed.id == feed_id, Feed.is_on, Feed.next_at <= now())
    feed = (await session.execute(statement.with_for_update(skip_locked=True))).scalar_one_or_none()
    if feed is None:
        return None
    feed.claim, feed.tried_at, feed.next_at = new_id(), now(), now() + LEASE
    connection_id = ConnectionId(feed.connection_id)
    try:
        adapter = await connections.reporter_for(session, merchant_id=merchant_id, connection_id=connection_id)
    except AppError as refused:
        _keep(feed, FetchOutcome.FAILED, refused.detail)
        return None
    since = max(feed.since, today() - LOOK_BACK)
    kind = ReportKind(feed.report)
    return Claimed(feed_id=feed.id, claim=feed.claim, source_id=feed.source_id, kind=kind, since=since, adapter=adapter)


async def unknown_names(session: AsyncSession, *, merchant_id: MerchantId, source_id: UUID, names: Sequence[str]) -> list[str]:
    """Which of the reports have not been fetched yet, in the order they came."""
    of = (Arrival.merchant_id == merchant_id, Arrival.source_id == source_id, Arrival.report.in_(names))
    known = set((await session.execute(select(Arrival.report).where(*of))).scalars())
    return [name for name in names if name not in known]


async def record(session: AsyncSession, *, merchant_id: MerchantId, looked: Claimed, outcome: FetchOutcome, reason: str | None) -> None:
    """Keep what came of a look and when the next one is; a look that took too long and was taken again says nothing any more."""
    statement = select(Feed).where(Feed.merchant_id == merchant_id, Feed.id == looked.feed_id, Feed.claim == looked.claim)
    feed = (await session.execute(statement.with_for_update())).scalar_one_or_none()
    if feed is None:
        return
    _keep(feed, outcome, reason)


def _keep(feed: Feed, outcome: FetchOutcome, reason: str | None) -> None:
    failed = outcome in {FetchOutcome.FAILED, FetchOutcome.UNKNOWN}
    feed.claim, feed.outcome, feed.reason = None, outcome, reason and reason[:500]
    feed.tries = feed.tries + 1 if failed else 0
    feed.next_at = now() + wait_after(feed.tries, feed.minutes)
