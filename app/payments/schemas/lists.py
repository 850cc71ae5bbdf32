"""The list of payments: its filters as they stand in the address, and what a row shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Self
from urllib.parse import urlencode

import msgspec

from app.core.clock import today
from app.core.errors import AppError, Invalid
from app.core.ids import ConnectionId, parse_id, public_id
from app.core.money import CURRENCIES, Money
from app.core.paging import Page
from app.payments.domain import PaymentStatus

PATH = "/payments"
MAX_QUERY = 200
MIN_QUERY = 3
COUNTED = 99
"""Tabs count no further than this: “99+” is all a person needs, and costs a hundred index entries."""

P = PaymentStatus
VIEWS: tuple[tuple[str, tuple[PaymentStatus, ...], bool], ...] = (
    ("All", (), False),
    ("Succeeded", (P.CAPTURED,), False),
    ("Uncaptured", (P.AUTHORISED, P.PARTIALLY_CAPTURED), True),
    ("Failed", (P.FAILED,), True),
    ("Refunded", (P.PARTIALLY_REFUNDED, P.REFUNDED), False),
    ("Needs a person", (P.UNKNOWN, P.CONFLICTED, P.IN_REVIEW), True),
)
"""The saved views everybody has: name, states, and whether a count is shown because somebody waits."""

METHODS = (
    "visa",
    "mastercard",
    "amex",
    "discover",
    "jcb",
    "diners",
    "unionpay",
    "maestro",
    "paypal",
    "klarna",
    "ideal",
    "bancontact",
    "sepa",
)


class Sort(StrEnum):
    """What the list is sorted by."""

    CREATED = "created"
    AMOUNT = "amount"


class FilterMalformed(Invalid):
    """A filter in the address cannot be read."""

    code = "filter_malformed"
    title = "This filter cannot be read"


class PaymentFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments, in which order. Everything in it can be cited as an address."""

    q: str = ""
    statuses: tuple[PaymentStatus, ...] = ()
    since: date | None = None
    until: date | None = None
    currency: str = ""
    least: Money | None = None
    most: Money | None = None
    connection: str = ""
    method: str = ""
    sort: Sort = Sort.CREATED
    ascending: bool = False
    after: str = ""
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, Sequence[str]]) -> Self:
        """Read the filters from an address; one that cannot be read is left out and named in ``problems``."""
        reader = _Reader(given)
        currency = reader.currency()
        return cls(
            q=reader.text("q")[:MAX_QUERY],
            statuses=reader.statuses(),
            since=reader.day("since"),
            until=reader.day("until"),
            currency=currency,
            least=reader.amount("least", currency),
            most=reader.amount("most", currency),
            connection=reader.connection(),
            method=reader.text("method").lower()[:40],
            sort=Sort.AMOUNT if reader.text("sort").lstrip("-") == Sort.AMOUNT else Sort.CREATED,
            ascending=bool(reader.text("sort")) and not reader.text("sort").startswith("-"),
            after=reader.text("after"),
            problems=tuple(reader.problems),
        )

    @property
    def searches(self) -> str:
        """The text that is looked for, once it is long enough to mean something."""
        return self.q if len(self.q) >= MIN_QUERY else ""

    @property
    def connection_id(self) -> ConnectionId | None:
        """The connection that is asked for."""
        return ConnectionId(parse_id("con", self.connection)) if self.connection else None

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the order is asked for."""
        return bool(self.query(q=self.searches, sort="", after=""))

    @property
    def counts_cheaply(self) -> bool:
        """Whether an index alone can count what matches."""
        return not (self.currency or self.method or self.connection or self.searches)

    def query(self, **changes: str) -> dict[str, str]:
        """The filters as they stand in an address, with some of them changed; an empty one is left out."""
        whole = {
            "q": self.q,
            "status": ",".join(self.statuses),
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "currency": self.currency,
            "least": self.least.decimal() if self.least else "",
            "most": self.most.decimal() if self.most else "",
            "connection": self.connection,
            "method": self.method,
            "sort": self.order,
            "after": self.after,
        }
        return {name: value for name, value in (whole | changes).items() if value}

    @property
    def order(self) -> str:
        """The order as it stands in an address; the usual one, newest first, is not written."""
        if self.sort is Sort.CREATED and not self.ascending:
            return ""
        return self.sort if self.ascending else f"-{self.sort}"

    def href(self, path: str = PATH, **changes: str) -> str:
        """The address of this list with some filters changed; any change leads back to the first page."""
        query = urlencode(self.query(**{"after": "", **changes}))
        return f"{path}?{query}" if query else path

    def id_range(self) -> tuple[datetime | None, datetime | None]:
        """From when and before when, in UTC."""
        begin = datetime(self.since.year, self.since.month, self.since.day, tzinfo=UTC) if self.since else None
        last = self.until + timedelta(days=1) if self.until and self.until < date.max else None
        return begin, datetime(last.year, last.month, last.day, tzinfo=UTC) if last else None


class _Reader:
    """Reads one filter after the other and notes what cannot be read."""

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        self.given = given
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        values = self.given.get(name)
        return values[-1].replace("\x00", "").strip() if values else ""

    def statuses(self) -> tuple[PaymentStatus, ...]:
        words = [word for value in self.given.get("status", ()) for word in value.split(",") if word]
        known = {status.value for status in PaymentStatus}
        self.problems += [f"There is no status “{word[:40]}”." for word in words if word not in known]
        return tuple(status for status in PaymentStatus if status in words)

    def day(self, name: str) -> date | None:
        text = self.text(name)
        try:
            day = date.fromisoformat(text) if text else None
        except ValueError:
            day = None
        if text and (day is None or not 2000 <= day.year <= 2200):
            self.problems.append(f"“{text[:40]}” is not a date; write it like {today().isoformat()}.")
            return None
        return day

    def currency(self) -> str:
        code = self.text("currency").upper()
        if code and code not in CURRENCIES:
            self.problems.append(f"“{code[:8]}” is not a currency; use a three-letter code such as EUR.")
            return ""
        if not code and (self.text("least") or self.text("most")):
            self.problems.append("Say in which currency the amount is.")
        return code

    def amount(self, name: str, currency: str) -> Money | None:
        text = self.text(name)
        if not text or not currency:
            return None
        try:
            return Money.parse(text, currency)
        except AppError as wrong:
            self.problems.append(wrong.detail)
            return None

    def connection(self) -> str:
        text = self.text("connection")
        try:
            return public_id("con", parse_id("con", text)) if text else ""
        except Invalid:
            self.problems.append("There is no such connection.")
            return ""


class PaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One payment in the list."""

    id: str
    amount: Money
    status: str
    why: str
    method: str | None
    last4: str | None
    buyer: str
    email: str
    order_reference: str
    connection: str
    created_at: datetime


