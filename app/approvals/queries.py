"""Reads about approvals: how many people an amount needs, what waits, and a merchant's rules."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.approvals.domain import ALONE_MINOR, DECIDED_WITH, EVERYTHING, AboveLimit, Act, ApprovalNotFound, ApprovalStatus, Asked, Part
from app.approvals.models import Approval, ApprovalPolicy, ApprovalRule, ApprovalVote
from app.approvals.schemas import ApprovalRulesPage, RuleRow
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import path_id
from app.core.money import MAX_MINOR, Money
from app.tenancy.domain import PERMISSIONS
from app.tenancy.rules.queries import CURRENCIES

DECIDERS = ("payments.approve", "payouts.approve", "reconciliation.approve")
LIMITED_BY = {Act.REFUND: "payments.refund", Act.WRITE_OFF: "wallets.write_off"}
Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])


def approval_id(text: str) -> UUID:
    """The request in an address."""
    return path_id("apr", text, otherwise=ApprovalNotFound())


async def approval(session: AsyncSession, actor: Actor, *, approval_id: UUID, lock: bool = False) -> Approval:
    """One request for approval."""
    statement = select(Approval).where(Approval.merchant_id == actor.merchant, Approval.id == approval_id)
    found = (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()
    if found is None:
        raise ApprovalNotFound()
    return found


def part_of(statement: Rows, key: InstrumentedAttribute[UUID], part: Part) -> Rows:
    """The part of a list that is asked for, in the order of its ids."""
    if part.only is not None:
        statement = statement.where(key.in_(part.only))
    if part.after is not None:
        statement = statement.where(key < part.after if part.backwards else key > part.after)
    return statement.order_by(key.desc() if part.backwards else key.asc()).limit(part.most)


def _open(actor: Actor, act: Act) -> list[ColumnElement[bool]]:
    return [
        Approval.merchant_id == actor.merchant,
        Approval.act == act,
        Approval.status.in_([ApprovalStatus.PENDING, ApprovalStatus.APPROVED]),
        Approval.expires_at > now(),
    ]


async def how_many_wait(session: AsyncSession, actor: Actor, *, act: Act) -> int:
    """How many wait."""
    return await session.scalar(select(func.count()).select_from(Approval).where(*_open(actor, act))) or 0


async def waiting(
    session: AsyncSession, actor: Actor, *, act: Act, part: Part = EVERYTHING, requested_by: UUID | None = None
) -> list[Asked]:
    """What waits, oldest first, with who agreed so far; of one person's own with ``requested_by``."""
    mine = select(Approval).where(*_open(actor, act))
    if requested_by is not None:
        mine = mine.where(Approval.requested_by == requested_by)
    rows = list(await session.scalars(part_of(mine, Approval.id, part)))
    given = select(ApprovalVote).where(ApprovalVote.merchant_id == actor.merchant, ApprovalVote.approval_id.in_([row.id for row in rows]))
    votes: dict[UUID, list[ApprovalVote]] = {}
    for vote in await session.scalars(given.order_by(ApprovalVote.at)):
        votes.setdefault(vote.approval_id, []).append(vote)
    return [_asked(actor, row, votes.get(row.id, [])) for row in rows]


async def asked(session: AsyncSession, actor: Actor, *, approval_id: UUID) -> Asked:
    """One request, whatever became of it."""
    row = await approval(session, actor, approval_id=approval_id)
    given = select(ApprovalVote).where(ApprovalVote.merchant_id == actor.merchant, ApprovalVote.approval_id == approval_id)
    return _asked(actor, row, list(await session.scalars(given.order_by(ApprovalVote.at))))


def _asked(actor: Actor, row: Approval, votes: list[ApprovalVote]) -> Asked:
    agreed_already = row.status == ApprovalStatus.APPROVED
    may = actor.id != row.requested_by and (agreed_already or actor.id not in {vote.approver_id for vote in votes})
    return Asked(
        id=row.id,
        object_id=row.object_id,
        instruction=row.instruction,
        digest=row.digest,
        amount=Money(row.amount_minor, row.currency),
        reason=row.reason,
        status=ApprovalStatus(row.status),
        approvers=row.approvers,
        agreed=[vote.approver_name for vote in votes],
        requested_by_name=row.requested_by_name,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        may_decide=may and actor.can(row.permission),
    )


async def policy(session: AsyncSession, actor: Actor, *, act: Act) -> tuple[str, AboveLimit]:
    """Which permission decides about an act, and what a member's limit means: by default one asks."""
    statement = select(ApprovalPolicy).where(ApprovalPolicy.merchant_id == actor.merchant, ApprovalPolicy.act == act)
    found = await session.scalar(statement)
    return (found.permission, AboveLimit(found.above_limit)) if found else (DECIDED_WITH[act], AboveLimit.ASK)


async def approvers_needed(session: AsyncSession, actor: Actor, *, act: Act, amount: Money) -> int:
    """How many others have to agree to an amount; refuses what is above the actor's limit where the merchant wants that."""
    rules = select(func.max(ApprovalRule.approvers)).where(
        ApprovalRule.merchant_id == actor.merchant,
        ApprovalRule.act == act,
        ApprovalRule.currency == amount.currency,
        ApprovalRule.from_minor <= amount.minor,
    )
    needed = await session.scalar(rules) or 0
    if act in ALONE_MINOR and not needed:
        most = await alone(session, actor, act=act, currency=amount.currency)
        needed = int(amount > most)
    if actor.exceeds(LIMITED_BY[act], amount):
        _, above = await policy(session, actor, act=act)
        if above is AboveLimit.REFUSE:
            actor.require_within(LIMITED_BY[act], amount)
        return max(needed, 1)
    return needed


async def alone(session: AsyncSession, actor: Actor, *, act: Act, currency: str) -> Money:
    """Up to which amount one person does an act without others: below the merchant's first rule, or as the house has it."""
    first = select(func.min(ApprovalRule.from_minor)).where(
        ApprovalRule.merchant_id == actor.merchant, ApprovalRule.act == act, ApprovalRule.currency == currency
    )
    start = await session.scalar(first)
    return Money(max(0, start - 1) if start is not None else ALONE_MINOR.get(act, MAX_MINOR), currency)


def _rule(row: ApprovalRule) -> RuleRow:
    return RuleRow(start=Money(row.from_minor, row.currency), approvers=row.approvers)


async def rules_page(session: AsyncSession, actor: Actor) -> ApprovalRulesPage:
    """From which amounts on refunds need others, who they are, and what a member's limit means."""
    statement = select(ApprovalRule).where(ApprovalRule.merchant_id == actor.merchant)
    rows = list(await session.scalars(statement.order_by(ApprovalRule.currency, ApprovalRule.from_minor)))
    permission, above = await policy(session, actor, act=Act.REFUND)
    return ApprovalRulesPage(
        rules=[_rule(row) for row in rows if row.act == Act.REFUND],
        write_offs=[_rule(row) for row in rows if row.act == Act.WRITE_OFF],
        permission=permission,
        permissions=[(name, PERMISSIONS[name].meaning) for name in DECIDERS],
        above_limit=above,
        currencies=list(CURRENCIES),
        may_change=actor.can("rules.write"),
    )
