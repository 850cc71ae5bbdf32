"""The reports. Each is one function that reads and one entry in `REPORTS`; the generic page gives it table, filters, chart and CSV."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import today
from app.core.ids import MerchantId, first_id_at, public_id
from app.core.money import Money
from app.reports.domain import Figures, Period, PeriodName, ReportNotFound, percent_text
from app.reports.queries.figures import facts, seller_facts
from app.reports.schemas import Cell, CellKind, Column, ReportData, ReportListPage, ReportPage, ReportRow
from app.web.charts import AreaChart, ColumnChart

MOST = 1000
"""Rows of one report; a note says so when there were more."""

NUMBER, MONEY = CellKind.NUMBER, CellKind.MONEY
Read = Callable[[AsyncSession, MerchantId, Period, str], Awaitable[ReportData]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report: how it is called, what it can be narrowed by, and the function that reads it."""

    title: str
    text: str
    icon: str
    read: Read
    has_period: bool = True
    needs_currency: bool = False


async def payments_by_day(session: AsyncSession, merchant_id: MerchantId, period: Period, currency: str) -> ReportData:
    """What happened to payments on each day, in one currency."""
    found = await facts(session, merchant_id=merchant_id, since=period.since, until=period.until, unit=period.unit)
    steps = [Figures()] * period.steps
    for fact in found:
        place = period.place(fact.at)
        if place is not None and fact.currency == currency:
            steps[place] += fact.figures
    labels = [f"{period.start(i):%Y-%m-%d %H:%M}" if period.unit == "hour" else f"{period.start(i):%Y-%m-%d}" for i in range(period.steps)]
    amounts = [Money(figures.captured_minor, currency) for figures in steps]
    return ReportData(
        columns=[
            Column("since", "From"),
            Column("started", "Started", NUMBER),
            Column("succeeded", "Succeeded", NUMBER),
            Column("failed", "Failed", NUMBER),
            Column("success_rate", "Success rate", NUMBER),
            Column("captured", "Captured", MONEY),
            Column("refunded", "Refunded", MONEY),
            Column("psp_fees", "PSP fees", MONEY),
            Column("platform_fees", "Platform fees", MONEY),
        ],
        rows=[_day(label, figures, currency) for label, figures in zip(labels, steps, strict=True)][::-1],
        chart=AreaChart(
            title=f"Captured, {currency}",
            labels=[
                f"{period.start(i):%H:%M}" if period.unit == "hour" else f"{period.start(i).day} {period.start(i):%b}"
                for i in range(period.steps)
            ],
            values=[float(amount.decimal()) for amount in amounts],
            texts=[amount.format() for amount in amounts],
        ),
        note="By the day on which each thing happened, in UTC. A refund counts on its own day, not on that of the payment.",
    )


def _day(label: str, figures: Figures, currency: str) -> list[Cell]:
    rate = figures.success_rate
    return [
        label,
        figures.started,
        figures.succeeded,
        figures.failed,
        "–" if rate is None else percent_text(rate),
        Money(figures.captured_minor, currency),
        Money(figures.refunded_minor, currency),
        Money(figures.psp_fee_minor, currency),
        Money(figures.platform_fee_minor, currency),
    ]


async def platform_fees(session: AsyncSession, merchant_id: MerchantId, period: Period, currency: str) -> ReportData:
    """What the platform kept of each seller's sales."""
    first, last = period.since.date(), period.until.date()
    found = await seller_facts(session, merchant_id=merchant_id, first=first, last=last, most=MOST)
    rows = [row for row in found if currency in ("", row.sold.currency)]
    return ReportData(
        columns=[
            Column("seller", "Seller"),
            Column("sales", "Sales", NUMBER),
            Column("sold", "Sold", MONEY),
            Column("refunded", "Refunded", MONEY),
            Column("platform_fee", "Platform fee", MONEY),
        ],
        rows=[[row.name, row.sales, row.sold, row.refunded, row.fee] for row in rows],
        links=[f"/sellers/{public_id('sel', row.seller_id)}" for row in rows],
        chart=_columns("Platform fee by seller", [(row.name, row.fee) for row in rows]),
        note="Fees taken with captures, less fees given back with refunds.",
    )


_BALANCES = text("""
select s.id, s.name, a.currency,
  sum(case a.code when '2110' then b.credits_posted - b.debits_posted else 0 end)::bigint as available,
  sum(case a.code when '2100' then b.credits_posted - b.debits_posted else 0 end)::bigint as pending,
  sum(case when a.code in ('2120', '2130', '2140') then b.credits_posted - b.debits_posted else 0 end)::bigint as reserved,
  sum(case a.code when '1300' then b.debits_posted - b.credits_posted else 0 end)::bigint as owed
from ledger.account a
join ledger.balance b on b.merchant_id = a.merchant_id and b.account_id = a.id
join seller s on s.merchant_id = a.merchant_id and s.id = a.owner_id
where a.merchant_id = :merchant and a.owner_type = 'seller' and a.code in ('2100', '2110', '2120', '2130', '2140', '1300')
  and (:currency = '' or a.currency = :currency)
group by s.id, s.name, a.currency order by a.currency, 4 desc, s.name limit :most
""")


