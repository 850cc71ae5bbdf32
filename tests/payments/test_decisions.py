"""What the PSP never settles a person decides, after it was asked as often as it is; and what happens when the PSP says otherwise afterwards."""

import asyncio
from datetime import timedelta

import pytest
from psycopg import Connection

from app.approvals import service as approvals
from app.approvals.domain import Act, ApprovalRequired
from app.core import failpoints
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.errors import Conflict
from app.core.failpoints import FailpointRaised
from app.core.ids import AttemptId, OrderId, PaymentId
from app.core.money import Money
from app.payments import flows as payments
from app.payments.decisions import flows
from app.payments.domain import AttemptNotFound, CaptureMode
from app.payments.records import service as records
from app.payments.verdicts.domain import CONTRADICTED, AlreadyKnown, Decision, ReferenceMissing, StillAskedAbout, Verdict
from app.psp.domain import Outcome, ProviderStatus, Result
from tests.payments.conftest import Books
from tests.payments.test_cancellation import status_of
from tests.payments.test_conflicts import stands
from tests.payments.test_flows import view
from tests.support.shop import Shop, ok

LOST = Result(outcome=Outcome.UNKNOWN, code="read_timeout")
NO, YES = Verdict.NOT_CARRIED_OUT, Verdict.CARRIED_OUT
TAKEN = ok(ProviderStatus.CAPTURED, amount=Money(10_000, "EUR"))


def attempt_of(superuser: Connection, payment_id: PaymentId, operation: str = "authorise") -> AttemptId:
    found = superuser.execute("select id from payment_attempt where payment_id = %s and operation = %s", [payment_id, operation]).fetchone()
    assert found is not None
    return AttemptId(found[0])


async def ask_out(shop: Shop, days: int = 20) -> None:
    """The PSP is asked as often as it is, and never knows."""
    for day in range(1, days):
        shop.psp.answers("lookup", LOST)
        with travel(timedelta(days=day, minutes=day)):
            await payments.ask_due()
    shop.psp.script["lookup"].clear()


async def lost_payment(shop: Shop, order_id: OrderId | None = None, *, mode: CaptureMode = CaptureMode.AUTOMATIC) -> PaymentId:
    shop.psp.answers("authorise", LOST)
    payment_id = (await shop.pay(order_id, mode=mode)).payment_id
    await ask_out(shop)
    return payment_id


async def decide(shop: Shop, payment_id: PaymentId, attempt_id: AttemptId, verdict: Verdict, reference: str = "sim_7") -> str:
    """What a person found out, and the PSP has nothing to say at the last question either."""
    shop.psp.answers("lookup", LOST)
    decision = Decision(attempt_id=attempt_id, verdict=verdict, reference=reference, reason="Seen in their console")
    try:
        return await flows.decide(shop.actor, payment_id=payment_id, decision=decision)
    finally:
        shop.psp.script["lookup"].clear()


async def psp_says(shop: Shop, attempt_id: AttemptId, result: Result) -> None:
    async with unit_of_work(shop.merchant_id) as session:
        actor = shop.actor.psp(shop.merchant_id, "PSP")
        await records.record_result(session, actor, merchant_id=shop.merchant_id, attempt_id=attempt_id, result=result)


def contradicted(superuser: Connection, attempt_id: AttemptId) -> str | None:
    found = superuser.execute("select evidence->>%s from payment_attempt where id = %s", [CONTRADICTED, attempt_id]).fetchone()
    return found[0] if found else None


async def test_a_death_after_the_last_question_leaves_it_to_be_decided(shop: Shop, books: Books, superuser: Connection) -> None:
    payment_id = await lost_payment(shop)
    failpoints.enable("payments.decision_asked", "raise")
    try:
        with pytest.raises(FailpointRaised):
            await decide(shop, payment_id, attempt_of(superuser, payment_id), YES)
    finally:
        failpoints.enable("payments.decision_asked", "off")
    assert books() == {}
    assert (await stands(shop, payment_id))["status"] == "unknown"
    assert await decide(shop, payment_id, attempt_of(superuser, payment_id), YES) == "captured"


