"""Any mix of payments, captures, refunds, voids, lost answers, late words and passing days: the money adds up after every step."""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from psycopg import Connection
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from app.core import db
from app.core.actors import Actor
from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.errors import AppError
from app.core.ids import AttemptId, PaymentId, parse_id
from app.core.money import Money
from app.ledger import queries as ledger
from app.payments import flows
from app.payments.domain import CaptureMode
from app.payments.records import service as records
from app.psp.domain import Instruction, Outcome, ProviderStatus, Result
from app.psp.service import connections
from app.wallets import flows as wallets
from tests.support.shop import ScriptedPsp, balances, ok, open_shop

T = TypeVar("T")
HOWS = st.sampled_from(["yes", "yes", "yes", "no", "not sent", "done but lost", "lost on the way"])


class Till(RuleBasedStateMachine):
    """A shop, its PSP and its books."""

    payments: Bundle[PaymentId] = Bundle("payments")
    superuser: Connection
    urls: Urls
    psp: ScriptedPsp

    def __init__(self) -> None:
        super().__init__()
        self.superuser.execute("select pristine.reset()")
        self.psp.script.clear()
        self.psp.calls.clear()
        self.psp.known.clear()
        self.loop = asyncio.new_event_loop()
        self.journey = ExitStack()
        self.shop = self.run(open_shop(self.psp))

    def teardown(self) -> None:
        self.journey.close()
        assert self.run(self.check()), "the books do not balance"
        self.run(db.dispose())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def try_to(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do it, or be refused politely; anything else is a failure."""
        try:
            return self.run(work)
        except AppError as refused:
            assert refused.status in (409, 422), refused  # noqa: PT017 - the refusal is checked, not expected
            return None

    async def check(self) -> bool:
        engine = create_async_engine(self.urls.owner)
        async with AsyncSession(engine) as session:
            report = await ledger.check(session, merchant_id=self.shop.merchant_id)
        await engine.dispose()
        return report.is_sound

    def psp_will(self, verb: str, how: str) -> None:
        self.psp.script[verb].clear()
        if how == "yes":
            return
        if how == "done but lost":
            self.psp.answers(verb, self.do_but_lose)
        else:
            outcome = {"no": Outcome.DECLINED, "not sent": Outcome.NOT_SENT, "lost on the way": Outcome.UNKNOWN}[how]
            self.psp.answers(verb, Result(outcome=outcome, code="scripted"))

    def do_but_lose(self, instruction: Instruction) -> Result:
        if instruction.original is None:
            status = ProviderStatus.CAPTURED if instruction.capture else ProviderStatus.AUTHORISED
            self.psp.known[instruction.reference] = ok(status, amount=instruction.amount)
        else:
            self.psp.known[instruction.reference] = ok(amount=instruction.amount)
        return Result(outcome=Outcome.UNKNOWN, code="read_timeout")

    @rule(target=payments, mode=st.sampled_from(list(CaptureMode)), how=HOWS, anna=st.integers(1, 9_999), bert=st.integers(0, 9_999))
    def pay(self, mode: CaptureMode, how: str, anna: int, bert: int) -> PaymentId:
        self.psp_will("authorise", how)
        order_id = self.run(self.shop.order(anna=anna, bert=bert))
        return self.run(self.shop.pay(order_id, mode=mode)).payment_id

    @rule(target=payments, how=st.sampled_from(["pays", "leaves", "pays another amount"]))
    def pay_hosted(self, how: str) -> PaymentId:
        payment_id = self.run(self.shop.pay(token=None)).payment_id
        reference = next(
            call.reference for verb, call in reversed(self.psp.calls) if verb == "start_redirect" and not isinstance(call, str)
        )
        waiting = Result(outcome=Outcome.PENDING, status=ProviderStatus.REQUIRES_ACTION)
        amount = Money(10_000 if how == "pays" else 10_001, "EUR")
        self.psp.known[reference] = waiting if how == "leaves" else ok(ProviderStatus.CAPTURED, amount=amount)
        return payment_id

    @rule(payment=payments, minor=st.none() | st.integers(1, 12_000), final=st.booleans(), how=HOWS)
    def capture(self, payment: PaymentId, minor: int | None, final: bool, how: str) -> None:
        self.psp_will("capture", how)
        self.try_to(self.shop.capture(payment, minor, is_final=final))

    @rule(payment=payments, minor=st.none() | st.integers(1, 12_000), one=st.booleans(), keep=st.booleans(), how=HOWS)
    def refund(self, payment: PaymentId, minor: int | None, one: bool, keep: bool, how: str) -> None:
        self.psp_will("refund", how)
        split = {self.shop.anna: minor} if one and minor else None
        self.try_to(self.shop.refund(payment, minor, split=split, keep_fee=keep))

    @rule(payment=payments, how=HOWS)
    def void(self, payment: PaymentId, how: str) -> None:
        self.psp_will("void", how)
        self.try_to(self.shop.void(payment))

    @rule(payment=payments)
    def ask(self, payment: PaymentId) -> None:
        self.run(flows.refresh(merchant_id=self.shop.merchant_id, payment_id=payment))

    @rule(data=st.data(), times=st.integers(1, 3))
    def hear(self, data: st.DataObject, times: int) -> None:
        """The PSP tells us what it knows, late and more than once."""
        if self.psp.known:
            reference = data.draw(st.sampled_from(sorted(self.psp.known)))
            for _ in range(times):
                self.run(self.record(AttemptId(parse_id("att", reference)), self.psp.known[reference]))

    async def record(self, attempt_id: AttemptId, result: Result) -> None:
        merchant_id = self.shop.merchant_id
        async with unit_of_work(merchant_id) as session:
            await records.record_result(
                session, Actor.psp(merchant_id, "scripted"), merchant_id=merchant_id, attempt_id=attempt_id, result=result
            )

    @rule(span=st.sampled_from([timedelta(minutes=2), timedelta(hours=25), timedelta(days=4), timedelta(days=9)]))
    def wait(self, span: timedelta) -> None:
        self.journey.enter_context(travel(span))
        self.run(flows.ask_due())
        self.run(flows.expire_due())
        self.run(wallets.release_due())

    @rule(payment=consumes(payments))
    def forget(self, payment: PaymentId) -> None:
        """Look at other payments from now on."""

    @invariant()
    def counters_are_the_sums_of_operations(self) -> None:
        rows = self.superuser.execute(
            "select p.status, p.amount_minor, p.captured_minor, p.capture_reserved_minor, p.refunded_minor, p.refund_reserved_minor,"
            " coalesce(sum(o.amount_minor) filter (where o.kind = 'capture' and o.status = 'succeeded'), 0)::bigint,"
            " coalesce(sum(o.amount_minor) filter (where o.kind = 'capture' and o.status <> 'failed'), 0)::bigint,"
            " coalesce(sum(o.amount_minor) filter (where o.kind = 'refund' and o.status = 'succeeded'), 0)::bigint,"
            " coalesce(sum(o.amount_minor) filter (where o.kind = 'refund' and o.status <> 'failed'), 0)::bigint,"
            " (select array[sum(amount_minor), sum(captured_minor), sum(refunded_minor)]::bigint[] from payment_part t where t.payment_id = p.id)"
            " from payment p left join payment_operation o on o.merchant_id = p.merchant_id and o.payment_id = p.id group by p.merchant_id, p.id"
        ).fetchall()
        for status, amount, captured, capturing, refunded, refunding, *sums, parts in rows:
            assert [captured, capturing, refunded, refunding] == sums, status
            assert parts == [amount, captured, refunding]
            assert status not in ("captured", "partially_captured") or captured > refunded
            assert status not in ("failed", "voided", "expired", "authorised", "conflicted") or captured == 0
            assert (status == "refunded") <= (refunded == captured > 0)

    @invariant()
    def orders_follow_their_payments(self) -> None:
        rows = self.superuser.execute(
            "select o.status, o.total_minor, o.captured_minor, o.refunded_minor, coalesce(sum(p.captured_minor), 0)::bigint,"
            " coalesce(sum(p.refunded_minor), 0)::bigint from sales_order o left join payment p on p.order_id = o.id group by o.merchant_id, o.id"
        ).fetchall()
        for status, total, captured, refunded, of_payments, back in rows:
            assert (captured, refunded) == (of_payments, back)
            assert captured or status in ("open", "expired", "cancelled")
            assert (captured < total or refunded > 0) or status == "paid"

    @invariant()
    def money_is_conserved(self) -> None:
        books = balances(self.superuser, self.shop.merchant_id)
        assert sum(books.values()) == 0
        collected = self.superuser.execute("select coalesce(sum(captured_minor - refunded_minor), 0)::bigint from payment").fetchone()
        assert sum(minor for (code, _), minor in books.items() if code in ("1100", "5100")) == (collected or (0,))[0]
        assert all(minor <= 0 for (code, _), minor in books.items() if code in ("2100", "2110")), books
        promised = self.superuser.execute(
            "select coalesce(sum(amount_minor - captured_minor), 0)::bigint from payment where authorised_minor > 0 and not rest_released"
        ).fetchone()
        assert sum(minor for (code, _), minor in books.items() if code == "9100") == (promised or (0,))[0]


def test_whatever_happens_the_money_adds_up(superuser: Connection, urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedPsp()

    async def adapter_for(*_args: object, **_options: object) -> ScriptedPsp:
        return scripted

    monkeypatch.setattr(connections, "adapter_for", adapter_for)
    monkeypatch.setattr(connections, "adapter_of", lambda _connection: scripted)
    till = type("ThisTill", (Till,), {"superuser": superuser, "urls": urls, "psp": scripted})
    profile = settings(max_examples=10, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(till, settings=profile)
