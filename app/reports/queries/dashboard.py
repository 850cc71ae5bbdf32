"""The start page: what needs a person, then how business goes. Figures of different currencies are never added up."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now, today
from app.core.db import read
from app.core.ids import ConnectionId, MerchantId, public_id
from app.core.money import Money
from app.psp import queries as psp
from app.reports.domain import DAY, Figures, Metric, Period, PeriodName, growth, growth_text, percent_text, points_text
from app.reports.queries.attention import attention
from app.reports.queries.figures import Course, course
from app.reports.schemas import BalanceRow, HomePage, RateRow, RecentRow, StatCard, Step
from app.wallets import queries as wallets
from app.web.charts import AreaChart

RECENT = 8
_PAYMENTS = text(
    "select id, amount_minor, currency, status, method_brand, method_kind, last4, buyer_name, buyer_email, order_reference, connection_id, created_at"
    " from payment where merchant_id = :merchant order by id desc limit :most"
)
_SET_UP = text(
    "select exists (select from psp_connection where merchant_id = :merchant and status = 'active') as connected,"
    " exists (select from seller where merchant_id = :merchant) as has_seller, exists (select from sales_order where merchant_id = :merchant) as has_order"
)
Names = Mapping[ConnectionId, str]


async def home_page(
    session: AsyncSession, actor: Actor, *, period: PeriodName, currency: str = "", metric: Metric = Metric.GROSS, compares: bool = True
) -> HomePage:
    """The start page for one period and currency; without a wish, the currency with the most captures."""
    merchant_id, span = actor.merchant, Period.ending(period, today())
    currencies, chosen, here = await course(session, merchant_id=merchant_id, period=span, currency=currency)
    names = await psp.connection_names(session, merchant_id=merchant_id)
    recent = await _recent(session, merchant_id, names) if actor.can("payments.read") else []
    moment = now()
    return HomePage(
        at=moment,
        period=period,
        metric=metric,
        compares=compares,
        currency=chosen,
        currencies=currencies,
        attention=await attention(session, actor),
        stats=_stats(here, span, chosen, moment=moment, compares=compares),
        chart=_chart(here, span, chosen, metric, moment=moment, compares=compares),
        span=_span_text(span, moment),
        span_before=_before_text(span),
        recent=recent,
        balances=await _balances(session, merchant_id) if actor.can("wallets.read") else [],
        rates=_rates(here, names),
        steps=[] if recent or currencies else await _steps(session, merchant_id),
    )


def _stats(found: Course, span: Period, currency: str, *, moment: datetime, compares: bool) -> list[StatCard]:
    # a day that is not over is compared with the same hours of the day before
    as_long = moment - (span.until - span.since) if span.name is PeriodName.TODAY else span.since
    present = sum((figures for at, figures in found.steps.items() if at >= span.since), Figures())
    before = sum((figures for at, figures in found.steps.items() if at < span.since and at <= as_long), Figures())
    past = before if compares else Figures()
    return [
        _amount(
            Metric.GROSS,
            "Gross volume",
            present.captured_minor,
            past.captured_minor,
            currency=currency,
            note=_versus(before.captured_minor, currency),
        ),
        _amount(Metric.NET, "Net volume", present.net_minor, past.net_minor, currency=currency, note="after PSP fees and refunds"),
        _rate(
            Metric.SUCCESS, "Success rate", present.success_rate, past.success_rate, note=f"{present.succeeded:,} of {present.decided:,}"
        ),
        _rate(
            Metric.REFUNDS,
            "Refund rate",
            present.refund_rate,
            past.refund_rate,
            note=Money(present.refunded_minor, currency).format(),
            less_is_good=True,
        ),
    ]


def _versus(minor: int, currency: str) -> str:
    return f"vs {Money(minor, currency).format()}" if minor else "captured"


def _amount(metric: Metric, label: str, minor: int, before: int, *, currency: str, note: str) -> StatCard:
    change = growth(minor, before)
    return StatCard(
        metric=metric,
        label=label,
        value=Money(minor, currency).format(),
        change=growth_text(change) if change else None,
        is_good=(change or 0) >= 0,
        note=note,
    )


def _rate(metric: Metric, label: str, rate: float | None, before: float | None, *, note: str, less_is_good: bool = False) -> StatCard:
    change = points_text(rate, before)
    rose = (rate or 0) >= (before or 0)
    return StatCard(
        metric=metric,
        label=label,
        value="–" if rate is None else percent_text(rate),
        change=change,
        is_good=rose is not less_is_good,
        note=note,
    )


_SERIES = {
    Metric.GROSS: "Gross volume",
    Metric.NET: "Net volume",
    Metric.SUCCESS: "Success rate",
    Metric.REFUNDS: "Refund rate",
}


def _value(figures: Figures, metric: Metric, currency: str) -> tuple[float, str]:
    match metric:
        case Metric.GROSS | Metric.NET:
            amount = Money(figures.captured_minor if metric is Metric.GROSS else figures.net_minor, currency)
            return float(amount.decimal()), amount.format()
        case Metric.SUCCESS | Metric.REFUNDS:
            rate = figures.success_rate if metric is Metric.SUCCESS else figures.refund_rate
            return (rate or 0.0) * 100, "–" if rate is None else percent_text(rate)


def _chart(found: Course, span: Period, currency: str, metric: Metric, *, moment: datetime, compares: bool) -> AreaChart:
    def series(of: Period) -> list[tuple[float, str]]:
        return [_value(found.steps.get(of.start(i), Figures()), metric, currency) for i in range(of.steps)]

    present, before = series(span), series(span.before)
    labels = [_label(span, span.start(i)) for i in range(span.steps)]
    # the hours to come are not drawn as nothing
    shown = min(span.steps, ((moment - span.since) // span.step) + 1) if span.name is PeriodName.TODAY else span.steps
    unit = {PeriodName.TODAY: "hour", PeriodName.QUARTER: "week"}.get(span.name, "day")
    return AreaChart(
        title=f"{_SERIES[metric]} per {unit}, {currency}, {_span_text(span, moment)}. Use the arrow keys to read each {unit}.",
        labels=labels[:shown],
        values=[max(0.0, value) for value, _ in present[:shown]],
        texts=[words for _, words in present[:shown]],
        previous=[max(0.0, value) for value, _ in before[:shown]] if compares else None,
        previous_texts=[words for _, words in before[:shown]] if compares else None,
    )


def _label(span: Period, at: datetime) -> str:
    return f"{at:%H:%M}" if span.step < DAY else f"{at.day} {at:%b}"


def _span_text(span: Period, moment: datetime) -> str:
    last = min(moment, span.until - timedelta(seconds=1))
    return "Today" if span.name is PeriodName.TODAY else f"{span.since.day} {span.since:%b} – {last.day} {last:%b}"


def _before_text(span: Period) -> str:
    return {
        PeriodName.TODAY: "Yesterday",
        PeriodName.WEEK: "Previous 7 days",
        PeriodName.MONTH: "Previous 30 days",
        PeriodName.QUARTER: "Previous 12 weeks",
    }[span.name]


def _rates(found: Course, names: Names) -> list[RateRow]:
    present, before = found.present, found.past
    whole = sum(figures.captured_minor for figures in present.values())
    rows = []
    for connection_id, figures in present.items():
        rate = figures.success_rate
        if rate is not None:
            past = before.get(connection_id, Figures()).success_rate
            share = f"{figures.captured_minor * 100 // whole}% of volume" if whole else "no volume"
            name = names.get(connection_id, "Connection")
            rows.append(
                RateRow(
                    id=public_id("con", connection_id),
                    name=name,
                    share=share,
                    rate=rate,
                    text=percent_text(rate),
                    change=points_text(rate, past),
                    is_good=rate >= (past or 0),
                )
            )
    return sorted(rows, key=lambda row: (row.rate, row.name))


async def _recent(session: AsyncSession, merchant_id: MerchantId, names: Names) -> list[RecentRow]:
    return [
        RecentRow(
            id=public_id("pay", row.id),
            amount=Money(row.amount_minor, row.currency),
            status=row.status,
            method=row.method_brand or row.method_kind,
            last4=row.last4,
            buyer=row.buyer_name or row.buyer_email or row.order_reference,
            order=row.order_reference,
            connection=names.get(row.connection_id, ""),
            at=row.created_at,
        )
        for row in await read(session, _PAYMENTS, {"merchant": merchant_id, "most": RECENT})
    ]


async def _balances(session: AsyncSession, merchant_id: MerchantId) -> list[BalanceRow]:
    cards = await wallets.wallet_totals(session, merchant_id=merchant_id)
    return [BalanceRow(available=card.wallet.available, pending=card.wallet.pending) for card in cards]


async def _steps(session: AsyncSession, merchant_id: MerchantId) -> list[Step]:
    """What to do before the first payment, in order; nothing of it is shown once there is one."""
    row = (await session.execute(_SET_UP, {"merchant": merchant_id})).one()
    done = [row.connected, row.has_seller, row.has_order, False]
    first_open = done.index(False)
    return [
        Step(title=title, text=words, href=href, action=action, icon=icon, is_done=done[i], is_next=i == first_open)
        for i, (title, words, href, action, icon) in enumerate(_STEPS)
    ]


_STEPS = (
    ("Connect a PSP", "The simulated one takes no contract and plays every outcome.", "/connections/new", "Connect", "plug"),
    ("Add sellers", "Everybody who is owed money, with what the platform keeps.", "/sellers/new", "Add a seller", "store"),
    ("Create an order", "With a line for each thing a seller delivers.", "/orders/new", "Create an order", "receipt-text"),
    ("Take the payment", "The buyer pays once, however many sellers there are.", "/orders", "Open the order", "credit-card"),
)
