"""What the machine settles by itself, within limits that people set: each with its posting and its line in the break's record."""

from itertools import groupby
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now, today
from app.core.ids import new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import Code, Kind, Line, Owner, Posting
from app.reconciliation.breaks import service as breaks
from app.reconciliation.domain import journals
from app.reconciliation.domain.breaks import Action, BreakStatus, Policy
from app.reconciliation.domain.journals import netted
from app.reconciliation.models import Break
from app.reconciliation.queries import CONNECTION, RUN_SOURCE

_ROUNDED = text("""
select b.id, b.currency, b.minor, i.side, i.source_id, coalesce(i.batch_ref, i.ext_id) as batch, o.clear_key as other_key, s.connection_id
  from recon_break b join recon_item i on i.merchant_id = b.merchant_id and i.id = b.item_id join recon_item o on o.merchant_id = b.merchant_id and o.id = b.other_id
  join recon_source s on s.merchant_id = b.merchant_id and s.id = case i.side when 'bank' then o.source_id else i.source_id end
 where b.merchant_id = :merchant and b.kind = 'rounding' and b.status = 'open'
   and exists (select from recon_booking k where k.merchant_id = i.merchant_id and k.item_id = i.id) order by b.currency, i.source_id, batch, b.id for update of b
""")


async def settle_rounding(session: AsyncSession, actor: Actor, *, policy: Policy) -> int:
    """Write off what rounding leaves, by rule, as long as a batch's roundings stay under the cap; returns how many breaks that settled."""
    rows = list(await session.execute(_ROUNDED, {"merchant": actor.merchant}))
    sums: dict[tuple[UUID, str, str], int] = {}
    for row in rows:
        batch = (row.source_id, row.batch, row.currency)
        sums[batch] = sums.get(batch, 0) + abs(row.minor)
    small = [row for row in rows if sums[row.source_id, row.batch, row.currency] <= policy.rounding_cap_minor]
    postings = []
    for row in small:
        psp = Owner(CONNECTION, row.connection_id)
        place = psp.account(Code.SETTLEMENT_IN_TRANSIT if row.side == "bank" else Code.PSP_RECEIVABLE)
        lines = netted(journals.write_off(place, row.other_key, Money(-row.minor, row.currency)))
        postings.append(breaks.posting(actor, row.id, lines, f"rounding:{new_id()}"))
    transactions = await ledger.post(session, merchant_id=actor.merchant, postings=postings)
    for row, transaction in zip(small, transactions, strict=True):
        money = Money(-row.minor, row.currency)
        session.add(breaks.resolution(actor, row.id, Action.WRITE_OFF, "Rounding, by rule", money, transaction))
    ids = [row.id for row in small]
    closed = update(Break).where(Break.merchant_id == actor.merchant, Break.id.in_(ids))
    await session.execute(closed.values(status=BreakStatus.RESOLVED, closed_at=now()))
    return len(small)


_DUE_RATES = text("""
select due.* from (
  select i.id, i.source_id, i.batch_ref, i.net_currency, k.rate_minor as before, case when r.is_off or r.minor is null then 0 else r.minor end as minor
    from recon_item i join recon_booking k on k.merchant_id = i.merchant_id and k.item_id = i.id left join recon_rates(:merchant, :band) r on r.item_id = i.id
   where i.merchant_id = :merchant and i.side = 'psp' and i.currency <> i.net_currency) due
 where minor <> before order by source_id, batch_ref, net_currency, id
""")
_RATES_BOOKED = text(
    "update recon_booking k set rate_minor = u.minor, times = k.times + 1"
    " from unnest(cast(:ids as uuid[]), cast(:minors as bigint[])) u(id, minor) where k.merchant_id = :merchant and k.item_id = u.id"
)


async def book_rates(session: AsyncSession, actor: Actor, *, run_id: UUID, policy: Policy) -> int:
    """Book what conversions brought more or less than the usual rate of their batch, as long as it is within the band: a gain (4210) or a loss
    (5200). Another file may change what is usual; then only the change is booked. Returns how many conversions that was about.
    """
    rows = list(await session.execute(_DUE_RATES, {"merchant": actor.merchant, "band": policy.fx_band_bps}))
    postings = []
    for (source_id, batch, currency), some in groupby(rows, key=lambda row: (row.source_id, row.batch_ref, row.net_currency)):
        lines: list[Line] = []
        for row in some:
            lines += journals.rate(Money(row.minor, currency), before=Money(row.before, currency))
        if kept := netted(lines):
            key = f"rates:{source_id}:{batch}:{currency}"
            postings.append(
                Posting(
                    kind=Kind.SETTLEMENT_RATE_BOOKED,
                    source_type=RUN_SOURCE,
                    source_id=run_id,
                    event_key=key,
                    effective_on=today(),
                    lines=kept,
                    description=f"Rates of {batch}"[:200],
                    actor=actor,
                )
            )
    await ledger.post(session, merchant_id=actor.merchant, postings=postings)
    booked = {"merchant": actor.merchant, "ids": [row.id for row in rows], "minors": [row.minor for row in rows]}
    if rows:
        await session.execute(_RATES_BOOKED, booked)
    return len(rows)
