"""The hot writes: the same rows whether a payment is recorded in one server-side call or found out later, and guards that hold."""

import asyncio
from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from app.core.db import unit_of_work
from app.core.idempotency import RequestInProgress
from app.core.ids import CaptureId, OrderId, new_id
from app.core.money import MAX_MINOR, Money
from app.orders.domain import OrderNotFound, OrderNotPayable
from app.payments import flows, queries
from app.payments.domain import OrderHasPayment, Share
from app.payments.hot import service as hot
from app.psp.domain import MethodSummary, Outcome, ProviderStatus, Result
from app.sellers.domain import FeeTerms
from tests.payments.conftest import Books
from tests.support.shop import Shop, ok

TABLES = ("payment", "payment_part", "payment_attempt", "payment_operation", "payment_event", "funds_release", "sales_order", "outbox")
OWN = {
    "id",
    "payment_id",
    "attempt_id",
    "order_id",
    "capture_id",
    "object_id",
    "reference",
    "order_reference",
    "payload",
    "created_at",
    "updated_at",
}
OWN |= {
    "at",
    "due_at",
    "finished_at",
    "expires_at",
    "next_ask_at",
    "released_at",
    "created_by",
    "actor_kind",
    "actor_name",
    "asked_times",
    "from_status",
}
OWN |= {"published_at", "attempts"}


def rows_of(superuser: Connection, payment_id: object) -> dict[str, list[object]]:
    """What the database holds of a payment, without what differs from one payment to the next."""
    found: dict[str, list[object]] = {}
    for table in TABLES:
        where = {
            "payment": "id = %(p)s",
            "outbox": "object_id = %(p)s",
            "sales_order": "id = (select order_id from payment where id = %(p)s)",
        }
        rows = superuser.execute(
            f"select to_jsonb(t) from {table} t where {where.get(table, 'payment_id = %(p)s')}", {"p": payment_id}
        ).fetchall()
        found[table] = sorted(({k: v for k, v in row[0].items() if k not in OWN} for row in rows), key=str)
    found["payment_event"] = [row for row in found["payment_event"] if row["kind"] in {"payment.created", "payment.captured"}]  # type: ignore[index]
    found["outbox"] = [row for row in found["outbox"] if row["topic"] in {"payment.created", "payment.captured"}]  # type: ignore[index]
    return found


