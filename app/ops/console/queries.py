"""What operators see across merchants, through doors that open only during a visit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import public_id
from app.core.money import Money
from app.ops.console.schemas import ConsolePage, DeadJobRow, DeadJobsPage, UnknownPage, UnknownRow, VisitRow
from app.ops.models import OperatorVisit
from app.web.sessions import Operating, Visitor

MOST = 50
LENGTHS = [(15, "15 minutes"), (30, "30 minutes"), (60, "An hour")]
_PREFIX = {"payment": "pay", "payout": "po"}
_DEAD = text("select * from operator_dead_jobs(:visit, :now, :most)")
_UNKNOWN = text("select * from operator_unknown(:visit, :now, :most)")


async def console(session: AsyncSession, visitor: Visitor) -> ConsolePage:
    """The open visit and one's last ones."""
    mine = select(OperatorVisit).where(OperatorVisit.person_id == visitor.person_id)
    rows = await session.scalars(mine.order_by(OperatorVisit.expires_at.desc()).limit(10))
    operating = visitor.operating or Operating()
    return ConsolePage(until=operating.until, reason=operating.reason or "", visits=[_visit(row) for row in rows], choices=LENGTHS)


def _visit(row: OperatorVisit) -> VisitRow:
    ends = row.closed_at or row.expires_at
    return VisitRow(reason=row.reason, opened_at=row.opened_at, ends_at=ends, is_open=ends > now())


async def _looked(session: AsyncSession, statement: Any, operating: Operating) -> Sequence[Row[Any]]:
    values: dict[str, object] = {"visit": operating.visit, "now": now(), "most": MOST}
    return (await session.execute(statement, values)).all()


def _until(operating: Operating) -> tuple[str, datetime | None]:
    return operating.reason or "", operating.until


async def dead_jobs(session: AsyncSession, operating: Operating) -> DeadJobsPage:
    """Jobs of all merchants that were given up, the latest first."""
    rows = await _looked(session, _DEAD, operating)
    reason, until = _until(operating)
    jobs = [
        DeadJobRow(
            merchant_id=public_id("mer", row.merchant_id),
            merchant=row.merchant,
            event_id=str(row.event_id),
            actor=row.actor,
            topic=row.topic,
            attempts=row.attempts,
            error=row.error,
            first_at=row.first_at,
            last_at=row.last_at,
        )
        for row in rows
    ]
    return DeadJobsPage(jobs=jobs, reason=reason, until=until, may_be_more=len(jobs) == MOST)


async def unknown_outcomes(session: AsyncSession, operating: Operating) -> UnknownPage:
    """Payments and payouts of all merchants of which nobody knows yet how they ended, the oldest first."""
    found = await _looked(session, _UNKNOWN, operating)
    reason, until = _until(operating)
    rows = [
        UnknownRow(
            merchant_id=public_id("mer", row.merchant_id),
            merchant=row.merchant,
            noun=row.noun,
            id=public_id(_PREFIX[row.noun], row.id),
            amount=Money(row.amount_minor, row.currency),
            since=row.since,
        )
        for row in found
    ]
    return UnknownPage(rows=rows, reason=reason, until=until, may_be_more=len(rows) == MOST)
