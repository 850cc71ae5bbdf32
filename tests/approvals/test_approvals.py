"""Acts that need a second person: refunds above a limit, and the one list in which everything waits."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from litestar import Litestar
from sqlalchemy import text

from app.approvals import flows, queries, service
from app.approvals.domain import Act, ApprovalExpired, ApprovalIsStale, ApprovalRequired, SecondPersonNeeded
from app.core import clock
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import AppError
from app.core.ids import PaymentId, public_id
from app.core.money import Money
from app.inbox import flows as inbox
from app.payments.refund_requests import flows as requests
from app.tenancy.domain import Role
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.api_access import make_key
from tests.support.factories.bank_accounts import propose, somebody
from tests.support.factories.identity import totp_code
from tests.support.samples import furnish
from tests.support.shop import ScriptedPsp, Shop
from tests.support.web import Browser, text_of

TEN = Money(1000, "EUR")


async def set_rule(shop: Shop, minor: int, approvers: int) -> None:
    async with unit_of_work(shop.merchant_id) as session:
        await service.set_rule(session, shop.actor, act=Act.REFUND, start=Money(minor, "EUR"), approvers=approvers)


async def ask(shop: Shop, payment_id: PaymentId, amount: Money = TEN) -> str:
    """A refund that the shop's owner asks for; gives its id in the list."""
    await requests.ask(shop.actor, payment_id=payment_id, amount=amount, split=None, reason="Goodwill", keep_fee=False)
    async with unit_of_work(shop.merchant_id) as session:
        return (await requests.waiting(session, shop.actor))[-1].id


async def seen(shop: Shop, actor: Actor, item: str) -> str:
    async with unit_of_work(shop.merchant_id) as session:
        return next(each.digest for each in await requests.waiting(session, actor) if each.id == item)


async def approve(shop: Shop, actor: Actor, item: str) -> str:
    return await requests.approve(actor, item=item, digest=await seen(shop, actor, item), reason="")


