"""A batch can wait for its bank or for a person; what is held, or lost its account, meanwhile does not leave with it."""

from datetime import timedelta

import pytest
from psycopg import Connection

from app.core.clock import now
from app.core.db import unit_of_work
from app.payouts import flows
from app.payouts.domain import HoldKind, PayoutBatchId, PayoutHoldId, PayoutId, PayoutIsStale, PayoutStatus, Rail
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout
from app.payouts.service import holds, requests, sending
from tests.payouts.conftest import later
from tests.payouts.test_files import download, pay_by
from tests.support.factories.bank_accounts import FRENCH, make_account
from tests.support.factories.payouts import Till

P = PayoutStatus


async def batched(till: Till) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await sending.form_batches(session, merchant_id=till.merchant_id)


async def hold(till: Till, payout: Payout) -> PayoutHoldId:
    async with unit_of_work(till.merchant_id) as session:
        placed = await holds.hold_payout(session, till.actor, payout_id=PayoutId(payout.id), reason="Looking", expires_at=None)
        return PayoutHoldId(placed.id)


async def release(till: Till, hold_id: PayoutHoldId) -> None:
    async with unit_of_work(till.merchant_id) as session:
        await holds.release_hold(session, till.actor, hold_id=hold_id)


def batches(superuser: Connection) -> list[tuple[object, ...]]:
    return superuser.execute("select id, payouts, total_minor from payout_batch order by id").fetchall()


class TestByCalls:
    async def test_a_hold_keeps_back_what_is_batched(self, till: Till, superuser: Connection) -> None:
        held, free = await till.approved(1_000), await till.approved(2_000)
        await batched(till)
        hold_id = await hold(till, held)
        assert await flows.send_due() == 1
        assert till.bank.sent == [free.end_to_end_id] and await till.status(held) == P.SCHEDULED
        assert [row[1:] for row in batches(superuser)] == [(1, 2_000)]
        await release(till, hold_id)
        with later(minutes=11):
            assert await flows.send_due() == 1
            assert await flows.send_due() == 0
        assert till.bank.sent == [free.end_to_end_id, held.end_to_end_id]

    async def test_what_a_hold_keeps_back_can_be_cancelled(self, till: Till) -> None:
        payout = await till.approved(1_000)
        await batched(till)
        async with unit_of_work(till.merchant_id) as session:
            await holds.place_hold(session, till.actor, seller_id=till.shop.anna, kind=HoldKind.COMPLIANCE, reason="Papers")
        assert await flows.send_due() == 0
        async with unit_of_work(till.merchant_id) as session:
            await requests.cancel_payout(session, till.actor, payout_id=PayoutId(payout.id))
        with later(days=1):
            assert await flows.send_due() == 0
        assert till.bank.sent == []

    async def test_nothing_leaves_for_an_account_that_was_replaced_while_the_bank_was_away(self, till: Till) -> None:
        first, second = await till.approved(1_000), await till.approved(2_000)
        till.bank.answers("send", BankAnswer(word=BankWord.UNKNOWN, code="connection_refused"))
        async with unit_of_work(till.merchant_id) as session:
            await sending.form_batches(session, merchant_id=till.merchant_id)
        await make_account(till.actor, till.shop.anna, number=FRENCH)
        assert await flows.send_due() == 0
        assert till.bank.sent == [] and {await till.status(first), await till.status(second)} == {P.SCHEDULED}

    async def test_a_hold_that_is_over_keeps_nothing_back(self, till: Till) -> None:
        await till.approved(1_000)
        await batched(till)
        async with unit_of_work(till.merchant_id) as session:
            await holds.place_hold(session, till.actor, seller_id=till.shop.anna, reason="Papers", expires_at=now() + timedelta(minutes=5))
        with later(minutes=6):
            assert await flows.send_due() == 1


class TestInFiles:
    async def test_what_is_held_is_not_in_the_file_and_leaves_with_a_later_one(self, till: Till, superuser: Connection) -> None:
        await pay_by(till, Rail.SEPA)
        held, free = await till.approved(1_000), await till.approved(2_000)
        await batched(till)
        batch_id = PayoutBatchId(batches(superuser)[0][0])  # type: ignore[arg-type]
        hold_id = await hold(till, held)
        file = await download(till, batch_id)
        assert free.end_to_end_id.encode() in file.body and held.end_to_end_id.encode() not in file.body
        assert batches(superuser) == [(batch_id, 1, 2_000)]
        await release(till, hold_id)
        assert await download(till, batch_id) == file, "once downloaded it is the same for ever"
        with later(minutes=11):
            await flows.send_due()
        assert [row[1:] for row in batches(superuser)] == [(1, 2_000), (1, 1_000)]
        second = await download(till, PayoutBatchId(batches(superuser)[1][0]))  # type: ignore[arg-type]
        assert held.end_to_end_id.encode() in second.body

    async def test_a_batch_that_is_held_as_a_whole_waits(self, till: Till, superuser: Connection) -> None:
        await pay_by(till, Rail.SEPA)
        payout = await till.approved(1_000)
        await batched(till)
        hold_id = await hold(till, payout)
        batch_id = PayoutBatchId(batches(superuser)[0][0])  # type: ignore[arg-type]
        with pytest.raises(PayoutIsStale, match="on hold"):
            await download(till, batch_id)
        assert await till.status(payout) == P.BATCHED
        await release(till, hold_id)
        assert payout.end_to_end_id.encode() in (await download(till, batch_id)).body

    async def test_what_was_kept_back_past_its_value_date_is_dated_anew(self, till: Till, superuser: Connection) -> None:
        await pay_by(till, Rail.SEPA)
        payout = await till.approved(1_000)
        hold_id = await hold(till, payout)
        await flows.send_due()
        with later(days=14):
            await release(till, hold_id)
            await flows.send_due()
            dated = await till.read(payout)
            assert dated.status == P.BATCHED and dated.value_on is not None and dated.value_on >= now().date()
            file = await download(till, PayoutBatchId(batches(superuser)[0][0]))  # type: ignore[arg-type]
            assert f"<Dt>{dated.value_on.isoformat()}</Dt>".encode() in file.body
