"""JSON routes of orders."""

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency
from app.core.actors import Actor
from app.core.ids import OrderId, path_id
from app.core.paging import Page
from app.orders import queries, service
from app.orders.domain import OrderNotFound
from app.orders.schemas import OrderRequest, OrderRow, OrderView
from app.web.context import HttpRequest
from app.web.guards import requires

CREATED = 201


@post("/v1/orders", name="orders:api_create", guards=[requires("orders.write")])
async def create_order(
    request: HttpRequest, data: JSONBody[OrderRequest], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[bytes]:
    """Create an order. With an ``Idempotency-Key`` the same request may be repeated; the reference is unique in any case."""
    key = request.headers.get("idempotency-key")
    if key is not None:
        asked = idempotency.fingerprint(request.method, request.url.path, await request.body())
        claim = await idempotency.claim(session, merchant_id=actor.merchant, key=key, request=asked)
        if claim.replay is not None:
            headers = {"Idempotent-Replayed": "true"}
            return Response(claim.replay.body, status_code=claim.replay.status, media_type="application/json", headers=headers)
    order = await service.create_order(
        session,
        actor,
        reference=data.reference,
        currency=data.currency,
        lines=[line.line() for line in data.lines],
        buyer_name=data.buyer.name,
        buyer_email=data.buyer.email,
        description=data.description,
        details=data.metadata,
        expires_at=data.expires_at,
    )
    view = await queries.order_view(session, merchant_id=actor.merchant, order_id=OrderId(order.id))
    body = msgspec.json.encode(view)
    if key is not None:
        await idempotency.finish(session, merchant_id=actor.merchant, key=key, answer=idempotency.Answer(CREATED, body))
    return Response(body, status_code=CREATED, media_type="application/json")


@get("/v1/orders", name="orders:api_list", guards=[requires("orders.read")])
async def list_orders(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Page[OrderRow]:
    """The orders, newest first; `q` finds by id, reference or the buyer's e-mail, `after` is the `next` of the page before."""
    asked = request.query_params
    return await queries.orders(
        session, merchant_id=actor.merchant, query=asked.get("q", ""), status=asked.get("status", ""), after=asked.get("after")
    )


@get("/v1/orders/{order_id:str}", name="orders:api_detail", guards=[requires("orders.read")])
async def get_order(order_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> OrderView:
    """One order as it stands now."""
    return await queries.order_view(session, merchant_id=actor.merchant, order_id=_order_id(order_id))


def _order_id(text: str) -> OrderId:
    return OrderId(path_id("ord", text, otherwise=OrderNotFound(queries.MISSING)))


ROUTES = [create_order, get_order, list_orders]
