"""Reads about runs and where reconciliation stands as a whole."""

from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import today
from app.core.ids import MerchantId, path_id, public_id
from app.core.money import Money
from app.core.paging import fetch_page
from app.reconciliation.breaks import queries as breaks
from app.reconciliation.domain.breaks import AGES, RunNotFound, age_of, business_days_between
from app.reconciliation.domain.sums import Sums
from app.reconciliation.models import Run
from app.reconciliation.schemas import OverviewPage, RunListPage, RunPage, RunRow, SumRow
from app.reconciliation.sources import queries as sources
from app.web.charts import AreaChart, ColumnChart

RUN = "rrn"
SHOWN_RUNS, SHOWN_DAYS = 8, 30
SHADES = ("c-f1", "c-f1", "c-f3", "c-warn", "c-bad")
_CLEARED = text("""
select i.day, sum(abs(i.gross_minor)) as all_minor, coalesce(sum(abs(i.gross_minor)) filter (where exists (
         select from recon_match_item x where x.merchant_id = i.merchant_id and x.item_id = i.id and x.is_live) or exists (
         select from recon_pair a where a.merchant_id = i.merchant_id and a.ledger_id = i.id)), 0) as cleared_minor
  from recon_item i where i.merchant_id = :merchant and i.side = 'ledger' and i.day > :since group by i.day order by i.day
""")


def run_id(value: str) -> UUID:
    """The run in an address."""
    return path_id(RUN, value, otherwise=RunNotFound("There is no run with this id for this merchant."))


async def overview_page(session: AsyncSession, *, merchant_id: MerchantId) -> OverviewPage:
    """The last runs, what is open and how old it is, and how much of each day has cleared."""
    statement = select(Run).where(Run.merchant_id == merchant_id).order_by(Run.id.desc()).limit(SHOWN_RUNS)
    runs = [_row(run) for run in (await session.execute(statement)).scalars()]
    ages = await breaks.ages(session, merchant_id=merchant_id)
    counts = [0] * len(AGES)
    for opened_on, count in ages:
        counts[age_of(business_days_between(opened_on, today()))] += count
    return OverviewPage(
        runs=runs,
        sources=await sources.source_rows(session, merchant_id=merchant_id),
        ages=ColumnChart(
            title="Open breaks by age in business days",
            labels=[label for _, label in AGES],
            stacks=[[(float(count), shade)] for count, shade in zip(counts, SHADES, strict=True)],
            texts=[str(count) for count in counts],
        ),
        cleared=await _cleared(session, merchant_id),
        open_breaks=sum(counts),
        overdue=await breaks.overdue(session, merchant_id=merchant_id),
    )


async def _cleared(session: AsyncSession, merchant_id: MerchantId) -> AreaChart | None:
    since = today() - timedelta(days=SHOWN_DAYS)
    rows = list(await session.execute(_CLEARED, {"merchant": merchant_id, "since": since}))
    if not rows:
        return None
    labels = [f"{row.day.day} {row.day:%b}" for row in rows]
    shares = [int(row.cleared_minor) * 1000 // int(row.all_minor or 1) for row in rows]
    return AreaChart(
        title="Cleared of each day’s value, in percent",
        labels=labels,
        ticks=labels if len(labels) < 3 else [labels[0], labels[-1]],
        values=[share / 10 for share in shares],
        texts=[f"{share // 10}.{share % 10} %" for share in shares],
        top=100.0,
    )


async def run_page(session: AsyncSession, *, merchant_id: MerchantId, run_id: UUID) -> RunPage:
    """One run, with the breaks that are open now."""
    run = await run_row(session, merchant_id=merchant_id, run_id=run_id)
    return RunPage(
        run=run,
        breaks=await breaks.open_breaks(session, merchant_id=merchant_id),
        open_now=sum(count for _, count in await breaks.ages(session, merchant_id=merchant_id)),
    )


async def run_list_page(session: AsyncSession, *, merchant_id: MerchantId, after: str | None = None) -> RunListPage:
    """Every run, newest first."""
    statement = select(Run.id, Run).where(Run.merchant_id == merchant_id)
    runs = await fetch_page(session, statement, keys=[Run.id], after=after)
    return RunListPage(runs=runs.map(lambda found: _row(found.Run)))


async def run_row(session: AsyncSession, *, merchant_id: MerchantId, run_id: UUID) -> RunRow:
    """One run in a line."""
    found = await session.get(Run, (merchant_id, run_id))
    if found is None:
        raise RunNotFound("There is no run with this id for this merchant.")
    return _row(found)


def _row(run: Run) -> RunRow:
    rules = sorted((str(rule), int(count)) for rule, count in run.rules.items())
    return RunRow(
        id=public_id(RUN, run.id),
        at=run.started_at,
        by=run.started_by,
        seconds=int((run.finished_at - run.started_at).total_seconds()),
        matches=sum(count for _, count in rules),
        rules=rules,
        open_breaks=run.open_breaks,
        sums=[_sum(currency, msgspec.convert(values, Sums)) for currency, values in sorted(run.sums.items())],
    )


def _sum(currency: str, sums: Sums) -> SumRow:
    told = {
        name: Money(getattr(sums, name), currency)
        for name in ("expected", "waiting", "settled", "psp", "due", "bank", "bank_waiting", "bank_settled", "fee_booked", "fee_charged")
    }
    return SumRow(**told)
