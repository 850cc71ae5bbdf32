"""Writes of a merchant's rules of step-up: a merchant may ask for more than the house does, never for less."""

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.money import Money
from app.tenancy.domain import FRESH_MINUTES
from app.tenancy.models import StepUpLimit, StepUpRule


async def set_freshness(session: AsyncSession, actor: Actor, *, minutes: Mapping[str, int]) -> None:
    """Say per permission how many minutes old a factor may be; from everybody's next request on."""
    wrong = {name: _refusal(name) for name, asked in minutes.items() if not 1 <= asked <= FRESH_MINUTES.get(name, 0)}
    if wrong:
        raise Invalid(fields={f"minutes_{name}": text for name, text in wrong.items()})
    held = select(StepUpRule.permission, StepUpRule.minutes).where(StepUpRule.merchant_id == actor.merchant)
    before: dict[str, int] = {row.permission: row.minutes for row in await session.execute(held)}
    after = {name: asked for name, asked in (before | dict(minutes)).items() if asked < FRESH_MINUTES[name]}
    if before == after:
        return
    await session.execute(delete(StepUpRule).where(StepUpRule.merchant_id == actor.merchant))
    rows = [{"merchant_id": actor.merchant, "permission": name, "minutes": asked} for name, asked in after.items()]
    if rows:
        await session.execute(insert(StepUpRule), rows)
    await audit.record(
        session, actor, action="step_up.freshness_set", object_type="merchant", object_id=actor.merchant, before=before, after=after
    )


def _refusal(permission: str) -> str:
    declared = FRESH_MINUTES.get(permission)
    return f"Choose between 1 and {declared} minutes." if declared else "Acts under this permission ask for no factor."


async def set_money_limit(session: AsyncSession, actor: Actor, *, limit: Money) -> None:
    """Say how much one proof of the second factor moves in a currency; beyond it people are asked again, however fresh the factor is."""
    if limit.is_negative:
        raise Invalid(fields={"limit": "Enter zero or more; at zero every act asks."})
    held = select(StepUpLimit.limit_minor).where(StepUpLimit.merchant_id == actor.merchant, StepUpLimit.currency == limit.currency)
    before = await session.scalar(held)
    row = {"merchant_id": actor.merchant, "currency": limit.currency, "limit_minor": limit.minor}
    statement = (
        upsert(StepUpLimit).values(row).on_conflict_do_update(index_elements=["merchant_id", "currency"], set_={"limit_minor": limit.minor})
    )
    await session.execute(statement)
    await audit.record(
        session,
        actor,
        action="step_up.limit_set",
        object_type="merchant",
        object_id=actor.merchant,
        before=None if before is None else {limit.currency: before},
        after={limit.currency: limit.minor},
    )
