"""Merchants, sandboxes, teams, roles and the audit trail."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import Conflict, Invalid
from app.core.ids import PersonId, parse_id, public_id
from app.tenancy import queries, service
from app.tenancy.domain import PERMISSIONS, ROLE_PERMISSIONS, LastOwner, MemberExists, OwnRole, Role, permissions_of
from tests.support.factories.identity import make_person
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.web import Browser, text_of

OpenBrowser = Callable[..., Browser]


async def member_id(tenant: Tenant, email: str) -> str:
    async with unit_of_work(tenant.id) as session:
        team = await queries.team(session, tenant.actor())
    return next(member.id for member in team.members if member.email == email)


class TestOpenMerchant:
    async def test_it_comes_with_its_sandbox_and_an_owner_of_both(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        assert tenant.sandbox.sandbox_of == tenant.live.id
        rows = superuser.execute("select merchant_id, person_id, role from membership").fetchall()
        assert sorted(map(str, rows)) == sorted(map(str, [(m.id, tenant.owner.id, "owner") for m in (tenant.live, tenant.sandbox)]))
        topics = superuser.execute("select topic, payload->>'sandbox' from outbox order by id").fetchall()
        assert topics == [("merchant.opened", "false"), ("merchant.opened", "true")]

    async def test_the_scope_of_the_transaction_is_given_back(self, tenant: Tenant) -> None:
        async with unit_of_work(tenant.id) as session:
            await service.open_merchant(session, tenant.actor(), name="Second")
            assert await session.scalar(text("select current_setting('app.merchant_id')")) == str(tenant.id)


class TestRoles:
    def test_every_role_knows_only_existing_permissions(self) -> None:
        assert all(ROLE_PERMISSIONS[role] <= PERMISSIONS.keys() for role in Role)

    def test_only_owner_and_support_move_money_in_live(self) -> None:
        movers = {
            role
            for role in Role
            if permissions_of(role, sandbox=False) & {"payments.capture", "payments.refund", "payments.void", "payments.create"}
        }
        assert movers == {Role.OWNER, Role.SUPPORT}

    def test_nobody_but_the_owner_both_requests_and_approves(self) -> None:
        both = {role for role in Role if {"payouts.request", "payouts.approve"} <= permissions_of(role, sandbox=False)}
        assert both == {Role.OWNER}

    def test_support_sees_no_bank_data(self) -> None:
        assert not permissions_of(Role.SUPPORT, sandbox=False) & {"wallets.read", "payouts.read", "ledger.read", "connections.read"}

    def test_a_developer_writes_in_the_sandbox_only(self) -> None:
        assert not [p for p in permissions_of(Role.DEVELOPER, sandbox=False) if not p.endswith(".read")]
        assert {"api_clients.write", "connections.write", "payments.create"} <= permissions_of(Role.DEVELOPER, sandbox=True)

    async def test_the_page_shows_the_matrix(self, owner: Browser) -> None:
        page = text_of(await owner.get("/team/roles"))
        assert all(one.meaning in page for one in PERMISSIONS.values())


class TestAddMember:
    async def test_people_are_invited_and_never_put_in(self, owner: Browser) -> None:
        page = await owner.get("/team")
        assert "Invite a person" in text_of(page) and "/invitations/new" in page.text
        assert (await owner.get("/team/add")).status_code == 404
        assert (await owner.post("/team", {"email": "x@example.test", "role": "viewer"})).status_code == 405

    async def test_an_admin_makes_no_owner(self, tenant: Tenant) -> None:
        admin = await make_member(tenant, Role.ADMIN)
        async with unit_of_work(None) as session:
            friend = await make_person(session)
        async with unit_of_work(tenant.id) as session:
            with pytest.raises(Invalid, match="Only an owner"):
                await service.add_member(
                    session,
                    tenant.actor(Role.ADMIN, person_id=admin.id),
                    merchant_id=tenant.id,
                    person_id=PersonId(friend.id),
                    role=Role.OWNER,
                )

    async def test_the_database_knows_a_person_once_per_merchant(self, tenant: Tenant) -> None:
        async with unit_of_work(None) as session:
            person = await make_person(session)

        async def add() -> bool:
            try:
                async with unit_of_work(tenant.id) as session:
                    await service.add_member(
                        session, Actor.system(tenant.id), merchant_id=tenant.id, person_id=PersonId(person.id), role=Role.VIEWER
                    )
            except MemberExists:
                return False
            return True

        assert sum(await asyncio.gather(*(add() for _ in range(8)))) == 1


class TestChangeRole:
    async def change(self, tenant: Tenant, actor: Actor, email: str, role: Role) -> None:
        member = parse_id("mem", await member_id(tenant, email))
        async with unit_of_work(tenant.id) as session:
            await service.change_role(session, actor, member_id=member, role=role)

    async def test_nobody_changes_their_own(self, tenant: Tenant) -> None:
        with pytest.raises(OwnRole):
            await self.change(tenant, tenant.actor(), tenant.owner.email, Role.ADMIN)

    async def test_an_admin_takes_no_owner_down(self, tenant: Tenant) -> None:
        admin = await make_member(tenant, Role.ADMIN)
        with pytest.raises(Invalid, match="Only an owner"):
            await self.change(tenant, tenant.actor(Role.ADMIN, person_id=admin.id), tenant.owner.email, Role.VIEWER)

    async def test_the_last_owner_stays(self, tenant: Tenant) -> None:
        second = await make_member(tenant, Role.OWNER)
        await self.change(tenant, tenant.actor(), second.email, Role.VIEWER)
        # the second owner's click was already on its way when the role was taken
        async with unit_of_work(tenant.id) as session:
            own = parse_id("mem", await member_id(tenant, tenant.owner.email))
            with pytest.raises(LastOwner):
                await service.keep_an_owner(session, tenant.actor(), leaving=own)

    async def test_two_owners_cannot_remove_each_other_at_once(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        second = await make_member(tenant, Role.OWNER)
        first_member, second_member = [parse_id("mem", await member_id(tenant, p.email)) for p in (tenant.owner, second)]

        async def remove(actor: Actor, target: object) -> bool:
            try:
                async with unit_of_work(tenant.id) as session:
                    await service.remove_member(session, actor, member_id=target)  # type: ignore[arg-type]
            except (Conflict, Invalid):
                return False
            return True

        done = await asyncio.gather(remove(tenant.actor(), second_member), remove(tenant.actor(person_id=second.id), first_member))
        assert sorted(done) == [False, True]
        assert superuser.execute("select count(*) from membership where role = 'owner' and merchant_id = %s", [tenant.id]).fetchone() == (
            1,
        )


class TestRemoveMember:
    async def test_the_person_is_out_with_the_next_click(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        viewer = await make_member(tenant, Role.VIEWER)
        browser = open_browser()
        await browser.adopt(PersonId(viewer.id))
        assert (await browser.get("/team")).status_code == 200
        assert (await owner.post(f"/team/{await member_id(tenant, viewer.email)}/remove")).status_code == 303
        assert (await browser.get("/team")).status_code == 403


class TestEnterMerchant:
    async def test_the_sandbox_and_back(self, owner: Browser, tenant: Tenant) -> None:
        sandbox = public_id("mer", tenant.sandbox.id)
        assert (await owner.post(f"/merchants/{sandbox}/enter")).status_code == 303
        assert "Test mode" in text_of(await owner.get("/team"))
        assert sandbox in (await owner.get("/settings")).text
        await owner.post(f"/merchants/{public_id('mer', tenant.live.id)}/enter")
        assert "Test mode" not in text_of(await owner.get("/team"))

    async def test_somebody_elses_is_like_an_unknown_one(self, owner: Browser) -> None:
        from app.core.ids import new_id

        stranger = await make_tenant()
        answers = [await owner.post(f"/merchants/{public_id('mer', one)}/enter") for one in (stranger.live.id, new_id())]
        assert [answer.status_code for answer in answers] == [404, 404]

    async def test_it_is_entered_again_at_the_next_sign_in(self, owner: Browser, open_browser: OpenBrowser, tenant: Tenant) -> None:
        await owner.post(f"/merchants/{public_id('mer', tenant.sandbox.id)}/enter")
        later = open_browser()
        await later.adopt(PersonId(tenant.owner.id))
        assert "Test mode" in text_of(await later.get("/team"))


class TestProfile:
    FORM = ("name", "legal_name", "website", "support_email", "timezone")

    async def test_it_is_changed_and_audited(self, owner: Browser, superuser: psycopg.Connection) -> None:
        form = dict(
            zip(self.FORM, ("Halden & Rowe", "Halden AG", "https://halden.example", "help@halden.example", "Europe/Zurich"), strict=True)
        )
        assert (await owner.post("/settings", form)).status_code == 303
        assert "Halden &amp; Rowe" in (await owner.get("/settings")).text
        row = superuser.execute(
            "select before->>'timezone', after->>'timezone' from audit_entry where action = 'merchant.changed'"
        ).fetchone()
        assert row == ("UTC", "Europe/Zurich")

    @pytest.mark.parametrize(
        "change", [{"timezone": "Mars/Olympus"}, {"website": "javascript:alert(1)"}, {"name": ""}, {"name": "x" * 121}]
    )
    async def test_refusals(self, owner: Browser, change: dict[str, str]) -> None:
        form = dict(zip(self.FORM, ("Halden", "", "", "", "UTC"), strict=True)) | change
        assert (await owner.post("/settings", form)).status_code == 422

    async def test_no_other_column_can_be_set(self, owner: Browser, tenant: Tenant, superuser: psycopg.Connection) -> None:
        form = dict(zip(self.FORM, ("Halden", "", "", "", "UTC"), strict=True))
        await owner.post("/settings", form | {"status": "closed", "sandbox_of": str(tenant.live.id), "id": "1", "created_at": "1999-01-01"})
        row = superuser.execute(
            "select status, sandbox_of, extract(year from created_at) > 2000 from merchant where id = %s", [tenant.id]
        ).fetchone()
        assert row == ("active", None, True)


class TestAudit:
    async def test_every_write_is_there_with_who_and_from_where(self, owner: Browser, tenant: Tenant) -> None:
        person = await make_member(tenant, Role.VIEWER)
        member = await member_id(tenant, person.email)
        await owner.post(f"/team/{member}/role", {"role": "finance"})
        await owner.post(f"/team/{member}/remove")
        page = text_of(await owner.get("/audit"))
        assert "member.role_changed" in page
        assert "member.removed" in page
        assert f"Owner of {tenant.live.name}" in page
        assert "192.0.2.10" in page
        only = text_of(await owner.get(f"/audit?q={member}&action=member.removed"))
        assert only.count("member.removed") == 2, "one entry, and the word in the filter"

    async def test_it_is_paged_by_position(self, owner: Browser, tenant: Tenant) -> None:
        from app.core import audit

        async with unit_of_work(tenant.id) as session:
            for number in range(60):
                await audit.record(
                    session, tenant.actor(), action="test.done", object_type="test", object_id=None, reason=f"reason {number:02}."
                )
        seen, path = [], "/audit?action=test.done"
        for _ in range(3):
            page = await owner.get(path)
            seen += [n for n in range(60) if f"reason {n:02}." in page.text]
            import re

            path = next((m.replace("&amp;", "&") for m in re.findall(r'href="(/audit\?[^"]*after=[^"]*)"[^>]*>[^<]*Next', page.text)), "")
        assert sorted(seen) == list(range(60))

    async def test_another_merchants_is_not_shown(self, owner: Browser) -> None:
        stranger = await make_tenant(name="Northlight")
        page = text_of(await owner.get("/audit"))
        assert "Northlight" not in page
        assert public_id("mer", stranger.live.id) not in page

    async def test_it_cannot_be_changed_or_removed(self, tenant: Tenant) -> None:
        from sqlalchemy.exc import ProgrammingError

        for statement in ("update audit_entry set reason = 'x'", "delete from audit_entry", "truncate audit_entry"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                async with unit_of_work(tenant.id) as session:
                    await session.execute(text(statement))
