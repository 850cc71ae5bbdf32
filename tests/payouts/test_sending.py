"""Claim, call, record: what a bank may answer, in which order, and what the ledger says of it."""

import asyncio
from collections.abc import Iterator

import pytest
from psycopg import Connection

from app.core import failpoints
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import PspEventId, new_id
from app.core.money import Money
from app.payouts import flows
from app.payouts.domain import PAYOUT, PayoutAttemptId, PayoutEventNotConfirmed, PayoutId, PayoutStatus
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout
from app.payouts.service import records, sending
from tests.payouts.conftest import Books, later
from tests.support.factories.payouts import ScriptedBank, Till, says

P, W = PayoutStatus, BankWord
LOST = BankAnswer(word=W.UNKNOWN, code="lost")
NEVER_ARRIVED = BankAnswer(word=W.UNKNOWN, code="connection_refused")


async def told(till: Till, payout: Payout, *words: BankWord) -> None:
    """The bank says something about the newest order."""
    async with unit_of_work(till.merchant_id) as session:
        attempt = await sending.open_attempt(session, merchant_id=till.merchant_id, payout_id=PayoutId(payout.id))
        assert attempt is not None
        for word in words:
            await records.record(
                session,
                Actor.psp(till.merchant_id, "the bank"),
                merchant_id=till.merchant_id,
                payout_id=PayoutId(payout.id),
                attempt_id=PayoutAttemptId(attempt.id),
                answer=says(word, amount=Money(payout.amount_minor, "EUR")),
            )


def steps(superuser: Connection) -> list[str]:
    rows = superuser.execute("select kind from payout_history where from_status is not null order by id").fetchall()
    return [row[0].removeprefix("payout.") for row in rows]


class TestSend:
    async def test_from_wallet_to_bank(self, till: Till, books: Books, superuser: Connection) -> None:
        payout = await till.approved(30_000)
        assert await flows.send_due() == 1
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -70_000, ("2150", ""): -30_000}
        assert await till.status(payout) == P.SUBMITTED
        await told(till, payout, W.IN_TRANSIT, W.PAID)
        assert books() == {("1201", ""): 70_000, ("2110", "anna"): -70_000}
        assert steps(superuser) == [
            "request", "submit", "approval.approved", "approve", "schedule", "batch", "claim", "acknowledge", "accept", "pay",
        ]  # fmt: skip
        batch = superuser.execute("select status, payouts, total_minor from payout_batch").fetchone()
        assert batch == ("sent", 1, 30_000)

    async def test_the_order_carries_the_number_once_and_nothing_keeps_it(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        await flows.send_due()
        assert till.bank.orders[payout.end_to_end_id].number == "DE89370400440532013000"
        kept = superuser.execute("select string_agg(row_to_json(a)::text, '') from payout_attempt a").fetchone()
        assert kept is not None and "0532013000" not in kept[0]

    async def test_refused_the_wallet_has_it_again_with_the_fee(self, till: Till, books: Books, superuser: Connection) -> None:
        superuser.execute(
            "insert into payout_policy (merchant_id, currency, fee_minor, updated_at) values (%s, 'EUR', 25, now())", (till.merchant_id,)
        )
        till.bank.answers("send", says(W.REFUSED, code="AC04", message="Closed account"))
        payout = await till.approved(30_000)
        await flows.send_due()
        failed = await till.read(payout)
        assert (failed.status, failed.failure_code) == (P.FAILED, "AC04")
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -100_000}

    async def test_the_fee_is_earned_when_the_order_leaves(self, till: Till, books: Books, superuser: Connection) -> None:
        superuser.execute(
            "insert into payout_policy (merchant_id, currency, fee_minor, updated_at) values (%s, 'EUR', 25, now())", (till.merchant_id,)
        )
        payout = await till.approved(30_000)
        await flows.send_due()
        await told(till, payout, W.PAID)
        assert books() == {("1201", ""): 70_000, ("2110", "anna"): -69_975, ("4120", ""): -25}

    async def test_three_schedulers_send_each_order_once(self, till: Till, superuser: Connection) -> None:
        payouts = [await till.approved(1_000 + number) for number in range(25)]
        counts = await asyncio.gather(*(flows.send_due() for _ in range(3)))
        assert sum(counts) == 25
        assert sorted(till.bank.sent) == sorted(payout.end_to_end_id for payout in payouts)
        assert superuser.execute("select count(*) from payout_attempt").fetchone() == (25,)

    async def test_after_the_cut_off_it_waits_for_the_next_bank_day(self, till: Till, superuser: Connection) -> None:
        superuser.execute("update funding_account set cutoff = '00:01'")
        payout = await till.approved()
        assert payout.send_at is not None and payout.send_at > now()
        assert await flows.send_due() == 0
        with later(days=4):
            assert await flows.send_due() == 1


