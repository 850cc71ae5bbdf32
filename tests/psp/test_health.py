"""The health of a connection: what counts, what does not, and when the circuit opens."""

from datetime import UTC, datetime, timedelta

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from app.core.actors import Actor
from app.core.clock import now, travel
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, public_id
from app.psp import queries, service
from app.psp.adapters import ADAPTERS
from app.psp.domain import COOL_DOWN, LATENCY_STEPS, MIN_FAILURES, Circuit, Outcome, Result, Window, circuit, latency_step, percentile
from tests.psp.test_inbox import VALUES
from tests.support.factories.tenancy import make_tenant

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
GOOD = Result(outcome=Outcome.SUCCEEDED, latency_ms=12)
NO = Result(outcome=Outcome.DECLINED, code="insufficient_funds", latency_ms=40)
DOWN = Result(outcome=Outcome.NOT_SENT, code="connection_refused", latency_ms=1)
WRONG_KEY = Result(outcome=Outcome.NOT_SENT, code="credentials_refused", latency_ms=1)


class TestCircuit:
    def test_it_opens_half_opens_and_closes(self) -> None:
        failing = Window(calls=8, technical=5, failed_at=NOW)
        assert circuit(failing, NOW) is Circuit.OPEN
        assert circuit(failing, NOW + COOL_DOWN) is Circuit.HALF_OPEN
        assert circuit(Window(calls=9, technical=5, failed_at=NOW, succeeded_at=NOW + timedelta(seconds=1)), NOW) is Circuit.CLOSED

    @given(calls=st.integers(0, 1000), share=st.floats(0, 1))
    def test_it_never_opens_for_few_or_rare_failures(self, calls: int, share: float) -> None:
        technical = int(calls * share)
        state = circuit(Window(calls=calls, technical=technical, failed_at=NOW), NOW)
        assert (state is Circuit.OPEN) == (technical >= MIN_FAILURES and technical * 2 >= calls)


class TestPercentile:
    @given(st.lists(st.integers(0, 20_000), min_size=1, max_size=300))
    def test_it_is_the_top_of_the_right_step(self, times: list[int]) -> None:
        counts = [0] * (len(LATENCY_STEPS) + 1)
        for milliseconds in times:
            counts[latency_step(milliseconds)] += 1
        found = percentile(counts, 0.95)
        assert found is not None
        within = sum(milliseconds <= found or found == LATENCY_STEPS[-1] for milliseconds in times)
        assert within >= 0.95 * len(times)

    def test_nothing_is_nothing(self) -> None:
        assert percentile([0] * 21, 0.95) is None


@pytest_asyncio.fixture
async def actor(database: object) -> Actor:
    return (await make_tenant()).actor()


@pytest_asyncio.fixture
async def connection_id(actor: Actor) -> ConnectionId:
    async with unit_of_work(actor.merchant) as session:
        row = await service.add_connection(session, actor, psp="simulated", name="Main", values=VALUES)
        await service.enable_connection(session, actor, connection_id=ConnectionId(row.id))
    return ConnectionId(row.id)


async def record(actor: Actor, connection_id: ConnectionId, *results: Result) -> None:
    for result in results:
        async with unit_of_work(actor.merchant) as session:
            await service.record_call(session, merchant_id=actor.merchant, connection_id=connection_id, result=result)
    async with unit_of_work(actor.merchant) as session:
        await service.write_tallies(session, merchant_id=actor.merchant, connection_id=connection_id)


class TestRecordCall:
    async def test_calls_are_counted_whoever_writes_them(self, actor: Actor, connection_id: ConnectionId) -> None:
        await record(actor, connection_id, *[GOOD] * 17, NO, NO, DOWN)
        async with unit_of_work(actor.merchant) as session:
            (row,) = (await queries.connection_list_page(session, actor, providers=ADAPTERS)).rows
        assert (row.health.calls, row.health.technical, row.health.p95_ms) == (20, 1, 50)
        assert row.health.success == 17 / 20
        assert row.health.strip[-1] == "warn"
        assert row.state == "active"

    async def test_two_processes_add_up(self, actor: Actor, connection_id: ConnectionId) -> None:
        await record(actor, connection_id, GOOD, GOOD)
        await record(actor, connection_id, GOOD, NO)
        async with unit_of_work(actor.merchant) as session:
            (row,) = (await queries.connection_list_page(session, actor, providers=ADAPTERS)).rows
        assert row.health.calls == 4

    async def test_technical_failures_open_the_circuit_and_a_success_closes_it(self, actor: Actor, connection_id: ConnectionId) -> None:
        await record(actor, connection_id, *[DOWN] * 5)
        assert await self.circuit(actor, connection_id) is Circuit.OPEN
        with travel(COOL_DOWN):
            assert await self.circuit(actor, connection_id) is Circuit.HALF_OPEN
            await record(actor, connection_id, GOOD)
            assert await self.circuit(actor, connection_id) is Circuit.CLOSED

    async def test_an_issuers_no_and_a_wrong_key_never_open_it(self, actor: Actor, connection_id: ConnectionId) -> None:
        await record(actor, connection_id, *[NO] * 30, *[WRONG_KEY] * 30)
        assert await self.circuit(actor, connection_id) is Circuit.CLOSED

    async def test_the_default_avoids_what_is_failing(self, actor: Actor, connection_id: ConnectionId) -> None:
        async with unit_of_work(actor.merchant) as session:
            spare = await service.add_connection(session, actor, psp="simulated", name="Spare", values=VALUES)
            await service.enable_connection(session, actor, connection_id=ConnectionId(spare.id))
            assert await queries.default_connection(session, merchant_id=actor.merchant) == connection_id
        await record(actor, connection_id, *[DOWN] * 5)
        async with unit_of_work(actor.merchant) as session:
            assert await queries.default_connection(session, merchant_id=actor.merchant) == spare.id

    async def test_yesterday_is_forgotten(self, actor: Actor, connection_id: ConnectionId) -> None:
        with travel(-timedelta(hours=26)):
            await record(actor, connection_id, GOOD)
        await record(actor, connection_id, GOOD)
        async with unit_of_work(actor.merchant) as session:
            (row,) = (await queries.connection_list_page(session, actor, providers=ADAPTERS)).rows
            page = await queries.connection_detail_page(session, actor, connection_id=connection_id, providers=ADAPTERS)
        assert row.health.calls == 1
        assert page.row.id == public_id("con", connection_id)
        assert page.created_at <= now()

    async def circuit(self, actor: Actor, connection_id: ConnectionId) -> Circuit:
        async with unit_of_work(actor.merchant) as session:
            return await queries.circuit_of(session, merchant_id=actor.merchant, connection_id=connection_id)
