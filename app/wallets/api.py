"""Wallets as JSON."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.sellers import queries as sellers
from app.wallets import queries
from app.wallets.schemas import WalletsView
from app.web.guards import requires


@get("/v1/sellers/{seller_id:str}/wallets", name="wallets:api_list", guards=[requires("wallets.read")])
async def list_wallets(seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> WalletsView:
    """What one seller has, in every currency, bucket by bucket; straight from the ledger."""
    return await queries.wallets_view(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))


ROUTES = [list_wallets]
