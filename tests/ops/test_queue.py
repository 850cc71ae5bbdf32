"""What waits for an operator: found, rehearsed, done once, and read by the merchant."""

import asyncio

import psycopg
import pytest

from app.approvals import service as approvals
from app.approvals.domain import Act as ApprovalAct
from app.core.db import unit_of_work
from app.core.ids import new_id, public_id
from app.core.money import Money
from app.payments.domain import CaptureMode
from app.psp.domain import Outcome, Result
from tests.ops.conftest import REASON, trail
from tests.support.console import OpenAs, rows, soup, words
from tests.support.factories.payouts import furnish_payouts
from tests.support.shop import ScriptedPsp, Shop, ok
from tests.support.web import Browser, text_of

NO = Result(outcome=Outcome.DECLINED, code="insufficient_balance", message="The account has too little")
NEVER_ARRIVED = Result(outcome=Outcome.NOT_SENT, code="unavailable")
SILENCE = Result(outcome=Outcome.UNKNOWN)


@pytest.fixture
async def visiting(operator: Browser) -> Browser:
    """An operator whose visit is open."""
    await operator.post("/operator/visits", {"reason": REASON, "minutes": "15"})
    return operator


async def tokens(browser: Browser, shop: Shop, **filters: str) -> list[str]:
    """The items of the shop that wait, the oldest first."""
    query = "&".join(f"{name}={value}" for name, value in ({"merchant": public_id("mer", shop.merchant_id)} | filters).items())
    page = soup(await browser.get(f"/operator/queue?{query}"))
    return [str(box["value"]) for box in page.select("#queue-rows input[name=item]")]


async def rehearsed(browser: Browser, items: list[str], act: str = "repair") -> list[str]:
    """What would come of an act for each."""
    page = soup(await browser.get("/operator/queue/check?" + "&".join([f"act={act}", *(f"item={item}" for item in items)])))
    return rows(page, "#checked-rows")


async def run(browser: Browser, items: list[str], act: str = "repair", reason: str = "Seen at the provider") -> list[str]:
    """Do it, and read what came of each."""
    answer = await browser.post("/operator/queue/run", {"act": act, "item": items, "reason": reason})  # type: ignore[dict-item]
    assert answer.status_code == 200, text_of(answer)
    return rows(soup(answer), "#checked-rows")


