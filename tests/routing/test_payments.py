"""Payments by rule, from the API to the provider: who takes them, what is kept about why, and what replaying says about it."""

import asyncio
from collections import Counter

import psycopg
import pytest
from psycopg import Connection as Sql
from sqlalchemy import text

from app.core.db import unit_of_work
from app.core.ids import ConnectionId, OrderId, PaymentId, new_id, parse_id, public_id
from app.core.money import Money
from app.payments import flows, queries
from app.payments.domain import CaptureMode, NoConnection, NoRoute
from app.psp.domain import ConnectionNotActive
from app.routing import queries as routing
from app.routing.domain import Share, VersionStatus
from app.routing.queries import trials
from app.routing.schemas import ReplayPage
from tests.payments.client import Api, an_order, refused
from tests.routing.conftest import Router
from tests.support.shop import ScriptedPsp, Shop, open_shop
from tests.support.web import Browser


async def through(router: Router, payment_id: object) -> ConnectionId:
    """Which connection a payment went through, by its attempt as well."""
    async with unit_of_work(router.shop.merchant_id) as session:
        payment = await queries.payment(session, merchant_id=router.shop.merchant_id, payment_id=PaymentId(payment_id))  # type: ignore[arg-type]
        attempts = await session.execute(text("select connection_id from payment_attempt where payment_id = :p"), {"p": payment_id})
        assert {row[0] for row in attempts} == {payment.connection_id}
        return ConnectionId(payment.connection_id)


async def pay(router: Router, *, connection_id: ConnectionId | None = None, minor: int = 10_000, **options: object) -> PaymentId:
    order = await router.shop.order(anna=minor, bert=0, **options)  # type: ignore[arg-type]
    answered = await flows.pay(
        router.shop.actor, order_id=order, connection_id=connection_id, token="tok_visa", key=new_id().hex, request=b"r"
    )
    return answered.payment_id


async def replay(router: Router, *, most: int = trials.MOST_REPLAYED) -> ReplayPage:
    async with unit_of_work(router.shop.merchant_id) as session:
        of = await routing.version_in(session, router.shop.actor, *routing.OPEN)
        of = of or await routing.version_in(session, router.shop.actor, VersionStatus.LIVE)
        assert of is not None
        return await trials.replay_page(session, router.shop.actor, of=of, most=most)


