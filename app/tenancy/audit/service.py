"""Chaining the audit trail, and keeping what comparing it found."""

from datetime import timedelta

import structlog
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import outbox
from app.core.actors import Actor
from app.core.chain import FIRST, sign
from app.core.clock import now
from app.core.ids import MerchantId, new_id
from app.tenancy.audit import queries
from app.tenancy.audit.domain import LOOK_BACK, MOST, PURPOSE, AuditCheckAsked, Block, Verdict, block_hash
from app.tenancy.models import AuditBlock, AuditCheck, AuditSealed

_LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:merchant as text), 4220))")
_TO_SEAL = text("select * from audit_to_seal(:back)")
_CHAINS = text("select * from audit_chains()")
log = structlog.get_logger(__name__)


async def seal(session: AsyncSession, *, merchant_id: MerchantId, back: timedelta = LOOK_BACK) -> Block | None:
    """Put the entries that are in no block yet into the next one, at most five thousand; None when there is nothing."""
    await session.execute(_LOCK, {"merchant": str(merchant_id)})
    ids = await queries.unsealed(session, merchant_id=merchant_id, back=back, most=MOST)
    if not ids:
        return None
    last = await queries.head(session, merchant_id=merchant_id)
    number, previous = (last.number + 1, last.hash) if last else (1, FIRST)
    entries, content = await queries.content(session, merchant_id=merchant_id, ids=ids)
    made = block_hash(number=number, entries=entries, content=content, previous=previous)
    signature = sign(merchant_id, made, purpose=PURPOSE)
    block = Block(number=number, entries=entries, content=content, previous=previous, hash=made, signature=signature)
    session.add(AuditBlock(merchant_id=merchant_id, made_at=now(), **{name: getattr(block, name) for name in block.__struct_fields__}))
    await session.flush()
    await session.execute(insert(AuditSealed), [{"merchant_id": merchant_id, "entry_id": one, "number": number} for one in ids])
    # the log leaves the database, and with it the head: what is cut off afterwards shows against it
    log.info("audit_chained", merchant=str(merchant_id), block=number, entries=entries, head=made)
    return block


async def check(session: AsyncSession, actor: Actor) -> Verdict:
    """Compare the merchant's trail with its chain and keep what was found. The head of the last sound comparison must still be in it."""
    known = await queries.last_sound_head(session, merchant_id=actor.merchant)
    verdict = await queries.verify(session, merchant_id=actor.merchant, expected_head=known)
    values = {"blocks": verdict.blocks, "entries": verdict.entries, "head": verdict.head, "problem": verdict.problem}
    session.add(AuditCheck(merchant_id=actor.merchant, id=new_id(), checked_at=now(), checked_by=actor.name, **values))
    if not verdict.is_sound:
        log.error("audit_trail_changed", merchant=str(actor.merchant), problem=verdict.problem)
    return verdict


async def ask_check(session: AsyncSession, actor: Actor) -> None:
    """Have the trail compared with its chain as soon as a worker is free."""
    await outbox.publish(session, merchant_id=actor.merchant, event=AuditCheckAsked(asked_by=actor.name), object_id=actor.merchant)


async def merchants_to_seal(session: AsyncSession, *, back: timedelta) -> list[MerchantId]:
    """The merchants with entries that are in no block yet."""
    return [MerchantId(found) for found in await session.scalars(_TO_SEAL, {"back": back})]


async def merchants_with_chains(session: AsyncSession) -> list[MerchantId]:
    """The merchants whose trail can be compared."""
    return [MerchantId(found) for found in await session.scalars(_CHAINS)]
