"""What the database does with rules, held against the same rules written down once more here: first match, splits, and who is next."""

import hashlib
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection as Sql
from sqlalchemy import text

from app.core.db import unit_of_work
from app.core.ids import ConnectionId, SellerId, new_id
from app.core.money import Money
from app.routing.domain import CaptureMode, Conditions, RoutingVersionId, Rule, Rules, Share
from app.routing.queries import trials
from app.routing.schemas import Tried
from tests.routing.conftest import Router
from tests.support.shop import add_connection

CURRENCIES = ("EUR", "USD", "JPY")
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def meets(rule: Rule, amount: Money, mode: CaptureMode, sellers: set[SellerId]) -> bool:
    """Whether a payment meets a rule: said a second time, for the test alone."""
    wanted = rule.conditions
    return all(
        (
            not wanted.currencies or amount.currency in wanted.currencies,
            wanted.at_least is None or (amount.currency == wanted.at_least.currency and amount.minor >= wanted.at_least.minor),
            wanted.below is None or (amount.currency == wanted.below.currency and amount.minor < wanted.below.minor),
            wanted.capture in (None, mode),
            wanted.seller is None or wanted.seller in sellers,
        )
    )


def draw(payment: UUID) -> int:
    return int(hashlib.md5(str(payment).encode()).hexdigest()[:8], 16) % 10_000


def in_turn(rule: Rule, payment: UUID) -> list[ConnectionId]:
    """The one of the split that the payment falls to, then the fallback list."""
    upto, fallen = 0, draw(payment)
    for share in rule.split:
        upto += share.percent * 100
        if fallen < upto:
            return [share.connection, *rule.fallback]
    raise AssertionError("shares are a hundred together")


@st.composite
def some_rules(pick: st.DrawFn, connections: list[ConnectionId], sellers: list[SellerId]) -> list[Rule]:
    """Rules of all kinds, in any order."""
    made = []
    for number in range(pick(st.integers(0, 4))):
        low = pick(st.none() | st.integers(0, 20_000))
        high = pick(st.none() | st.integers((low or 0) + 1, 30_000))
        currency = pick(st.sampled_from(CURRENCIES))
        codes = set(pick(st.lists(st.sampled_from(CURRENCIES), max_size=2)))
        if codes and (low is not None or high is not None):
            codes.add(currency)
        wanted = Conditions(
            currencies=tuple(sorted(codes)),
            at_least=None if low is None else Money(low, currency),
            below=None if high is None else Money(high, currency),
            capture=pick(st.none() | st.sampled_from(list(CaptureMode))),
            seller=pick(st.none() | st.sampled_from(sellers)),
        )
        if wanted.is_always:
            continue
        named = pick(st.permutations(connections))
        first = pick(st.integers(1, 100))
        split = [Share(connection=named[0], percent=first)] + ([Share(connection=named[1], percent=100 - first)] if first < 100 else [])
        rest = named[len(split) :]
        fallback = tuple(rest[: pick(st.integers(0, len(rest)))])
        made.append(Rule(key=new_id(), name=f"Rule {number}", conditions=wanted, split=tuple(split), fallback=fallback))  # type: ignore[arg-type]
    return made


@st.composite
def a_payment(pick: st.DrawFn, sellers: list[SellerId]) -> tuple[Money, CaptureMode, set[SellerId]]:
    amount = Money(pick(st.integers(1, 40_000)), pick(st.sampled_from(CURRENCIES)))
    return amount, pick(st.sampled_from(list(CaptureMode))), set(pick(st.lists(st.sampled_from(sellers), min_size=1, max_size=2)))


async def ask(router: Router, statement: str, **values: object) -> list[tuple[object, ...]]:
    async with unit_of_work(router.shop.merchant_id) as session:
        return [tuple(row) for row in await session.execute(text(statement), {"m": router.shop.merchant_id, **values})]


