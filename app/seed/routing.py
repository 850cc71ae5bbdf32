"""The demo's routing: a live version with two rules that two people agreed to, and a draft that somebody is working on."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, new_id
from app.core.money import Money
from app.routing import queries, service
from app.routing.domain import CaptureMode, Conditions, RoutingVersionId, Rule, RuleKey, Share


async def leave_for_today(admin: Actor, *, approver: Actor, first: ConnectionId, spare: ConnectionId) -> None:
    """What is large and captured later goes to the second connection, all else where it went; a draft would share pounds between both."""
    large = Rule(
        key=RuleKey(new_id()),
        name="High value, captured later",
        conditions=Conditions(at_least=Money(250_000, "EUR"), capture=CaptureMode.MANUAL),
        split=(Share(connection=spare, percent=100),),
        fallback=(first,),
    )
    async with unit_of_work(admin.merchant) as session:
        draft = await service.start_draft(session, admin)
        await service.add_rule(session, admin, rule=large)
        await _then(session, admin, RoutingVersionId(draft.id), spare)
        asked = await service.request_publish(session, admin, reason="A second provider for what is large, and when the first is off")
    async with unit_of_work(admin.merchant) as session:
        await service.publish(session, approver, version_id=RoutingVersionId(asked.id), digest=asked.digest or "")
    pounds = Rule(
        key=RuleKey(new_id()),
        name="Pounds",
        conditions=Conditions(currencies=("GBP",)),
        split=(Share(connection=first, percent=70), Share(connection=spare, percent=30)),
        fallback=(),
    )
    async with unit_of_work(admin.merchant) as session:
        await service.start_draft(session, admin)
        await service.add_rule(session, admin, rule=pounds)


async def _then(session: AsyncSession, admin: Actor, draft: RoutingVersionId, spare: ConnectionId) -> None:
    """Everything else has somebody who comes next."""
    rules = await queries.rules(session, admin, version_id=draft)
    await service.change_rule(session, admin, rule=msgspec.structs.replace(rules[-1], fallback=(spare,)))
