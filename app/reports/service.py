"""Counting the history of payments into figures, a stretch at a time. Every event is counted once: the pointer moves with the figures."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import now
from app.core.ids import MerchantId, first_id_at
from app.reports.queries.figures import FIGURES, FIRST, OF_SELLER, PAYMENT_FACTS, SELLER_FACTS, STRETCH

SETTLED_AFTER = timedelta(seconds=60)
"""An event gets its id before its transaction commits, and no transaction of ours lives longer than half a minute: what is older than this is all there."""
BATCH = 50_000


def _add_to(table: str, keys: str, columns: tuple[str, ...], facts: str) -> str:
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns)
    names = ", ".join(columns)
    return f"insert into {table} (merchant_id, {keys}, {names}) select :merchant, f.* from {facts} f on conflict (merchant_id, {keys}) do update set {sums}"  # noqa: S608


_SUMS = ", ".join(f"sum({name})::bigint" for name in FIGURES)
_ENTER = text("insert into report_progress (merchant_id, through_id, counted_at) values (:merchant, :first, :at) on conflict do nothing")
_LOCK = text("select through_id from report_progress where merchant_id = :merchant for update")
_STRETCH = text(
    "select id from (select id from payment_event where merchant_id = :merchant and id > :after and id < :horizon order by id limit :batch) b"
    " order by id desc limit 1"
)
# Days are added up from the hours just counted, in the same statement: the events are read once.
_HOURS_AND_DAYS = text(f"""
with fresh as materialized ({PAYMENT_FACTS.format(events=STRETCH)}),
hours as ({_add_to("payment_hour", "hour_at, currency, connection_id", FIGURES, "fresh")})
{
    _add_to(
        "payment_day",
        "day_on, currency, connection_id",
        FIGURES,
        f"(select (hour_at at time zone 'UTC')::date, currency, connection_id, {_SUMS} from fresh group by 1, 2, 3)",
    )
}
""")  # noqa: S608 - fixed text
_SELLERS = text(_add_to("seller_day", "day_on, currency, seller_id", OF_SELLER, f"({SELLER_FACTS.format(events=STRETCH)})"))
_MOVE = text("update report_progress set through_id = :upto, counted_at = :at where merchant_id = :merchant")


async def count_events(session: AsyncSession, *, merchant_id: MerchantId, batch: int = BATCH) -> bool:
    """Count the next stretch of a merchant's events into its figures; says whether there was one."""
    moment = now()
    await session.execute(_ENTER, {"merchant": merchant_id, "first": FIRST, "at": moment})
    after: UUID = (await session.execute(_LOCK, {"merchant": merchant_id})).scalar_one()
    stretch = {"merchant": merchant_id, "after": after, "horizon": first_id_at(moment - SETTLED_AFTER), "batch": batch}
    upto: UUID | None = await session.scalar(_STRETCH, stretch)
    if upto is None:
        return False
    for statement in (_HOURS_AND_DAYS, _SELLERS):
        await session.execute(statement, {"merchant": merchant_id, "after": after, "upto": upto})
    await session.execute(_MOVE, {"merchant": merchant_id, "upto": upto, "at": moment})
    return True


async def forget_figures(session: AsyncSession, *, merchant_id: MerchantId) -> None:
    """Throw a merchant's figures away, so that they are counted again from the first event."""
    await session.execute(_ENTER, {"merchant": merchant_id, "first": FIRST, "at": now()})
    await session.execute(_LOCK, {"merchant": merchant_id})
    for table in ("payment_hour", "payment_day", "seller_day"):
        await session.execute(text(f"delete from {table} where merchant_id = :merchant"), {"merchant": merchant_id})  # noqa: S608 - our own names
    await session.execute(_MOVE, {"merchant": merchant_id, "upto": FIRST, "at": now()})


async def merchants_to_count(session: AsyncSession) -> list[MerchantId]:
    """The merchants with events that are not counted yet."""
    return [MerchantId(merchant_id) for merchant_id in await session.scalars(text("select * from reports_due()"))]
