"""The operators' console: another place, open with a reason and for a while, and read by the merchants in their own trail."""

from datetime import timedelta

import psycopg
import pytest
from bs4 import BeautifulSoup

from app.core import clock
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import new_id, public_id
from app.ops.console import queries, service
from app.ops.console.schemas import JobFilter
from app.ops.queue import queries as queue
from app.ops.queue.schemas import QueueFilter
from app.web.sessions import Operating
from tests.ops.conftest import REASON, trail
from tests.support.console import OpenAs, rows, soup
from tests.support.factories.identity import totp_code
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.web import Browser, text_of


def bury(superuser: psycopg.Connection, tenant: Tenant) -> str:
    """A dead job of a merchant; gives its event."""
    event = new_id()
    superuser.execute(
        "insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, error, first_at, last_at)"
        " values (%s, 'send_webhook', %s, 'payment.captured', %s, 5, 'dead', 'no route', now(), now())",
        [event, tenant.id, f'{{"object_id": "{event}", "payload": {{}}}}'],
    )
    superuser.commit()
    return str(event)


class TestVisit:
    async def test_nothing_is_seen_without_one_and_it_ends_by_itself(
        self, operator: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        bury(superuser, tenant)
        assert (await operator.get("/operator/jobs")).status_code == 403
        assert (await operator.post("/operator/visits", {"reason": "short", "minutes": "15"})).status_code == 422
        assert (await operator.post("/operator/visits", {"reason": REASON, "minutes": "600"})).status_code == 422
        assert (await operator.post("/operator/visits", {"reason": REASON, "minutes": "5"})).status_code == 303
        page = await operator.get("/operator/jobs")
        assert tenant.live.name in text_of(page)
        with clock.travel(timedelta(minutes=6)):
            assert (await operator.get("/operator/jobs")).status_code == 403
        await operator.post("/operator/visits/close")
        assert (await operator.get("/operator/jobs")).status_code == 403

    async def test_the_door_itself_stays_shut_without_a_visit(
        self, operator: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        bury(superuser, tenant)
        async with unit_of_work(None) as session:
            assert (await queries.dead_jobs(session, Operating(), chosen=JobFilter())).jobs.items == []
            shut = Operating(visit=new_id(), reason="x", until=now())
            assert (await queries.dead_jobs(session, shut, chosen=JobFilter())).jobs.items == []
            assert (await queries.merchants(session, shut, q="", after=None)).merchants.items == []
            assert (await queue.queue(session, shut, chosen=QueueFilter(), after=None)).waiting == "0"
            await service.note_look(session, tenant.actor(), visit=shut.visit, merchants=[public_id("mer", tenant.id)], what="anything")
        assert trail(superuser, tenant) == []

    async def test_the_application_makes_nobody_an_operator(self, tenant: Tenant) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import ProgrammingError

        with pytest.raises(ProgrammingError, match="permission denied"):
            async with unit_of_work(None) as session:
                await session.execute(text("insert into operator (person_id, added_at) values (:id, now())"), {"id": tenant.owner.id})


class TestActs:
    async def test_the_merchant_reads_what_was_seen_and_done_and_why(
        self, operator: Browser, open_as: OpenAs, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        other = await make_tenant()
        event = bury(superuser, tenant)
        await operator.post("/operator/visits", {"reason": REASON, "minutes": "15"})
        shown = rows(soup(await operator.get("/operator/jobs")), "#dead-rows")
        assert len(shown) == 1
        form = {"merchant": public_id("mer", tenant.id), "event": event, "job": "send_webhook"}
        assert (await operator.post("/operator/jobs/discard", form)).status_code == 422, (
            "it needs a reason of its own, and the list is seen again"
        )
        assert (await operator.post("/operator/jobs/requeue", form)).status_code == 303
        assert trail(superuser, tenant) == [
            ("operator", "Mara Voss", "operator.saw_dead_jobs", REASON),
            ("operator", "Mara Voss", "operator.saw_dead_jobs", REASON),
            ("operator", "Mara Voss", "jobs.requeued", REASON),
        ]
        assert trail(superuser, other) == [], "of whom nothing was seen, nothing is said"
        owner = await open_as(tenant)
        page = text_of(await owner.get("/audit"))
        assert REASON in page
        assert "Mara Voss" in page

    async def test_a_stale_factor_is_asked_for_and_the_act_goes_on_as_the_operator(
        self, operator: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        event = bury(superuser, tenant)
        await operator.post("/operator/visits", {"reason": REASON, "minutes": "15"})
        superuser.execute("update web_session set factor_at = now() - interval '1 hour'")
        superuser.commit()
        form = {"merchant": public_id("mer", tenant.id), "event": event, "job": "send_webhook"}
        assert (await operator.post("/operator/jobs/requeue", form)).status_code == 403
        assert (await operator.post("/operator/jobs/requeue", form | {"step_up_code": totp_code()})).status_code == 303
        assert [entry[:1] + entry[2:3] for entry in trail(superuser, tenant)] == [("operator", "jobs.requeued")]

    async def test_the_place_looks_like_another_one_and_is_where_an_operator_starts(self, operator: Browser) -> None:
        start = await operator.get("/")
        assert (start.status_code, start.headers["location"]) == (303, "/operator")
        page = soup(await operator.get("/operator"))
        assert page.select_one("aside.side.inverse") is not None
        assert "Platform operations" in text_of(await operator.get("/operator"))


TURNING = "Turning the pages of the console"


class TestLists:
    async def test_they_turn_onwards_and_back_and_are_filtered(
        self, operator: Browser, tenant: Tenant, superuser: psycopg.Connection
    ) -> None:
        await make_tenant(name="Another house")
        for _ in range(27):
            bury(superuser, tenant)
        await operator.post("/operator/visits", {"reason": TURNING, "minutes": "15"})
        whose = f"merchant={public_id('mer', tenant.id)}"
        first = soup(await operator.get(f"/operator/jobs?{whose}"))
        onwards = first.select_one("a[rel=next]")
        assert onwards is not None
        second = soup(await operator.get(str(onwards["href"])))
        assert (len(rows(first, "#dead-rows")), len(rows(second, "#dead-rows"))) == (25, 2)
        back = second.select_one("a[rel=prev]")
        assert back is not None
        again = soup(await operator.get(str(back["href"])))
        assert ids_in(again) == ids_in(first)
        assert ids_in(first).isdisjoint(ids_in(second))
        assert not rows(soup(await operator.get(f"/operator/jobs?{whose}&job=other")), "#dead-rows")
        assert (await operator.get("/operator/jobs?after=nonsense")).status_code == 422
        assert rows(soup(await operator.get("/operator/merchants?q=another%20HOUSE")), "#merchant-rows")
        assert not rows(soup(await operator.get("/operator/merchants?q=nobody")), "#merchant-rows")
        (mine,) = [row for row in rows(soup(await operator.get("/operator/visits?status=open")), "#visit-rows") if TURNING in row]
        assert "Mara Voss" in mine
        assert not rows(soup(await operator.get("/operator/visits?who=nobody@example.test")), "#visit-rows")


def ids_in(page: BeautifulSoup) -> set[str]:
    return {str(box["value"]) for box in page.select("#dead-rows input[name=event]")}
