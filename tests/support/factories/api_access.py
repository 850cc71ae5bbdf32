"""API keys and OAuth clients for tests."""

from app.api_access import service
from app.api_access.domain import SCOPES, AuthMethod
from app.api_access.models import ApiClient, ApiKey
from app.api_access.service import clients
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId


async def make_key(
    merchant_id: MerchantId, *, name: str = "Test key", scopes: list[str] | None = None, networks: str = ""
) -> tuple[ApiKey, str]:
    """An API key of a merchant, by default with every scope; gives the row and the key itself."""
    async with unit_of_work(merchant_id) as session:
        return await service.issue_key(
            session,
            Actor.system(merchant_id, "Test"),
            name=name,
            scopes=scopes if scopes is not None else list(SCOPES),
            networks=networks,
        )


async def make_client(
    merchant_id: MerchantId,
    *,
    name: str = "Test client",
    scopes: list[str] | None = None,
    jwks: str = "",
    jwks_url: str = "",
    networks: str = "",
    requests_per_minute: int | None = None,
) -> tuple[ApiClient, str]:
    """An OAuth client of a merchant, by default with every scope; gives the row and its secret, empty when it signs with a key."""
    async with unit_of_work(merchant_id) as session:
        row, secret = await clients.add_client(
            session,
            Actor.system(merchant_id, "Test"),
            name=name,
            scopes=scopes if scopes is not None else list(SCOPES),
            method=AuthMethod.KEY if jwks or jwks_url else AuthMethod.SECRET,
            jwks=jwks,
            jwks_url=jwks_url,
            networks=networks,
            requests_per_minute=requests_per_minute,
        )
    return row, secret or ""
