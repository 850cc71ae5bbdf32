"""Stuck jobs: seen by the merchant whose they are, tried again as they were, or set aside with a reason."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import MerchantId, new_id
from app.core.outbox import Event, publish
from app.ops import queries, service
from app.ops.domain import NoDeadJobs, ReasonMissing, object_path
from app.tenancy.domain import Role
from tests.support.console import OpenAs, soup, words
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser
from workers import jobs
from workers.jobs import MAX_ATTEMPTS, Message, TryAgain, run_job
from workers.relay import relay_once

ROUTES = {"test.happened": ("test.fails", "test.works")}
Deliver = Callable[[], "list[Message]"]


class Happened(Event, frozen=True):
    topic = "test.happened"
    payment_id: str


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[UUID]]:
    """What the two jobs of the event were called with; the first fails until it is told otherwise."""
    calls: dict[str, list[UUID]] = {"test.fails": [], "test.works": []}

    def named(name: str) -> Any:
        async def work(message: Message) -> None:
            calls[name].append(message.event_id)
            if name == "test.fails" and "mended" not in calls:
                raise RuntimeError("the disk is full")

        return work

    for name in calls:
        monkeypatch.setitem(jobs.JOBS, name, named(name))
    return calls


@pytest.fixture
def relay(database: Urls) -> Any:
    with psycopg.connect(database.relay, autocommit=True) as connection:
        yield connection


class Way:
    """From the outbox to the jobs, as relay, broker and worker go it."""

    def __init__(self, relay: "Connection[Any]") -> None:
        self.relay = relay

    async def __call__(self) -> int:
        sent: list[Any] = []
        relay_once(self.relay, sent.extend, at=now(), routes=ROUTES)
        for message in sent:
            for _ in range(MAX_ATTEMPTS):
                try:
                    await run_job(message.actor_name, self.message(message))
                except TryAgain:
                    continue
                break
        return len(sent)

    @staticmethod
    def message(sent: Any) -> Message:
        import msgspec

        return msgspec.convert(sent.args[0], Message)


@pytest.fixture
def way(relay: "Connection[Any]") -> Way:
    return Way(relay)


async def happened(merchant_id: MerchantId, payment_id: str = "pay_01") -> UUID:
    async with unit_of_work(merchant_id) as session:
        return await publish(session, merchant_id=merchant_id, event=Happened(payment_id=payment_id), object_id=new_id())


def states(superuser: "Connection[Any]", event: UUID) -> dict[str, str]:
    return dict(superuser.execute("select actor, state from job_run where event_id = %s", (event,)).fetchall())


async def requeue(actor: Actor, event: UUID | None = None, job: str = "") -> int:
    async with unit_of_work(actor.merchant) as session:
        return await service.requeue_jobs(session, actor, event=event, job=job)


class TestTryingAgain:
    async def test_what_failed_is_done_and_what_was_done_is_not_done_twice(
        self, tenant: Tenant, way: Way, tries: dict[str, list[UUID]], superuser: "Connection[Any]"
    ) -> None:
        event = await happened(tenant.id)
        await way()
        assert states(superuser, event) == {"test.fails": "dead", "test.works": "done"}
        tries["mended"] = []
        assert await requeue(tenant.actor(), event=event) == 1
        await way()
        assert states(superuser, event) == {"test.fails": "done", "test.works": "done"}
        assert tries["test.fails"] == [event] * (MAX_ATTEMPTS + 1)
        assert tries["test.works"] == [event]

    async def test_an_event_that_the_outbox_has_forgotten_is_published_from_the_job(
        self, tenant: Tenant, way: Way, tries: dict[str, list[UUID]], superuser: "Connection[Any]"
    ) -> None:
        event = await happened(tenant.id)
        before = superuser.execute("select topic, merchant_id, object_id, payload from outbox where id = %s", (event,)).fetchone()
        await way()
        superuser.execute("delete from outbox")
        superuser.commit()
        await requeue(tenant.actor())
        after = superuser.execute("select topic, merchant_id, object_id, payload from outbox where id = %s", (event,)).fetchone()
        assert after == before

    async def test_all_of_a_kind_at_once_and_the_act_is_in_the_trail(
        self, tenant: Tenant, way: Way, tries: dict[str, list[UUID]], superuser: "Connection[Any]"
    ) -> None:
        events = [await happened(tenant.id) for _ in range(3)]
        await way()
        with pytest.raises(NoDeadJobs):
            await requeue(tenant.actor(), job="test.works")
        assert await requeue(tenant.actor(), job="test.fails") == 3
        trail = superuser.execute("select after from audit_entry where action = 'jobs.requeued'").fetchall()
        assert [sorted(entry["jobs"]) for (entry,) in trail] == [sorted(f"test.fails {event}" for event in events)]
        with pytest.raises(NoDeadJobs):
            await requeue(tenant.actor())


class TestDiscarding:
    async def test_it_needs_a_reason_and_ends_it(
        self, tenant: Tenant, way: Way, tries: dict[str, list[UUID]], superuser: "Connection[Any]"
    ) -> None:
        event = await happened(tenant.id)
        await way()
        with pytest.raises(ReasonMissing):
            async with unit_of_work(tenant.id) as session:
                await service.discard_jobs(session, tenant.actor(), event=event, job="", reason="  ")
        async with unit_of_work(tenant.id) as session:
            assert await service.discard_jobs(session, tenant.actor(), event=event, job="", reason="Paid by hand") == 1
        assert states(superuser, event)["test.fails"] == "discarded"
        with pytest.raises(NoDeadJobs):
            await requeue(tenant.actor(), event=event)
        async with unit_of_work(tenant.id) as session:
            page = await queries.jobs(session, tenant.actor(), state="discarded")
        assert [row.discarded for row in page.jobs.items] == [f"Discarded by {tenant.actor().name}: Paid by hand"]


class TestWalls:
    async def test_another_merchant_neither_sees_nor_touches_them(
        self, tenant: Tenant, way: Way, tries: dict[str, list[UUID]], superuser: "Connection[Any]"
    ) -> None:
        event, other = await happened(tenant.id), await make_tenant(name="Somebody else")
        await way()
        async with unit_of_work(other.id) as session:
            assert (await queries.jobs(session, other.actor(), state="")).jobs.items == []
            assert (await session.execute(queries.select(queries.JobRun.event_id))).all() == []
        with pytest.raises(NoDeadJobs):
            await requeue(other.actor(), event=event)
        assert states(superuser, event)["test.fails"] == "dead"


class TestPage:
    async def test_it_shows_what_is_stuck_asks_before_it_acts_and_acts(
        self,
        tenant: Tenant,
        open_as: OpenAs,
        way: Way,
        tries: dict[str, list[UUID]],
        superuser: "Connection[Any]",
    ) -> None:
        event = await happened(tenant.id)
        await way()
        browser: Browser = await open_as(tenant)
        row = soup(await browser.get("/jobs")).select_one("#job-rows tr")
        assert row is not None
        assert "RuntimeError: the disk is full" in words(row)
        assert [link["href"] for link in row.select("a.link")] == ["/payments/pay_01"]
        asked = soup(await browser.get(f"/jobs/requeue?event={event}&job=test.fails"))
        assert "1 dead job" in words(asked)
        assert states(superuser, event)["test.fails"] == "dead", "asking touches nothing"
        answer = await browser.post("/jobs/discard", {"event": str(event), "job": "test.fails", "reason": ""})
        assert answer.status_code == 422
        assert "Say why" in words(soup(answer))
        await browser.post("/jobs/requeue", {"event": str(event), "job": "test.fails"})
        assert states(superuser, event)["test.fails"] == "failed"

    async def test_who_may_only_read_gets_no_buttons(
        self,
        tenant: Tenant,
        open_as: OpenAs,
        way: Way,
        tries: dict[str, list[UUID]],
    ) -> None:
        await happened(tenant.id)
        await way()
        browser: Browser = await open_as(tenant, Role.VIEWER)
        page = soup(await browser.get("/jobs"))
        assert page.select("#job-rows tr")
        assert [link["href"] for link in page.select("a") if "/jobs/" in link["href"]] == []


def test_the_page_of_what_a_job_is_about() -> None:
    assert object_path({"order_id": "ord_1", "payment_id": "pay_1"}) == "/payments/pay_1"
    assert object_path({"seller_id": "sel_1"}) == "/sellers/sel_1"
    assert object_path({"payment_id": None, "note": "x"}) is None
