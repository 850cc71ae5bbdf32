"""The audit trail: whole, of one merchant, and never changed afterwards."""

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection

from app.core.actors import Actor, ActorKind, PermissionMissing
from app.core.audit import record
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId

pytestmark = pytest.mark.usefixtures("database")


class TestRecord:
    async def test_who_did_what_to_what_from_where(self, superuser: Connection) -> None:
        merchant_id, person, thing, factor_at = MerchantId(uuid4()), uuid4(), uuid4(), datetime(2026, 1, 2, tzinfo=UTC)
        actor = Actor(
            kind=ActorKind.USER,
            id=person,
            name="Ada",
            merchant_id=merchant_id,
            request_id="req-1",
            address="192.0.2.1",
            factor_at=factor_at,
        )
        async with unit_of_work(merchant_id) as session:
            await record(
                session, actor, action="a.b", object_type="thing", object_id=thing, before={"x": 1}, after={"x": "ü"}, reason="because"
            )
        row = superuser.execute(
            "select merchant_id, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type, object_id, before, after, reason from audit_entry"
        ).fetchone()
        assert row == (
            merchant_id,
            "user",
            person,
            "Ada",
            "192.0.2.1",
            factor_at,
            "req-1",
            "a.b",
            "thing",
            thing,
            {"x": 1},
            {"x": "ü"},
            "because",
        )

    @pytest.mark.parametrize("change", ["update audit_entry set reason = 'forged'", "delete from audit_entry", "truncate audit_entry"])
    async def test_nobody_changes_it_afterwards(self, database: Urls, superuser: Connection, change: str) -> None:
        merchant_id = MerchantId(uuid4())
        async with unit_of_work(merchant_id) as session:
            await record(session, Actor.system(merchant_id), action="a.b", object_type="thing", object_id=None)
        for url in (database.app, database.owner, database.relay):
            with psycopg.connect(url) as connection:
                connection.execute("select set_config('app.merchant_id', %s, true)", (str(merchant_id),))
                with pytest.raises(psycopg.Error):
                    connection.execute(change)
        with pytest.raises(psycopg.Error, match=r"append|referenced in a foreign key"):
            superuser.execute(change)
        assert superuser.execute("select count(*), min(reason) from audit_entry").fetchone() == (1, None)

    async def test_an_actor_without_a_merchant_writes_nothing(self) -> None:
        with pytest.raises(PermissionMissing):
            async with unit_of_work(None) as session:
                await record(session, Actor.system(None), action="a.b", object_type="thing", object_id=None)
