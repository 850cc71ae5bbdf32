"""Pages of the audit trail: the list, one entry, the same list as a file, and a comparison with the chain when one is wanted."""

from collections.abc import AsyncIterator, Sequence

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.audit import record
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId, parse_id
from app.tenancy.audit import queries, service
from app.tenancy.audit.schemas import COLUMNS, AuditFilters
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.guards import requires
from app.web.rendering import redirect, render

Session = NamedDependency[AsyncSession]
Who = NamedDependency[Actor]


def _filters(request: HttpRequest) -> AuditFilters:
    return AuditFilters.read({name: str(value) for name, value in request.query_params.items()})


@get("/audit", name="audit:list", guards=[requires("audit.read")])
async def list_entries(request: HttpRequest, session: Session, actor: Who, after: FromQuery[str | None] = None) -> Response[str]:
    """Who did what, newest first."""
    page = await queries.audit_page(session, actor, filters=_filters(request), after=after)
    return render(request, "audit/list.html", page, fragment="audit/_entries.html")


@get("/audit/{entry_id:str}", name="audit:show", guards=[requires("audit.read")])
async def show_entry(request: HttpRequest, session: Session, actor: Who, entry_id: FromPath[str]) -> Response[str]:
    """One entry, whole."""
    return render(request, "audit/show.html", await queries.entry_page(session, actor, entry_id=parse_id("aud", entry_id)))


@get("/audit/export.csv", name="audit:export", guards=[requires("audit.read", fresh=True)])
async def export_entries(request: HttpRequest, session: Session, actor: Who) -> Stream:
    """The same entries as a file; that somebody took them is an entry itself."""
    filters = _filters(request)
    await record(
        session,
        actor,
        action="export.taken",
        object_type="merchant",
        object_id=actor.merchant,
        after={"file": "/audit/export.csv"} | filters.kept,
    )
    return csv_download(f"audit-{now():%Y-%m-%dT%H%M}", COLUMNS, _batches(actor.merchant, filters))


async def _batches(merchant_id: MerchantId, filters: AuditFilters) -> AsyncIterator[Sequence[Sequence[object]]]:
    async with unit_of_work(merchant_id) as session:
        async for rows in queries.file_rows(session, merchant_id=merchant_id, filters=filters):
            yield rows


@post("/audit/check", name="audit:check", guards=[requires("audit.read")])
async def check_chain(request: HttpRequest, session: Session, actor: Who) -> Response[str]:
    """Have the trail compared with its chain."""
    await service.ask_check(session, actor)
    return redirect(request, "/audit", toast="The check has begun; its result appears here")


ROUTES = [list_entries, export_entries, show_entry, check_chain]
