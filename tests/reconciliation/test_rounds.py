"""The nightly round: what is wrong at one merchant, or at one feed, keeps nobody else from it."""

import asyncio
from uuid import UUID

import pytest
from psycopg import Connection
from sqlalchemy import text

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import MerchantId, new_id
from app.reconciliation import flows, queries, service
from app.reconciliation.feeds import service as feeds
from app.reconciliation.runs import service as runs
from tests.reconciliation.conftest import Desk
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser
from workers import reconciliation as jobs
from workers.jobs import Message
from workers.routes import ROUTES, Queue, queue_of

FIRST, SECOND = MerchantId(new_id()), MerchantId(new_id())


async def test_every_merchant_is_compared_by_a_job_of_its_own(
    desk: Desk, stranger: Tenant, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def due(*_: object, **__: object) -> list[MerchantId]:
        return [stranger.id, desk.shop.merchant_id]

    monkeypatch.setattr(service, "merchants_due", due)
    assert await flows.compare_all() == 2
    asked = superuser.execute("select merchant_id from outbox where topic = 'reconciliation.comparison_due' order by id").fetchall()
    assert asked == [(stranger.id,), (desk.shop.merchant_id,)]
    (actor,) = ROUTES["reconciliation.comparison_due"]
    assert queue_of(actor) is Queue.BULK, "it takes longer than a job of the other lines may"
    await jobs.compare_one(Message(event_id=new_id(), topic="reconciliation.comparison_due", merchant_id=desk.shop.merchant_id))
    assert superuser.execute("select merchant_id, started_by from recon_run").fetchall() == [(desk.shop.merchant_id, flows.NIGHTLY)]


async def test_a_feed_that_breaks_off_keeps_no_other_from_being_looked_at(database: object, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[MerchantId] = []

    async def due(*_: object, **__: object) -> list[tuple[MerchantId, UUID]]:
        return [(FIRST, new_id()), (SECOND, new_id())]

    async def fetch(*, merchant_id: MerchantId, feed_id: UUID) -> None:
        if merchant_id == FIRST:
            raise RuntimeError("its adapter broke off")
        looked.append(merchant_id)

    monkeypatch.setattr(feeds, "due", due)
    monkeypatch.setattr(flows, "fetch", fetch)
    assert await flows.fetch_due() == 1
    assert looked == [SECOND]


class TestTwoAtOnce:
    async def test_a_job_waits_for_the_other_one_however_long_it_takes(self, desk: Desk) -> None:
        other = await another(desk)
        async with unit_of_work(desk.shop.merchant_id) as session:
            await session.execute(text("set local lock_timeout = '50ms'"))
            await runs.compare(session, Actor.worker(desk.shop.merchant_id, "Second"))
        await other

    async def test_a_person_waits_for_one_that_ends_in_some_seconds(self, desk: Desk, owner: Browser) -> None:
        other = await another(desk)
        assert (await owner.post("/reconciliation/runs")).status_code == 303
        await other

    async def test_and_is_told_of_a_longer_one(self, desk: Desk, owner: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queries, "SECONDS", 0.05)
        merchant_id = desk.shop.merchant_id
        async with unit_of_work(merchant_id) as session:
            await queries.lock(session, merchant_id=merchant_id)
            for page in ("/reconciliation/runs", "/reconciliation/invariants"):
                answer = await owner.post(page)
                assert answer.status_code == 409 and "being compared right now" in answer.text
        assert (await owner.post("/reconciliation/runs")).status_code == 303


async def another(desk: Desk) -> "asyncio.Task[None]":
    """Another comparison of the merchant that is under way and ends in half a second."""
    merchant_id, begun = desk.shop.merchant_id, asyncio.Event()

    async def compare() -> None:
        async with unit_of_work(merchant_id) as session:
            await queries.lock(session, merchant_id=merchant_id)
            begun.set()
            await asyncio.sleep(0.5)

    other = asyncio.create_task(compare())
    await begun.wait()
    return other
