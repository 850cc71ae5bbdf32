"""What the bank never settles a person decides, when asking is over; and what happens when the bank says otherwise afterwards."""

from datetime import timedelta

import pytest
from psycopg import Connection

from app.core import failpoints
from app.core.actors import Actor
from app.core.clock import travel
from app.core.failpoints import FailpointRaised
from app.core.ids import public_id
from app.payouts import flows
from app.payouts.domain import (
    CONTRADICTED,
    PayoutId,
    PayoutNeedsSecondPerson,
    PayoutNotFound,
    PayoutOutcomeKnown,
    PayoutReferenceMissing,
    PayoutStatus,
    PayoutStillAskedAbout,
    Verdict,
)
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout
from app.tenancy.domain import Role
from tests.payouts.conftest import Books, later
from tests.payouts.test_sending import LOST, told
from tests.support.console import OpenAs, soup, words
from tests.support.factories.bank_accounts import somebody
from tests.support.factories.payouts import Till, says
from tests.support.factories.tenancy import Tenant

P, W = PayoutStatus, BankWord
NO, YES = Verdict.NOT_CARRIED_OUT, Verdict.CARRIED_OUT
FOUND = {"verdict": "not_carried_out", "reason": "Not on any statement"}


async def lost(till: Till) -> Payout:
    """The bank was asked for a payout and about it, as often as it is asked, and never gave its word."""
    payout = await till.approved(30_000)
    till.bank.answers("send", LOST)
    await flows.send_due()
    for step in range(1, 30):
        till.bank.answers("lookup", LOST)
        with later(hours=7 * step):
            await flows.ask_due()
    till.bank.script["lookup"].clear()
    assert await till.status(payout) == P.UNKNOWN
    return payout


async def decide(till: Till, payout: Payout, verdict: Verdict, reference: str = "tr_9", *, actor: Actor | None = None) -> str:
    till.bank.answers("lookup", LOST)
    try:
        with later(days=9):
            return await flows.decide(
                actor or till.approver, payout_id=PayoutId(payout.id), verdict=verdict, reference=reference, reason="Not on any statement"
            )
    finally:
        till.bank.script["lookup"].clear()


def contradicted(superuser: Connection) -> tuple[str | None, int]:
    kept = superuser.execute("select evidence->>%s from payout_attempt", [CONTRADICTED]).fetchone()
    noted = superuser.execute("select count(*) from payout_history where kind = 'bank.contradicted'").fetchone()
    assert kept is not None and noted is not None
    return kept[0], int(noted[0])