class TestPayment:
    async def test_that_was_not_carried_out_failed_and_the_order_can_be_paid(self, shop: Shop, books: Books, superuser: Connection) -> None:
        order_id = await shop.order()
        payment_id = await lost_payment(shop, order_id)
        assert await decide(shop, payment_id, attempt_of(superuser, payment_id), NO) == "failed"
        assert books() == {}
        assert view(await shop.pay(order_id))["status"] == "captured"

    async def test_that_was_carried_out_is_captured_under_the_psps_reference(self, shop: Shop, books: Books, superuser: Connection) -> None:
        order_id = await shop.order()
        payment_id = await lost_payment(shop, order_id)
        assert await decide(shop, payment_id, attempt_of(superuser, payment_id), YES) == "captured"
        assert (books()["1100", "psp"], books()["2100", "anna"]) == (10_000, -5_700)
        assert await status_of(shop, order_id) == "paid"
        found = superuser.execute("select provider_reference from payment where id = %s", [payment_id]).fetchone()
        assert found == ("sim_7",)

    async def test_that_was_only_to_be_authorised_is(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = await lost_payment(shop, mode=CaptureMode.MANUAL)
        assert await decide(shop, payment_id, attempt_of(superuser, payment_id), YES) == "authorised"
        assert books() == {("9100", ""): 10_000, ("9200", ""): -10_000}

    async def test_is_decided_only_when_it_was_asked_about_often_enough(self, shop: Shop, superuser: Connection) -> None:
        shop.psp.answers("authorise", LOST)
        payment_id = (await shop.pay()).payment_id
        attempt_id = attempt_of(superuser, payment_id)
        for days in (1, 4):
            with pytest.raises(StillAskedAbout):
                await decide(shop, payment_id, attempt_id, YES)
            await ask_out(shop, days)
        await ask_out(shop)
        assert await decide(shop, payment_id, attempt_id, YES) == "captured"

    async def test_the_psps_own_word_at_the_last_question_goes_first(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        shop.psp.answers("lookup", TAKEN)
        decision = Decision(attempt_id=attempt_of(superuser, payment_id), verdict=NO, reference="", reason="Not in their console")
        with pytest.raises(AlreadyKnown):
            await flows.decide(shop.actor, payment_id=payment_id, decision=decision)
        assert (await stands(shop, payment_id))["status"] == "captured" and books()["1100", "psp"] == 10_000

    async def test_a_yes_needs_the_psps_reference(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        with pytest.raises(ReferenceMissing):
            await decide(shop, payment_id, attempt_of(superuser, payment_id), YES, reference=" ")

    async def test_what_waits_for_the_buyer_is_not_for_people(self, shop: Shop, superuser: Connection) -> None:
        payment_id = (await shop.pay(token=None)).payment_id
        for day in range(1, 20):
            shop.psp.answers("lookup", Result(outcome=Outcome.PENDING, status=ProviderStatus.REQUIRES_ACTION))
            with travel(timedelta(days=day, minutes=day)):
                await payments.ask_due()
        with pytest.raises(StillAskedAbout):
            await decide(shop, payment_id, attempt_of(superuser, payment_id), NO)

    async def test_an_attempt_of_another_payment_is_not_there(self, shop: Shop, stranger: Shop, superuser: Connection) -> None:
        mine, other = await lost_payment(shop), (await shop.pay()).payment_id
        for whose, payment_id in ((shop, other), (stranger, mine)):
            with pytest.raises(AttemptNotFound):
                await decide(whose, payment_id, attempt_of(superuser, mine), NO)

    async def test_several_at_once_decide_once(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        attempt_id = attempt_of(superuser, payment_id)
        shop.psp.answers("lookup", *[LOST] * 4)
        words = [Decision(attempt_id=attempt_id, verdict=verdict, reference="x", reason="Seen there") for verdict in (YES, NO, YES, NO)]
        results = await asyncio.gather(
            *(flows.decide(shop.actor, payment_id=payment_id, decision=word) for word in words), return_exceptions=True
        )
        assert len([result for result in results if isinstance(result, str)]) == 1
        assert all(isinstance(result, Conflict) for result in results if not isinstance(result, str))
        assert books().get(("1100", "psp"), 0) == (await stands(shop, payment_id))["captured"]


class TestOperations:
    @pytest.mark.parametrize(("verdict", "captured"), [(NO, 0), (YES, 10_000)])
    async def test_a_capture(self, shop: Shop, books: Books, superuser: Connection, verdict: Verdict, captured: int) -> None:
        payment_id = (await shop.pay(mode=CaptureMode.MANUAL)).payment_id
        shop.psp.answers("capture", LOST)
        await shop.capture(payment_id)
        await ask_out(shop)
        await decide(shop, payment_id, attempt_of(superuser, payment_id, "capture"), verdict)
        assert books().get(("1100", "psp"), 0) == captured
        found = await stands(shop, payment_id)
        assert (found["captured"], found["reserved"]) == (captured, captured)

    @pytest.mark.parametrize(("verdict", "status", "at_psp"), [(NO, "captured", 9_970), (YES, "refunded", -30)])
    async def test_a_refund(self, shop: Shop, books: Books, superuser: Connection, verdict: Verdict, status: str, at_psp: int) -> None:
        payment_id = (await shop.pay()).payment_id
        shop.psp.answers("refund", LOST)
        await shop.refund(payment_id)
        await ask_out(shop)
        await decide(shop, payment_id, attempt_of(superuser, payment_id, "refund"), verdict)
        assert ((await stands(shop, payment_id))["status"], books()["1100", "psp"]) == (status, at_psp)
        assert ("2160", "psp") not in books()
        assert books().get(("2100", "anna"), 0) == (-5_700 if verdict is NO else 0)

    @pytest.mark.parametrize(("verdict", "status"), [(NO, "authorised"), (YES, "voided")])
    async def test_a_release(self, shop: Shop, superuser: Connection, verdict: Verdict, status: str) -> None:
        payment_id = (await shop.pay(mode=CaptureMode.MANUAL)).payment_id
        shop.psp.answers("void", LOST)
        await shop.void(payment_id)
        await ask_out(shop)
        assert await decide(shop, payment_id, attempt_of(superuser, payment_id, "void"), verdict) == status


class TestOtherwise:
    """The PSP says something else afterwards: never wrong money, always something for a person to see."""

    async def test_a_payment_it_took_after_all_is_taken_up_again(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        attempt_id = attempt_of(superuser, payment_id)
        await decide(shop, payment_id, attempt_id, NO)
        await psp_says(shop, attempt_id, TAKEN)
        assert (await stands(shop, payment_id))["status"] == "captured" and books()["1100", "psp"] == 10_000

    async def test_one_whose_order_another_paid_waits_for_a_person(self, shop: Shop, books: Books, superuser: Connection) -> None:
        order_id = await shop.order()
        payment_id = await lost_payment(shop, order_id)
        attempt_id = attempt_of(superuser, payment_id)
        await decide(shop, payment_id, attempt_id, NO)
        await shop.pay(order_id)
        before = books()
        await psp_says(shop, attempt_id, TAKEN)
        found = superuser.execute("select status, failure_code from payment where id = %s", [payment_id]).fetchone()
        assert found == ("failed", "late_success") and books() == before

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            (Result(outcome=Outcome.DECLINED, code="do_not_honor"), "declined"),
            (ok(ProviderStatus.CAPTURED, amount=Money(9_999, "EUR")), "succeeded €99.99"),
        ],
    )
    async def test_a_payment_it_did_not_take_so_is_shown_and_moves_nothing(
        self, shop: Shop, books: Books, superuser: Connection, said: Result, kept: str
    ) -> None:
        payment_id = await lost_payment(shop)
        attempt_id = attempt_of(superuser, payment_id)
        await decide(shop, payment_id, attempt_id, YES)
        before = books()
        for _ in range(3):
            await psp_says(shop, attempt_id, said)
        assert books() == before and contradicted(superuser, attempt_id) == kept
        noted = superuser.execute("select count(*) from payment_event where kind = 'psp.contradicted'").fetchone()
        assert noted == (1,)

    async def test_its_agreement_is_no_contradiction(self, shop: Shop, superuser: Connection) -> None:
        payment_id = await lost_payment(shop)
        attempt_id = attempt_of(superuser, payment_id)
        await decide(shop, payment_id, attempt_id, YES)
        await psp_says(shop, attempt_id, TAKEN)
        assert contradicted(superuser, attempt_id) is None

    async def test_a_refund_it_made_after_all_is_shown(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = (await shop.pay()).payment_id
        shop.psp.answers("refund", LOST)
        await shop.refund(payment_id)
        await ask_out(shop)
        attempt_id = attempt_of(superuser, payment_id, "refund")
        await decide(shop, payment_id, attempt_id, NO)
        before = books()
        await psp_says(shop, attempt_id, ok(amount=Money(10_000, "EUR")))
        assert books() == before and contradicted(superuser, attempt_id) == "succeeded €100.00"

    async def test_a_refund_it_did_not_make_waits_for_the_buyer(self, shop: Shop, books: Books, superuser: Connection) -> None:
        payment_id = (await shop.pay()).payment_id
        shop.psp.answers("refund", LOST)
        await shop.refund(payment_id)
        await ask_out(shop)
        attempt_id = attempt_of(superuser, payment_id, "refund")
        await decide(shop, payment_id, attempt_id, YES)
        await psp_says(shop, attempt_id, Result(outcome=Outcome.DECLINED, code="account_closed"))
        assert (books()["2170", ""], books()["1100", "psp"]) == (-10_000, 9_970)


async def test_where_refunds_need_others_a_decision_does(shop: Shop, superuser: Connection) -> None:
    payment_id = await lost_payment(shop)
    async with unit_of_work(shop.merchant_id) as session:
        await approvals.set_rule(session, shop.actor, act=Act.REFUND, start=Money(5_000, "EUR"), approvers=1)
    with pytest.raises(ApprovalRequired):
        await decide(shop, payment_id, attempt_of(superuser, payment_id), YES)
    assert (await stands(shop, payment_id))["status"] == "unknown"


async def test_the_trail_says_who_decided_what_and_why(shop: Shop, superuser: Connection) -> None:
    payment_id = await lost_payment(shop)
    await decide(shop, payment_id, attempt_of(superuser, payment_id), YES)
    entry = superuser.execute(
        "select reason, after->>'verdict', after->>'reference' from audit_entry where action = 'payment.outcome_decided'"
    ).fetchone()
    assert entry == ("Seen in their console", "carried_out", "sim_7")