class TestLostAnswers:
    async def test_an_answer_that_was_lost_is_asked_about_never_sent_again(self, till: Till, books: Books) -> None:
        till.bank.answers("send", LOST)
        payout = await till.approved(30_000)
        await flows.send_due()
        assert await till.status(payout) == P.UNKNOWN
        assert books()[("2150", "")] == -30_000
        with later(minutes=1):
            assert await flows.ask_due() == 1
        assert await till.status(payout) == P.SUBMITTED
        assert till.bank.sent == [payout.end_to_end_id]

    async def test_an_order_that_never_arrived_is_sent_again_under_the_same_name(
        self, till: Till, books: Books, superuser: Connection
    ) -> None:
        till.bank.answers("send", NEVER_ARRIVED)
        payout = await till.approved(30_000)
        await flows.send_due()
        with later(minutes=1):
            await flows.ask_due()
        assert await till.status(payout) == P.UNKNOWN
        # a week later: the journal of the first try stands, whatever day the second one is
        with later(days=7):
            await flows.ask_due()
            assert await till.status(payout) == P.SCHEDULED
            assert await flows.send_due() == 1
        assert await till.status(payout) == P.SUBMITTED
        assert till.bank.sent == [payout.end_to_end_id] * 2
        assert superuser.execute("select number, end_to_end_id from payout_attempt order by number").fetchall() == [
            (1, payout.end_to_end_id), (2, payout.end_to_end_id),
        ]  # fmt: skip
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -70_000, ("2150", ""): -30_000}

    async def test_no_try_can_be_made_under_another_name(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        await flows.send_due()
        for change in ("update payout_attempt set end_to_end_id = 'OTHER'", "update payout set end_to_end_id = 'OTHER'"):
            with pytest.raises(Exception, match="one_name"):
                superuser.execute(change)
        assert payout.end_to_end_id

    async def test_another_amount_is_never_taken_for_our_order(self, till: Till, superuser: Connection) -> None:
        till.bank.answers("send", says(W.PAID, amount=Money(5_001, "EUR")))
        payout = await till.approved(5_000)
        await flows.send_due()
        assert await till.status(payout) == P.UNKNOWN
        assert superuser.execute("select code from payout_attempt").fetchone() == ("amount_mismatch",)


FINAL = {
    (W.ACCEPTED, W.IN_TRANSIT, W.PAID): P.PAID,
    (W.PAID, W.IN_TRANSIT, W.ACCEPTED): P.PAID,
    (W.PAID, W.PAID, W.PAID): P.PAID,
    (W.PAID, W.UNKNOWN, W.NOT_FOUND): P.PAID,
    (W.RETURNED, W.PAID, W.ACCEPTED): P.RETURNED,
    (W.PAID, W.RETURNED, W.RETURNED): P.RETURNED,
    (W.PAID, W.REFUSED, W.ACCEPTED): P.RETURNED,
    (W.REFUSED, W.ACCEPTED, W.IN_TRANSIT): P.FAILED,
    (W.REFUSED, W.REFUSED, W.PAID): P.FAILED,
    (W.IN_TRANSIT, W.ACCEPTED, W.UNKNOWN): P.IN_TRANSIT,
}


class TestWords:
    @pytest.mark.parametrize(("words", "end"), FINAL.items())
    async def test_late_twice_and_in_any_order(self, till: Till, books: Books, words: tuple[BankWord, ...], end: PayoutStatus) -> None:
        payout = await till.approved(30_000)
        await flows.send_due()
        for word in words:
            await told(till, payout, word)
        assert await till.status(payout) == end
        bank, wallet, parked = {
            P.PAID: (70_000, 70_000, 0), P.FAILED: (100_000, 100_000, 0),
            P.RETURNED: (100_000, 70_000, 30_000), P.IN_TRANSIT: (100_000, 70_000, 0),
        }[end]  # fmt: skip
        found = books()
        assert (found[("1201", "")], -found[("2110", "anna")], -found.get(("2180", "anna"), 0)) == (bank, wallet, parked)

    async def test_a_paid_order_is_asked_about_daily_until_it_is_final(self, till: Till, books: Books) -> None:
        payout = await till.approved(30_000)
        await flows.send_due()
        await told(till, payout, W.PAID)
        till.bank.words[payout.end_to_end_id] = says(W.PAID, amount=Money(30_000, "EUR"))
        assert await flows.ask_due() == 0
        for days in (1.1, 3, 5):
            with later(days=days):
                assert await flows.ask_due() == 1
                assert await flows.ask_due() == 0
        till.bank.words[payout.end_to_end_id] = says(W.RETURNED, code="AC04", amount=Money(30_000, "EUR"))
        with later(days=6.5):
            await flows.ask_due()
        assert await till.status(payout) == P.RETURNED and books()[("2180", "anna")] == -30_000

    async def test_after_a_week_nobody_asks_any_more(self, till: Till) -> None:
        payout = await till.approved(30_000)
        await flows.send_due()
        await told(till, payout, W.PAID)
        with later(days=8):
            await flows.ask_due()
            assert await flows.ask_due() == 0
        assert till.bank.asked == []

    async def test_a_return_asks_for_the_account_to_be_verified_again(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        await flows.send_due()
        await told(till, payout, W.PAID, W.RETURNED)
        assert superuser.execute("select verification from bank_account").fetchone() == ("failed",)

    async def test_every_edge_of_the_machine_has_a_way(self) -> None:
        assert PAYOUT.terminal == {P.FAILED, P.RETURNED, P.CANCELLED, P.REJECTED, P.EXPIRED}


class TestEvents:
    async def test_a_message_is_confirmed_by_asking(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        await flows.send_due()
        till.bank.words[payout.end_to_end_id] = says(W.PAID, amount=Money(5_000, "EUR"))
        event = _received(superuser, till, payout.end_to_end_id)
        for _ in range(2):
            await flows.apply_psp_event(merchant_id=till.merchant_id, event_id=event)
        assert await till.status(payout) == P.PAID
        assert superuser.execute("select status from psp_event").fetchone() == ("applied",)

    async def test_one_that_cannot_be_confirmed_is_tried_again(self, till: Till, superuser: Connection) -> None:
        payout = await till.approved()
        await flows.send_due()
        till.bank.answers("lookup", BankAnswer(word=W.UNKNOWN))
        with pytest.raises(PayoutEventNotConfirmed):
            await flows.apply_psp_event(merchant_id=till.merchant_id, event_id=_received(superuser, till, payout.end_to_end_id))

    async def test_one_about_nothing_of_ours_is_ignored(self, till: Till, superuser: Connection) -> None:
        await flows.apply_psp_event(merchant_id=till.merchant_id, event_id=_received(superuser, till, "POELSE"))
        assert superuser.execute("select status from psp_event").fetchone() == ("ignored",)


def _received(superuser: Connection, till: Till, reference: str) -> PspEventId:
    event = new_id()
    superuser.execute(
        "insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, our_reference, payload, body,"
        " status, occurred_at, received_at) values (%s, %s, %s, %s, 'payout.updated', 'tr_1', %s, '{}', '{}', 'received', now(), now())",
        (till.merchant_id, event, till.shop.connection_id, event.hex, reference),
    )
    return PspEventId(event)


@pytest.fixture
def broken() -> Iterator[list[str]]:
    """Failpoints that are switched on, off again afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        failpoints.enable(name, "off")


class TestInterrupted:
    @pytest.mark.parametrize("point", ["payouts.batched", "payouts.claimed", "payouts.called", "payouts.recorded"])
    async def test_wherever_it_stops_one_order_is_carried_out(
        self, till: Till, books: Books, broken: list[str], point: str, bank: ScriptedBank
    ) -> None:
        payout = await till.approved(30_000)
        broken.append(point)
        failpoints.enable(point, "raise")
        try:
            await flows.send_due()
        except failpoints.FailpointRaised:
            assert point == "payouts.batched"
        failpoints.enable(point, "off")
        for minutes in (0, 1, 8, 9):
            with later(minutes=minutes):
                await flows.ask_due()
                await flows.send_due()
        assert await till.status(payout) == P.SUBMITTED
        assert set(bank.sent) == {payout.end_to_end_id} and len(bank.orders) == 1
        assert books() == {("1201", ""): 100_000, ("2110", "anna"): -70_000, ("2150", ""): -30_000}

    @pytest.mark.parametrize("point", ["payouts.asked", "payouts.event_fetched"])
    async def test_a_word_that_was_not_recorded_is_asked_for_again(
        self, till: Till, broken: list[str], point: str, superuser: Connection
    ) -> None:
        payout = await till.approved()
        await flows.send_due()
        till.bank.words[payout.end_to_end_id] = says(W.PAID, amount=Money(5_000, "EUR"))
        event = _received(superuser, till, payout.end_to_end_id)
        broken.append(point)
        failpoints.enable(point, "raise")
        with later(minutes=2):
            if point == "payouts.asked":
                await flows.ask_due()
            else:
                with pytest.raises(failpoints.FailpointRaised):
                    await flows.apply_psp_event(merchant_id=till.merchant_id, event_id=event)
        assert await till.status(payout) == P.SUBMITTED
        failpoints.enable(point, "off")
        with later(minutes=30):
            await flows.ask_due()
        assert await till.status(payout) == P.PAID