class Tab(msgspec.Struct, frozen=True, kw_only=True):
    """One saved view, with how many wait there."""

    label: str
    href: str
    current: bool
    count: str | None


class Chip(msgspec.Struct, frozen=True, kw_only=True):
    """One filter that is set, and the address without it."""

    label: str
    value: str
    href: str
    menu: str


def tabs(filters: PaymentFilters, waiting: Mapping[str, int]) -> list[Tab]:
    """The saved views, with how many wait in each."""
    return [
        Tab(
            label=label,
            href=PaymentFilters(statuses=statuses).href(),
            current=filters.statuses == statuses,
            count=_capped(waiting.get(label, 0)),
        )
        for label, statuses, _ in VIEWS
    ]


def _capped(count: int) -> str | None:
    return f"{COUNTED}+" if count > COUNTED else str(count) if count else None


def chips(filters: PaymentFilters, connections: Mapping[str, str]) -> list[Chip]:
    """The filters that are set, each with the way to take it off."""
    found = []
    if filters.since or filters.until:
        found.append(Chip(label="Date", value=_span(filters.since, filters.until), href=filters.href(since="", until=""), menu="m-date"))
    if filters.statuses and filters.statuses not in {statuses for _, statuses, _ in VIEWS}:
        words = ", ".join(status.replace("_", " ") for status in filters.statuses)
        found.append(Chip(label="Status", value=words, href=filters.href(status=""), menu="m-states"))
    if filters.currency:
        found.append(Chip(label="Amount", value=_range(filters), href=filters.href(currency="", least="", most=""), menu="m-amount"))
    if filters.connection:
        name = connections.get(filters.connection, "unknown")
        found.append(Chip(label="Connection", value=name, href=filters.href(connection=""), menu="m-connections"))
    if filters.method:
        found.append(Chip(label="Method", value=filters.method, href=filters.href(method=""), menu="m-methods"))
    return found


