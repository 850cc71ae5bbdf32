"""Reading seals, and comparing them with the book."""

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.chain import FIRST, is_signed
from app.core.ids import MerchantId
from app.ledger.domain.seals import PURPOSE, Block, Verdict, block_hash
from app.ledger.models import Seal

_CONTENT = text("select o_transactions as transactions, o_hash as content from ledger.content_hash(:merchant, :after, :through)")


async def content(session: AsyncSession, *, merchant_id: MerchantId, after: int, through: int) -> tuple[int, str]:
    """How many transactions a stretch of the book has, and the hash over all of them."""
    row = (await session.execute(_CONTENT, {"merchant": merchant_id, "after": after, "through": through})).one()
    return int(row.transactions), str(row.content)


async def head(session: AsyncSession, *, merchant_id: MerchantId) -> Block | None:
    """The last block; its hash stands for the whole book."""
    statement = select(Seal).where(Seal.merchant_id == merchant_id).order_by(Seal.number.desc()).limit(1)
    found = (await session.execute(statement)).scalar_one_or_none()
    return block_of(found) if found else None


async def blocks(session: AsyncSession, *, merchant_id: MerchantId) -> list[Block]:
    """Every block, oldest first."""
    statement = select(Seal).where(Seal.merchant_id == merchant_id).order_by(Seal.number)
    return [block_of(row) for row in (await session.execute(statement)).scalars()]


def block_of(row: Seal) -> Block:
    """A row as a block."""
    return Block(
        number=row.number,
        after=row.after_txn,
        through=row.through_txn,
        transactions=row.transactions,
        content=row.content,
        previous=row.previous,
        hash=row.hash,
        signature=row.signature,
    )


async def verify(session: AsyncSession, *, merchant_id: MerchantId, expected_head: str | None = None) -> Verdict:
    """Compare every block with the book, its predecessor and its signature. Blocks cut off at the end show only against a head kept elsewhere."""
    previous, after, number, transactions, problem = FIRST, 0, 0, 0, None
    seen: set[str] = set()
    for block in await blocks(session, merchant_id=merchant_id):
        number += 1
        problem = _broken_link(block, number, after, previous, merchant_id)
        if problem is None:
            found = await content(session, merchant_id=merchant_id, after=block.after, through=block.through)
            if found != (block.transactions, block.content):
                problem = f"block {block.number}: transactions {block.after + 1} to {block.through} are not as they were sealed"
        if problem is not None:
            break
        previous, after, transactions = block.hash, block.through, transactions + block.transactions
        seen.add(block.hash)
    if problem is None and expected_head is not None and expected_head not in seen:
        problem = "the expected head is not among the blocks: blocks were cut off, or the book is another one"
    return Verdict(blocks=number, transactions=transactions, head=previous, problem=problem)


def _broken_link(block: Block, number: int, after: int, previous: str, merchant_id: MerchantId) -> str | None:
    if block.number != number or block.after != after:
        return f"block {block.number} does not follow: block {number} after transaction {after} was expected"
    if block.previous != previous:
        return f"block {block.number} names another predecessor"
    made = block_hash(
        number=block.number,
        after=block.after,
        through=block.through,
        transactions=block.transactions,
        content=block.content,
        previous=block.previous,
    )
    if made != block.hash:
        return f"block {block.number} does not have the hash of what it says"
    if not is_signed(block.signature, merchant_id, block.hash, purpose=PURPOSE):
        return f"block {block.number} was not signed by this installation"
    return None
