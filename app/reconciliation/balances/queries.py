"""What the books say a provider owes, for comparing it with what the provider says."""

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import ConnectionId, MerchantId
from app.payments import queries as payments
from app.reconciliation.domain.balances import Booked, Standing
from app.reconciliation.models import Source

_THROUGH = text("""
select coalesce(max(e.txn_id), 0) from ledger.account a join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id
 where a.merchant_id = :merchant and a.code = '1100' and a.owner_type = 'connection' and a.owner_id = :connection
""")
_BOOKED = text("""
with left_over as materialized (
  select a.currency, e.clear_key, sum(e.side * e.amount)::bigint as minor
    from ledger.account a join ledger.entry e on e.merchant_id = a.merchant_id and e.account_id = a.id and e.phase in (0, 2)
   where a.merchant_id = :merchant and a.code = '1100' and a.owner_type = 'connection' and a.owner_id = :connection
   group by 1, 2 having sum(e.side * e.amount) <> 0),
broken as (
  select k.key from recon_break b join recon_item i on i.merchant_id = b.merchant_id and i.id in (b.item_id, b.other_id)
    join recon_source s on s.merchant_id = i.merchant_id and s.id = i.source_id
    left join recon_booking p on p.merchant_id = i.merchant_id and p.item_id = i.id cross join lateral (values (i.clear_key), (p.key)) k(key)
   where b.merchant_id = :merchant and b.status <> 'cleared' and s.connection_id = :connection)
select currency, sum(minor)::bigint as owed, coalesce(sum(minor) filter (where clear_key in (select key from broken where key is not null)), 0)::bigint as broken
  from left_over group by currency
""")
_SETTLED = text("""
select distinct i.batch_ref from recon_item i join recon_source s on s.merchant_id = i.merchant_id and s.id = i.source_id
 where i.merchant_id = :merchant and s.connection_id = :connection and i.batch_ref = any(:batches)
   and exists (select from recon_booking k where k.merchant_id = i.merchant_id and k.item_id = i.id)
""")


async def connections(session: AsyncSession, *, merchant_id: MerchantId) -> list[ConnectionId]:
    """The connections whose files are read: only of them the books know what was settled."""
    statement = select(Source.connection_id).where(Source.merchant_id == merchant_id, Source.connection_id.is_not(None)).distinct()
    return [ConnectionId(found) for found in (await session.execute(statement.order_by(Source.connection_id))).scalars() if found]


async def through(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId) -> int:
    """The last transaction that changed what the provider owes."""
    return int(await session.scalar(_THROUGH, {"merchant": merchant_id, "connection": connection_id}) or 0)


async def standing(session: AsyncSession, *, merchant_id: MerchantId, connection_id: ConnectionId, batches: list[str]) -> Standing:
    """What the books say is owed now, and which of some batches they have."""
    values = {"merchant": merchant_id, "connection": connection_id}
    moving = await payments.in_flight(session, merchant_id=merchant_id, connection_id=connection_id)
    booked = {currency: Booked(moving_minor=minor) for currency, minor in moving.items() if minor}
    for row in await session.execute(_BOOKED, values):
        booked[row.currency] = Booked(owed_minor=row.owed, broken_minor=row.broken, moving_minor=moving.get(row.currency, 0))
    settled = (await session.execute(_SETTLED, {**values, "batches": batches})).scalars()
    last = await through(session, merchant_id=merchant_id, connection_id=connection_id)
    return Standing(booked=booked, settled=frozenset(settled), through=last)
