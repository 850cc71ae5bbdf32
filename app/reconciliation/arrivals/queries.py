"""Reads about files on their way in."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import MerchantId
from app.reconciliation import queries
from app.reconciliation.breaks import queries as breaks
from app.reconciliation.domain.arrivals import UNDER_WAY
from app.reconciliation.runs import queries as runs
from app.reconciliation.schemas.arrivals import ArrivalPage, ArrivalRow
from app.reconciliation.sources import queries as sources


async def arrival_page(session: AsyncSession, *, merchant_id: MerchantId, arrival_id: UUID) -> ArrivalPage:
    """One file on its way in: how far it is, and in the end what was read, compared and found."""
    found = await queries.arrival(session, merchant_id=merchant_id, arrival_id=arrival_id)
    source = await queries.source(session, merchant_id=merchant_id, source_id=found.source_id)
    is_done = found.status not in UNDER_WAY
    return ArrivalPage(
        row=ArrivalRow.of(found, source),
        file=await sources.file_row(session, merchant_id=merchant_id, file_id=found.file_id) if found.file_id else None,
        run=await runs.run_row(session, merchant_id=merchant_id, run_id=found.run_id) if found.run_id else None,
        breaks=await breaks.breaks_of_file(session, merchant_id=merchant_id, file_id=found.file_id) if found.file_id and is_done else [],
    )
