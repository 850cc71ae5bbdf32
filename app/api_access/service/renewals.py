"""Keys and clients outlive the rights of whoever made them: they go on, and the owners are told which to renew."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.api_access import queries
from app.api_access.domain import Knower
from app.api_access.models import ApiClient, ApiKey
from app.core import audit, mail
from app.core.actors import Actor
from app.core.clock import now
from app.core.ids import MerchantId
from app.tenancy import queries as teams
from app.web.letters import address, letter

Renewal = tuple[ApiKey | ApiClient, Knower]


class RenewalLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner is told when a colleague knows keys that may do more than they."""

    name: str
    merchant: str
    lines: list[str]
    link: str


async def ask(session: AsyncSession, actor: Actor, *, person_id: UUID) -> None:
    """Write into the trail, and to the owners, what this person knows that may do more than they may now; nothing when there is nothing.

    The programs go on working: stopping them would stop the shop, and nobody knows whether the person kept a copy.
    """
    due = [*await _keys(session, actor.merchant, person_id), *await _clients(session, actor.merchant, person_id)]
    for row, knower in due:
        noun = "api_key" if isinstance(row, ApiKey) else "api_client"
        facts = {"name": row.name, "reason": knower.reason}
        await audit.record(session, actor, action=f"{noun}.renewal_due", object_type=noun, object_id=row.id, after=facts)
    if due and mail.possible():
        await _tell(session, actor.merchant, due)


async def _keys(session: AsyncSession, merchant_id: MerchantId, person_id: UUID) -> list[Renewal]:
    mine = select(ApiKey).where(ApiKey.merchant_id == merchant_id, ApiKey.known_to.contains([person_id]), ApiKey.revoked_at.is_(None))
    rows = (await session.scalars(mine.order_by(ApiKey.id))).all()
    return await _of(session, rows, {one: (scopes, [person_id]) for one, (scopes, _) in queries.known_keys(rows).items()})


async def _clients(session: AsyncSession, merchant_id: MerchantId, person_id: UUID) -> list[Renewal]:
    mine = select(ApiClient).where(ApiClient.merchant_id == merchant_id, ApiClient.known_to.contains([person_id]))
    lasting = or_(ApiClient.expires_at.is_(None), ApiClient.expires_at > now())
    rows = (await session.scalars(mine.where(ApiClient.revoked_at.is_(None), lasting).order_by(ApiClient.id))).all()
    known = await queries.known_clients(session, rows)
    return await _of(session, rows, {one: (scopes, [person_id]) for one, (scopes, who) in known.items() if person_id in who})


async def _of(session: AsyncSession, rows: Sequence[ApiKey] | Sequence[ApiClient], known: queries.Known) -> list[Renewal]:
    if not rows:
        return []
    knowing = await queries.knowers(session, MerchantId(rows[0].merchant_id), known)
    return [(row, knower) for row in rows for knower in knowing.get(row.id, [])]


async def _tell(session: AsyncSession, merchant_id: MerchantId, due: list[Renewal]) -> None:
    merchant = await teams.merchant(session, merchant_id)
    name = f"{merchant.name} (sandbox)" if merchant.sandbox_of else merchant.name
    lines = [f"{'Key' if isinstance(row, ApiKey) else 'Client'} “{row.name}”: {knower.reason}" for row, knower in due]
    for owner, email in await teams.owners(session, merchant_id):
        page = RenewalLetter(name=owner, merchant=name, lines=lines, link=address("/api-clients"))
        await mail.write(session, to=email, letter=letter("keys_to_renew", page))
