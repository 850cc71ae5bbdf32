"""Figures of payments over time: what is counted already, plus the events since, in one statement and hence in one snapshot."""

from datetime import date, datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Record, read
from app.core.ids import ConnectionId, MerchantId, SellerId
from app.core.money import Money
from app.reports.domain import Figures, Period

FIRST = UUID(int=0)

# The kinds are those of the history of payments. A payment succeeds once: with the step that ends its undecided states.
PAYMENT_FACTS = """
select date_trunc('hour', e.at, 'UTC') as hour_at, p.currency, p.connection_id,
  count(*) filter (where e.kind = 'payment.created') as started,
  count(*) filter (where e.kind in ('payment.authorised', 'payment.captured')
                     and e.from_status in ('processing', 'requires_action', 'in_review', 'unknown')) as succeeded,
  count(*) filter (where e.kind = 'payment.failed') as failed,
  count(*) filter (where e.kind = 'payment.captured') as captures,
  coalesce(sum(e.amount_minor) filter (where e.kind = 'payment.captured'), 0)::bigint as captured_minor,
  count(*) filter (where e.kind = 'payment.refunded') as refunds,
  coalesce(sum(e.amount_minor) filter (where e.kind = 'payment.refunded'), 0)::bigint as refunded_minor,
  coalesce(sum((e.details ->> 'psp_fee_minor')::bigint) filter (where e.kind = 'payment.captured'), 0)::bigint as psp_fee_minor,
  coalesce(sum(case e.kind when 'payment.captured' then f.minor when 'payment.refunded' then -f.minor end), 0)::bigint as platform_fee_minor
from ({events}) e
join payment p on p.merchant_id = e.merchant_id and p.id = e.payment_id
left join payment_operation o on o.merchant_id = e.merchant_id and o.attempt_id = e.attempt_id and e.kind in ('payment.captured', 'payment.refunded')
left join lateral (select sum((s ->> 'fee_minor')::bigint) as minor from jsonb_array_elements(o.split -> 'shares') s) f on o.id is not null
group by 1, 2, 3
"""
SELLER_FACTS = """
select (e.at at time zone 'UTC')::date as day_on, p.currency, (s ->> 'seller_id')::uuid as seller_id,
  count(*) filter (where e.kind = 'payment.captured') as sales,
  coalesce(sum((s ->> 'amount_minor')::bigint) filter (where e.kind = 'payment.captured'), 0)::bigint as sold_minor,
  coalesce(sum((s ->> 'fee_minor')::bigint) filter (where e.kind = 'payment.captured'), 0)::bigint as fee_minor,
  coalesce(sum((s ->> 'amount_minor')::bigint) filter (where e.kind = 'payment.refunded'), 0)::bigint as refunded_minor,
  coalesce(sum((s ->> 'fee_minor')::bigint) filter (where e.kind = 'payment.refunded'), 0)::bigint as fee_returned_minor
from ({events}) e
join payment p on p.merchant_id = e.merchant_id and p.id = e.payment_id
join payment_operation o on o.merchant_id = e.merchant_id and o.attempt_id = e.attempt_id
cross join lateral jsonb_array_elements(o.split -> 'shares') s
where e.kind in ('payment.captured', 'payment.refunded')
group by 1, 2, 3
"""
FIGURES = (
    "started",
    "succeeded",
    "failed",
    "captures",
    "captured_minor",
    "refunds",
    "refunded_minor",
    "psp_fee_minor",
    "platform_fee_minor",
)
OF_SELLER = ("sales", "sold_minor", "fee_minor", "refunded_minor", "fee_returned_minor")

COUNTED_KINDS = "('payment.created', 'payment.authorised', 'payment.captured', 'payment.failed', 'payment.refunded')"
STRETCH = f"select * from payment_event where merchant_id = :merchant and id > :after and id <= :upto and kind in {COUNTED_KINDS}"  # noqa: S608 - fixed text
# A minute of events at a rate no house reaches. Without an end, the pages of a merchant whose history is being counted anew would read all of it.
# The pointer is joined, not compared with a subquery: row security lets no subquery into the condition of an index.
_TAIL = f"""
select e.* from (
  select through_id from report_progress where merchant_id = :merchant
  union all select '{FIRST}'::uuid where not exists (select from report_progress where merchant_id = :merchant)) counted
cross join lateral (
  select * from payment_event where merchant_id = :merchant and id > counted.through_id and kind in {COUNTED_KINDS} order by id limit 100000) e
"""  # noqa: S608 - fixed text


def _sums(columns: tuple[str, ...]) -> str:
    return ", ".join(f"sum({name})::bigint as {name}" for name in columns)


# Of the two tables the one whose rows are as long as the unit asked for is read; the other is not touched.
_COUNTED = """
  select hour_at as at, currency, connection_id, {names} from payment_hour
   where :unit = 'hour' and merchant_id = :merchant and hour_at >= :since and hour_at < :until
  union all
  select day_on::timestamp at time zone 'UTC', currency, connection_id, {names} from payment_day
   where :unit = 'day' and merchant_id = :merchant and day_on >= (:since at time zone 'UTC')::date and day_on < (:until at time zone 'UTC')::date
  union all select * from ({tail}) t where hour_at >= :since and hour_at < :until"""
