"""Reconciliation across merchants: who has something to compare."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId

MOST = 10_000


async def merchants_due(session: AsyncSession, *, moment: datetime) -> list[MerchantId]:
    """The merchants that have sources, each once."""
    found = await session.execute(
        text("select distinct merchant_id from recon_sources_due(:moment, :most)"), {"moment": moment, "most": MOST}
    )
    return sorted(MerchantId(row.merchant_id) for row in found)