class TestDecide:
    async def test_a_death_after_the_last_question_leaves_it_to_be_decided(self, till: Till, books: Books) -> None:
        payout = await lost(till)
        before = books()
        failpoints.enable("payouts.decision_asked", "raise")
        try:
            with pytest.raises(FailpointRaised):
                await decide(till, payout, NO)
        finally:
            failpoints.enable("payouts.decision_asked", "off")
        assert (await till.status(payout), books()) == (P.UNKNOWN, before)
        assert await decide(till, payout, NO) == "failed"

    async def test_not_carried_out_gives_the_wallet_its_money_back(self, till: Till, books: Books) -> None:
        payout = await lost(till)
        assert books()["2150", ""] == -30_000
        assert await decide(till, payout, NO) == "failed"
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -100_000}

    async def test_carried_out_is_paid_under_the_banks_reference(self, till: Till, books: Books) -> None:
        payout = await lost(till)
        assert await decide(till, payout, YES) == "paid"
        assert books() == {("1201", ""): 70_000, ("2110", "anna"): -70_000}
        assert (await till.read(payout)).provider_reference == "tr_9"

    async def test_only_when_asking_is_over(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved(30_000)
        till.bank.answers("send", LOST)
        await flows.send_due()
        with pytest.raises(PayoutStillAskedAbout):
            await decide(till, payout, NO)
        # nor when somebody pressed the button more often than the clock would
        superuser.execute("update payout_attempt set next_ask_at = null, asked_times = 99")
        with travel(timedelta(days=2)), pytest.raises(PayoutStillAskedAbout):
            await flows.decide(till.approver, payout_id=PayoutId(payout.id), verdict=NO, reference="", reason="Not there at all")

    async def test_whoever_had_a_hand_in_it_does_not_decide(self, till: Till) -> None:
        payout = await lost(till)
        with pytest.raises(PayoutNeedsSecondPerson):
            await decide(till, payout, NO, actor=till.actor)
        assert await till.status(payout) == P.UNKNOWN

    async def test_the_banks_own_word_at_the_last_question_goes_first(self, till: Till) -> None:
        payout = await lost(till)
        till.bank.answers("lookup", says(W.PAID))
        with later(days=9), pytest.raises(PayoutOutcomeKnown):
            await flows.decide(till.approver, payout_id=PayoutId(payout.id), verdict=NO, reference="", reason="Not there at all")
        assert await till.status(payout) == P.PAID

    async def test_a_yes_needs_the_banks_reference_and_a_no_only_once(self, till: Till, books: Books) -> None:
        payout = await lost(till)
        with pytest.raises(PayoutReferenceMissing):
            await decide(till, payout, YES, reference=" ")
        await decide(till, payout, NO)
        for verdict in (NO, YES):
            with pytest.raises(PayoutOutcomeKnown):
                await decide(till, payout, verdict)
        assert books()["2110", "anna"] == -100_000

    async def test_another_merchants_is_not_there(self, till: Till, stranger: Tenant) -> None:
        payout = await lost(till)
        with pytest.raises(PayoutNotFound):
            await decide(till, payout, NO, actor=somebody(stranger.actor()))

    async def test_the_trail_says_who_decided_what_and_why(self, till: Till, superuser: Connection) -> None:
        await decide(till, await lost(till), YES)
        found = "select actor_name, reason, after->>'verdict', after->>'reference' from audit_entry where action = 'payout.outcome_decided'"
        assert superuser.execute(found).fetchone() == ("Aiko Tanaka", "Not on any statement", "carried_out", "tr_9")


class TestOtherwise:
    """The bank says something else afterwards: never wrong money, always something for a person to see."""

    @pytest.mark.parametrize("word", [W.ACCEPTED, W.IN_TRANSIT, W.PAID])
    async def test_it_carries_out_what_was_not(self, till: Till, books: Books, superuser: Connection, word: BankWord) -> None:
        payout = await lost(till)
        await decide(till, payout, NO)
        before = books()
        for _ in range(3):
            await told(till, payout, word)
        assert (await till.status(payout), books()) == (P.FAILED, before)
        assert contradicted(superuser) == (word.value, 1)

    async def test_it_never_had_what_was_paid(self, till: Till, books: Books, superuser: Connection) -> None:
        payout = await lost(till)
        await decide(till, payout, YES)
        before = books()
        for day in (10, 11, 12):
            till.bank.answers("lookup", BankAnswer(word=W.NOT_FOUND, code="not_found"))
            with later(days=day):
                await flows.ask_due()
        assert (await till.status(payout), books()) == (P.PAID, before)
        assert contradicted(superuser) == ("not_found", 1)

    async def test_it_refuses_what_was_paid_and_the_money_is_parked(self, till: Till, books: Books) -> None:
        payout = await lost(till)
        await decide(till, payout, YES)
        await told(till, payout, W.REFUSED)
        assert await till.status(payout) == P.RETURNED
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -70_000, ("2180", "anna"): -30_000}

    async def test_its_agreement_is_no_contradiction(self, till: Till, superuser: Connection) -> None:
        payout = await lost(till)
        await decide(till, payout, YES)
        await told(till, payout, W.PAID)
        assert contradicted(superuser) == (None, 0)


class TestPage:
    async def test_an_approver_decides_and_sees_what_contradicts(self, till: Till, open_as: OpenAs) -> None:
        payout = await lost(till)
        where = f"/payouts/{public_id('po', payout.id)}"
        early = await open_as(till.shop.tenant, Role.APPROVER)
        assert soup(await early.get(where)).select_one("a[href$='/decide']") is None
        with later(days=9):
            approver = await open_as(till.shop.tenant, Role.APPROVER)
            assert soup(await approver.get(where)).select_one("a[href$='/decide']") is not None
            assert "What became of the payout of €300.00?" in words(soup(await approver.get(f"{where}/decide")).select_one(".dlg"))
            for change in ({"reason": "short"}, {"verdict": "perhaps"}, {"verdict": "carried_out"}):
                till.bank.answers("lookup", LOST)
                assert (await approver.post(f"{where}/decide", FOUND | change)).status_code == 422
            till.bank.answers("lookup", LOST)
            assert (await approver.post(f"{where}/decide", FOUND)).status_code == 303
            assert (await approver.post(f"{where}/decide", FOUND)).status_code == 409
            await told(till, payout, W.PAID)
            page = soup(await approver.get(where))
        assert words(page.select_one(".payhead .badge")) == "Failed"
        assert "The bank says otherwise than a person decided" in words(page)
        assert "Code not_carried_out" in words(page.select_one(".tl"))

    async def test_who_may_not_approve_may_not_decide(self, till: Till, open_as: OpenAs, stranger: Tenant) -> None:
        where = f"/payouts/{public_id('po', (await lost(till)).id)}/decide"
        for browser, code in ((await open_as(till.shop.tenant, Role.FINANCE), 403), (await open_as(stranger), 404)):
            assert (await browser.get(where)).status_code == (await browser.post(where, FOUND)).status_code == code
