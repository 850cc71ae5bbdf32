"""The tables of psp behind their walls."""

import pytest
from sqlalchemy import text

from app.core.db import unit_of_work
from app.core.ids import MerchantId, new_id

pytestmark = pytest.mark.usefixtures("database")


async def test_tables_exist() -> None:
    async with unit_of_work(MerchantId(new_id())) as session:
        assert (await session.execute(text("select count(*) from psp_connection"))).scalar_one() == 0
