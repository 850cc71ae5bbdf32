"""Second factors reset by two admins: a day passes, the person is told and can stop it, and no merchant weakens another's door."""

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.core.state import IllegalTransition
from app.identity.models import Person
from app.tenancy.domain import Role
from app.tenancy.models import FactorReset
from app.tenancy.resets import flows, service
from app.tenancy.resets.domain import ResetByOneself, ResetPending, WorksElsewhere
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.post import letters
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


async def request_reset(tenant: Tenant, admin: Person, person: Person, superuser: psycopg.Connection) -> FactorReset:
    found = superuser.execute("select id from membership where merchant_id = %s and person_id = %s", [tenant.id, person.id]).fetchone()
    assert found
    async with unit_of_work(tenant.id) as session:
        actor = tenant.actor(Role.ADMIN, person_id=admin.id)
        return await service.request_reset(session, actor, member_id=found[0], reason="Phone stolen, seen on video")


async def approve(tenant: Tenant, admin_id: object, row: FactorReset) -> None:
    async with unit_of_work(tenant.id) as session:
        await service.approve(session, tenant.actor(person_id=admin_id), reset_id=row.id)  # type: ignore[arg-type]


async def test_two_admins_and_a_day(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    admin, person = await make_member(tenant, Role.ADMIN), await make_member(tenant, Role.FINANCE)
    row = await request_reset(tenant, admin, person, superuser)
    with pytest.raises(ResetPending):
        await request_reset(tenant, admin, person, superuser)
    for one in (admin.id, person.id):
        with pytest.raises(ResetByOneself):
            await approve(tenant, one, row)
    with pytest.raises(psycopg.errors.CheckViolation):
        superuser.execute("update factor_reset set approved_by = requested_by")
    await approve(tenant, tenant.owner.id, row)
    with clock.travel(timedelta(hours=23, minutes=59)):
        assert await flows.finish_due() == 0
    with clock.travel(timedelta(hours=24, seconds=1)):
        assert [await flows.finish_due(), await flows.finish_due()] == [1, 0]
    assert superuser.execute("select totp_secret, totp_enrolled_at from person where id = %s", [person.id]).fetchone() == (None, None)
    assert superuser.execute("select what from person_event where person_id = %s", [person.id]).fetchall() == [("factors_reset",)]
    subjects = [letter.subject for letter in await letters(to=person.email)]
    assert subjects == ["Your second factors were reset", "Reset of your second factors", "Reset of your second factors"]
    assert "Done" in text_of(await owner.get("/factor-resets"))


async def test_the_person_stops_it_from_wherever_they_are(tenant: Tenant, open_browser: OpenBrowser, superuser: psycopg.Connection) -> None:
    admin, person = await make_member(tenant, Role.ADMIN), await make_member(tenant, Role.VIEWER)
    await make_member(tenant, Role.VIEWER, sandbox=True, person=person)
    row = await request_reset(tenant, admin, person, superuser)
    await approve(tenant, tenant.owner.id, row)
    browser = open_browser()
    await browser.adopt(PersonId(person.id), merchant_id=tenant.sandbox_id)
    page = await browser.get("/factor-resets/mine")
    assert "Phone stolen" in text_of(page)
    action = page.text.partition('action="/factor-resets/frs_')[2].partition('"')[0]
    assert (await browser.post(f"/factor-resets/frs_{action}")).headers["location"] == "/factor-resets/mine"
    with clock.travel(timedelta(hours=25)):
        assert await flows.finish_due() == 0
    assert superuser.execute("select status from factor_reset").fetchone() == ("cancelled",)
    with pytest.raises(IllegalTransition):
        await approve(tenant, tenant.owner.id, row)


async def test_an_admin_resets_no_owner_and_nobody_of_another_merchant(tenant: Tenant, superuser: psycopg.Connection) -> None:
    admin, person = await make_member(tenant, Role.ADMIN), await make_member(tenant, Role.VIEWER)
    with pytest.raises(Exception, match="Only an owner"):
        await request_reset(tenant, admin, tenant.owner, superuser)
    await make_member(await make_tenant(), Role.VIEWER, person=person)
    with pytest.raises(WorksElsewhere):
        await request_reset(tenant, admin, person, superuser)


async def test_what_became_wrong_in_between_is_not_done(tenant: Tenant, superuser: psycopg.Connection) -> None:
    """Whoever began to work elsewhere, or was asked for by an admin who is none any more, keeps their factors."""
    admin, second = await make_member(tenant, Role.ADMIN), await make_member(tenant, Role.ADMIN)
    elsewhere, later, here, owner = [await make_member(tenant, Role.VIEWER) for _ in range(4)]
    rows = [await request_reset(tenant, admin, person, superuser) for person in (elsewhere, later, here, owner)]
    other = await make_tenant()
    await make_member(other, Role.VIEWER, person=elsewhere)
    with pytest.raises(WorksElsewhere):
        await approve(tenant, second.id, rows[0])
    for row in rows[1:]:
        await approve(tenant, second.id, row)
    await make_member(other, Role.VIEWER, person=later)
    superuser.execute("update membership set role = 'owner' where merchant_id = %s and person_id = %s", [tenant.id, owner.id])
    superuser.execute("update factor_reset set due_at = due_at + interval '1 hour' where person_id = %s", [here.id])
    superuser.commit()
    with clock.travel(timedelta(hours=24, seconds=1)):
        assert await flows.finish_due() == 0
    superuser.execute("update membership set role = 'viewer' where merchant_id = %s and person_id = %s", [tenant.id, admin.id])
    superuser.commit()
    with clock.travel(timedelta(hours=26)):
        assert await flows.finish_due() == 0
    found = superuser.execute("select status from factor_reset order by id").fetchall()
    assert [status for (status,) in found] == ["requested", "cancelled", "cancelled", "cancelled"]
    assert superuser.execute("select count(*) from person_event where what = 'factors_reset'").fetchone() == (0,)
    told = superuser.execute("select count(*) from audit_entry where action = 'factor_reset.cancelled'").fetchone()
    assert told == (3,)
    assert "cannot be done any more" in (await letters(to=later.email))[0].text