_FIRST = "select routing_first(:m, :v, :currency, :amount, :mode, cast(:sellers as uuid[]))"
_TURNS = "select connection_id from routing_candidates(:m, :v, :rule, routing_draw(:payment)) order by turn"


class TestAgainstTheModel:
    @QUIET
    @given(data=st.data())
    async def test_the_first_rule_that_matches_and_the_order_of_turns(self, router: Router, data: st.DataObject) -> None:
        sellers = [router.shop.anna, router.shop.bert]
        await start_over(router)
        await router.draft(*data.draw(some_rules([router.first, router.second], sellers)))
        rules, version = await router.rules(), await the_draft(router)
        for _ in range(5):
            amount, mode, whose = data.draw(a_payment(sellers))
            expected = next(rule for rule in rules if meets(rule, amount, mode, whose))
            values = {"v": version, "currency": amount.currency, "amount": amount.minor, "mode": mode, "sellers": list(whose)}
            assert await ask(router, _FIRST, **values) == [(expected.key,)]
            payment = new_id()
            turns = await ask(router, _TURNS, v=version, rule=expected.key, payment=payment)
            assert [one for (one,) in turns] == in_turn(expected, payment)
            if len(whose) == 1:
                await traced(router, version, rules, expected, Tried(amount=amount, capture=mode, seller=next(iter(whose))))


async def traced(router: Router, version: RoutingVersionId, rules: Rules, expected: Rule, tried: Tried) -> None:
    """The trace on the page names the same rule, and each rule before it has a reason."""
    async with unit_of_work(router.shop.merchant_id) as session:
        rows = await trials.trace(session, router.shop.actor, version_id=version, tried=tried)
    hit = rules.index(expected)
    assert [row.is_hit for row in rows] == [place == hit for place in range(len(rules))]
    assert [row.is_reached for row in rows] == [place <= hit for place in range(len(rules))]
    assert all(row.why_not for row in rows[:hit])
    assert sum(one.percent for one in rows[hit].outcomes) == 100


async def the_draft(router: Router) -> RoutingVersionId:
    [(version,)] = await ask(router, "select id from routing_version where merchant_id = :m and status = 'draft'")
    return version  # type: ignore[return-value]


async def start_over(router: Router) -> None:
    """The draft of the example before is given up."""
    await ask(router, "update routing_version set status = 'discarded' where merchant_id = :m and status = 'draft' returning id")


class TestDraw:
    @given(st.uuids())
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_it_is_the_same_for_the_same_payment(self, superuser: Sql, payment: UUID) -> None:
        assert superuser.execute("select routing_draw(%s), routing_draw(%s)", (payment, payment)).fetchone() == (
            draw(payment),
            draw(payment),
        )

    @pytest.mark.parametrize("percents", [(70, 30), (1, 99), (34, 33, 33)])
    async def test_many_payments_fall_as_the_percentages_say(self, router: Router, percents: tuple[int, ...]) -> None:
        third = await add_connection(router.shop.actor, name="Third")
        named = (router.first, router.second, third)
        split = tuple(Share(connection=one, percent=percent) for one, percent in zip(named, percents, strict=False))
        await router.draft(router.rule(currencies=("EUR",), split=split))
        rules, version = await router.rules(), await the_draft(router)
        payments = [new_id() for _ in range(10_000)]
        found = await ask(
            router,
            "select c.connection_id, count(*) from unnest(cast(:payments as uuid[])) p(id)"
            " cross join lateral routing_candidates(:m, :v, :rule, routing_draw(p.id)) c where c.share is not null group by 1",
            v=version,
            rule=rules[0].key,
            payments=payments,
        )
        fell: Counter[object] = Counter({one: int(str(many)) for one, many in found})
        assert sum(fell.values()) == len(payments)
        for share in split:
            # five standard deviations of ten thousand draws
            assert abs(fell[share.connection] - share.percent * 100) <= 5 * (share.percent * (100 - share.percent)) ** 0.5
