"""The list of payments, and the same list as a file."""

from collections.abc import AsyncIterator
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, MerchantId, parse_id
from app.payments.queries import exports, lists
from app.payments.schemas.lists import FilterMalformed, PaymentFilters
from app.psp import queries as psp
from app.web.context import HttpRequest
from app.web.guards import may_export, requires
from app.web.rendering import render

MAX_TICKED = 100


def _filters(request: HttpRequest) -> PaymentFilters:
    return PaymentFilters.read(request.query_params.dict())


@get("/payments", name="payments:list", guards=[requires("payments.read")])
async def list_payments(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The merchant's payments, filtered, searched and sorted as the address says."""
    page = await lists.payment_list_page(session, merchant_id=actor.merchant, filters=_filters(request))
    return render(request, "payments/list.html", page, fragment="payments/_list.html")


@get("/payments/export.csv", name="payments:export", guards=[may_export()])
async def export_payments(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Stream:
    """The same payments as a file, however many there are."""
    filters = _filters(request)
    if filters.problems:
        raise FilterMalformed(filters.problems[0], fields={"filter": filters.problems[0]})
    ticked = [parse_id("pay", text) for text in request.query_params.getall("id", [])[:MAX_TICKED]]
    names = await psp.connection_names(session, merchant_id=actor.merchant)
    headers = {"Content-Disposition": f'attachment; filename="payments-{now():%Y-%m-%dT%H%M}.csv"', "X-Accel-Buffering": "no"}
    return Stream(_file(actor.merchant, filters, names, ticked or None), media_type="text/csv", headers=headers)


async def _file(
    merchant_id: MerchantId, filters: PaymentFilters, names: dict[ConnectionId, str], only: list[UUID] | None
) -> AsyncIterator[bytes]:
    async with unit_of_work(merchant_id) as session:
        async for rows in exports.payment_rows(session, merchant_id=merchant_id, filters=filters, names=names, only=only):
            yield rows


ROUTES = [list_payments, export_payments]