class TestBothWays:
    async def test_a_payment_recorded_at_once_and_one_found_out_later_leave_the_same_rows(
        self, shop: Shop, superuser: Connection, books: Books
    ) -> None:
        method = MethodSummary(brand="visa", last4="4242", expiry="08/29", fingerprint="fp_1")
        yes = ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"), fee=Money(30, "EUR"), method=method, latency_ms=7)
        shop.psp.answers("authorise", yes, Result(outcome=Outcome.UNKNOWN))
        at_once = await shop.pay()
        once = books()
        later = await shop.pay()
        shop.psp.answers("lookup", yes)
        await flows.refresh(merchant_id=shop.merchant_id, payment_id=later.payment_id)
        assert rows_of(superuser, at_once.payment_id) == rows_of(superuser, later.payment_id)
        assert books() == {account: 2 * minor for account, minor in once.items()}

    async def test_the_answer_given_is_the_payment_as_it_stands(self, shop: Shop) -> None:
        answered = await shop.pay()
        async with unit_of_work(shop.merchant_id) as session:
            view = await queries.payment_view(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
        assert msgspec.json.decode(answered.body) == msgspec.json.decode(msgspec.json.encode(view))


class TestGuards:
    async def test_nothing_is_taken_twice_and_nothing_half(self, shop: Shop, books: Books) -> None:
        answered = await shop.pay()
        before = books()
        async with unit_of_work(shop.merchant_id) as session:
            payment = await queries.payment(session, merchant_id=shop.merchant_id, payment_id=answered.payment_id)
            payment.status, payment.captured_minor = "processing", 0
            session.expunge_all()
        attempt = type("Attempt", (), {"id": new_id()})()
        taking = hot.Taking(
            payment=payment,
            attempt=attempt,
            operation_id=CaptureId(new_id()),
            amount=Money(10_000, "EUR"),
            shares=[Share(seller_id=shop.anna, amount_minor=10_000, fee_minor=0)],
            released=Money(0, "EUR"),
            is_final=True,
            at_once=True,
            result=ok(),
            moment=payment.created_at,
        )
        assert await hot.take(shop.actor, taking) is False
        assert books() == before


class TestTogether:
    async def test_payments_of_the_same_moment_are_each_recorded_whole(self, shop: Shop, superuser: Connection, books: Books) -> None:
        alone = await shop.pay()
        once = books()
        calls = superuser.execute("select pg_current_xact_id()::text::bigint").fetchone()
        orders = [await shop.order() for _ in range(12)]
        answers = await asyncio.gather(*(shop.pay(order) for order in orders))
        assert [answer.status for answer in answers] == [201] * 12
        assert books() == {account: 13 * minor for account, minor in once.items()}
        for answer in answers:
            assert rows_of(superuser, answer.payment_id) == rows_of(superuser, alone.payment_id)
        assert calls is not None
        assert transactions_since(superuser, calls[0], answers) < 12

    async def test_each_of_them_keeps_its_own_caller(self, shop: Shop, superuser: Connection) -> None:
        await shop.pay()
        actors = [msgspec.structs.replace(shop.actor, request_id=f"request-{n}") for n in range(4)]
        orders = [await shop.order() for _ in actors]
        answers = await asyncio.gather(
            *(
                flows.pay(actor, order_id=order, token="tok_visa", key=new_id().hex, request=b"r")
                for actor, order in zip(actors, orders, strict=True)
            )
        )
        for actor, answer in zip(actors, answers, strict=True):
            found = superuser.execute("select distinct request_id from ledger.txn where source_id = %s", (answer.payment_id,)).fetchall()
            assert found == [(actor.request_id,)]

    async def test_what_is_refused_is_refused_alone(self, shop: Shop, books: Books) -> None:
        await shop.pay()
        once = books()
        paid = await shop.order()
        await shop.pay(paid)
        good, twice, nowhere = [await shop.order() for _ in range(3)], await shop.order(), OrderId(new_id())
        found = await asyncio.gather(
            *(shop.pay(order) for order in (good[0], paid, good[1], nowhere, twice, good[2], twice)), return_exceptions=True
        )
        kinds = [type(each) if isinstance(each, BaseException) else each.status for each in found]
        assert [kinds[at] for at in (0, 2, 5)] == [201] * 3
        assert kinds[1] in (OrderNotPayable, OrderHasPayment)
        assert kinds[3] is OrderNotFound
        assert {kinds[4], kinds[6]} - {OrderNotPayable, OrderHasPayment} == {201}
        assert books() == {account: 6 * minor for account, minor in once.items()}

    async def test_a_key_that_comes_twice_in_one_moment_pays_once(self, shop: Shop, books: Books) -> None:
        await shop.pay()
        once = books()
        orders, key = [await shop.order() for _ in range(5)], new_id().hex
        found = await asyncio.gather(
            *(shop.pay(order) for order in orders[1:]), *(shop.pay(orders[0], key=key) for _ in range(4)), return_exceptions=True
        )
        kinds = [type(each) if isinstance(each, BaseException) else each.status for each in found]
        assert kinds[:4] == [201] * 4
        assert 201 in kinds[4:]
        assert set(kinds[4:]) <= {201, RequestInProgress}
        assert books() == {account: 6 * minor for account, minor in once.items()}
        assert (await shop.pay(orders[0], key=key)).replayed


def transactions_since(superuser: Connection, since: int, answers: Sequence[flows.Answered]) -> int:
    """In how many database transactions the payments were posted."""
    row = superuser.execute(
        "select count(distinct xid) from ledger.txn where xid::text::bigint > %s and source_id = any(%s)",
        (since, [answer.payment_id for answer in answers]),
    ).fetchone()
    assert row is not None
    return int(row[0])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sale=st.integers(1, MAX_MINOR), basis_points=st.integers(0, 10_000), fixed=st.integers(0, 10**6) | st.integers(0, MAX_MINOR))
def test_the_fee_is_the_same_in_python_and_in_the_database(superuser: Connection, sale: int, basis_points: int, fixed: int) -> None:
    in_python = FeeTerms(basis_points=basis_points, fixed_minor=fixed).of(Money(sale, "EUR")).minor
    assert superuser.execute("select platform_fee_of(%s, %s, %s)", (sale, basis_points, fixed)).fetchone() == (in_python,)
