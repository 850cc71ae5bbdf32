"""Several breaks at once: tried first without a trace, then done, each in a transaction of its own, so that one that fails stops no other."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.money import Money
from app.reconciliation.breaks import queries, service
from app.reconciliation.domain.breaks import BreakStatus, BulkAction, ResolutionImpossible
from app.reconciliation.domain.journals import Target
from app.reconciliation.schemas.breaks import ChosenRow


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about each of several breaks."""

    action: BulkAction
    reason: str = ""
    member_id: UUID | None = None
    target: Target | None = None


async def try_each(actor: Actor, step: Step, ids: Sequence[UUID]) -> list[ChosenRow]:
    """What would come of a step for each break: it is really taken and taken back, so that the answer is the one that doing it would give."""
    found: dict[UUID, tuple[bool, str, Money | None]] = {}
    async with unit_of_work(actor.merchant) as session:
        for break_id in ids:
            point = await session.begin_nested()
            try:
                found[break_id] = (True, *await _take(session, actor, step, break_id))
            except AppError as refused:
                found[break_id] = (False, refused.detail, None)
            await point.rollback()
        session.expunge_all()
        return await _rows(session, actor, found)


async def do_each(actor: Actor, step: Step, ids: Sequence[UUID]) -> list[ChosenRow]:
    """Take a step about each break, and say for each what came of it."""
    found: dict[UUID, tuple[bool, str, Money | None]] = {}
    for break_id in ids:
        try:
            async with unit_of_work(actor.merchant) as session:
                found[break_id] = (True, *await _take(session, actor, step, break_id))
        except AppError as refused:
            found[break_id] = (False, refused.detail, None)
    async with unit_of_work(actor.merchant) as session:
        return await _rows(session, actor, found)


async def _rows(session: AsyncSession, actor: Actor, found: dict[UUID, tuple[bool, str, Money | None]]) -> list[ChosenRow]:
    rows = await queries.chosen_breaks(session, merchant_id=actor.merchant, ids=list(found))
    outcomes = {queries.break_public_id(break_id): outcome for break_id, outcome in found.items()}
    return [ChosenRow(row=row, is_possible=outcomes[row.id][0], said=outcomes[row.id][1], money=outcomes[row.id][2]) for row in rows]


async def _take(session: AsyncSession, actor: Actor, step: Step, break_id: UUID) -> tuple[str, Money | None]:
    match step.action:
        case BulkAction.CLAIM:
            await service.claim(session, actor, break_id=break_id)
            return "Yours", None
        case BulkAction.ASSIGN:
            if step.member_id is None:
                return "Assigned", None
            found = await service.assign(session, actor, break_id=break_id, member_id=step.member_id)
            return f"Assigned to {found.owner_name}", None
        case BulkAction.PARK:
            await service.park(session, actor, break_id=break_id, reason=step.reason)
            return "Parked", None
        case BulkAction.UNPARK:
            await service.unpark(session, actor, break_id=break_id)
            return "Open again", None
        case BulkAction.WRITE_OFF:
            left = await service.left_over(session, actor, break_id=break_id)
            found = await service.write_off(session, actor, break_id=break_id, reason=step.reason)
            alone = found.status == BreakStatus.RESOLVED
            return "Written off" if alone else "Needs approval by somebody else", left
        case BulkAction.MOVE:
            left = await service.left_over(session, actor, break_id=break_id)
            if step.target is None:
                raise ResolutionImpossible("Choose the account.")
            found = await service.move_all(session, actor, break_id=break_id, target=step.target, reason=step.reason)
            alone = found.status == BreakStatus.RESOLVED
            return "Moved" if alone else "Needs approval by somebody else", left