def _span(since: date | None, until: date | None) -> str:
    if since is None:
        return f"until {_day(until)}"
    if until is None:
        return f"since {_day(since)}"
    return _day(since) if since == until else f"{_day(since)} to {_day(until)}"


def _day(day: date | None) -> str:
    return f"{day.day} {day:%b %Y}" if day else ""


def _range(filters: PaymentFilters) -> str:
    if filters.least and filters.most:
        return f"{filters.least.format()} to {filters.most.format()}"
    if filters.least:
        return f"≥ {filters.least.format()}"
    return f"≤ {filters.most.format()}" if filters.most else filters.currency


class PaymentListPage(msgspec.Struct, frozen=True, kw_only=True):
    """The list of payments."""

    filters: PaymentFilters
    rows: Page[PaymentRow]
    tabs: list[Tab]
    chips: list[Chip]
    connections: list[tuple[str, str]]
    matching: str

    @property
    def tab_items(self) -> list[tuple[str, str, bool, str | None]]:
        """The saved views as the tabs show them."""
        return [(tab.label, tab.href, tab.current, tab.count) for tab in self.tabs]

    @property
    def open_chips(self) -> list[tuple[str, str]]:
        """The filters that are not set yet, with the menu that sets them."""
        menus = [
            ("Date", "m-date"),
            ("Status", "m-states"),
            ("Amount", "m-amount"),
            ("Connection", "m-connections"),
            ("Method", "m-methods"),
        ]
        return [(label, menu) for label, menu in menus if menu not in {chip.menu for chip in self.chips}]

    @property
    def statuses(self) -> list[PaymentStatus]:
        """The states to choose from."""
        return list(PaymentStatus)

    @property
    def methods(self) -> list[tuple[str, str]]:
        """The ways of paying to choose from."""
        return [(method, method.capitalize()) for method in METHODS]

    @property
    def no_match(self) -> str:
        """What was looked for without success."""
        words = [f"“{self.filters.q}”"] if self.filters.q else []
        words += [f"{chip.label} {chip.value}" for chip in self.chips]
        words += [tab.label for tab in self.tabs if tab.current and tab.label != "All"]
        return f"Nothing fits {', '.join(words)}." if words else "There is nothing on this page of the list any more."

    @property
    def summary(self) -> str:
        """How much of the list this page is."""
        here = len(self.rows.items)
        if self.filters.searches and self.rows.next:
            return f"{here} shown. A search looks at the first 500 hits of each kind; type more to narrow it down."
        if self.matching and not self.filters.after:
            return f"{'All ' if self.matching == str(here) else f'{here} of '}{self.matching} payment{'' if self.matching == '1' else 's'}"
        return f"{here} payments on this page"

    @property
    def previous_href(self) -> str | None:
        """The page before this one."""
        return self.filters.href(after=self.rows.previous) if self.rows.previous else None

    @property
    def next_href(self) -> str | None:
        """The page after this one."""
        return self.filters.href(after=self.rows.next) if self.rows.next else None

    @property
    def export_href(self) -> str:
        """The same payments as a file."""
        return self.filters.href(f"{PATH}/export.csv")

    @property
    def is_first_run(self) -> bool:
        """Whether there is nothing to see because nothing has happened yet."""
        return not self.rows.items and not self.filters.is_narrow and not self.filters.after

    def sort_href(self, by: str) -> str:
        """The list sorted by this column; the other way round when it is sorted by it already."""
        turned = self.direction(by) == "descending"
        order = by if turned else f"-{by}"
        return self.filters.href(sort="" if order == f"-{Sort.CREATED}" else order)

    def direction(self, by: str) -> str | None:
        """How the list is sorted by this column, if it is."""
        if self.filters.sort != by:
            return None
        return "ascending" if self.filters.ascending else "descending"

    def presets(self) -> list[tuple[str, str]]:
        """Spans of time people ask for most."""
        end = today()
        spans = (("Today", 0), ("Last 7 days", 6), ("Last 30 days", 29), ("Last 90 days", 89))
        return [(label, self.filters.href(since=(end - timedelta(days=days)).isoformat(), until="")) for label, days in spans]
