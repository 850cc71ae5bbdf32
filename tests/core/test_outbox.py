"""The outbox: an event leaves with the change it tells of, or not at all."""

from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

import pytest
from psycopg import Connection

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.events import Event
from app.core.ids import MerchantId
from app.core.outbox import publish

pytestmark = pytest.mark.usefixtures("database")


class Happened(Event, frozen=True):
    """Something happened."""

    topic: ClassVar[str] = "test.happened"
    what: str


class TestPublish:
    async def test_it_is_written_with_the_change_and_due_at_once_or_later(self, superuser: Connection) -> None:
        merchant_id, object_id, later = MerchantId(uuid4()), uuid4(), now() + timedelta(days=2)
        async with unit_of_work(merchant_id) as session:
            first = await publish(session, merchant_id=merchant_id, event=Happened(what="it"), object_id=object_id)
            second = await publish(session, merchant_id=None, event=Happened(what="ü"), due_at=later)
        rows = superuser.execute(
            "select id, merchant_id, topic, payload, object_id, due_at - created_at, published_at from outbox order by id"
        ).fetchall()
        assert rows[0] == (first, merchant_id, "test.happened", {"what": "it"}, object_id, timedelta(0), None)
        assert rows[1][:4] == (second, None, "test.happened", {"what": "ü"}) and rows[1][5] > timedelta(days=1)

    async def test_it_dies_with_the_change(self, superuser: Connection) -> None:
        with pytest.raises(RuntimeError):  # noqa: PT012 - the whole unit is what must not stay
            async with unit_of_work(None) as session:
                await publish(session, merchant_id=None, event=Happened(what="it"))
                raise RuntimeError
        assert superuser.execute("select count(*) from outbox").fetchone() == (0,)
