"""Reads about resets of second factors."""

from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import public_id
from app.identity import queries as people
from app.tenancy import queries as teams
from app.tenancy.models import FactorReset
from app.tenancy.resets.domain import FACTOR_RESET, ResetStatus
from app.tenancy.resets.schemas import ResetRow, ResetsPage

MOST = 100


async def resets(session: AsyncSession, actor: Actor, *, mine: bool) -> ResetsPage:
    """The latest hundred resets: the merchant's, or those that are about the person asking."""
    whose = FactorReset.person_id == actor.id if mine else FactorReset.merchant_id == actor.merchant
    rows = (await session.execute(select(*FactorReset.__table__.c).where(whose).order_by(FactorReset.id.desc()).limit(MOST))).all()
    names = await people.names(session, {row.person_id for row in rows} | {row.requested_by for row in rows})
    team = [] if mine else (await teams.team(session, actor)).members
    options = [(member.id, f"{member.name}, {member.email}") for member in team if not member.me]
    return ResetsPage(resets=[_row(row, actor, names, mine=mine) for row in rows], members=options, mine=mine)


def _row(row: Row[tuple[object, ...]], actor: Actor, names: dict[UUID, str], *, mine: bool) -> ResetRow:
    status = ResetStatus(row.status)
    strange = actor.id not in (row.requested_by, row.person_id)
    return ResetRow(
        id=public_id("frs", row.id),
        name=names.get(row.person_id, "Somebody"),
        status=row.status,
        reason=row.reason,
        requested_by=names.get(row.requested_by, "Somebody"),
        requested_at=row.requested_at,
        due_at=row.due_at,
        may_approve=not mine and strange and FACTOR_RESET.can(status, "approve"),
        may_cancel=FACTOR_RESET.can(status, "cancel"),
    )
