"""What operators see across merchants, through doors that open only during a visit."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Row, and_, false, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import MalformedId, parse_id, public_id
from app.core.paging import PAGE_SIZE, Page, fetch_page, page_of, place
from app.identity import queries as people
from app.ops.console.schemas import (
    ConsolePage,
    DeadJobRow,
    DeadJobsPage,
    JobFilter,
    MerchantListPage,
    MerchantRow,
    VisitFilter,
    VisitListPage,
    VisitRow,
)
from app.ops.models import OperatorVisit
from app.web.sessions import Operating, Visitor

LENGTHS = [(15, "15 minutes"), (30, "30 minutes"), (60, "An hour")]
COUNTED = 1_000
Keys = Mapping[str, tuple[str, Callable[[str], object]]]
"""The columns a list is sorted by, each with the argument that continues it and how its value is read from an address."""


async def turn(
    session: AsyncSession, operating: Operating, door: str, *, keys: Keys, values: Mapping[str, object], after: str | None
) -> Page[Row[Any]]:
    """One page of what is behind a door; behind a shut one there is nothing."""
    cursor, here = place(after, *(reader for _, reader in keys.values()))
    given = dict(values) | {"visit": operating.visit, "now": now(), "most": PAGE_SIZE + 1}
    given |= dict(zip((argument for argument, _ in keys.values()), here, strict=True))
    way = "_back" if cursor is not None and cursor.backwards else ""
    called = f"select * from {door}{way}({', '.join(f'p_{name} => :{name}' for name in given)})"  # noqa: S608 - our own names
    rows = list((await session.execute(text(called), given)).all())
    return page_of(rows, list(keys), cursor=cursor)


def whose(merchant: str) -> dict[str, object]:
    """A merchant by its id, or every merchant with this in its name."""
    try:
        return {"merchant": parse_id("mer", merchant), "name": None}
    except MalformedId:
        return {"merchant": None, "name": merchant.strip() or None}


def counted(number: int) -> str:
    """A number as the database counted it, which stops after a thousand."""
    return f"{number:,}" if number <= COUNTED else f"{COUNTED:,}+"


async def console(session: AsyncSession, visitor: Visitor) -> ConsolePage:
    """The open visit and one's last ones."""
    mine = select(OperatorVisit).where(OperatorVisit.person_id == visitor.person_id)
    rows = await session.scalars(mine.order_by(OperatorVisit.expires_at.desc()).limit(5))
    operating = visitor.operating or Operating()
    return ConsolePage(until=operating.until, reason=operating.reason or "", visits=[_visit(row, "") for row in rows], choices=LENGTHS)


def _visit(row: Any, who: str) -> VisitRow:
    ends = row.closed_at or row.expires_at
    return VisitRow(who=who, reason=row.reason, opened_at=row.opened_at, ends_at=ends, is_open=ends > now())


async def visits(session: AsyncSession, *, chosen: VisitFilter, after: str | None) -> VisitListPage:
    """Every visit of every operator, the latest first: operators see what the others looked for."""
    statement = select(*OperatorVisit.__table__.c)
    if chosen.who:
        person = await people.someone(session, chosen.who)
        statement = statement.where(OperatorVisit.person_id == person.id if person else false())
    over = or_(OperatorVisit.closed_at.is_not(None), OperatorVisit.expires_at <= now())
    if chosen.status == "open":
        statement = statement.where(and_(OperatorVisit.closed_at.is_(None), OperatorVisit.expires_at > now()))
    elif chosen.status == "over":
        statement = statement.where(over)
    page = await fetch_page(session, statement, keys=[OperatorVisit.opened_at, OperatorVisit.id], after=after)
    names = await people.names(session, {row.person_id for row in page.items})
    return VisitListPage(visits=page.map(lambda row: _visit(row, names.get(row.person_id, "–"))), filter=chosen)


JOB_KEYS: Keys = {"last_at": ("last", datetime.fromisoformat), "event_id": ("event", UUID), "actor": ("actor", str)}


async def dead_jobs(session: AsyncSession, operating: Operating, *, chosen: JobFilter, after: str | None = None) -> DeadJobsPage:
    """Jobs of all merchants that were given up, the latest first."""
    values = whose(chosen.merchant) | {"job": chosen.job or None}
    page = await turn(session, operating, "operator_dead_jobs", keys=JOB_KEYS, values=values, after=after)
    return DeadJobsPage(jobs=page.map(_job), filter=chosen, reason=operating.reason or "")


def _job(row: Row[Any]) -> DeadJobRow:
    return DeadJobRow(
        merchant_id=public_id("mer", row.merchant_id),
        merchant=row.merchant,
        is_sandbox=row.is_sandbox,
        event_id=str(row.event_id),
        actor=row.actor,
        topic=row.topic,
        attempts=row.attempts,
        error=row.error,
        first_at=row.first_at,
        last_at=row.last_at,
    )


MERCHANT_KEYS: Keys = {"since": ("since", datetime.fromisoformat), "merchant_id": ("id", UUID)}


async def merchants(session: AsyncSession, operating: Operating, *, q: str, after: str | None) -> MerchantListPage:
    """Everybody who works with the platform, the newest first, with what waits at each."""
    page = await turn(session, operating, "operator_merchants", keys=MERCHANT_KEYS, values={"name": q.strip() or None}, after=after)
    return MerchantListPage(merchants=page.map(_merchant), q=q, reason=operating.reason or "")


def _merchant(row: Row[Any]) -> MerchantRow:
    merchant_id = public_id("mer", row.merchant_id)
    return MerchantRow(
        id=merchant_id,
        name=row.merchant,
        is_sandbox=row.is_sandbox,
        status=row.status,
        since=row.since,
        people=row.people,
        connections=row.connections,
        unknown=counted(row.unknown),
        dead=counted(row.dead),
        queue_href="/operator/queue?" + urlencode({"merchant": merchant_id}),
        jobs_href="/operator/jobs?" + urlencode({"merchant": merchant_id}),
    )
