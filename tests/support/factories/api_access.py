"""API keys for tests."""

from app.api_access import service
from app.api_access.domain import SCOPES
from app.api_access.models import ApiKey
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId


async def make_key(merchant_id: MerchantId, *, name: str = "Test key", scopes: list[str] | None = None) -> tuple[ApiKey, str]:
    """An API key of a merchant, by default with every scope; gives the row and the key itself."""
    async with unit_of_work(merchant_id) as session:
        return await service.issue_key(
            session, Actor.system(merchant_id, "Test"), name=name, scopes=scopes if scopes is not None else list(SCOPES)
        )
