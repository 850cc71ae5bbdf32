"""Drafts, four eyes, publishing and going back, on the database; also what it refuses to those who go past the service."""

import asyncio

import psycopg
import pytest
from psycopg import Connection as Sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.actors import Actor, PermissionMissing
from app.core.db import unit_of_work
from app.core.ids import new_id, public_id
from app.core.money import Money
from app.core.state import IllegalTransition
from app.inbox import flows as inbox
from app.inbox.domain import NothingWaits
from app.routing import queries, service
from app.routing.domain import (
    ELSE,
    DraftExists,
    NoDraft,
    NothingDiffers,
    NothingToRoute,
    RoutingIsStale,
    RoutingNeedsSecondPerson,
    RoutingReasonMissing,
    RoutingVersionId,
    RoutingVersionNotFound,
    Rule,
    RuleInvalid,
    RuleKey,
    Share,
)
from app.routing.models import RoutingVersion
from tests.routing.conftest import Router
from tests.support.factories.bank_accounts import somebody
from tests.support.factories.tenancy import make_tenant
from tests.support.shop import ScriptedPsp, open_shop

_ANOTHER = (
    "insert into routing_rule (merchant_id, version_id, rule_key, position, name)"
    " select merchant_id, id, gen_random_uuid(), 0, 'x' from routing_version where merchant_id = :m"
)


def high(router: Router) -> Rule:
    return router.rule(at_least=Money(200_000, "EUR"))


def trail(superuser: Sql, router: Router) -> list[tuple[object, ...]]:
    return superuser.execute(
        "select action, actor_id, before, after from audit_entry where merchant_id = %s and action like 'routing.%%' order by id",
        (router.shop.merchant_id,),
    ).fetchall()


async def decide(router: Router, actor: Actor, asked: RoutingVersion, *, digest: str | None = None, reason: str | None = None) -> None:
    async with unit_of_work(router.shop.merchant_id) as session:
        seen, version_id = digest if digest is not None else asked.digest or "", RoutingVersionId(asked.id)
        if reason is None:
            await service.publish(session, actor, version_id=version_id, digest=seen)
        else:
            await service.reject(session, actor, version_id=version_id, digest=seen, reason=reason)


class TestDraft:
    async def test_the_first_one_sends_everything_to_the_oldest_connection(self, router: Router) -> None:
        version = await router.draft()
        [only] = await router.rules()
        assert (version.number, only.name, only.connections) == (1, ELSE, (router.first,))

    async def test_there_is_one_at_most(self, router: Router) -> None:
        await router.draft()
        with pytest.raises(DraftExists):
            await router.draft()

    async def test_two_who_start_at_once_make_one(self, router: Router) -> None:
        done = await asyncio.gather(router.draft(), router.draft(), return_exceptions=True)
        assert sorted(isinstance(one, DraftExists) for one in done) == [False, True]

    async def test_without_a_connection_there_is_nothing_to_route(self, database: object) -> None:
        tenant = await make_tenant()
        async with unit_of_work(tenant.id) as session:
            with pytest.raises(NothingToRoute):
                await service.start_draft(session, tenant.actor())

    async def test_without_a_draft_nothing_is_changed(self, router: Router) -> None:
        async with unit_of_work(router.shop.merchant_id) as session:
            for act in (service.discard_draft(session, router.shop.actor), service.add_rule(session, router.shop.actor, rule=high(router))):
                with pytest.raises(NoDraft):
                    await act

    async def test_every_act_is_in_the_trail_with_before_and_after(self, router: Router, superuser: Sql) -> None:
        await router.draft(rule := high(router))
        async with unit_of_work(router.shop.merchant_id) as session:
            await service.add_rule(session, router.shop.actor, rule=router.rule("Yen", currencies=("JPY",)))
            await service.move_rule(session, router.shop.actor, key=rule.key, by=1)
            await service.remove_rule(session, router.shop.actor, key=rule.key)
            await service.discard_draft(session, router.shop.actor)
        entries = trail(superuser, router)
        assert [action for action, *_ in entries] == [
            *("routing.draft_started", "routing.rule_added", "routing.rule_added", "routing.rule_moved", "routing.rule_removed"),
            "routing.draft_discarded",
        ]
        moved = entries[3]
        assert (moved[2]["order"], moved[3]["order"]) == (["High value", "Yen", ELSE], ["Yen", "High value", ELSE])  # type: ignore[index]
        assert entries[4][2]["rules"][0]["name"] == "High value"  # type: ignore[index]
        assert {actor for _, actor, *_ in entries} == {router.shop.actor.id}


