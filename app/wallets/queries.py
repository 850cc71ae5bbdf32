"""Reads about wallets. What a wallet holds is the ledger's word; nothing here is estimated."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import MerchantId
from app.wallets.domain import DEFAULT_AVAILABILITY_DAYS
from app.wallets.models import WalletPolicy


async def policy(session: AsyncSession, *, merchant_id: MerchantId) -> WalletPolicy:
    """The merchant's rules for its sellers' wallets; a merchant that set none has the usual ones."""
    found = await session.get(WalletPolicy, merchant_id)
    if found is not None:
        return found
    # never added to the session: reading the rules must not write them
    return WalletPolicy(merchant_id=merchant_id, availability_days=DEFAULT_AVAILABILITY_DAYS, timezone="UTC", allow_negative=True, updated_at=now())
