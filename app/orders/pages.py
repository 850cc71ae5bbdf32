"""Pages about orders."""

from collections.abc import AsyncIterator

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import MerchantId, OrderId, path_id, public_id
from app.orders import queries, service
from app.orders.domain import OrderNotFound
from app.orders.schemas import MOST_FORM_LINES, LineForm, OrderForm, lines_of
from app.web.context import HttpRequest
from app.web.forms import FormState, posted_values, read_form
from app.web.guards import may_export, requires
from app.web.rendering import answer_invalid_with, redirect, render

LIST = ("orders/list.html", "orders/_list.html")
NEW = "orders/new.html"
ADD_LINE = "add_line"


def _id(text: str) -> OrderId:
    return OrderId(path_id("ord", text, otherwise=OrderNotFound(queries.MISSING)))


@get("/orders", name="orders:list", guards=[requires("orders.read")])
async def list_orders(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """What buyers owe and have paid, newest first."""
    asked = request.query_params
    page = await queries.order_list_page(
        session,
        merchant_id=actor.merchant,
        query=asked.get("q", "")[:200],
        status=asked.get("status", ""),
        after=asked.get("after") or None,
    )
    return render(request, LIST[0], page, fragment=LIST[1])


@get("/orders/export.csv", name="orders:export", guards=[may_export()])
async def export_orders(request: HttpRequest, actor: NamedDependency[Actor]) -> Stream:
    """The same orders as a file, however many there are."""
    asked = request.query_params
    headers = {"Content-Disposition": f'attachment; filename="orders-{now():%Y-%m-%dT%H%M}.csv"', "X-Accel-Buffering": "no"}
    rows = _file(actor.merchant, asked.get("q", "")[:200], asked.get("status", ""))
    return Stream(rows, media_type="text/csv", headers=headers)


async def _file(merchant_id: MerchantId, query: str, status: str) -> AsyncIterator[bytes]:
    async with unit_of_work(merchant_id) as session:
        async for rows in queries.order_rows(session, merchant_id=merchant_id, query=query, status=status):
            yield rows


@get("/orders/new", name="orders:new", guards=[requires("orders.write")])
async def new_order(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The form of a new order."""
    return render(request, NEW, await queries.order_form_page(session, merchant_id=actor.merchant))


@post("/orders/new", name="orders:create", status_code=200, guards=[requires("orders.write")])
async def create_order(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Create the order; with the other button, only show one more line."""
    values = await posted_values(request)
    page = await queries.order_form_page(session, merchant_id=actor.merchant, values=values)
    if ADD_LINE in values:
        if len(page.lines) < MOST_FORM_LINES:
            page.lines.append(LineForm(number=page.lines[-1].number + 1))
        return render(request, NEW, page, form=FormState(path=request.url.path, values=values))
    answer_invalid_with(request, NEW, page)
    form = await read_form(request, OrderForm)
    order = await service.create_order(
        session,
        actor,
        reference=form.reference,
        currency=form.currency,
        lines=lines_of(page.lines, form.currency),
        buyer_name=form.buyer_name,
        buyer_email=form.buyer_email,
        description=form.description,
    )
    return redirect(request, f"/orders/{public_id('ord', order.id)}", toast=f"Order {order.reference} was created")


@get("/orders/{order_id:str}", name="orders:detail", guards=[requires("orders.read")])
async def show_order(
    request: HttpRequest, order_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One order: what was bought, from whom, and what was paid."""
    page = await queries.order_detail_page(session, merchant_id=actor.merchant, order_id=_id(order_id))
    return render(request, "orders/detail.html", page)


ROUTES = [list_orders, export_orders, new_order, create_order, show_order]
