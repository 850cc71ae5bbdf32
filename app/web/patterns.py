"""The pattern page: every component of the interface in one place, with sample data; open in development and demo only."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.response import Response

from app.core.errors import NotFound
from app.core.money import Money
from app.core.settings import settings
from app.web.charts import AreaChart, ColumnChart
from app.web.context import HttpRequest, MerchantBadge, PersonBadge, web_context
from app.web.forms import FormState, InvalidForm, read_form, state_after
from app.web.guards import public
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.static import icon_names
from app.web.statuses import Status, vocabulary


class PatternsHidden(NotFound):
    """The pattern page is for those who build pages, not for a running house."""

    code = "patterns_hidden"
    title = "The pattern page is not open in production"


class SampleLine(msgspec.Struct, frozen=True):
    account: str
    note: str
    href: str
    debit: Money | None = None
    credit: Money | None = None


class SampleGroup(msgspec.Struct, frozen=True):
    at: datetime
    kind: str
    href: str | None
    lines: tuple[SampleLine, ...]


class SampleBooking(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    title: str
    text: str
    icon: str
    reference: str
    balance: Money
    href: str | None = "/dev/patterns"
    money_in: Money | None = None
    money_out: Money | None = None


class SamplePayment(msgspec.Struct, frozen=True):
    amount: Money
    state: str
    method: str
    last4: str | None
    who: str
    mail: str
    order: str
    connection: str
    at: datetime
    why: str = ""


class PatternsPage(msgspec.Struct, kw_only=True):
    """What the pattern page shows."""

    at: datetime
    q: str
    amounts: list[Money]
    payments: list[SamplePayment]
    volume: AreaChart
    available: ColumnChart
    balance: list[float]
    groups: list[SampleGroup]
    days: list[tuple[str, list[SampleBooking]]]
    statuses: dict[str, dict[str, Status]]
    icons: list[str]
    answer: dict[str, object]


def _eur(minor: int) -> Money:
    return Money(minor, "EUR")


_AT = datetime(2026, 11, 20, 14, 32, 11, tzinfo=UTC)


def _payments() -> list[SamplePayment]:
    rows = [
        (_eur(124_900), "partially_captured", "visa", "4242", "Lena Hoffmann", "lena.hoffmann@posteo.de", "Acme EU", ""),
        (_eur(41_200), "captured", "paypal", None, "Ana Ribeiro", "ana.ribeiro@sapo.pt", "Acme EU", ""),
        (_eur(30_000), "authorised", "visa", "1881", "Marta Nowak", "m.nowak@wp.pl", "Northwind", ""),
        (Money(231_075, "USD"), "failed", "amex", "1005", "Sam Whitaker", "sam@whitaker.studio", "Acme EU", "Insufficient funds"),
        (Money(18_400, "JPY"), "processing", "jcb", "0505", "Aiko Tanaka", "aiko.t@docomo.ne.jp", "Northwind", ""),
        (_eur(5_990), "unknown", "mastercard", "9424", "Paul Mercier", "p.mercier@free.fr", "Acme EU", "Asked again at 15:05"),
        (Money(108_500, "SEK"), "refunded", "klarna", None, "Erik Sandström", "erik@sandstrom.se", "Northwind", ""),
    ]
    step = timedelta(minutes=13)
    return [
        SamplePayment(amount, state, kind, last4, who, mail, f"ord_8F3K{i}", connection, _AT - step * i, why)
        for i, (amount, state, kind, last4, who, mail, connection, why) in enumerate(rows)
    ]


def _volume() -> AreaChart:
    values = [9.2, 10.4, 11.1, 8.0, 7.4, 12.6, 13.9, 14.4, 13.2, 15.8, 10.9, 9.8, 16.4, 18.1]
    before = [8.1, 9.0, 9.9, 7.2, 6.8, 10.9, 11.4, 12.7, 12.0, 13.1, 9.6, 8.8, 13.3, 14.9]
    days = [_AT.date() - timedelta(days=13 - i) for i in range(14)]
    return AreaChart(
        title="Gross volume per day, 7 to 20 November, with the 14 days before",
        labels=[f"{day.day} {day:%b}" for day in days],
        values=[value * 1000 for value in values],
        texts=[_eur(round(value * 100_000)).format() for value in values],
        previous=[value * 1000 for value in before],
        previous_texts=[_eur(round(value * 100_000)).format() for value in before],
    )


def _available() -> ColumnChart:
    stacks = [(6200, 1800), (4100, 900), (7300, 0), (2600, 1200), (5200, 400)]
    return ColumnChart(
        title="Pending funds by the day they become available",
        labels=["Mon 23", "Tue 24", "Wed 25", "Thu 26", "Fri 27"],
        stacks=[[(float(a), "c-f1"), (float(b), "c-f5")] for a, b in stacks],
        texts=[_eur((a + b) * 100).format() for a, b in stacks],
    )


def _groups() -> list[SampleGroup]:
    psp, wallet, fees = "PSP receivable", "Seller wallet", "Platform revenue"
    return [
        SampleGroup(
            _AT,
            "Capture",
            "/dev/patterns",
            (
                SampleLine(psp, "Acme EU", "/dev/patterns", debit=_eur(94_900)),
                SampleLine(wallet, "pending", "/dev/patterns", credit=_eur(94_900)),
            ),
        ),
        SampleGroup(
            _AT,
            "Platform fee",
            None,
            (SampleLine(wallet, "pending", "/dev/patterns", debit=_eur(285)), SampleLine(fees, "EUR", "/dev/patterns", credit=_eur(285))),
        ),
    ]


def _days() -> list[tuple[str, list[SampleBooking]]]:
    sale = SampleBooking(
        at=_AT,
        title="Payment",
        text="Lena Hoffmann",
        icon="credit-card",
        reference="pay_01KD4T9QZ7",
        money_in=_eur(94_900),
        balance=_eur(618_431),
    )
    refund = SampleBooking(
        at=_AT,
        title="Refund",
        text="Damaged item",
        icon="undo-2",
        reference="ref_01KD4W2B81",
        money_out=_eur(12_000),
        balance=_eur(523_531),
    )
    return [("20 November", [sale, refund])]


def sample_page(q: str = "") -> PatternsPage:
    """The pattern page with its sample data; `q` narrows the sample list."""
    return PatternsPage(
        at=_AT,
        q=q,
        amounts=[_eur(124_900), _eur(-32_125), Money(18_400, "JPY"), Money(108_550, "SEK"), Money(1_234_567, "KWD")],
        payments=[payment for payment in _payments() if q.lower() in payment.who.lower()],
        volume=_volume(),
        available=_available(),
        balance=[3.0, 3.4, 3.1, 4.2, 4.0, 5.1, 4.8, 6.0, 6.2],
        groups=_groups(),
        days=_days(),
        statuses=vocabulary(),
        icons=sorted(icon_names()),
        answer={
            "type": "card_error",
            "code": "issuer_not_available",
            "network_code": "91",
            "amount": 231075,
            "pan": "•••• 1005",
            "live": False,
        },
    )


def sample_errors() -> FormState:
    """The sample form as it looks after it was refused."""
    problems = {"iban": "Enter an IBAN with 22 characters for Germany", "minimum": "The minimum must be €1.00 or more"}
    values = {"iban": ["DE89 3704 0044 0532"], "minimum": ["0.00"], "schedule": ["weekly"]}
    # a reader of this page did not just post the form, so it must not draw the focus to itself
    return msgspec.structs.replace(state_after(InvalidForm(fields=problems), "/dev/patterns/form", values), takes_focus=False)


def _borrow_shell(request: HttpRequest) -> None:
    web = web_context(request)
    if web.person is None:
        web.person = PersonBadge(name="Ines Okafor", email="ines.okafor@halden-rowe.example", initials="IO")
        web.merchant = MerchantBadge(
            id="mer_sample",
            name="Halden & Rowe",
            initials="H&R",
            is_sandbox="test" in request.query_params,
            counterpart="mer_sandbox",
            role="Finance manager",
        )
        twin = MerchantBadge(
            id="mer_sandbox", name="Halden & Rowe", initials="H&R", is_sandbox=True, counterpart="mer_sample", role="Finance manager"
        )
        other = MerchantBadge(id="mer_other", name="Northlight Coffee", initials="NL", is_sandbox=False, counterpart=None, role="Owner")
        web.merchants = [web.merchant, twin, other]
    web.theme = request.query_params.get("theme", web.theme)
    web.density = request.query_params.get("density", web.density)


@get("/dev/patterns", name="patterns:show", guards=[public()], include_in_schema=False)
async def show_patterns(request: HttpRequest) -> Response[str]:
    """Every component with sample data."""
    if settings().environment == "production":
        raise PatternsHidden
    _borrow_shell(request)
    return render(request, "dev/patterns.html", sample_page(request.query_params.get("q", "")), form=sample_errors())


@get("/dev/patterns/dialog", name="patterns:dialog", guards=[public()], include_in_schema=False)
async def show_pattern_dialog(request: HttpRequest) -> Response[str]:
    """The sample dialog: a dialog for htmx, a page otherwise."""
    if settings().environment == "production":
        raise PatternsHidden
    _borrow_shell(request)
    return render(request, "dev/refund.html", sample_page(), fragment="dev/_refund.html")


class SampleForm(msgspec.Struct):
    """What the sample dialog posts."""

    amount: Money
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    note: str | None = None


@post("/dev/patterns/form", name="patterns:submit", guards=[public()], include_in_schema=False)
async def submit_pattern_form(request: HttpRequest) -> Response[str]:
    """Take the sample form: it comes back with what is wrong, or leads back to the pattern page. Nothing is stored."""
    if settings().environment == "production":
        raise PatternsHidden
    _borrow_shell(request)
    answer_invalid_with(request, "dev/refund.html", sample_page(), fragment="dev/_refund.html")
    form = await read_form(request, SampleForm)
    return redirect(request, "/dev/patterns", toast=f"{form.amount.format()} looked at; nothing was moved")


ROUTES = [show_patterns, show_pattern_dialog, submit_pattern_form]