class TestFourEyes:
    async def test_a_second_person_makes_it_live(self, router: Router, superuser: Sql) -> None:
        version = await router.publish(high(router))
        live = await router.live()
        assert live is not None
        assert (live.id, live.approved_by, live.requested_by) == (version.id, router.approver.id, router.shop.actor.id)
        published = trail(superuser, router)[-1]
        assert (published[0], published[1]) == ("routing.published", router.approver.id)
        assert published[3]["rules"][0]["name"] == "High value"  # type: ignore[index]
        topics = superuser.execute("select payload from outbox where topic = 'routing.published' and merchant_id = %s", (live.merchant_id,))
        assert [row[0] for row in topics.fetchall()] == [{"version": 1, "replaced": None}]

    async def test_whoever_asked_or_edited_does_not_decide(self, router: Router) -> None:
        await router.draft(high(router))
        async with unit_of_work(router.shop.merchant_id) as session:
            await service.add_rule(session, other := somebody(router.shop.actor, "Editor"), rule=router.rule("Yen", currencies=("JPY",)))
        asked = await router.request()
        for person in (router.shop.actor, other):
            for reason in (None, "No"):
                with pytest.raises(RoutingNeedsSecondPerson):
                    await decide(router, person, asked, reason=reason)
        await decide(router, router.approver, asked)

    async def test_it_takes_the_permission(self, router: Router) -> None:
        asked = await self._asked(router)
        nobody = Actor(kind=router.approver.kind, id=new_id(), name="Nobody", merchant_id=router.shop.merchant_id)
        with pytest.raises(PermissionMissing):
            await decide(router, nobody, asked)

    async def test_an_edit_takes_the_request_back(self, router: Router, superuser: Sql) -> None:
        asked = await self._asked(router)
        await router.add(router.rule("Yen", currencies=("JPY",)))
        with pytest.raises(RoutingIsStale):
            await decide(router, router.approver, asked)
        assert await router.live() is None
        assert trail(superuser, router)[-1][0] == "routing.request_voided"

    async def test_another_digest_is_not_what_was_shown(self, router: Router) -> None:
        asked = await self._asked(router)
        with pytest.raises(RoutingIsStale):
            await decide(router, router.approver, asked, digest="0" * 64)
        await router.add(router.rule("Yen", currencies=("JPY",)))
        again = await router.request()
        with pytest.raises(RoutingIsStale):
            await decide(router, router.approver, again, digest=asked.digest)
        await decide(router, router.approver, again)

    async def test_two_who_agree_at_once_publish_once(self, router: Router, superuser: Sql) -> None:
        asked = await self._asked(router)
        both = (router.approver, somebody(router.shop.actor, "Another"))
        done = await asyncio.gather(*(decide(router, person, asked) for person in both), return_exceptions=True)
        assert [type(one) for one in done if one is not None] == [RoutingIsStale]
        assert [action for action, *_ in trail(superuser, router)].count("routing.published") == 1

    async def test_a_refusal_has_a_reason_and_the_draft_can_be_asked_for_again(self, router: Router) -> None:
        asked = await self._asked(router)
        with pytest.raises(RoutingReasonMissing):
            await decide(router, router.approver, asked, reason=" ")
        await decide(router, router.approver, asked, reason="Too dear")
        async with unit_of_work(router.shop.merchant_id) as session:
            draft = await queries.version_in(session, router.shop.actor, *queries.OPEN)
            assert draft is not None and (draft.status, draft.refusal, draft.digest) == ("draft", "Too dear", None)
        await decide(router, router.approver, await router.request())

    async def test_it_can_be_withdrawn_and_only_while_it_waits(self, router: Router) -> None:
        asked = await self._asked(router)
        for refused in (None, IllegalTransition):
            async with unit_of_work(router.shop.merchant_id) as session:
                if refused is None:
                    await service.withdraw_request(session, router.shop.actor)
                    continue
                with pytest.raises(refused):
                    await service.withdraw_request(session, router.shop.actor)
        with pytest.raises(RoutingIsStale):
            await decide(router, router.approver, asked)

    async def test_nothing_is_asked_for_that_changes_nothing(self, router: Router) -> None:
        await router.publish(high(router))
        await router.draft()
        with pytest.raises(NothingDiffers):
            await router.request()

    async def test_the_approvals_list_it_and_carry_it_out(self, router: Router) -> None:
        asked = await self._asked(router)
        for actor, may in ((router.shop.actor, False), (router.approver, True)):
            [shown] = [each for each in (await inbox.waiting(actor, kind="routing")).items if each.kind == "routing"]
            assert (shown.may_decide, shown.digest, shown.title) == (may, asked.digest, "Routing, version 1")
            assert ("1. High value", "If Amount at least €2,000.00: Second") in shown.facts
        kind, shown = await inbox.item(router.approver, kind="routing", item=shown.id)
        with pytest.raises(NothingWaits):
            await inbox.decide(
                router.shop.actor,
                kind=kind,
                shown=(await inbox.item(router.shop.actor, kind="routing", item=shown.id))[1],
                digest="",
                approve=True,
                reason="",
            )
        said = await inbox.decide(router.approver, kind=kind, shown=shown, digest=shown.digest, approve=True, reason="")
        assert "version 1 chooses" in said
        assert (await inbox.counts(router.approver))["routing"] == 0

    @staticmethod
    async def _asked(router: Router) -> RoutingVersion:
        await router.draft(high(router))
        return await router.request()