class TestChoice:
    async def test_without_rules_the_oldest_connection_takes_it_and_nothing_is_kept(self, router: Router, superuser: Sql) -> None:
        assert await through(router, await pay(router)) == router.first
        await router.draft(router.rule(currencies=("EUR",)))
        assert await through(router, await pay(router)) == router.first
        kept = superuser.execute("select count(*) from routing_decision where merchant_id = %s", (router.shop.merchant_id,)).fetchone()
        assert kept == (0,)

    @pytest.mark.parametrize(("minor", "second"), [(199_999, False), (200_000, True), (299_999, True), (300_000, False)])
    async def test_the_amount_decides_at_its_very_ends(self, router: Router, minor: int, second: bool) -> None:
        await router.publish(router.rule(at_least=Money(200_000, "EUR"), below=Money(300_000, "EUR")))
        assert await through(router, await pay(router, minor=minor)) == (router.second if second else router.first)

    async def test_an_amount_in_another_currency_does_not_count(self, router: Router) -> None:
        await router.publish(router.rule(at_least=Money(100, "EUR")))
        assert await through(router, await pay(router, currency="USD")) == router.first
        assert await through(router, await pay(router)) == router.second

    async def test_capture_and_seller_decide(self, router: Router) -> None:
        later, bert = router.rule("Later", capture=CaptureMode.MANUAL), router.rule("Bert", seller=router.shop.bert)
        await router.publish(later, bert)
        by_hand = await router.shop.pay(await router.shop.order(bert=0), mode=CaptureMode.MANUAL)
        both = await router.shop.pay(await router.shop.order())
        assert [await through(router, one.payment_id) for one in (by_hand, both)] == [router.second] * 2
        assert await through(router, await pay(router)) == router.first

    async def test_who_asks_for_a_connection_gets_it_and_no_rule_is_named(self, router: Router) -> None:
        await router.publish(router.rule(currencies=("EUR",)))
        payment_id = await pay(router, connection_id=router.first)
        assert await through(router, payment_id) == router.first
        async with unit_of_work(router.shop.merchant_id) as session:
            assert await routing.decision(session, merchant_id=router.shop.merchant_id, payment_id=payment_id) is None
        await router.switch_off(router.first)
        with pytest.raises(ConnectionNotActive):
            await pay(router, connection_id=router.first)

    async def test_who_is_off_is_skipped_and_the_reason_is_kept(self, router: Router) -> None:
        await router.publish(router.rule(currencies=("EUR",), fallback=(router.first,)))
        await router.switch_off(router.second)
        payment_id = await pay(router)
        assert await through(router, payment_id) == router.first
        async with unit_of_work(router.shop.merchant_id) as session:
            kept = await routing.decision(session, merchant_id=router.shop.merchant_id, payment_id=payment_id)
        assert kept is not None
        assert (kept.version, kept.rule, kept.taken) == (1, "High value", "Simulator")
        assert [(turn.name, turn.result) for turn in kept.turns] == [("Second", "disabled"), ("Simulator", "taken")]

    async def test_when_nobody_of_the_rule_is_on_it_is_refused_and_nothing_is_written(self, router: Router, superuser: Sql) -> None:
        await router.publish(router.rule(currencies=("EUR",)))
        await router.switch_off(router.second)
        with pytest.raises(NoRoute, match="High value"):
            await pay(router)
        for table in ("payment", "routing_decision"):
            assert superuser.execute(f"select count(*) from {table} where merchant_id = %s", (router.shop.merchant_id,)).fetchone() == (0,)
        await router.switch_off(router.first)
        with pytest.raises(NoConnection):
            await pay(router)

    async def test_many_of_the_same_moment_each_go_their_way(self, router: Router, superuser: Sql) -> None:
        split = (Share(connection=router.first, percent=50), Share(connection=router.second, percent=50))
        await router.publish(router.rule("Dollars", currencies=("USD",)), router.rule("Euros", currencies=("EUR",), split=split))
        made = await asyncio.gather(*(pay(router, currency="USD" if number % 3 == 0 else "EUR") for number in range(24)))
        for number, payment_id in enumerate(made):
            async with unit_of_work(router.shop.merchant_id) as session:
                kept = await routing.decision(session, merchant_id=router.shop.merchant_id, payment_id=payment_id)
            assert kept is not None and kept.rule == ("Dollars" if number % 3 == 0 else "Euros")
            went = await through(router, payment_id)
            assert [turn.connection for turn in kept.turns if turn.result == "taken"] == [public_id("con", went)]
            if kept.rule == "Euros":
                fallen = superuser.execute("select routing_draw(%s)", (payment_id,)).fetchone()
                assert went == (router.first if fallen[0] < 5_000 else router.second)  # type: ignore[index]
        counted = Counter([await through(router, payment_id) for payment_id in made])
        assert counted[router.first] > 0 and counted[router.second] > 8

    async def test_one_that_is_refused_is_refused_alone(self, router: Router) -> None:
        await router.publish(router.rule("Dollars", currencies=("USD",)))
        await router.switch_off(router.second)
        await pay(router)
        done = await asyncio.gather(*(pay(router, currency=code) for code in ("EUR", "USD", "EUR", "EUR")), return_exceptions=True)
        assert [isinstance(one, NoRoute) for one in done] == [False, True, False, False]

    async def test_what_was_decided_does_not_change(self, router: Router, superuser: Sql) -> None:
        await router.publish(router.rule(currencies=("EUR",)))
        await pay(router)
        for change in ("update routing_decision set draw = 1", "delete from routing_decision"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                superuser.execute(change)

    async def test_rules_of_others_do_not_count(self, router: Router, psp: ScriptedPsp) -> None:
        theirs: Shop = await open_shop(psp)
        await router.publish(router.rule(currencies=("EUR",)))
        answered = await theirs.pay()
        async with unit_of_work(theirs.merchant_id) as session:
            payment = await queries.payment(session, merchant_id=theirs.merchant_id, payment_id=answered.payment_id)
            assert payment.connection_id == theirs.connection_id


class TestApi:
    async def test_from_order_to_the_reason_of_its_way(self, router: Router, api: Api) -> None:
        await router.publish(router.rule("Euros", currencies=("EUR",), fallback=(router.first,)))
        made = await api.post("/v1/payments", {"order": await an_order(router.shop), "token": "tok_visa"})
        assert made.status_code == 201, made.text
        assert made.json()["connection"] == public_id("con", router.second)
        path = f"/v1/payments/{made.json()['id']}/routing"
        assert (await api.get(path)).json() == {
            "payment": made.json()["id"],
            "connection": public_id("con", router.second),
            "routing": {
                "version": 1,
                "rule": "Euros",
                "turns": [
                    {"connection": public_id("con", router.second), "name": "Second", "result": "taken"},
                    {"connection": public_id("con", router.first), "name": "Simulator", "result": "not_needed"},
                ],
            },
        }
        asked = {"order": await an_order(router.shop), "token": "tok_visa", "connection": public_id("con", router.first)}
        by_name = (await api.post("/v1/payments", asked)).json()
        assert by_name["connection"] == asked["connection"]
        assert (await api.get(f"/v1/payments/{by_name['id']}/routing")).json()["routing"] is None
        refused(await api.get(f"/v1/payments/{public_id('pay', new_id())}/routing"), 404, "payment_not_found")

    async def test_the_same_key_gives_the_same_answer_after_the_rules_changed(self, router: Router, api: Api) -> None:
        body, key = {"order": await an_order(router.shop), "token": "tok_visa"}, new_id().hex
        first = await api.post("/v1/payments", body, key=key)
        await router.publish(router.rule("Euros", currencies=("EUR",)))
        again = await api.post("/v1/payments", body, key=key)
        assert again.content == first.content and again.headers["idempotent-replayed"] == "true"

    async def test_a_refusal_says_which_rule(self, router: Router, api: Api) -> None:
        await router.publish(router.rule("Euros", currencies=("EUR",)))
        await router.switch_off(router.second)
        problem = refused(await api.post("/v1/payments", {"order": await an_order(router.shop), "token": "tok_visa"}), 409, "no_route")
        assert "“Euros”" in problem["detail"]


class TestReplay:
    async def test_it_foretells_what_then_happens(self, router: Router, superuser: Sql) -> None:
        """The payments of before, by the rules that come, go where the same payments then go."""
        paid = [await pay(router, minor=minor) for minor in (5_000, 15_000, 25_000, 35_000, 45_000)]
        split = (Share(connection=router.first, percent=50), Share(connection=router.second, percent=50))
        await router.draft(router.rule("Small", below=Money(20_000, "EUR")), router.rule("Rest", currencies=("EUR",), split=split))
        page = await replay(router)
        asked = "select count(*) from unnest(%s::uuid[]) p(id) where routing_draw(p.id) >= 5000"
        fallen = superuser.execute(asked, (paid[2:],)).fetchone()
        assert (page.looked_at, page.rerouted) == (5, 2 + fallen[0])  # type: ignore[index]
        assert page.by_connection == [("Second", 0, page.rerouted), ("Simulator", 5, 5 - page.rerouted)]
        assert [(move.went, move.goes, move.payments) for move in page.moves] == [("Simulator", "Second", page.rerouted)]

    async def test_what_the_live_rules_decided_is_what_they_would_decide(self, router: Router) -> None:
        split = (Share(connection=router.first, percent=50), Share(connection=router.second, percent=50))
        await router.publish(router.rule("Later", capture=CaptureMode.MANUAL), router.rule("Euros", currencies=("EUR",), split=split))
        for _ in range(6):
            await pay(router)
        await router.shop.pay(mode=CaptureMode.MANUAL)
        await pay(router, currency="USD")
        page = await replay(router)
        assert (page.looked_at, page.same, page.rerouted, page.nobody) == (8, 8, 0, 0)

    async def test_who_asked_for_a_connection_stays_and_is_counted(self, router: Router) -> None:
        await router.publish(router.rule(currencies=("JPY",)))
        await pay(router, connection_id=router.first)
        await pay(router)
        await router.draft(router.rule("Euros", currencies=("EUR",)))
        page = await replay(router)
        assert (page.looked_at, page.by_name, page.rerouted) == (2, 1, 1)

    async def test_payments_that_nobody_would_take_are_told(self, router: Router) -> None:
        await pay(router)
        await router.draft(router.rule("Euros", currencies=("EUR",)))
        await router.switch_off(router.second)
        page = await replay(router)
        assert (page.nobody, page.rerouted, page.moves[0].goes) == (1, 0, "Nobody")

    async def test_it_is_bounded_and_takes_the_newest(self, router: Router) -> None:
        await pay(router, currency="USD")
        await pay(router)
        await router.draft(router.rule("Euros", currencies=("EUR",)))
        page = await replay(router, most=1)
        assert (page.looked_at, page.is_cut, page.rerouted) == (1, True, 1)


class TestOrderByPages:
    async def test_a_payment_collected_by_hand_goes_by_the_rules_too(self, router: Router, owner: Browser) -> None:
        await router.publish(router.rule("Euros", currencies=("EUR",)))
        order = await an_order(router.shop)
        answer = await owner.post(f"/orders/{order}/pay", {"idempotency_key": new_id().hex})
        assert answer.status_code in (200, 303), answer.text
        async with unit_of_work(router.shop.merchant_id) as session:
            found = await session.execute(text("select id from payment where order_id = :o"), {"o": OrderId(parse_id("ord", order))})
            [(payment_id,)] = found.all()
        assert await through(router, payment_id) == router.second
