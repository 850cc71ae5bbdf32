"""JSON routes of orders."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.ids import OrderId, path_id
from app.core.paging import Page
from app.orders import flows, queries
from app.orders.domain import OrderNotFound, OrderStatus
from app.orders.schemas import OrderRequest, OrderRow, OrderView
from app.web.context import HttpRequest
from app.web.forms import filter_of
from app.web.guards import requires


@post("/v1/orders", name="orders:api_create", guards=[requires("orders.write")])
async def create_order(request: HttpRequest, data: JSONBody[OrderRequest], actor: NamedDependency[Actor]) -> Response[bytes]:
    """Create an order. With an ``Idempotency-Key`` the same request may be repeated; the reference is unique in any case."""
    key = request.headers.get("idempotency-key")
    asked = idempotency.fingerprint(request.method, request.url.path, await request.body())
    made = await flows.create_order(actor, order=data.order(), key=key, request=asked)
    headers = {"Idempotent-Replayed": "true"} if made.replayed else {}
    return Response(made.answer.body, status_code=made.answer.status, media_type="application/json", headers=headers)


@get("/v1/orders", name="orders:api_list", guards=[requires("orders.read")])
async def list_orders(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Page[OrderRow]:
    """The orders, newest first; `q` finds by id, reference or the buyer's e-mail, `after` is the `next` of the page before."""
    asked = request.query_params
    status = filter_of(asked, "status", OrderStatus, of="an order")
    return await queries.orders(session, merchant_id=actor.merchant, query=asked.get("q", ""), status=status, after=asked.get("after"))


@get("/v1/orders/{order_id:str}", name="orders:api_detail", guards=[requires("orders.read")])
async def get_order(order_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> OrderView:
    """One order as it stands now."""
    return await queries.order_view(session, merchant_id=actor.merchant, order_id=_order_id(order_id))


def _order_id(text: str) -> OrderId:
    return OrderId(path_id("ord", text, otherwise=OrderNotFound(queries.MISSING)))


ROUTES = [create_order, get_order, list_orders]
