"""Creating an order in one server-side call: the same rows and the same answer as the long way, and nothing of what is refused."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from psycopg import Connection

from app.core import idempotency
from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.idempotency import IdempotencyKeyReused
from app.core.ids import OrderId, SellerId, new_id, parse_id
from app.core.money import Money
from app.orders import flows, queries
from app.orders.domain import NewLine, NewOrder, OrderReferenceTaken
from app.orders.hot import service as hot
from app.sellers import service as sellers
from app.sellers.domain import SellerBlocked, SellerNotFound
from tests.support.shop import ScriptedPsp, Shop, open_shop
from tests.support.statements import counted

OWN = {"id", "order_id", "object_id", "reference", "created_at", "updated_at", "at", "due_at", "finished_at", "lease_until"}
OWN |= {"key", "fingerprint", "resource_id", "body", "payload", "after"}
ROWS = {
    "sales_order": "id = %(order)s",
    "sales_order_line": "order_id = %(order)s",
    "outbox": "object_id = %(order)s",
    "audit_entry": "object_id = %(order)s",
    "idempotency_key": "resource_id = %(order)s or key = %(key)s",
}


def order_for(shop: Shop, **changes: Any) -> NewOrder:
    lines = [
        NewLine(seller_id=shop.anna, description='A "chair" – très\n\\bien', amount=Money(6000, "EUR"), quantity=2),
        NewLine(seller_id=shop.bert, description="", amount=Money(4000, "EUR")),
        NewLine(seller_id=shop.anna, description="And \u2028 one more", amount=Money(1, "EUR")),
    ]
    more = {"buyer_name": "Lena Hoffmann", "buyer_email": "Lena@Example.org", "description": "In May", "details": {"cart": "7", "a": 'b"'}}
    return NewOrder(**{"reference": f"R-{new_id().hex}", "currency": "EUR", "lines": lines} | more | changes)


async def create(shop: Shop, order: NewOrder, *, key: str | None = None, request: bytes = b"r") -> hot.Answered:
    return await flows.create_order(shop.actor, order=order, key=key, request=request)


def view(made: hot.Answered) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(made.answer.body)
    return found


def id_of(made: hot.Answered) -> OrderId:
    return OrderId(parse_id("ord", view(made)["id"]))


def rows_of(superuser: Connection, made: hot.Answered, key: str) -> dict[str, list[object]]:
    """What the database holds of an order, without what differs from one to the next."""
    values = {"order": id_of(made), "key": key}
    found = {
        table: superuser.execute(f"select to_jsonb(t) from {table} t where {where}", values).fetchall() for table, where in ROWS.items()
    }
    return {
        table: sorted(({name: value for name, value in row[0].items() if name not in OWN} for row in rows), key=str)
        for table, rows in found.items()
    }


@contextmanager
def the_long_way() -> Iterator[None]:
    """A block in which the one call is never made."""

    async def nothing(*_given: object, **_named: object) -> None:
        return None

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(hot, "create_order", nothing)
        yield


class TestBothWays:
    async def test_an_order_created_in_one_call_and_the_long_way_leave_the_same(self, shop: Shop, superuser: Connection) -> None:
        expires = now() + timedelta(days=3)
        with the_long_way():
            long = await create(shop, order_for(shop, reference="long", expires_at=expires), key="long")
        quick = await create(shop, order_for(shop, reference="quick", expires_at=expires), key="quick")
        kept = rows_of(superuser, quick, "quick")
        assert [len(rows) for rows in kept.values()] == [1, 3, 1, 1, 1]
        assert kept == rows_of(superuser, long, "long")
        own = {"id", "reference", "created_at"}
        assert {name: value for name, value in view(quick).items() if name not in own} == {
            name: value for name, value in view(long).items() if name not in own
        }
        told = superuser.execute("select topic, payload from outbox where object_id = %s", (id_of(quick),)).fetchone()
        assert told == ("order.created", {"order_id": view(quick)["id"], "reference": "quick"})
        trail = superuser.execute("select after from audit_entry where object_id = %s", (id_of(quick),)).fetchone()
        assert trail == ({"reference": "quick", "currency": "EUR", "total_minor": 10_001},)

    async def test_the_answer_given_is_the_order_as_it_stands_and_is_kept(self, shop: Shop, superuser: Connection) -> None:
        async with unit_of_work(shop.merchant_id) as session:
            odd = await sellers.add_seller(session, shop.actor, reference="odd", name='Ça "va" \\ \t\u0001é')
        lines = [NewLine(seller_id=SellerId(odd.id), description="x", amount=Money(1, "EUR"))]
        made = await create(shop, order_for(shop, lines=lines), key="once")
        async with unit_of_work(shop.merchant_id) as session:
            stands = await queries.order_view(session, merchant_id=shop.merchant_id, order_id=id_of(made))
        assert view(made) == msgspec.json.decode(msgspec.json.encode(stands))
        kept = superuser.execute("select status, body from idempotency_key where key = 'once'").fetchone()
        assert kept == (201, made.answer.body)

    async def test_it_takes_one_statement(self, shop: Shop) -> None:
        await create(shop, order_for(shop))
        with counted() as sent:
            await create(shop, order_for(shop), key="one")
        assert len(sent) == 1


class TestKeys:
    async def test_the_same_key_gets_the_same_answer_whatever_happened_since(self, shop: Shop, superuser: Connection) -> None:
        order = order_for(shop, expires_at=now() + timedelta(hours=1))
        first = await create(shop, order, key="once")
        async with unit_of_work(shop.merchant_id) as session:
            await sellers.change_status(session, shop.actor, seller_id=shop.anna, event="block")
        await shop.pay(id_of(first))
        with travel(timedelta(days=1)):
            again = await create(shop, order, key="once")
        assert (again.answer, again.replayed) == (first.answer, True)
        assert superuser.execute("select count(*) from sales_order").fetchone() == (1,)

    async def test_a_key_belongs_to_one_request_even_to_one_that_is_wrong(self, shop: Shop) -> None:
        await create(shop, order_for(shop), key="once")
        for order in (order_for(shop), order_for(shop, lines=[]), order_for(shop, expires_at=now() - timedelta(days=1))):
            with pytest.raises(IdempotencyKeyReused):
                await create(shop, order, key="once", request=b"other")

    async def test_fifty_at_once_with_one_key_are_one_order(self, shop: Shop, superuser: Connection) -> None:
        order = order_for(shop)
        made = await asyncio.gather(*(create(shop, order, key="once") for _ in range(50)))
        assert len({each.answer.body for each in made}) == 1
        assert sum(not each.replayed for each in made) == 1
        assert superuser.execute("select count(*) from sales_order").fetchone() == (1,)

    async def test_what_was_refused_does_not_use_the_key_up(self, shop: Shop) -> None:
        await create(shop, order_for(shop, reference="taken"))
        with pytest.raises(OrderReferenceTaken):
            await create(shop, order_for(shop, reference="taken"), key="once")
        assert not (await create(shop, order_for(shop), key="once", request=b"other")).replayed

    async def test_a_key_whose_work_was_left_undone_is_taken_over(self, shop: Shop, superuser: Connection) -> None:
        async with unit_of_work(shop.merchant_id) as session:
            await idempotency.claim(session, merchant_id=shop.merchant_id, key="once", request=b"r")
        with travel(idempotency.LEASE + timedelta(seconds=1)):
            made = await create(shop, order_for(shop), key="once")
            again = await create(shop, order_for(shop), key="once")
        assert (made.replayed, again.replayed, again.answer) == (False, True, made.answer)


class TestTogether:
    async def test_orders_of_the_same_moment_are_each_created_whole(self, shop: Shop, superuser: Connection) -> None:
        alone = await create(shop, order_for(shop), key="alone")
        orders = [order_for(shop) for _ in range(12)]
        made = await asyncio.gather(*(create(shop, order, key=order.reference) for order in orders))
        for order, each in zip(orders, made, strict=True):
            assert (each.answer.status, view(each)["reference"]) == (201, order.reference)
            assert rows_of(superuser, each, order.reference) == rows_of(superuser, alone, "alone")
        first = "select count(distinct xmin::text) from sales_order where reference = any(%s)"
        calls = superuser.execute(first, ([order.reference for order in orders],)).fetchone()
        assert calls is not None and calls[0] < 12

    async def test_what_is_refused_is_refused_alone(self, shop: Shop, superuser: Connection) -> None:
        await create(shop, order_for(shop, reference="taken"))
        async with unit_of_work(shop.merchant_id) as session:
            blocked = await sellers.add_seller(session, shop.actor, reference="b", name="Blocked")
            await sellers.change_status(session, shop.actor, seller_id=SellerId(blocked.id), event="block")

        def line(seller: object) -> list[NewLine]:
            return [NewLine(seller_id=SellerId(seller), description="", amount=Money(1, "EUR"))]  # type: ignore[arg-type]

        wrong = [order_for(shop, reference="taken"), order_for(shop, lines=line(blocked.id)), order_for(shop, lines=line(new_id()))]
        twice = order_for(shop, reference="twice")
        asked = [order_for(shop), *wrong, order_for(shop), twice, twice]
        made = await asyncio.gather(*(create(shop, order) for order in asked), return_exceptions=True)
        kinds = [type(each) for each in made]
        assert kinds[:5] == [hot.Answered, OrderReferenceTaken, SellerBlocked, SellerNotFound, hot.Answered]
        assert set(kinds[5:]) == {hot.Answered, OrderReferenceTaken}
        assert superuser.execute("select count(*) from sales_order").fetchone() == (4,)

    async def test_another_merchants_seller_is_unknown(self, shop: Shop, superuser: Connection) -> None:
        other = await open_shop(ScriptedPsp())
        with pytest.raises(SellerNotFound):
            await create(other, order_for(shop), key="once")
        assert superuser.execute("select count(*) from sales_order").fetchone() == (0,)