class TestPublish:
    async def test_the_next_version_replaces_the_live_one(self, router: Router) -> None:
        first = await router.publish(high(router))
        second = await router.publish(router.rule("Yen", currencies=("JPY",)))
        live = await router.live()
        assert live is not None and live.id == second.id
        async with unit_of_work(router.shop.merchant_id) as session:
            old = await queries.version(session, router.shop.actor, version_id=RoutingVersionId(first.id))
            assert (old.status, old.retired_at) == ("retired", live.activated_at)

    async def test_the_way_back_is_a_new_draft_from_an_older_version(self, router: Router) -> None:
        first = await router.publish(high(router))
        await router.publish(router.rule("Yen", currencies=("JPY",)))
        async with unit_of_work(router.shop.merchant_id) as session:
            draft = await service.start_draft(session, router.shop.actor, version_id=RoutingVersionId(first.id))
        assert (draft.number, draft.based_on) == (3, 1)
        assert await router.rules() == await router.rules(first)
        await router.approve(await router.request())
        live = await router.live()
        assert live is not None and live.number == 3


class TestWalls:
    async def test_another_merchant_sees_and_names_nothing(self, router: Router, psp: ScriptedPsp) -> None:
        version = await router.publish(high(router))
        theirs = await open_shop(psp)
        async with unit_of_work(theirs.merchant_id) as session:
            with pytest.raises(RoutingVersionNotFound):
                await service.start_draft(session, theirs.actor, version_id=RoutingVersionId(version.id))
            await service.start_draft(session, theirs.actor)
            ours = Rule(
                key=RuleKey(new_id()),
                name="Ours",
                conditions=high(router).conditions,
                split=(Share(connection=router.second, percent=100),),
            )
            with pytest.raises(RuleInvalid, match="Check"):
                await service.add_rule(session, theirs.actor, rule=ours)
            seller = router.rule("Seller", to=theirs.connection_id, seller=router.shop.anna)
            with pytest.raises(RuleInvalid):
                await service.add_rule(session, theirs.actor, rule=seller)
            assert await queries.waiting(session, theirs.actor) == []
            for table in ("routing_version", "routing_rule", "routing_target", "routing_decision"):
                seen = await session.execute(text(f"select count(*) from {table} where merchant_id = :m"), {"m": router.shop.merchant_id})
                assert seen.scalar() == 0

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ("status = 'live', approved_by = requested_by, approved_digest = digest", "ck_routing_version_two_people"),
            ("status = 'live', approved_by = editors[1], approved_digest = digest", "ck_routing_version_two_people"),
            ("status = 'live'", "ck_routing_version_approved"),
            ("status = 'live', approved_by = gen_random_uuid(), approved_digest = 'x'", "ck_routing_version_approved"),
            ("status = 'live', approved_by = gen_random_uuid()", "ck_routing_version_approved"),
            ("digest = null", "ck_routing_version_requested"),
        ],
    )
    async def test_the_table_itself_wants_two_people_and_one_digest(
        self, router: Router, superuser: Sql, change: str, constraint: str
    ) -> None:
        await router.draft(high(router))
        await router.request()
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            superuser.execute(f"update routing_version set {change} where merchant_id = %s", (router.shop.merchant_id,))
        assert refused.value.diag.constraint_name == constraint

    @pytest.mark.parametrize(
        "change",
        [
            "delete from routing_target where merchant_id = :m",
            "delete from routing_rule where merchant_id = :m",
            "update routing_rule set name = 'x' where merchant_id = :m",
            "update routing_target set share = 1 where merchant_id = :m",
            _ANOTHER,
        ],
    )
    async def test_rules_that_were_asked_for_do_not_change(self, router: Router, change: str) -> None:
        await router.draft(high(router))
        await router.request()
        with pytest.raises(DBAPIError):
            async with unit_of_work(router.shop.merchant_id) as session:
                await session.execute(text(change), {"m": router.shop.merchant_id})

    async def test_only_one_is_live(self, router: Router, superuser: Sql) -> None:
        await router.publish(high(router))
        with pytest.raises(psycopg.errors.UniqueViolation):
            superuser.execute(
                "insert into routing_version select (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), 'number', 9))).*"
                " from routing_version v where merchant_id = %s",
                (router.shop.merchant_id,),
            )
        assert public_id("rtv", (await router.live()).id)  # type: ignore[union-attr]
