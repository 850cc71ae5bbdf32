"""Sellers as JSON."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.paging import Page
from app.sellers import queries, service
from app.sellers.domain import SellerStatus
from app.sellers.schemas import SellerRequest, SellerView
from app.web.context import HttpRequest
from app.web.forms import filter_of
from app.web.guards import requires


@get("/v1/sellers", name="sellers:api_list", guards=[requires("sellers.read")])
async def list_sellers(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Page[SellerView]:
    """Everybody who sells here, newest first; `q` finds by name, reference or id, `after` is the `next` of the page before."""
    asked = request.query_params
    status = filter_of(asked, "status", SellerStatus, of="a seller")
    return await queries.sellers(session, merchant_id=actor.merchant, query=asked.get("q", ""), status=status, after=asked.get("after"))


@post("/v1/sellers", name="sellers:api_add", status_code=201, guards=[requires("sellers.write")])
async def add_seller(
    data: JSONBody[SellerRequest], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[SellerView]:
    """Add a seller. The reference is yours and unique, so that a repeated request is refused rather than doubled."""
    seller = await service.add_seller(session, actor, reference=data.reference, name=data.name, email=data.email, country=data.country)
    view = SellerView.of(seller)
    return Response(view, status_code=201, headers={"Location": f"/v1/sellers/{view.id}"})


@get("/v1/sellers/{seller_id:str}", name="sellers:api_show", guards=[requires("sellers.read")])
async def show_seller(seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> SellerView:
    """One seller."""
    return await queries.seller_view(session, merchant_id=actor.merchant, seller_id=queries.seller_id(seller_id))


ROUTES = [list_sellers, add_seller, show_seller]
