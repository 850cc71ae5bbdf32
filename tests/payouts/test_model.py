"""Any mix of requests, decisions, lost answers, late words, returns and passing days: no money is made or lost, and nothing is sent twice."""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg import Connection
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.core import db
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.errors import AppError
from app.core.money import Money
from app.ledger import queries as ledger
from app.payouts import flows
from app.payouts.domain import OUT, PayoutId, PayoutStatus
from app.payouts.domain.port import BankAnswer, BankWord
from app.payouts.models import Payout
from app.payouts.service import approvals, requests, steps
from tests.support.factories.bank_accounts import FRENCH, GERMAN, make_account
from tests.support.factories.payouts import ScriptedBank, open_till, says
from tests.support.shop import ScriptedPsp, balances, open_shop

T = TypeVar("T")
P, W = PayoutStatus, BankWord
FILLED = 100_000
RESERVED = ("requested", "on_hold", "pending_approval", "approved", "scheduled", "batched")


class Run(RuleBasedStateMachine):
    """One seller with a wallet of 1,000.00, people who decide, and a bank that may say anything."""

    payouts: Bundle[Payout] = Bundle("payouts")
    superuser: Connection
    urls: Urls
    psp: ScriptedPsp
    bank: ScriptedBank

    def __init__(self) -> None:
        super().__init__()
        self.superuser.execute("select pristine.reset()")
        for memory in (self.bank.script, self.bank.orders, self.bank.words):
            memory.clear()
        self.bank.sent.clear()
        self.loop = asyncio.new_event_loop()
        self.journey = ExitStack()
        self.journey.enter_context(travel(datetime(2026, 3, 2, 12, tzinfo=UTC)))
        self.till = self.run(self.open())

    async def open(self) -> Any:
        return await open_till(await open_shop(self.psp), self.bank, available=FILLED)

    def teardown(self) -> None:
        assert self.run(self.check()), "the books do not balance"
        self.journey.close()
        self.run(db.dispose())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def try_to(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do it, or be refused politely; anything else is a failure."""
        try:
            return self.run(work)
        except AppError as refused:
            assert refused.status in (403, 409, 422), refused  # noqa: PT017 - the refusal is checked, not expected
            return None

    async def check(self) -> bool:
        engine = create_async_engine(self.urls.owner)
        async with AsyncSession(engine) as session:
            report = await ledger.check(session, merchant_id=self.till.merchant_id)
        await engine.dispose()
        return report.is_sound

    async def inside(self, verb: Any, **values: object) -> Any:
        async with unit_of_work(self.till.merchant_id) as session:
            return await verb(session, values.pop("actor", self.till.actor), **values)

    @rule(target=payouts, minor=st.integers(1, 70_000))
    def request(self, minor: int) -> Any:
        wanted = self.inside(requests.request_payout, seller_id=self.till.shop.anna, amount=Money(minor, "EUR"))
        return self.try_to(wanted)

    @rule(payout=payouts, minor=st.integers(1, 70_000))
    def edit(self, payout: Payout | None, minor: int) -> None:
        if payout is not None:
            wanted = {"payout_id": PayoutId(payout.id), "amount": Money(minor, "EUR"), "statement_text": ""}
            self.try_to(self.inside(requests.edit_payout, **wanted))

    @rule(payout=payouts, yes=st.booleans())
    def decide(self, payout: Payout | None, yes: bool) -> None:
        if payout is None:
            return
        digest = steps.digest(self.run(self.till.read(payout)))
        values = {"actor": self.till.approver, "payout_id": PayoutId(payout.id), "digest": digest, "reason": "r"}
        self.try_to(self.inside(approvals.approve_payout if yes else approvals.reject_payout, **values))

    @rule(payout=payouts)
    def cancel(self, payout: Payout | None) -> None:
        if payout is not None:
            self.try_to(self.inside(requests.cancel_payout, payout_id=PayoutId(payout.id)))

    @rule(target=payouts, payout=payouts)
    def retry(self, payout: Payout | None) -> Any:
        if payout is None:
            return None
        count = self.superuser.execute("select count(*) from bank_account").fetchone()
        assert count is not None
        self.run(make_account(self.till.actor, self.till.shop.anna, number=FRENCH if count[0] % 2 else GERMAN))
        return self.try_to(self.inside(requests.retry_payout, payout_id=PayoutId(payout.id)))

    @rule(how=st.sampled_from(["yes", "yes", "no", "done but lost", "never arrived", "another amount"]))
    def send(self, how: str) -> None:
        self.bank.script["send"].clear()
        answers = {
            "no": says(W.REFUSED, code="AC04"),
            "done but lost": BankAnswer(word=W.UNKNOWN, code="lost"),
            "never arrived": BankAnswer(word=W.UNKNOWN, code="connection_refused"),
            "another amount": says(W.PAID, amount=Money(999_999, "EUR")),
        }
        if how in answers:
            self.bank.answers("send", answers[how])
        self.run(flows.send_due())

    @rule(word=st.sampled_from([W.IN_TRANSIT, W.PAID, W.PAID, W.RETURNED, W.REFUSED]), place=st.integers(0, 50))
    def tell(self, word: BankWord, place: int) -> None:
        """The bank's present word on an order that it has changes; a word that ended an order is not taken back to an earlier one."""
        known = sorted(self.bank.orders)
        if known:
            name = known[place % len(known)]
            last = self.bank.words.get(name)
            if last is None or last.word in (W.IN_TRANSIT,) or (last.word is W.PAID and word is W.RETURNED):
                self.bank.words[name] = says(word, amount=self.bank.orders[name].amount)

    @rule(hours=st.sampled_from([0.1, 1, 7, 30, 200]))
    def wait(self, hours: float) -> None:
        self.journey.enter_context(travel(timedelta(hours=hours)))
        self.run(flows.ask_due())
        self.run(flows.expire_due())

    @invariant()
    def the_ledger_says_where_every_cent_is(self) -> None:
        found = self.superuser.execute("select status, sum(amount_minor)::bigint from payout group by 1").fetchall()
        by_status = dict(found)
        retried = self.superuser.execute(
            "select coalesce(sum(p.amount_minor), 0)::bigint from payout p join payout c on c.parent_id = p.id where p.status = 'returned'"
        ).fetchone()
        assert retried is not None
        books: dict[str, int] = {}
        for (code, _), minor in balances(self.superuser, self.till.merchant_id).items():
            books[code] = books.get(code, 0) + minor
        never_sent = self.superuser.execute(
            "select coalesce(sum(amount_minor), 0)::bigint from payout where status = any(%s) and sent_at is null", (list(RESERVED),)
        ).fetchone()
        sent_again = self.superuser.execute(
            "select coalesce(sum(amount_minor), 0)::bigint from payout where status = any(%s) and sent_at is not null", (list(RESERVED),)
        ).fetchone()
        assert never_sent is not None and sent_again is not None
        out = sum(by_status.get(status.value, 0) for status in OUT)
        assert -books.get("2140", 0) == never_sent[0]
        assert -books.get("2150", 0) == out + sent_again[0]
        assert -books.get("2180", 0) == by_status.get("returned", 0) - retried[0]
        assert books["1201"] == FILLED - by_status.get("paid", 0)
        assert -books.get("2110", 0) >= 0 and sum(books.values()) == 0

    @invariant()
    def one_name_is_one_order_of_one_amount(self) -> None:
        amounts = dict(self.superuser.execute("select end_to_end_id, amount_minor from payout").fetchall())
        assert all(order.amount.minor == amounts[name] for name, order in self.bank.orders.items())


@pytest.mark.slow
def test_the_money_adds_up(superuser: Connection, urls: Urls, psp: ScriptedPsp, bank: ScriptedBank) -> None:
    Run.superuser, Run.urls, Run.psp, Run.bank = superuser, urls, psp, bank
    run_state_machine_as_test(
        Run, settings=settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    )
