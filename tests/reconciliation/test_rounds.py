"""The nightly round: what is wrong at one merchant, or at one feed, keeps nobody else from it."""

from uuid import UUID

import pytest
from psycopg import Connection

from app.core.ids import MerchantId, new_id
from app.reconciliation import flows, service
from app.reconciliation.feeds import service as feeds
from tests.reconciliation.conftest import Desk
from tests.support.factories.tenancy import Tenant
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
