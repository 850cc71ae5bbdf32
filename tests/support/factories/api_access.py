"""API keys and OAuth clients for tests."""

from app.api_access import queries, service
from app.api_access.domain import SCOPES, TOKEN_LIFE, AuthMethod, Issued, new_token
from app.api_access.models import ApiClient, ApiKey
from app.api_access.service import clients, tokens
from app.core.actors import Actor
from app.core.clock import now
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


async def make_token(merchant_id: MerchantId, *, scopes: list[str] | None = None, of: ApiClient | None = None) -> str:
    """An access token of a client, by default of a new one."""
    row = of or (await make_client(merchant_id, scopes=scopes))[0]
    async with unit_of_work(merchant_id) as session:
        client = await queries.known_client(session, merchant_id=merchant_id, client_id=row.id)
        assert client is not None
        issued = Issued(token=new_token(sandbox=client.sandbox), scopes=scopes or client.scopes, expires_at=now() + TOKEN_LIFE)
        await tokens.keep_token(session, Actor.system(merchant_id, "Test"), client=client, issued=issued)
    return issued.token
