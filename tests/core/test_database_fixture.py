"""The database fixture: each test finds the database as the migrations left it, and row security is in force."""

import psycopg
import pytest
from sqlalchemy import text

from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from app.core.outbox import Event, publish


class Happened(Event, frozen=True):
    topic = "test.happened"


@pytest.mark.parametrize("round", [1, 2])
async def test_a_test_leaves_nothing_to_the_next(database: Urls, round: int) -> None:
    async with unit_of_work(MerchantId(new_id())) as session:
        assert (await session.execute(text("select count(*) from outbox"))).scalar_one() == 0
        await publish(session, merchant_id=None, event=Happened())


def test_the_application_role_owns_nothing(database: Urls, owner: psycopg.Connection) -> None:
    owned = owner.execute("select relname from pg_class where relowner = 'countinghouse_app'::regrole").fetchall()
    assert owned == []
