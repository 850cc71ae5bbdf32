"""The start page and the reports."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import TypeVar

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import today
from app.core.money import Money
from app.reports import queries
from app.reports.domain import Metric, PeriodName
from app.reports.schemas import Cell, CellKind, ReportData
from app.sellers import queries as sellers
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.guards import may_export, requires
from app.web.rendering import render

Word = TypeVar("Word", bound=StrEnum)


def _word(request: HttpRequest, name: str, usual: Word) -> Word:
    """A choice in the address; a word that is none of them counts as the usual one."""
    given = request.query_params.get(name, "")
    return next((word for word in type(usual) if word == given), usual)


@get("/", name="reports:home", guards=[requires("merchant.read")])
async def home(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What needs a person, and how business goes."""
    asked = request.query_params
    page = await queries.home_page(
        session,
        actor,
        period=_word(request, "period", PeriodName.MONTH),
        currency=asked.get("currency", ""),
        metric=_word(request, "metric", Metric.GROSS),
        compares=asked.get("compare") != "none",
    )
    return render(request, "reports/home.html", page)


@get("/reports", name="reports:list", guards=[requires("reports.read")])
async def list_reports(request: HttpRequest) -> Response[str]:
    """The reports there are."""
    return render(request, "reports/list.html", queries.report_list_page())


@get("/reports/{name:str}", name="reports:show", guards=[requires("reports.read")])
async def show_report(
    request: HttpRequest, name: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One report."""
    page = await queries.report_page(
        session,
        merchant_id=actor.merchant,
        name=name,
        period=_word(request, "period", PeriodName.MONTH),
        currency=request.query_params.get("currency", ""),
    )
    return render(request, "reports/show.html", page)


@get("/reports/{name:str}/export", name="reports:export", guards=[may_export()])
async def export_report(
    request: HttpRequest, name: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Stream:
    """One report as a file."""
    page = await queries.report_page(
        session,
        merchant_id=actor.merchant,
        name=name,
        period=_word(request, "period", PeriodName.MONTH),
        currency=request.query_params.get("currency", ""),
    )
    return csv_download(f"{name}-{today()}", _header(page.data), _rows(page.data))


def _header(data: ReportData) -> list[str]:
    names = [[f"{c.name}_minor", c.name] if c.kind is CellKind.MONEY else [c.name] for c in data.columns]
    currency = ["currency"] if any(column.kind is CellKind.MONEY for column in data.columns) else []
    return [name for pair in names for name in pair] + currency


async def _rows(data: ReportData) -> AsyncIterator[list[list[object]]]:
    yield [_line(row) for row in data.rows]


def _line(row: Sequence[Cell]) -> list[object]:
    cells: list[object] = []
    for value in row:
        cells += [value.minor, value.decimal()] if isinstance(value, Money) else [value]
    return cells + [value.currency for value in row if isinstance(value, Money)][:1]


@get("/sellers/{seller_id:str}/activity", name="reports:seller_activity", guards=[requires("payments.read")])
async def seller_activity(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What a seller sold lately, for the seller's page."""
    page = await queries.seller_activity_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    return render(request, "reports/activity.html", page, fragment="reports/_activity.html")


ROUTES = [home, list_reports, show_report, export_report, seller_activity]
