"""Write-offs of sellers' debts: done at once by one person, or asked for, shown among what waits, and carried out with the last yes."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.approvals import queries as approvals
from app.approvals import service as approval_service
from app.approvals.domain import EVERYTHING, Act, ApprovalNotFound, ApprovalStatus, Asked, Part, Waiting
from app.core import idempotency
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import SellerId, public_id
from app.core.money import Money
from app.sellers import queries as sellers
from app.wallets.write_offs import service

KIND = "debt"
DONE, ASKED = 200, 202


async def write_off(actor: Actor, *, seller_id: SellerId, amount: Money, reason: str, key: str) -> bool:
    """Write a debt off exactly once per key, or ask others where they have to agree; says whether it is written off."""
    told = service.instruction(seller_id=seller_id, amount=amount, reason=reason)
    request = idempotency.fingerprint("write-off", *(str(part) for part in told.values()))
    async with unit_of_work(actor.merchant) as session:
        await sellers.seller(session, merchant_id=actor.merchant, seller_id=seller_id)
        claim = await idempotency.claim(session, merchant_id=actor.merchant, key=key, request=request)
        if claim.replay is not None:
            return claim.replay.status == DONE
        needed = await approvals.approvers_needed(session, actor, act=Act.WRITE_OFF, amount=amount)
        if needed:
            await service.check(session, actor, seller_id=seller_id, amount=amount)
            await approval_service.request_approval(
                session, actor, act=Act.WRITE_OFF, object_id=seller_id, instruction=told, amount=amount, reason=reason
            )
        else:
            await service.write_off(session, actor, seller_id=seller_id, amount=amount, reason=reason)
        answer = idempotency.Answer(ASKED if needed else DONE, b"")
        await idempotency.finish(session, merchant_id=actor.merchant, key=key, answer=answer)
    return not needed


async def how_many_wait(session: AsyncSession, actor: Actor) -> int:
    """How many write-offs wait for a yes or no."""
    return await approvals.how_many_wait(session, actor, act=Act.WRITE_OFF)


async def waiting(session: AsyncSession, actor: Actor, part: Part = EVERYTHING) -> list[Waiting]:
    """Write-offs that wait for a yes or no."""
    found = await approvals.waiting(session, actor, act=Act.WRITE_OFF, part=part)
    names = await sellers.seller_names(session, merchant_id=actor.merchant, ids={SellerId(asked.object_id) for asked in found})
    return [_shown(asked, names.get(SellerId(asked.object_id), "–")) for asked in found]


async def requested(session: AsyncSession, actor: Actor, *, seller_id: SellerId, name: str, currency: str) -> list[Waiting]:
    """Write-offs of this debt that this person asked others to agree to and that still wait."""
    found = await approvals.waiting(session, actor, act=Act.WRITE_OFF, requested_by=actor.id)
    return [_shown(asked, name) for asked in found if asked.object_id == seller_id and asked.amount.currency == currency]


async def withdraw(actor: Actor, *, seller_id: SellerId, item: str) -> str:
    """Take one's own request back; says in which currency it was."""
    approval_id = approvals.approval_id(item)
    async with unit_of_work(actor.merchant) as session:
        asked = await approvals.asked(session, actor, approval_id=approval_id)
        if asked.object_id != seller_id:
            raise ApprovalNotFound()
        await approval_service.withdraw(session, actor, approval_id=approval_id)
    return asked.amount.currency


def _shown(asked: Asked, seller: str) -> Waiting:
    yes = f"{len(asked.agreed)} of {asked.approvers} agreed" + (f": {', '.join(asked.agreed)}" if asked.agreed else "")
    return Waiting(
        kind=KIND,
        id=public_id("apr", asked.id),
        title=f"Write off {asked.amount.format()}",
        detail=f"owed by {seller}",
        href=f"/wallets/{public_id('sel', asked.object_id)}?currency={asked.amount.currency}",
        digest=asked.digest,
        requested_by=asked.requested_by_name,
        requested_at=asked.requested_at,
        may_decide=asked.may_decide,
        amount=asked.amount,
        expires_at=asked.expires_at,
        reason=asked.reason,
        facts=[("Seller", seller), ("Others", yes)],
    )


async def approve(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    """Agree to a write-off as it was shown; with the last yes it is carried out, or the yes is not counted."""
    approval_id = approvals.approval_id(item)
    async with unit_of_work(actor.merchant) as session:
        await approval_service.decide(session, actor, approval_id=approval_id, digest=digest, decision="approved", reason=reason)
        asked = await approvals.asked(session, actor, approval_id=approval_id)
        if asked.status is not ApprovalStatus.APPROVED:
            return "Approved; others have to agree too"
        await _carry_out(session, actor, asked, approval_id)
    return "Written off"


async def _carry_out(session: AsyncSession, actor: Actor, asked: Asked, approval_id: UUID) -> None:
    await service.write_off(
        session, actor, seller_id=SellerId(asked.object_id), amount=asked.amount, reason=asked.reason, approval_id=approval_id
    )


async def reject(actor: Actor, *, item: str, digest: str, reason: str) -> str:
    """Refuse a write-off; the seller owes it still."""
    async with unit_of_work(actor.merchant) as session:
        approval_id = approvals.approval_id(item)
        await approval_service.decide(session, actor, approval_id=approval_id, digest=digest, decision="rejected", reason=reason)
    return "Refused; it is owed still"
