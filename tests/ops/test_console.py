"""The operators' console: another place, open with a reason and for a while, and read by the merchants in their own trail."""

from datetime import timedelta

import psycopg
import pytest
from litestar import Litestar

from app.core import clock
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.ids import PersonId, new_id
from app.ops.console import queries
from app.psp.domain import Outcome, Result
from app.web.sessions import Operating
from tests.support.console import OpenAs, rows, soup
from tests.support.factories.identity import make_operator, make_person
from tests.support.factories.tenancy import Tenant, make_tenant
from tests.support.shop import ScriptedPsp, Shop
from tests.support.web import Browser, text_of

REASON = "Ticket 4711: jobs stuck since the outage"


@pytest.fixture
async def operator(app: Litestar, database: Urls, superuser: psycopg.Connection) -> Browser:
    async with unit_of_work(None) as session:
        person = await make_person(session, name="Mara Voss")
    make_operator(superuser, person.id)
    browser = Browser(app)
    await browser.adopt(PersonId(person.id))
    await browser.get("/operator")
    return browser


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


def trail(superuser: psycopg.Connection, tenant: Tenant) -> list[tuple[str, str, str, str]]:
    superuser.commit()
    found = superuser.execute(
        "select actor_kind, actor_name, action, reason from audit_entry where merchant_id = %s and actor_kind = 'operator' order by id",
        [tenant.id],
    ).fetchall()
    return [(str(kind), str(name), str(action), str(reason)) for kind, name, action, reason in found]


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
            assert (await queries.dead_jobs(session, Operating())).jobs == []
            assert (await queries.dead_jobs(session, Operating(visit=new_id(), reason="x", until=now()))).jobs == []

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
        from app.core.ids import public_id

        form = {"merchant": public_id("mer", tenant.id), "event": event, "job": "send_webhook"}
        assert (await operator.post("/operator/jobs/discard", form)).status_code == 422, "it needs a reason of its own"
        assert (await operator.post("/operator/jobs/requeue", form)).status_code == 303
        assert trail(superuser, tenant) == [
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
        from app.core.ids import public_id
        from tests.support.factories.identity import totp_code

        event = bury(superuser, tenant)
        await operator.post("/operator/visits", {"reason": REASON, "minutes": "15"})
        superuser.execute("update web_session set factor_at = now() - interval '1 hour'")
        superuser.commit()
        form = {"merchant": public_id("mer", tenant.id), "event": event, "job": "send_webhook"}
        assert (await operator.post("/operator/jobs/requeue", form)).status_code == 403
        assert (await operator.post("/operator/jobs/requeue", form | {"step_up_code": totp_code()})).status_code == 303
        assert [entry[:1] + entry[2:3] for entry in trail(superuser, tenant)] == [("operator", "jobs.requeued")]

    async def test_an_unknown_outcome_is_found_and_asked_about(
        self, operator: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection
    ) -> None:
        psp.answers("authorise", Result(outcome=Outcome.UNKNOWN))
        paid = await shop.pay()
        await operator.post("/operator/visits", {"reason": REASON, "minutes": "15"})
        page = soup(await operator.get("/operator/unknown"))
        (form,) = page.select("#unknown-rows form")
        fields = {str(box["name"]): str(box["value"]) for box in form.select("input") if box["name"] != "csrf_token"}
        before = len(psp.calls)
        assert (await operator.post("/operator/unknown/ask", fields)).status_code == 303
        assert len(psp.calls) > before, f"the PSP was asked about {paid.payment_id}"
        said = [entry[2] for entry in trail(superuser, shop.tenant)]
        assert said == ["operator.saw_unknown_outcomes", "operator.asked_psp"]

    async def test_the_place_looks_like_another_one(self, operator: Browser) -> None:
        page = soup(await operator.get("/operator"))
        assert page.select_one("aside.side.inverse") is not None
        assert "Platform operations" in text_of(await operator.get("/operator"))