_OVER_TIME_SQL = f"""
select date_trunc(:unit, at, 'UTC') as at, currency, connection_id, {{sums}} from ({_COUNTED}) u
group by 1, 2, 3
"""  # noqa: S608 - fixed text
_COURSES_SQL = f"""
select currency, at, connection_id, is_past, {{sums}} from (
  select date_bin(:step, at, :since) as at, at < :middle as is_past, currency, connection_id, {{names}} from ({_COUNTED}) counted) u
group by grouping sets ((currency, at), (currency, connection_id, is_past))
"""  # noqa: S608 - fixed text
_BY_SELLER_SQL = """
select u.seller_id, n.name, u.currency, {sums} from (
  select day_on, currency, seller_id, {names} from seller_day where merchant_id = :merchant and day_on between :first and :last
  union all select * from ({tail}) t where day_on between :first and :last) u
join seller n on n.merchant_id = :merchant and n.id = u.seller_id
group by 1, 2, 3 order by u.currency, sum(fee_minor) - sum(fee_returned_minor) desc, n.name limit :most
"""


def _with_tail(sql: str, columns: tuple[str, ...], facts_sql: str) -> str:
    """The counted figures, and the events since as if they were counted."""
    return sql.format(sums=_sums(columns), names=", ".join(columns), tail=facts_sql.format(events=_TAIL))


_OVER_TIME = text(_with_tail(_OVER_TIME_SQL, FIGURES, PAYMENT_FACTS))
_COURSES = text(_with_tail(_COURSES_SQL, FIGURES, PAYMENT_FACTS))
_BY_SELLER = text(_with_tail(_BY_SELLER_SQL, OF_SELLER, SELLER_FACTS))


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one stretch of time, in one currency, through one connection."""

    at: datetime
    currency: str
    connection_id: ConnectionId
    figures: Figures


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How payments went in one currency: in each step of a period and of the one before, and through each connection in either."""

    steps: dict[datetime, Figures]
    present: dict[ConnectionId, Figures]
    past: dict[ConnectionId, Figures]


class SellerFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one seller sold in one currency in some time."""

    seller_id: SellerId
    name: str
    sales: int
    sold: Money
    refunded: Money
    fee: Money


async def facts(session: AsyncSession, *, merchant_id: MerchantId, since: datetime, until: datetime, unit: str) -> list[Fact]:
    """What happened between two moments, by hour or day, currency and connection."""
    values = {"merchant": merchant_id, "since": since, "until": until, "unit": unit}
    return [
        Fact(at=row.at, currency=row.currency, connection_id=ConnectionId(row.connection_id), figures=_figures(row))
        for row in await read(session, _OVER_TIME, values)
    ]


async def course(session: AsyncSession, *, merchant_id: MerchantId, period: Period, currency: str = "") -> tuple[list[str], str, Course]:
    """How payments went in a period and the one before: the currencies, the busiest first, and one of them in full, as wished or the first."""
    values = {"merchant": merchant_id, "since": period.before.since, "middle": period.since, "until": period.until}
    by_currency: dict[str, list[Record]] = {}
    for row in await read(session, _COURSES, values | {"unit": period.unit, "step": period.step}):
        by_currency.setdefault(row.currency, []).append(row)
    currencies = sorted(by_currency, key=lambda code: (*_weight(by_currency[code]), code))
    chosen = currency if currency in by_currency else next(iter(currencies), "EUR")
    found = Course(steps={}, present={}, past={})
    for row in by_currency.get(chosen, ()):
        if row.at is not None:
            found.steps[row.at] = _figures(row)
        else:
            (found.past if row.is_past else found.present)[ConnectionId(row.connection_id)] = _figures(row)
    return currencies, chosen, found


def _weight(of_currency: list[Record]) -> tuple[int, int]:
    """What puts a currency first: the most captures in the time shown, then the most payments started; the time before decides a tie."""
    counts = [(row.captures, row.started, 1 if row.is_past else 1000) for row in of_currency if row.at is None]
    return -sum(captures * weight for captures, _, weight in counts), -sum(started * weight for _, started, weight in counts)


def _figures(row: Record) -> Figures:
    return Figures(**dict(zip(FIGURES, row[-len(FIGURES) :], strict=True)))


async def seller_facts(session: AsyncSession, *, merchant_id: MerchantId, first: date, last: date, most: int) -> list[SellerFact]:
    """What each seller sold between two days, and what the platform kept of it; the largest fees first."""
    found = await read(session, _BY_SELLER, {"merchant": merchant_id, "first": first, "last": last, "most": most})
    return [
        SellerFact(
            seller_id=SellerId(row.seller_id),
            name=row.name,
            sales=row.sales,
            sold=Money(row.sold_minor, row.currency),
            refunded=Money(row.refunded_minor, row.currency),
            fee=Money(row.fee_minor - row.fee_returned_minor, row.currency),
        )
        for row in found
    ]
