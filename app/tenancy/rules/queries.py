"""Reads about a merchant's rules: how fresh a factor must be, and how much money one proof of it is good for."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.money import Money
from app.tenancy.domain import FRESH_MINUTES, PERMISSIONS
from app.tenancy.models import StepUpLimit, StepUpRule
from app.tenancy.schemas import FreshnessRow, StepUpRulesPage

CHOICES = (1, 2, 5, 10, 15)
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK", "DKK", "NOK", "PLN", "AUD", "CAD")


async def step_up_rules(session: AsyncSession, actor: Actor) -> StepUpRulesPage:
    """How fresh a factor must be for which acts, and how much one proof of it moves."""
    here = (await session.execute(select(StepUpRule.permission, StepUpRule.minutes).where(StepUpRule.merchant_id == actor.merchant))).all()
    asked: dict[str, int] = {row.permission: row.minutes for row in here}
    limits = select(StepUpLimit.currency, StepUpLimit.limit_minor).where(StepUpLimit.merchant_id == actor.merchant)
    rows = (await session.execute(limits.order_by(StepUpLimit.currency))).all()
    return StepUpRulesPage(
        rows=[_row(permission, asked.get(permission)) for permission in FRESH_MINUTES],
        limits=[Money(minor, currency) for currency, minor in rows],
        currencies=list(CURRENCIES),
        may_change=actor.can("rules.write"),
    )


def _row(permission: str, asked: int | None) -> FreshnessRow:
    declared, one = FRESH_MINUTES[permission], PERMISSIONS[permission]
    return FreshnessRow(
        permission=permission,
        meaning=one.meaning,
        group=one.group,
        minutes=min(asked or declared, declared),
        declared=declared,
        choices=[(minutes, f"{minutes} minute{'' if minutes == 1 else 's'}") for minutes in CHOICES if minutes <= declared],
    )
