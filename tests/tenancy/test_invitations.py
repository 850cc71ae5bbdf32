"""Invitations: one link, one person, one week; nobody gives what they do not hold, and the link is for its own address."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from app.core import clock
from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity.domain import PersonExists
from app.tenancy.domain import Role
from app.tenancy.invitations import service
from app.tenancy.invitations.domain import InvitationInvalid
from tests.support.factories.identity import PASSWORD, make_person, totp_code
from tests.support.factories.tenancy import Tenant, make_member
from tests.support.post import link_in_mail
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]
EMAIL = "lena@example.test"


async def invite(owner: Browser, email: str = EMAIL, role: str = "finance") -> str:
    answer = await owner.post("/invitations", {"email": email, "role": role})
    assert answer.status_code == 303
    return await link_in_mail(to=email)


def key_of(link: str) -> str:
    return link.partition("key=")[2]


def row_id(page: str) -> str:
    found = re.search(r"/invitations/(inv_\w+)/revoke", page)
    assert found
    return found[1]


async def test_somebody_new_makes_an_account_sets_up_a_factor_and_is_in(owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
    link, browser = await invite(owner), open_browser()
    page = await browser.get(link)
    assert tenant.live.name in text_of(page) and EMAIL in text_of(page)
    form = {"key": key_of(link), "name": "Lena Hoffmann", "password": PASSWORD}
    assert (await browser.post("/invitation/join", form | {"password": "short"})).status_code == 422
    named = await browser.post("/invitation/join", form | {"password": f"{tenant.live.name}, {tenant.live.name}"})
    assert (named.status_code, "made of your name" in named.text) == (422, True), "what the merchant is called is no password"
    answer = await browser.post("/invitation/join", form)
    assert answer.headers["location"] == "/sign-in/enrol"
    assert (await browser.get("/team")).headers["location"].startswith("/sign-in/enrol"), "nothing opens before the second factor"
    page = await browser.get("/sign-in/enrol")
    secret = re.findall(r"data-secret>([A-Z2-7 ]+)<", page.text)[0].replace(" ", "")
    assert (await browser.post("/sign-in/enrol", {"code": totp_code(secret)})).status_code == 200
    assert "Lena Hoffmann" in text_of(await browser.get("/team"))
    assert (await open_browser().get(link)).status_code == 422, "the link is used up"
    assert "Accepted" in text_of(await owner.get("/invitations"))


async def test_an_existing_person_signs_in_and_joins_and_nobody_else_can(owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
    async with unit_of_work(None) as session:
        person, other = await make_person(session, email=EMAIL.upper()), await make_person(session)
    link, browser, stranger = await invite(owner), open_browser(), open_browser()
    await stranger.adopt(PersonId(other.id))
    assert "somebody else" in text_of(await stranger.get(link))
    assert (await stranger.post("/invitation/accept", {"key": key_of(link)})).status_code == 403
    page = await browser.get(link)
    assert "/sign-in?next=" in page.text
    await browser.get("/sign-in")
    assert (await browser.post("/invitation/join", {"key": key_of(link), "name": "X", "password": PASSWORD})).status_code == 409
    await browser.adopt(PersonId(person.id))
    await browser.get(link)
    assert (await browser.post("/invitation/accept", {"key": key_of(link)})).status_code == 303
    assert tenant.live.name in text_of(await browser.get("/team"))


async def test_what_was_revoked_replaced_or_is_old_does_not_work(owner: Browser, browser: Browser, tenant: Tenant) -> None:
    first = await invite(owner)
    second = await invite(owner)
    assert (await browser.get(first)).status_code == 422, "replaced"
    page = await owner.get("/invitations")
    await owner.post(f"/invitations/{row_id(page.text)}/resend")
    third = await link_in_mail(to=EMAIL)
    assert [(await browser.get(link)).status_code for link in (second, third)] == [422, 200], "sent again"
    with clock.travel(timedelta(days=7, seconds=1)):
        assert (await browser.get(third)).status_code == 422, "old"
    page = await owner.get("/invitations")
    await owner.post(f"/invitations/{row_id(page.text)}/revoke")
    assert (await browser.get(third)).status_code == 422, "revoked"
    assert (await owner.post(f"/invitations/{row_id(page.text)}/resend")).status_code == 409


async def test_an_admin_invites_no_owner_and_who_left_lets_nobody_in(tenant: Tenant, owner: Browser, superuser: psycopg.Connection) -> None:
    admin = await make_member(tenant, Role.ADMIN)
    actor = tenant.actor(Role.ADMIN, person_id=admin.id)
    with pytest.raises(Exception, match="Only an owner"):
        async with unit_of_work(tenant.id) as session:
            await service.invite(session, actor, email=EMAIL, role=Role.OWNER)
    async with unit_of_work(tenant.id) as session:
        await service.invite(session, actor, email=EMAIL, role=Role.VIEWER)
    link = await link_in_mail(to=EMAIL)
    superuser.execute("delete from membership where person_id = %s", [admin.id])
    with pytest.raises(InvitationInvalid, match="does not work there"):
        async with unit_of_work(None) as session:
            await service.join(session, key=key_of(link), name="Lena", password=PASSWORD)


async def test_who_may_not_give_the_role_any_more_lets_nobody_into_it(tenant: Tenant, superuser: psycopg.Connection) -> None:
    """Otherwise whoever is about to lose a role leaves a door to it open for a week."""
    second = await make_member(tenant, Role.OWNER)
    async with unit_of_work(tenant.id) as session:
        await service.invite(session, tenant.actor(person_id=second.id), email=EMAIL, role=Role.OWNER)
    key = key_of(await link_in_mail(to=EMAIL))
    for role in ("admin", "viewer"):
        superuser.execute("update membership set role = %s where merchant_id = %s and person_id = %s", [role, tenant.id, second.id])
        superuser.commit()
        with pytest.raises(InvitationInvalid, match="may not give that role"):
            async with unit_of_work(None) as session:
                await service.join(session, key=key, name="Lena", password=PASSWORD)
    superuser.execute("update membership set role = 'owner' where merchant_id = %s and person_id = %s", [tenant.id, second.id])
    superuser.commit()
    async with unit_of_work(None) as session:
        await service.join(session, key=key, name="Lena", password=PASSWORD)


async def test_of_eight_at_once_one_joins(owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
    key = key_of(await invite(owner))

    async def join() -> bool:
        try:
            async with unit_of_work(None) as session:
                await service.join(session, key=key, name="Lena", password=PASSWORD)
        except (InvitationInvalid, PersonExists):
            return False
        return True

    assert sum(await asyncio.gather(*(join() for _ in range(8)))) == 1
    stored = superuser.execute("select json_agg(i)::text || (select json_agg(a)::text from audit_entry a) from invitation i").fetchone()
    assert stored and key not in stored[0]


async def test_a_member_is_not_invited_again_and_an_unknown_role_is_refused(owner: Browser, tenant: Tenant) -> None:
    member = await make_member(tenant, Role.VIEWER)
    answer = await owner.post("/invitations", {"email": member.email.upper(), "role": "finance"})
    assert (answer.status_code, "in the team already" in text_of(answer)) == (409, True)
    assert (await owner.post("/invitations", {"email": EMAIL, "role": "emperor"})).status_code == 422
