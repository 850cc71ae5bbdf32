"""How much of a wallet may be paid out, known for sure: nobody else takes from it before the transaction ends."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId, SellerId
from app.ledger import service as ledger
from app.ledger.domain import Code
from app.payouts import queries
from app.wallets import queries as wallets

_LOCK = text(
    "select pg_advisory_xact_lock(hashtextextended('payout ' || name, 0)) from (select unnest(cast(:names as text[])) as name order by 1) n"
)


async def lock_destinations(session: AsyncSession, *, merchant_id: MerchantId, fingerprints: Collection[str]) -> None:
    """Keep others from asking for payouts to the same bank accounts, whoever's they are, until the transaction ends: limits count them together."""
    names = sorted(f"{merchant_id}:{fingerprint}" for fingerprint in set(fingerprints))
    await session.execute(_LOCK, {"names": names})


async def lock_wallets(
    session: AsyncSession, *, merchant_id: MerchantId, seller_ids: Collection[SellerId], currency: str
) -> dict[SellerId, int]:
    """Keep every other payout of the wallets out until the transaction ends; what may be paid of each, less what is held back or owed, in minor units."""
    found = await ledger.lock_all_available(
        session, merchant_id=merchant_id, code=Code.SELLER_AVAILABLE, owner_type="seller", owners=seller_ids, currency=currency
    )
    held = await queries.held_parts(session, merchant_id=merchant_id, seller_ids=seller_ids)
    owed = await wallets.debts(session, merchant_id=merchant_id, seller_ids=seller_ids)
    kept = {owner: held.get((SellerId(owner), currency), 0) + owed.get((SellerId(owner), currency), 0) for owner in found}
    return {SellerId(owner): minor - kept[owner] for owner, minor in found.items()}