class TestQueue:
    async def test_it_finds_what_needs_a_person_and_nothing_else(
        self, visiting: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection
    ) -> None:
        psp.answers("authorise", SILENCE)
        await shop.pay()
        psp.answers("authorise", lambda asked: ok(amount=Money(asked.amount.minor + 1, "EUR")))
        await shop.pay(mode=CaptureMode.MANUAL)
        healthy = await shop.pay()
        psp.answers("refund", NO)
        await shop.refund(healthy.payment_id, 500)
        lost = await shop.pay(mode=CaptureMode.MANUAL)
        psp.answers("capture", SILENCE)
        await shop.capture(lost.payment_id, 300)
        await shop.pay()
        superuser.execute(
            "update payment_attempt set outcome = null, created_at = created_at - interval '1 hour' where payment_id = %s and operation = 'capture'",
            [lost.payment_id],
        )
        superuser.commit()
        kinds = [token.split(".")[0] for token in await tokens(visiting, shop)]
        assert sorted(kinds) == ["conflicted", "failed", "operation", "unanswered", "unknown"]
        assert kinds[0] == "unanswered", "what waits longest is the first"
        assert [token.split(".")[0] for token in await tokens(visiting, shop, kind="failed")] == ["failed"]
        assert await tokens(visiting, shop, provider="nobody") == []
        assert [token.split(".")[0] for token in await tokens(visiting, shop, age="15")] == ["unanswered"]
        assert (await visiting.get("/operator/queue?age=old")).status_code == 422
        assert len(await tokens(visiting, shop, provider="simulated")) == 5
        # the page never says who bought
        assert "Lena" not in text_of(await visiting.get("/operator/queue"))

    async def test_it_turns_onwards_and_back(self, visiting: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection) -> None:
        psp.answers("authorise", SILENCE)
        paid = await shop.pay()
        # twenty-six more of them, as a long outage would leave
        columns = superuser.execute(
            "select string_agg(quote_ident(column_name), ', ') from information_schema.columns where table_name = 'payment'"
            " and column_name not in ('id', 'order_id', 'updated_at')"
        ).fetchone()
        assert columns is not None
        order = [(await shop.order()) for _ in range(26)]
        for number, order_id in enumerate(order):
            superuser.execute(
                f"insert into payment (id, order_id, updated_at, {columns[0]}) select %s, %s, updated_at - make_interval(mins => %s), {columns[0]}"  # type: ignore[arg-type]
                " from payment where id = %s",
                [new_id(), order_id, number // 3, paid.payment_id],
            )
        superuser.commit()
        whose = f"merchant={public_id('mer', shop.merchant_id)}"
        first = soup(await visiting.get(f"/operator/queue?{whose}"))
        second = soup(await visiting.get(str(first.select("a[rel=next]")[0]["href"])))
        again = soup(await visiting.get(str(second.select("a[rel=prev]")[0]["href"])))
        shown = [[str(box["value"]) for box in page.select("#queue-rows input[name=item]")] for page in (first, second, again)]
        assert shown[0] == shown[2]
        assert (len(shown[0]), len(shown[1])) == (25, 2)
        assert len({*shown[0], *shown[1]}) == 27


class TestWalls:
    async def test_without_a_visit_nothing_is_seen_and_nothing_is_done(self, operator: Browser, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", SILENCE)
        paid = await shop.pay()
        merchant, payment = public_id("mer", shop.merchant_id), public_id("pay", paid.payment_id)
        token = f"unknown.{merchant}.{public_id('qi', paid.payment_id)}"
        before = len(psp.calls)
        form = {"act": "repair", "item": token, "reason": "Seen at the provider"}
        here = f"/operator/merchants/{merchant}/payments/{payment}"
        for path in ("/operator/queue", f"/operator/queue/check?item={token}", here, "/operator/merchants"):
            assert (await operator.get(path)).status_code == 403, path
        for path in ("/operator/queue/run", f"{here}/ask", f"{here}/refund"):
            assert (await operator.post(path, form)).status_code == 403, path
        assert len(psp.calls) == before

    async def test_a_merchants_own_people_find_no_such_place(self, open_as: OpenAs, shop: Shop) -> None:
        owner = await open_as(shop.tenant)
        for path in ("/operator/queue", "/operator/visits", "/operator/merchants"):
            assert (await owner.get(path)).status_code == 404, path

    async def test_what_is_not_in_the_queue_cannot_be_acted_on(self, visiting: Browser, shop: Shop, psp: ScriptedPsp) -> None:
        paid = await shop.pay()
        token = f"conflicted.{public_id('mer', shop.merchant_id)}.{public_id('qi', paid.payment_id)}"
        assert await run(visiting, [token]) == []
        assert psp.made("void") == 0
        psp.answers("authorise", SILENCE)
        unknown = await shop.pay()
        other = f"conflicted.{public_id('mer', shop.merchant_id)}.{public_id('qi', unknown.payment_id)}"
        assert await run(visiting, [other]) == [], "it waits for another reason than the one that is named"
        answer = await visiting.get("/operator/queue/check?item=made.up.thing")
        assert answer.status_code == 422


class TestActs:
    async def test_a_rehearsal_does_nothing_and_says_what_the_act_then_does(
        self, visiting: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection
    ) -> None:
        psp.answers("authorise", SILENCE)
        asked = await shop.pay()
        held = await shop.pay(mode=CaptureMode.MANUAL)
        psp.answers("capture", NEVER_ARRIVED)
        await shop.capture(held.payment_id, 700)
        items = await tokens(visiting, shop)
        calls, attempts = len(psp.calls), "select count(*) from payment_attempt where merchant_id = %s"
        before = superuser.execute(attempts, [shop.merchant_id]).fetchone()
        would = await rehearsed(visiting, items)
        assert ["asked how it ended" in text or "asked for once more" in text for text in would] == [True, True]
        superuser.commit()
        assert superuser.execute(attempts, [shop.merchant_id]).fetchone() == before
        assert len(psp.calls) == calls
        psp.answers("lookup", ok())
        did = await run(visiting, items)
        assert any("€7.00 is succeeded" in text for text in did)
        assert any("the payment is captured" in text for text in did)
        assert await tokens(visiting, shop) == []
        done = [(action, why) for _, _, action, why in trail(superuser, shop.tenant) if not action.startswith("operator.saw")]
        assert ("operator.asked_psp", "Seen at the provider") in done
        assert ("operator.tried_again", "Seen at the provider") in done
        assert psp.made("authorise") == 2, f"nobody paid {asked.payment_id} twice"

    async def test_trying_again_at_the_same_moment_charges_once(self, visiting: Browser, shop: Shop, psp: ScriptedPsp) -> None:
        held = await shop.pay(mode=CaptureMode.MANUAL)
        psp.answers("capture", NO)
        await shop.capture(held.payment_id, 700)
        items = await tokens(visiting, shop, kind="failed")
        await asyncio.gather(*(run(visiting, items) for _ in range(4)))
        assert psp.made("capture") == 2, "the one that failed and one more"
        assert await run(visiting, items) == [], "it no longer waits"

    async def test_a_refund_that_failed_asks_those_who_have_to_agree(
        self, visiting: Browser, open_as: OpenAs, shop: Shop, psp: ScriptedPsp
    ) -> None:
        paid = await shop.pay()
        psp.answers("refund", NO)
        await shop.refund(paid.payment_id, 900)
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=ApprovalAct.REFUND, start=Money(500, "EUR"), approvers=1)
        items = await tokens(visiting, shop)
        assert "1 at the merchant is asked to agree" in (await rehearsed(visiting, items))[0]
        assert "waits for the approval" in (await run(visiting, items))[0]
        assert psp.made("refund") == 1, "nothing moved"
        owner = await open_as(shop.tenant)
        assert "Mara Voss" in text_of(await owner.get("/approvals"))
        assert "waits for approval already" in (await run(visiting, items))[0]

    async def test_what_has_its_answer_is_set_aside_with_a_reason_and_what_is_unknown_is_not(
        self, visiting: Browser, open_as: OpenAs, shop: Shop, psp: ScriptedPsp
    ) -> None:
        psp.answers("authorise", lambda asked: ok(amount=Money(asked.amount.minor + 1, "EUR")), SILENCE)
        await shop.pay(mode=CaptureMode.MANUAL)
        await shop.pay()
        items = await tokens(visiting, shop)
        short = await visiting.post("/operator/queue/run", {"act": "set_aside", "item": items[0], "reason": "no"})
        assert short.status_code == 422
        assert len(await tokens(visiting, shop)) == 2
        said = await run(visiting, items, act="set_aside", reason="Agreed with the shop by telephone")
        assert ["leaves the queue" in text for text in said] == [True, False]
        assert [token.split(".")[0] for token in await tokens(visiting, shop)] == ["unknown"]
        owner = await open_as(shop.tenant)
        assert "Agreed with the shop by telephone" in text_of(await owner.get("/audit"))

    async def test_a_conflicted_payment_is_released_once(self, visiting: Browser, shop: Shop, psp: ScriptedPsp) -> None:
        psp.answers("authorise", lambda asked: ok(amount=Money(asked.amount.minor + 1, "EUR")))
        await shop.pay(mode=CaptureMode.MANUAL)
        items = await tokens(visiting, shop)
        assert "release it" in (await rehearsed(visiting, items))[0]
        assert "the payment is voided" in (await run(visiting, items))[0]
        assert psp.made("void") == 1
        assert await tokens(visiting, shop) == []

    async def test_money_these_books_never_had_is_set_aside_only_and_a_payout_is_asked_about(
        self, visiting: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection
    ) -> None:
        psp.answers("authorise", NO)
        late = await shop.pay()
        payout = (await furnish_payouts(shop))["payout_id"]
        superuser.execute("update payment set failure_code = 'late_success' where id = %s", [late.payment_id])
        superuser.execute("update payout set status = 'unknown' where id = %s", [payout])
        superuser.commit()
        (item,) = await tokens(visiting, shop, kind="late")
        assert "give it back at the provider" in (await rehearsed(visiting, [item]))[0]
        assert "give it back at the provider" in (await run(visiting, [item]))[0]
        assert "leaves the queue" in (await run(visiting, [item], act="set_aside"))[0]
        assert await tokens(visiting, shop, kind="late") == []
        (item,) = await tokens(visiting, shop, kind="payout")
        assert "until it is known" in (await rehearsed(visiting, [item], act="set_aside"))[0]
        assert "the payout is unknown" in (await run(visiting, [item]))[0]
        assert ("operator.asked_psp", "Seen at the provider") in [entry[2:] for entry in trail(superuser, shop.tenant)]

    async def test_a_stuck_webhook_is_applied_again_or_discarded(
        self, visiting: Browser, shop: Shop, superuser: psycopg.Connection
    ) -> None:
        for number in ("evt_1", "evt_2"):
            event, job = new_id(), new_id()
            superuser.execute(
                "insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, payload, body, status,"
                " occurred_at, received_at) values (%s, %s, %s, %s, 'payment.captured', 'sim_9', '{}', '{}', 'received', now(), now())",
                [shop.merchant_id, event, shop.connection_id, number],
            )
            superuser.execute(
                "insert into job_run (event_id, actor, merchant_id, topic, payload, attempts, state, error, first_at, last_at) values"
                " (%s, 'payments.apply_psp_event', %s, 'psp.event_received', %s, 5, 'dead', 'The PSP could not be asked', now(), now())",
                [job, shop.merchant_id, f'{{"object_id": "{event}", "payload": {{}}}}'],
            )
        superuser.commit()
        first, second = await tokens(visiting, shop, kind="webhook")
        assert "five new tries" in (await rehearsed(visiting, [first]))[0]
        assert len(await tokens(visiting, shop)) == 2, "a rehearsal leaves it dead"
        assert "applied again" in (await run(visiting, [first]))[0]
        assert "discarded" in (await run(visiting, [second], act="set_aside"))[0]
        assert await tokens(visiting, shop) == []


class TestPayment:
    async def test_it_is_shown_without_the_buyer_asked_about_and_refunded_by_the_merchants_rules(
        self, visiting: Browser, shop: Shop, psp: ScriptedPsp, superuser: psycopg.Connection
    ) -> None:
        paid = await shop.pay()
        here = f"/operator/merchants/{public_id('mer', shop.merchant_id)}/payments/{public_id('pay', paid.payment_id)}"
        page = soup(await visiting.get(here))
        assert "Lena" not in words(page)
        key = str(page.select("input[name=idempotency_key]")[0]["value"])
        form = {"amount": "20.00", "amount_currency": "EUR", "reason": "The shop asked by ticket", "idempotency_key": key}
        assert (await visiting.post(f"{here}/refund", form | {"amount": "2000.00"})).status_code == 409
        assert (await visiting.post(f"{here}/refund", form | {"reason": "short"})).status_code == 422
        for _ in range(2):
            assert (await visiting.post(f"{here}/refund", form)).status_code == 303
        assert psp.made("refund") == 1, "the same form refunds once"
        assert "Mara Voss, who runs the platform" in words(soup(await visiting.get(here)))
        async with unit_of_work(shop.merchant_id) as session:
            await approvals.set_rule(session, shop.actor, act=ApprovalAct.REFUND, start=Money(500, "EUR"), approvers=1)
        assert (await visiting.post(f"{here}/refund", form | {"idempotency_key": "another-key"})).status_code == 303
        assert psp.made("refund") == 1, "others have to agree first"
        assert ("operator", "Mara Voss", "payment.refund_requested", "The shop asked by ticket") in trail(superuser, shop.tenant)
        assert (await visiting.post(f"{here}/ask")).status_code == 303
        elsewhere = here.replace(public_id("mer", shop.merchant_id), public_id("mer", new_id()))
        assert (await visiting.get(elsewhere)).status_code == 404