async def wallet_balances(session: AsyncSession, merchant_id: MerchantId, _period: Period, currency: str) -> ReportData:
    """What every seller has, straight from the ledger."""
    rows = (await session.execute(_BALANCES, {"merchant": merchant_id, "currency": currency, "most": MOST})).all()
    return ReportData(
        columns=[
            Column("seller", "Seller"),
            Column("available", "Available", MONEY),
            Column("pending", "Pending", MONEY),
            Column("reserved", "Reserved", MONEY),
            Column("owed", "Owed by the seller", MONEY),
        ],
        rows=[[row.name, *(Money(minor, row.currency) for minor in (row.available, row.pending, row.reserved, row.owed))] for row in rows],
        links=[f"/wallets/{public_id('sel', row.id)}?currency={row.currency}" for row in rows],
        chart=_columns("Available by seller", [(row.name, Money(row.available, row.currency)) for row in rows]),
        note="As the ledger stands at this moment.",
    )


# Failed payments alone are read: the index on status keeps them in the order of their ids, and a range of ids is a range of time.
_FAILURES = text("""
select coalesce(p.failure_code, 'unknown') as code, mode() within group (order by p.failure_message) as message, p.currency,
  count(*) as payments, sum(p.amount_minor)::bigint as minor
from payment p
where p.merchant_id = :merchant and p.status = 'failed' and p.id >= :first and p.id < :last and (:currency = '' or p.currency = :currency)
group by 1, 3 order by 4 desc, 1, 3 limit :most
""")


async def failures(session: AsyncSession, merchant_id: MerchantId, period: Period, currency: str) -> ReportData:
    """Why payments failed, the most frequent reason first."""
    first, last = first_id_at(period.since), first_id_at(period.until)
    values = {"merchant": merchant_id, "first": first, "last": last, "currency": currency, "most": MOST}
    rows = (await session.execute(_FAILURES, values)).all()
    whole = sum(row.payments for row in rows)
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons[_words(row.code)] += row.payments
    return ReportData(
        columns=[
            Column("code", "Reason"),
            Column("message", "What the PSP says"),
            Column("payments", "Payments", NUMBER),
            Column("share", "Share", NUMBER),
            Column("amount", "Amount", MONEY),
        ],
        rows=[
            [_words(row.code), row.message or "–", row.payments, percent_text(row.payments / whole), Money(row.minor, row.currency)]
            for row in rows
        ],
        chart=_columns("Failed payments by reason", reasons.most_common()),
        note="Payments that were started in the period and failed for good.",
    )


def _words(code: str) -> str:
    return code.replace("_", " ").capitalize()


def _columns(title: str, bars: Sequence[tuple[str, Money | int]]) -> ColumnChart | None:
    """The first bars, while they are comparable: amounts of two currencies never share an axis."""
    shown = list(bars[:8])
    currencies = {value.currency for _, value in shown if isinstance(value, Money)}
    if not shown or len(currencies) > 1:
        return None
    heights = [float(value.decimal()) if isinstance(value, Money) else float(value) for _, value in shown]
    return ColumnChart(
        title=title,
        labels=[label if len(label) <= 16 else f"{label[:15]}…" for label, _ in shown],
        stacks=[[(max(0.0, height), "c-f1")] for height in heights],
        texts=[value.format() if isinstance(value, Money) else f"{value:,}" for _, value in shown],
    )


REPORTS: dict[str, Report] = {
    "payments-by-day": Report(
        title="Payments by day",
        text="Started, succeeded, captured, refunded and what was kept, day by day.",
        icon="credit-card",
        read=payments_by_day,
        needs_currency=True,
    ),
    "platform-fees": Report(
        title="Platform fees by seller",
        text="What each seller sold and what the platform kept of it.",
        icon="receipt-text",
        read=platform_fees,
    ),
    "wallet-balances": Report(
        title="Wallet balances", text="What every seller has at this moment.", icon="wallet", read=wallet_balances, has_period=False
    ),
    "failures": Report(title="Failures by reason", text="Why payments failed, and how much that was.", icon="circle-alert", read=failures),
}
_CURRENCIES = text("select distinct currency from ledger.account where merchant_id = :merchant and code in ('1100', '9100') order by 1")


def report(name: str) -> Report:
    """One report by its name."""
    if name not in REPORTS:
        raise ReportNotFound("See the list of reports for those there are.")
    return REPORTS[name]


def report_list_page() -> ReportListPage:
    """The reports there are."""
    return ReportListPage(reports=[_row(name, entry) for name, entry in REPORTS.items()])


def _row(name: str, entry: Report) -> ReportRow:
    return ReportRow(name=name, title=entry.title, text=entry.text, icon=entry.icon)


async def report_page(session: AsyncSession, *, merchant_id: MerchantId, name: str, period: PeriodName, currency: str) -> ReportPage:
    """One report, narrowed to a period and a currency where it can be."""
    entry = report(name)
    currencies = list(await session.scalars(_CURRENCIES, {"merchant": merchant_id}))
    chosen = currency if currency in currencies else ""
    if entry.needs_currency and not chosen:
        chosen = "EUR" if "EUR" in currencies or not currencies else currencies[0]
    return ReportPage(
        report=_row(name, entry),
        data=await report_data(session, merchant_id=merchant_id, name=name, period=period, currency=chosen),
        period=period,
        has_period=entry.has_period,
        has_currency=entry.needs_currency,
        currency=chosen,
        currencies=currencies,
    )


async def report_data(session: AsyncSession, *, merchant_id: MerchantId, name: str, period: PeriodName, currency: str) -> ReportData:
    """What a report finds."""
    return await report(name).read(session, merchant_id, Period.ending(period, today()), currency)