class TestRefunds:
    async def test_below_the_rule_alone_from_it_on_with_others(self, shop: Shop, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        await set_rule(shop, 1000, 1)
        await shop.refund(paid.payment_id, 999)
        with pytest.raises(ApprovalRequired):
            await shop.refund(paid.payment_id, 1000)
        assert psp.made("refund") == 1

    async def test_two_have_to_agree_and_nothing_moves_before(self, shop: Shop, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 2)
        item = await ask(shop, paid.payment_id)
        first, second = somebody(shop.actor, "First"), somebody(shop.actor, "Second")
        with pytest.raises(SecondPersonNeeded):
            await approve(shop, shop.actor, item)
        assert await approve(shop, first, item) == "Approved; others have to agree too"
        with pytest.raises(SecondPersonNeeded):
            await approve(shop, first, item)
        assert psp.made("refund") == 0
        assert await approve(shop, second, item) == "Approved, and on its way"
        assert psp.made("refund") == 1
        with pytest.raises(AppError):
            await requests.approve(second, item=item, digest="x", reason="")
        assert psp.made("refund") == 1

    async def test_an_approval_is_good_for_exactly_that_refund_once(self, shop: Shop, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        item = await ask(shop, paid.payment_id)
        colleague = somebody(shop.actor)
        async with unit_of_work(shop.merchant_id) as session:
            approval_id = queries.approval_id(item)
            with pytest.raises(ApprovalIsStale):
                await service.decide(session, colleague, approval_id=approval_id, digest="0" * 64, decision="approved", reason="")
            digest = (await queries.asked(session, colleague, approval_id=approval_id)).digest
            await service.decide(session, colleague, approval_id=approval_id, digest=digest, decision="approved", reason="")
        with pytest.raises(ApprovalIsStale, match="something else"):
            await shop.refund(paid.payment_id, 1001, reason="Goodwill", approval_id=approval_id)
        # agreed, and the process ended before it was carried out: whoever decides next carries it out, once
        tries = await asyncio.gather(*(approve(shop, somebody(shop.actor), item) for _ in range(3)), return_exceptions=True)
        assert psp.made("refund") == 1
        assert "Approved, and on its way" in tries
        with pytest.raises(AppError):
            await shop.refund(paid.payment_id, 1000, reason="Goodwill", approval_id=approval_id)
        assert psp.made("refund") == 1

    async def test_nobody_decides_after_a_week_and_one_asks_anew(self, shop: Shop) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        item = await ask(shop, paid.payment_id)
        digest = await seen(shop, shop.actor, item)
        with pytest.raises(AppError, match="waits for approval already"):
            await ask(shop, paid.payment_id)
        with clock.travel(timedelta(days=8)):
            with pytest.raises(ApprovalExpired):
                await requests.approve(somebody(shop.actor), item=item, digest=digest, reason="")
            assert await ask(shop, paid.payment_id) != item

    async def test_the_clock_ends_what_nobody_decided_about_and_says_so(self, shop: Shop, superuser: psycopg.Connection) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        await ask(shop, paid.payment_id)
        agreed = await ask(shop, paid.payment_id, Money(200, "EUR"))
        async with unit_of_work(shop.merchant_id) as session:
            digest, approval_id = await seen(shop, shop.actor, agreed), queries.approval_id(agreed)
            await service.decide(session, somebody(shop.actor), approval_id=approval_id, digest=digest, decision="approved", reason="")
        assert await flows.expire_due() == 0
        with clock.travel(timedelta(days=7, seconds=1)):
            with pytest.raises(ApprovalExpired):
                await shop.refund(paid.payment_id, 200, reason="Goodwill", approval_id=approval_id)
            assert await flows.expire_due() == 2
            assert await flows.expire_due() == 0
        assert superuser.execute("select distinct status from approval").fetchall() == [("expired",)]
        told = superuser.execute("select payload ->> 'act' from outbox where topic = 'approval.expired'").fetchall()
        noted = superuser.execute("select actor_name from audit_entry where action = 'approval.expired'").fetchall()
        assert (told, noted) == ([("refund",)] * 2, [("Clock",)] * 2)

    async def test_above_ones_limit_one_asks_or_is_refused_as_the_merchant_says(self, shop: Shop) -> None:
        from app.approvals.domain import AboveLimit
        from app.core.actors import LimitExceeded

        paid = await shop.pay()
        limited = Actor(
            kind=shop.actor.kind,
            id=shop.actor.id,
            name="Support",
            merchant_id=shop.merchant_id,
            permissions=frozenset({"payments.refund"}),
            limits={"payments.refund:EUR": 999},
        )
        assert await requests.others_needed(limited, Money(999, "EUR")) == 0
        assert await requests.others_needed(limited, TEN) == 1
        async with unit_of_work(shop.merchant_id) as session:
            await service.set_policy(session, shop.actor, act=Act.REFUND, permission="payments.approve", above_limit=AboveLimit.REFUSE)
        with pytest.raises(LimitExceeded, match=r"up to €9\.99"):
            await requests.others_needed(limited, TEN)
        with pytest.raises(LimitExceeded):
            await requests.ask(limited, payment_id=paid.payment_id, amount=TEN, split=None, reason="x", keep_fee=False)

    async def test_a_program_cannot_make_such_a_refund(self, shop: Shop, app: Litestar, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        await set_rule(shop, 1000, 1)
        _, key = await make_key(shop.merchant_id, scopes=["payments.refund"])
        browser = Browser(app)
        answer = await browser.client.post(
            f"/v1/payments/{public_id('pay', paid.payment_id)}/refunds",
            json={"amount": {"minor": 1000, "currency": "EUR"}},
            headers={"authorization": f"Bearer {key}", "idempotency-key": "k"},
        )
        await browser.close()
        assert (answer.status_code, answer.json()["code"]) == (403, "approval_required")
        assert psp.made("refund") == 0

    async def test_the_database_knows_that_nobody_decides_about_their_own(self, shop: Shop, superuser: psycopg.Connection) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        await ask(shop, paid.payment_id)
        smuggle = "insert into approval_vote select merchant_id, id, {}, 'x', {}, digest, 'approved', '', now() from approval where merchant_id = %s"
        with pytest.raises(psycopg.errors.CheckViolation):
            superuser.execute(smuggle.format("requested_by", "requested_by"), [shop.merchant_id])
        superuser.rollback()
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            superuser.execute(smuggle.format("requested_by", "gen_random_uuid()"), [shop.merchant_id])
        superuser.rollback()


class TestInbox:
    async def test_it_is_paged_by_position_over_all_kinds(self, shop: Shop, open_as: OpenAs) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        for minor in (100, 200):
            await ask(shop, paid.payment_id, Money(minor, "EUR"))
        await propose(somebody(shop.actor), shop.bert)
        for minor in (300, 400):
            await ask(shop, paid.payment_id, Money(minor, "EUR"))
        actor = somebody(shop.actor)
        whole = [each.id for each in (await inbox.waiting(actor, size=50)).items]
        assert [item[:2] for item in whole] == ["ap", "ap", "ba", "ap", "ap"]
        assert await inbox.counts(actor) == {
            "payout": 0,
            "refund": 4,
            "bank_account": 1,
            "credentials": 0,
            "routing": 0,
            "write_off": 0,
            "debt": 0,
            "hold": 0,
        }
        first = await inbox.waiting(actor, size=2)
        second = await inbox.waiting(actor, after=first.next, size=2)
        third = await inbox.waiting(actor, after=second.next, size=2)
        assert [each.id for page in (first, second, third) for each in page.items] == whole
        assert (first.previous, third.next) == (None, None)
        back = await inbox.waiting(actor, after=third.previous, size=2)
        assert [each.id for each in back.items] == whole[2:4]
        only = await inbox.waiting(actor, kind="refund", after=first.next, size=2)
        assert [each.id for each in only.items] == whole[3:]
        approver = await open_as(shop.tenant, Role.APPROVER)
        assert (await approver.get("/approvals?after=nonsense")).status_code == 422
        assert len(rows(soup(await approver.get("/approvals?kind=bank_account")), "#approval-rows")) == 1

    async def test_whoever_asked_takes_it_back_and_nobody_else_does(self, shop: Shop, owner: Browser, open_as: OpenAs) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        item = await ask(shop, paid.payment_id)
        support = await open_as(shop.tenant, Role.SUPPORT)
        assert "Nothing of yours waits" in text_of(await support.get("/approvals/requested"))
        assert (await support.post(f"/approvals/requested/{item}/withdraw")).status_code == 403
        assert "Goodwill" in text_of(await owner.get("/approvals/requested"))
        assert (await owner.post(f"/approvals/requested/{item}/withdraw")).status_code == 303
        assert "Nothing of yours waits" in text_of(await owner.get("/approvals/requested"))
        assert (await owner.post(f"/approvals/requested/{item}/withdraw")).status_code == 409

    async def test_everything_that_waits_is_in_one_list(self, shop: Shop, open_as: OpenAs) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        await ask(shop, paid.payment_id)
        await propose(somebody(shop.actor), shop.bert)
        approver = await open_as(shop.tenant, Role.APPROVER)
        page = soup(await approver.get("/approvals"))
        shown = rows(page, "#approval-rows")
        assert [row.split(" ")[0] for row in shown] == ["Refund", "Bank"]
        assert "Credentials" not in words(page.select_one("nav[aria-label=Kinds]")), "of what one may not decide nothing is shown"
        only = rows(soup(await approver.get("/approvals?kind=refund")), "#approval-rows")
        assert len(only) == 1
        admin = await open_as(shop.tenant, Role.ADMIN)
        assert "Nothing waits for you" in text_of(await admin.get("/approvals"))

    async def test_asked_on_the_page_reviewed_and_approved_in_the_dialog(
        self, shop: Shop, owner: Browser, open_as: OpenAs, psp: ScriptedPsp
    ) -> None:
        paid = await shop.pay()
        await owner.post("/team/approvals/rules", {"start": "10", "start_currency": "EUR", "approvers": "1"})
        payment = public_id("pay", paid.payment_id)
        form = {"amount": "10.00", "amount_currency": "EUR", "reason": "Goodwill", "idempotency_key": "k"}
        assert (await owner.post(f"/payments/{payment}/refund", form)).status_code == 303
        assert psp.made("refund") == 0
        assert "Others decide" in text_of(await owner.get("/approvals"))
        approver = await open_as(shop.tenant, Role.APPROVER)
        link = soup(await approver.get("/approvals")).select_one("#approval-rows a[href^='/approvals/refund/']")
        assert link is not None
        path = str(link["href"])
        dialog = soup(await approver.get(path))
        digest = str(dialog.select_one("input[name=digest]")["value"])  # type: ignore[index]
        assert "Goodwill" in words(dialog)
        assert (await approver.post(path, {"decision": "reject", "digest": digest})).status_code == 422, "a refusal has a reason"
        assert (await approver.post(path, {"decision": "approve", "digest": "0" * 64})).status_code == 409
        assert (await approver.post(path, {"decision": "approve", "digest": digest})).status_code == 303
        assert psp.made("refund") == 1
        assert (await approver.get(path)).status_code == 404

    async def test_several_at_once_each_with_what_came_of_it(self, shop: Shop, open_as: OpenAs, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        for minor in (100, 200):
            await ask(shop, paid.payment_id, Money(minor, "EUR"))
        await propose(somebody(shop.actor), shop.bert)
        approver = await open_as(shop.tenant, Role.APPROVER)
        page = soup(await approver.get("/approvals"))
        chosen = [str(box["value"]) for box in page.select("#approval-rows input[name=chosen]")]
        assert len(chosen) == 3
        chosen[0] = chosen[0][:-3] + "000"
        answer = await approver.post("/approvals", {"chosen": [*chosen, "payout:po_00000000000000000000000000:x"]})
        said = text_of(answer)
        assert "not what you were shown" in said
        assert "1 of the chosen" in said
        assert psp.made("refund") == 1
        assert len(rows(soup(answer), "#approval-rows")) == 1

    async def test_an_amount_counts_against_the_approvers_proof(self, shop: Shop, owner: Browser, open_as: OpenAs) -> None:
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        await owner.post("/team/step-up/limits", {"limit": "5", "limit_currency": "EUR"})
        item = await ask(shop, paid.payment_id)
        approver = await open_as(shop.tenant, Role.APPROVER)
        async with unit_of_work(None) as session:
            await session.execute(text("update web_session set factor_at = :at"), {"at": clock.now() - timedelta(minutes=2)})
        digest = await seen(shop, shop.actor, item)
        question = await approver.post(f"/approvals/refund/{item}", {"decision": "approve", "digest": digest})
        assert question.status_code == 403
        assert "Confirm it is you" in text_of(question)

    @pytest.mark.parametrize("many", [False, True])
    async def test_the_freshness_of_what_one_decides_under_holds_here_too(
        self, shop: Shop, owner: Browser, open_as: OpenAs, psp: ScriptedPsp, many: bool
    ) -> None:
        """The list opens with a factor of five minutes; a merchant that asks for one of a minute before a refund is approved gets it."""
        paid = await shop.pay()
        await set_rule(shop, 0, 1)
        assert (await owner.post("/team/step-up", {"minutes_payments.approve": "1"})).status_code == 303
        item = await ask(shop, paid.payment_id)
        approver = await open_as(shop.tenant, Role.APPROVER)
        digest = await seen(shop, shop.actor, item)
        path = "/approvals" if many else f"/approvals/refund/{item}"
        form = {"chosen": f"refund:{item}:{digest}"} if many else {"decision": "approve", "digest": digest}
        with clock.travel(timedelta(minutes=3)):
            async with unit_of_work(None) as session:
                await session.execute(text("update web_session set last_seen_at = :now"), {"now": clock.now()})
            question = await approver.post(path, form)
            assert (question.status_code, psp.made("refund")) == (403, 0)
            assert "Confirm it is you" in text_of(question)
            await approver.post(path, form | {"step_up_code": totp_code()})
        assert psp.made("refund") == 1

    @pytest.mark.parametrize("digest", ["x", "a:EUR:", "1:EUR", "9" * 5000 + ":EUR:"])
    async def test_a_write_off_is_approved_as_it_was_shown_or_not_at_all(self, shop: Shop, digest: str) -> None:
        with pytest.raises(ApprovalIsStale):
            await inbox.KINDS["write_off"].approve(shop.actor, item="brk_00000000000000000000000000", digest=digest, reason="")

    async def test_payouts_credentials_and_bank_accounts_are_decided_here_too(self, psp: ScriptedPsp, open_as: OpenAs) -> None:
        shop, ids = await furnish(psp)
        await set_rule(shop, 0, 1)
        boss = await open_as(shop.tenant)
        page = soup(await boss.get("/approvals"))
        boxes = [str(box["value"]) for box in page.select("#approval-rows input[name=chosen]")]
        chosen = {box.split(":")[0]: box for box in boxes if box.split(":")[0] in {"bank_account", "credentials"}}
        assert f"credentials:{ids['change_id']}" in chosen["credentials"]
        said = text_of(await boss.post("/approvals", {"chosen": list(chosen.values())}))
        assert "Approved; the new settings are in use" in said
        assert "Approved; it can be paid to when the cool-off ends" in said
