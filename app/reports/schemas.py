"""What crosses the edge about reports: the start page, a seller's recent sales, and the generic report."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlencode

import msgspec

from app.core.money import Money
from app.reports.domain import Metric, PeriodName
from app.web.charts import AreaChart, ColumnChart

PERIODS: dict[PeriodName, str] = {
    PeriodName.TODAY: "Today",
    PeriodName.WEEK: "7 days",
    PeriodName.MONTH: "30 days",
    PeriodName.QUARTER: "12 weeks",
}


class Attention(msgspec.Struct, kw_only=True):
    """Something that waits for a person."""

    title: str
    text: str
    href: str
    icon: str
    tone: str = "warn"


class StatCard(msgspec.Struct, kw_only=True):
    """One figure of the period, beside the one before."""

    metric: Metric
    label: str
    value: str
    change: str | None
    is_good: bool
    note: str


class RecentRow(msgspec.Struct, kw_only=True):
    """One of the last payments."""

    id: str
    amount: Money
    status: str
    method: str | None
    last4: str | None
    buyer: str
    order: str
    connection: str
    at: datetime


class BalanceRow(msgspec.Struct, kw_only=True):
    """What all sellers together have in one currency."""

    available: Money
    pending: Money


class RateRow(msgspec.Struct, kw_only=True):
    """How often payments succeed through one connection."""

    id: str
    name: str
    share: str
    rate: float
    text: str
    change: str | None
    is_good: bool

    @property
    def parts(self) -> list[tuple[float, str]]:
        """The rate as a bar; below nine of ten it is amber."""
        return [(self.rate * 100, "c-f1" if self.rate >= 0.9 else "c-warn")]


class Step(msgspec.Struct, kw_only=True):
    """One thing to set up before the first payment."""

    title: str
    text: str
    href: str
    action: str
    icon: str
    is_done: bool
    is_next: bool


class HomePage(msgspec.Struct, kw_only=True):
    """The start page."""

    at: datetime
    period: PeriodName
    metric: Metric
    compares: bool
    currency: str
    currencies: list[str]
    attention: list[Attention]
    stats: list[StatCard]
    chart: AreaChart
    span: str
    span_before: str
    recent: list[RecentRow]
    balances: list[BalanceRow]
    rates: list[RateRow]
    steps: list[Step]

    def href(self, **change: str | None) -> str:
        """This page with something changed in its address."""
        asked = {
            "period": self.period.value,
            "currency": self.currency,
            "metric": self.metric.value,
            "compare": None if self.compares else "none",
            **change,
        }
        usual = {"period": PeriodName.MONTH.value, "metric": Metric.GROSS.value}
        text = urlencode({name: value for name, value in asked.items() if value and usual.get(name) != value})
        return f"/?{text}" if text else "/"

    @property
    def periods(self) -> list[tuple[str, str, bool]]:
        """Periods to choose from."""
        return [(label, self.href(period=name.value), name is self.period) for name, label in PERIODS.items()]

    @property
    def currency_tabs(self) -> list[tuple[str, str, bool, None]]:
        """Currencies to choose from."""
        return [(code, self.href(currency=code), code == self.currency, None) for code in self.currencies]


class SaleRow(msgspec.Struct, kw_only=True):
    """One payment with a part for a seller."""

    id: str
    order: str
    buyer: str
    status: str
    part: Money
    fee: Money
    refunded: Money
    at: datetime


class SellerActivityPage(msgspec.Struct, kw_only=True):
    """What a seller sold lately."""

    seller: str
    sales: list[SaleRow]


Cell = str | int | Money | None


class CellKind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    NUMBER = "number"
    MONEY = "money"


class Column(msgspec.Struct, frozen=True):
    """One column of a report: its name in files, its heading on the page, and what it holds."""

    name: str
    label: str
    kind: CellKind = CellKind.TEXT


class ReportData(msgspec.Struct, kw_only=True):
    """What a report found: rows of cells, a chart of them, and where a row leads."""

    columns: list[Column]
    rows: list[list[Cell]]
    links: list[str | None] = []
    chart: AreaChart | ColumnChart | None = None
    note: str = ""


class ReportRow(msgspec.Struct, kw_only=True):
    """One report in the list of reports."""

    name: str
    title: str
    text: str
    icon: str

    @property
    def href(self) -> str:
        """The report's page."""
        return f"/reports/{self.name}"


class ReportListPage(msgspec.Struct, kw_only=True):
    """The reports there are."""

    reports: list[ReportRow]


class ReportPage(msgspec.Struct, kw_only=True):
    """One report."""

    report: ReportRow
    data: ReportData
    has_currency: bool
    period: PeriodName
    has_period: bool
    currency: str
    currencies: list[str]

    @property
    def base(self) -> str:
        """The report's page."""
        return f"/reports/{self.report.name}"

    def href(self, *, base: str | None = None, **change: str | None) -> str:
        """This report with something changed in its address."""
        asked = {"period": self.period.value if self.has_period else None, "currency": self.currency, **change}
        text = urlencode({name: value for name, value in asked.items() if value})
        return f"{base or self.base}?{text}" if text else base or self.base

    @property
    def periods(self) -> list[tuple[str, str, bool]]:
        """Periods to choose from."""
        return [(label, self.href(period=name.value), name is self.period) for name, label in PERIODS.items()] if self.has_period else []

    @property
    def currency_tabs(self) -> list[tuple[str, str, bool, None]]:
        """Currencies to choose from."""
        every = [] if self.has_currency else [("All currencies", self.href(currency=None), not self.currency, None)]
        return [*every, *((code, self.href(currency=code), code == self.currency, None) for code in self.currencies)]

    @property
    def lines(self) -> list[tuple[str | None, Sequence[Cell]]]:
        """The rows with where they lead."""
        links = self.data.links or [None] * len(self.data.rows)
        return list(zip(links, self.data.rows, strict=True))
