"""Payouts for tests: a bank that answers what the test scripts, wallets with money, people who approve."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import msgspec

from app.core.actors import Actor
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import MerchantId, SellerId
from app.core.money import Money
from app.payouts import queries
from app.payouts.domain import PayoutId, PayoutStatus, Rail
from app.payouts.domain.port import BankAnswer, BankOrder, BankWord
from app.payouts.domain.schedules import Amounts, Interval, Plan
from app.payouts.models import Payout
from app.payouts.service import approvals, holds, policies, requests, schedules, sending, steps
from tests.support.factories.bank_accounts import make_account, somebody
from tests.support.factories.wallets import book
from tests.support.shop import Shop


def says(word: BankWord, **values: object) -> BankAnswer:
    """One word of a bank."""
    return BankAnswer(word=word, provider_reference="tr_1", **values)  # type: ignore[arg-type]


class ScriptedBank:
    """A bank that answers what the test says, and remembers what it was asked; without a script it accepts. One end-to-end id is one order."""

    def __init__(self) -> None:
        self.script: defaultdict[str, list[BankAnswer]] = defaultdict(list)
        self.orders: dict[str, BankOrder] = {}
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.words: dict[str, BankAnswer] = {}

    def answers(self, verb: str, *answers: BankAnswer) -> None:
        """What to answer the next calls of a verb."""
        self.script[verb].extend(answers)

    async def send(self, order: BankOrder) -> BankAnswer:
        self.sent.append(order.end_to_end_id)
        answer = self.script["send"].pop(0) if self.script["send"] else says(BankWord.ACCEPTED, amount=order.amount)
        if answer.word is not BankWord.UNKNOWN or answer.code == "lost":
            self.orders[order.end_to_end_id] = order
        return answer

    async def lookup(self, end_to_end_id: str) -> BankAnswer:
        self.asked.append(end_to_end_id)
        if self.script["lookup"]:
            return self.script["lookup"].pop(0)
        if end_to_end_id in self.words:
            return self.words[end_to_end_id]
        if end_to_end_id in self.orders:
            return says(BankWord.ACCEPTED, amount=self.orders[end_to_end_id].amount)
        return BankAnswer(word=BankWord.NOT_FOUND, code="not_found")


class Till(msgspec.Struct, kw_only=True):
    """A merchant that can pay out: Anna has a verified account and money in her wallet."""

    shop: Shop
    bank: ScriptedBank
    approver: Actor

    @property
    def merchant_id(self) -> MerchantId:
        """The merchant."""
        return self.shop.merchant_id

    @property
    def actor(self) -> Actor:
        """Who requests."""
        return self.shop.actor

    async def request(self, minor: int = 5000, *, seller_id: SellerId | None = None, actor: Actor | None = None) -> Payout:
        """Request a payout for Anna."""
        async with unit_of_work(self.merchant_id) as session:
            return await requests.request_payout(
                session, actor or self.actor, seller_id=seller_id or self.shop.anna, amount=Money(minor, "EUR")
            )

    async def approve(self, payout: Payout, *, actor: Actor | None = None) -> Payout:
        """Somebody else approves what is there now."""
        async with unit_of_work(self.merchant_id) as session:
            seen = await queries.payout(session, merchant_id=self.merchant_id, payout_id=PayoutId(payout.id))
            digest = steps.digest(seen)
        async with unit_of_work(self.merchant_id) as session:
            return await approvals.approve_payout(session, actor or self.approver, payout_id=PayoutId(payout.id), digest=digest)

    async def approved(self, minor: int = 5000) -> Payout:
        """A payout that is ready to leave."""
        return await self.approve(await self.request(minor))

    async def read(self, payout: Payout) -> Payout:
        """The payout as it stands."""
        async with unit_of_work(self.merchant_id) as session:
            return await queries.payout(session, merchant_id=self.merchant_id, payout_id=PayoutId(payout.id))

    async def status(self, payout: Payout) -> PayoutStatus:
        """Where the payout stands."""
        return PayoutStatus((await self.read(payout)).status)


async def open_till(shop: Shop, bank: ScriptedBank, *, available: int = 100_000) -> Till:
    """A merchant that pays out in euros over the scripted bank, around the clock."""
    async with unit_of_work(shop.merchant_id) as session:
        await policies.add_funding_account(
            session,
            shop.actor,
            name="Main account",
            currency="EUR",
            rail=Rail.API,
            connection_id=shop.connection_id,
            calendar="WEEKDAYS",
            cutoff="23:59",
        )
    await make_account(shop.actor, shop.anna)
    if available:
        await book(shop.merchant_id, shop.anna, [available])
    return Till(shop=shop, bank=bank, approver=somebody(shop.actor, "Aiko Tanaka"))


def scripted(bank: ScriptedBank) -> object:
    """What stands in for the adapters of all banks."""

    def connect(_values: Mapping[str, str]) -> ScriptedBank:
        return bank

    return {"simulated": connect}


async def furnish_payouts(shop: Shop) -> dict[str, UUID]:
    """A payout that somebody else requested and that is held, a batch that waits for its file to be fetched, and a schedule."""
    colleague = somebody(shop.actor)
    own = policies.OwnAccount(holder_name="Halden", number="FR1420041010050500013M02606")
    async with unit_of_work(shop.merchant_id) as session:
        await policies.add_funding_account(session, shop.actor, name="File", currency="EUR", rail=Rail.SEPA, own=own)
    await make_account(shop.actor, shop.anna)
    await book(shop.merchant_id, shop.anna, [50_000])
    async with unit_of_work(shop.merchant_id) as session:
        first = await requests.request_payout(session, colleague, seller_id=shop.anna, amount=Money(1_000, "EUR"))
        payout = await requests.request_payout(session, colleague, seller_id=shop.anna, amount=Money(2_000, "EUR"))
        hold = await holds.place_hold(session, colleague, seller_id=shop.anna, payout_id=PayoutId(payout.id), reason="Looking")
    async with unit_of_work(shop.merchant_id) as session:
        await approvals.approve_payout(session, somebody(shop.actor), payout_id=PayoutId(first.id), digest=steps.digest(first))
    with travel(timedelta(days=14)):
        async with unit_of_work(shop.merchant_id) as session:
            batch = (await sending.form_batches(session, merchant_id=shop.merchant_id, payout_ids=[PayoutId(first.id)]))[0]
    async with unit_of_work(shop.merchant_id) as session:
        schedule = await schedules.set_schedule(
            session, colleague, seller_id=shop.anna, currency="EUR", plan=Plan(interval=Interval.DAILY), amounts=Amounts()
        )
    return {"payout_id": payout.id, "hold_id": hold.id, "batch_id": batch.id, "schedule_id": schedule.id}
