"""Fixtures of the payment tests."""

from collections.abc import Callable

import pytest
import pytest_asyncio
from psycopg import Connection

from app.psp.service import connections
from tests.support.shop import ScriptedPsp, Shop, balances, open_shop


@pytest.fixture
def psp(monkeypatch: pytest.MonkeyPatch) -> ScriptedPsp:
    """A PSP that answers what the test scripts."""
    scripted = ScriptedPsp()

    async def adapter_for(*_args: object, **_options: object) -> ScriptedPsp:
        return scripted

    monkeypatch.setattr(connections, "adapter_for", adapter_for)
    monkeypatch.setattr(connections, "adapter_of", lambda _connection: scripted)
    return scripted


@pytest_asyncio.fixture
async def shop(database: object, psp: ScriptedPsp) -> Shop:
    """A merchant that can take payments."""
    return await open_shop(psp)


Books = Callable[[], dict[tuple[str, str], int]]


@pytest.fixture
def books(shop: Shop, superuser: Connection) -> Books:
    """The balances of the shop, with its sellers and the connection by name."""
    names = {str(shop.anna): "anna", str(shop.bert): "bert", str(shop.connection_id): "psp"}

    def read() -> dict[tuple[str, str], int]:
        return {(code, names.get(owner, "")): minor for (code, owner), minor in balances(superuser, shop.merchant_id).items()}

    return read
