"""Fixtures of the repair tests."""

import pytest_asyncio

from app.core.embedded import Urls
from tests.support.console import app, open_as, psp, shop
from tests.support.factories.tenancy import Tenant, make_tenant

__all__ = ["app", "open_as", "psp", "shop"]


@pytest_asyncio.fixture
async def tenant(database: Urls) -> Tenant:
    """A merchant whose jobs got stuck."""
    return await make_tenant()
