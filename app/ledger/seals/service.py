"""Sealing a book: what was posted and can no longer be joined by anything earlier becomes a block."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.chain import FIRST, sign
from app.core.clock import now
from app.core.ids import MerchantId
from app.ledger.domain.seals import PURPOSE, Block, block_hash
from app.ledger.models import Seal
from app.ledger.seals import queries

QUIET = timedelta(hours=1)
"""A transaction with a lower number may become visible later, but never after an hour: statements and idle sessions are cut off long before."""
_THROUGH = text("select max(id) from ledger.txn where merchant_id = :merchant and posted_at < :before")
_BOOKS = text("select * from ledger.books_to_seal(:before)")
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:merchant as text), 4219))")
log = structlog.get_logger(__name__)


async def seal(session: AsyncSession, *, merchant_id: MerchantId, quiet: timedelta = QUIET) -> Block | None:
    """Seal what was posted since the last block, as far as it is older than the quiet time; None when there is nothing."""
    await session.execute(_LOCK, {"merchant": str(merchant_id)})
    last = await queries.head(session, merchant_id=merchant_id)
    after = last.through if last else 0
    through = await session.scalar(_THROUGH, {"merchant": merchant_id, "before": now() - quiet})
    if through is None or through <= after:
        return None
    transactions, content = await queries.content(session, merchant_id=merchant_id, after=after, through=through)
    number, previous = (last.number + 1, last.hash) if last else (1, FIRST)
    made = block_hash(number=number, after=after, through=through, transactions=transactions, content=content, previous=previous)
    row = Seal(
        merchant_id=merchant_id,
        number=number,
        after_txn=after,
        through_txn=through,
        transactions=transactions,
        content=content,
        previous=previous,
        hash=made,
        signature=sign(merchant_id, made, purpose=PURPOSE),
        made_at=now(),
    )
    session.add(row)
    await session.flush()
    # the log leaves the database, and with it the head: what is cut off afterwards shows against it
    log.info("ledger_sealed", merchant=str(merchant_id), block=number, head=made)
    return queries.block_of(row)


async def books_to_seal(session: AsyncSession, *, before: datetime) -> list[MerchantId]:
    """The merchants with something to seal."""
    return [MerchantId(merchant_id) for merchant_id in await session.scalars(_BOOKS, {"before": before})]
