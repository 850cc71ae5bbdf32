"""Operations and answers in server-side calls: the same rows and answers as the long way, and guards that hold when somebody was faster."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from psycopg import Connection
from sqlalchemy import select

from app.core.actors import Actor
from app.core.clock import today, travel
from app.core.db import unit_of_work
from app.core.ids import AttemptId, PaymentId, new_id
from app.core.money import Money
from app.ledger import service as ledger
from app.ledger.domain import AccountRef, InsufficientFunds, Line, Posting, Side
from app.payments import flows, queries
from app.payments.answering import service as answering
from app.payments.asking import service as asking
from app.payments.domain import CaptureMode, NothingToCapture
from app.payments.models import PaymentAttempt
from app.payments.records import service as records
from app.psp.domain import MethodSummary, Outcome, ProviderStatus, Result
from app.wallets import flows as wallets
from app.wallets import service as wallet_service
from tests.payments.conftest import Books
from tests.support.shop import Shop, ok
from tests.support.statements import counted

MANUAL = CaptureMode.MANUAL
TABLES = (
    "payment",
    "payment_part",
    "payment_attempt",
    "payment_operation",
    "payment_event",
    "funds_release",
    "sales_order",
    "outbox",
    "audit_entry",
)
OWN = {"id", "payment_id", "attempt_id", "order_id", "capture_id", "object_id", "reference", "order_reference", "payload"}
OWN |= {"at", "created_at", "updated_at", "due_at", "finished_at", "expires_at", "next_ask_at", "released_at", "published_at", "attempts"}
METHOD = MethodSummary(brand="visa", last4="4242", expiry="08/29", fingerprint="fp_1")
YES = ok(ProviderStatus.AUTHORISED, amount=Money(10_000, "EUR"), method=METHOD, latency_ms=7)


def rows_of(superuser: Connection, payment_id: object) -> dict[str, list[str]]:
    """What the database holds of a payment, without what differs from one payment to the next."""
    where = {
        "payment": "id = %(p)s",
        "outbox": "object_id = %(p)s",
        "audit_entry": "object_id = %(p)s",
        "sales_order": "id = (select order_id from payment where id = %(p)s)",
    }
    found = {}
    for table in TABLES:
        rows = superuser.execute(
            f"select to_jsonb(t) from {table} t where {where.get(table, 'payment_id = %(p)s')}", {"p": payment_id}
        ).fetchall()
        found[table] = sorted(str(_same(row[0])) for row in rows)
    found["events"] = sorted(
        str(row)
        for row in superuser.execute(
            "select topic, payload->>'status', payload->>'amount_minor' from outbox where object_id = %s", (payment_id,)
        ).fetchall()
    )
    found["ledger"] = sorted(
        str(row)
        for row in superuser.execute(
            "select t.kind, a.code, e.side, e.amount, t.actor_kind from ledger.entry e join ledger.txn t on t.id = e.txn_id"
            " join ledger.account a on a.id = e.account_id and a.merchant_id = e.merchant_id where t.source_id = %s",
            (payment_id,),
        ).fetchall()
    )
    return found


def _same(row: dict[str, Any]) -> list[tuple[str, Any]]:
    kept = {name: value for name, value in row.items() if name not in OWN}
    if row.get("split"):
        taken = [{**part, "pending": [minor for _, minor in part["pending"]]} for part in row["split"]["taken"].values()]
        kept["split"] = {"shares": row["split"]["shares"], "taken": sorted(map(str, taken))}
    if "attempt" in (kept.get("after") or {}) or "payment_id" in (kept.get("after") or {}):
        kept["after"] = {name: value for name, value in kept["after"].items() if name not in {"attempt", "payment_id", "order_id"}}
    return sorted(kept.items())


@contextmanager
def the_long_way() -> Iterator[None]:
    """A block in which none of the calls is made, as if somebody were always faster."""

    async def nothing(*_given: object, **_named: object) -> None:
        return None

    async def moved(*_given: object, **_named: object) -> bool:
        return False

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(asking, "begin_operation", nothing)
        patches.setattr(answering, "record_step", moved)
        patches.setattr(answering, "record_taking", moved)
        yield


def view(answered: flows.Answered) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answered.body)
    return found


async def authorise(shop: Shop) -> PaymentId:
    shop.psp.answers("authorise", YES)
    return (await shop.pay(mode=MANUAL)).payment_id


async def capture_whole(shop: Shop) -> PaymentId:
    payment_id = await authorise(shop)
    shop.psp.answers("capture", ok(amount=Money(10_000, "EUR"), fee=Money(30, "EUR"), latency_ms=3, message="Taken"))
    await shop.capture(payment_id)
    return payment_id


async def capture_parts(shop: Shop) -> PaymentId:
    payment_id = await authorise(shop)
    await shop.capture(payment_id, 3_333)
    await shop.capture(payment_id, 1_111, is_final=True)
    return payment_id


async def capture_in_vain(shop: Shop) -> PaymentId:
    payment_id = await authorise(shop)
    answers = (
        Result(outcome=Outcome.DECLINED, code="no", network_code="05", message="No"),
        Result(outcome=Outcome.NOT_SENT, code="refused"),
    )
    shop.psp.answers("capture", *answers, Result(outcome=Outcome.UNKNOWN, code="lost"))
    for _ in range(3):
        await shop.capture(payment_id, 5_000)
    return payment_id


async def void_whole(shop: Shop) -> PaymentId:
    payment_id = await authorise(shop)
    await shop.void(payment_id)
    return payment_id


async def void_rest(shop: Shop) -> PaymentId:
    payment_id = await authorise(shop)
    await shop.capture(payment_id, 4_000)
    shop.psp.answers("void", Result(outcome=Outcome.DECLINED, code="no"))
    await shop.void(payment_id)
    await shop.void(payment_id)
    return payment_id


async def refund_parts(shop: Shop) -> PaymentId:
    payment_id = (await shop.pay()).payment_id
    await shop.refund(payment_id, 3_333, reason="Broken")
    await shop.refund(payment_id, 1_000, split={shop.bert: 1_000}, keep_fee=True)
    shop.psp.answers("refund", Result(outcome=Outcome.DECLINED, code="no"))
    await shop.refund(payment_id, 500)
    shop.psp.answers("refund", Result(outcome=Outcome.PENDING))
    await shop.refund(payment_id, 5_000)  # not all of it: the seller whose fee was kept would fall short by just that fee
    return payment_id


async def refund_available(shop: Shop) -> PaymentId:
    payment_id = (await shop.pay()).payment_id
    with travel(timedelta(days=4)):
        await wallets.release_due()
        await shop.refund(payment_id, 3_333)
    return payment_id


def ends_as(*results: Result, token: str | None = "tok_visa") -> Callable[[Shop], Awaitable[PaymentId]]:
    async def begin(shop: Shop) -> PaymentId:
        shop.psp.answers("authorise" if token else "start_redirect", *results)
        return (await shop.pay(mode=MANUAL, token=token)).payment_id

    return begin


WAYS: dict[str, Callable[[Shop], Awaitable[PaymentId]]] = {
    "authorised": authorise,
    "captured": capture_whole,
    "captured in parts": capture_parts,
    "captured in vain": capture_in_vain,
    "voided": void_whole,
    "rest voided": void_rest,
    "refunded in parts": refund_parts,
    "refunded from available funds": refund_available,
    "declined": ends_as(Result(outcome=Outcome.DECLINED, code="lost_card", network_code="41", message="Lost", evidence={"a": "b"})),
    "not sent": ends_as(Result(outcome=Outcome.NOT_SENT)),
    "unknown": ends_as(Result(outcome=Outcome.UNKNOWN, code="read_timeout")),
    "in review": ends_as(Result(outcome=Outcome.PENDING, status=ProviderStatus.IN_REVIEW, provider_reference="x", method=METHOD)),
    "processing": ends_as(Result(outcome=Outcome.PENDING)),
    "hosted": ends_as(Result(outcome=Outcome.PENDING, provider_reference="x", redirect_url="https://psp.test/pay"), token=None),
    "conflicted": ends_as(ok(ProviderStatus.AUTHORISED, amount=Money(9_999, "EUR"))),
    "ended": ends_as(ok(ProviderStatus.EXPIRED)),
}


class TestBothWays:
    @pytest.mark.parametrize("way", WAYS)
    async def test_leave_the_same_rows(self, shop: Shop, superuser: Connection, books: Books, way: str) -> None:
        with the_long_way():
            long = await WAYS[way](shop)
        once = books()
        quick = await WAYS[way](shop)
        assert rows_of(superuser, quick) == rows_of(superuser, long)
        assert books() == {account: 2 * minor for account, minor in once.items()}

    @pytest.mark.parametrize("way", WAYS)
    async def test_the_plain_case_never_takes_the_long_way(self, shop: Shop, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        taken: list[str] = []
        for name in ("do_once", "_record"):
            _note(monkeypatch, name, taken)
        await WAYS[way](shop)
        # what a failed refund had set aside is put back the long way
        assert taken == (["_record"] if way == "refunded in parts" else [])

    @pytest.mark.parametrize("way", WAYS)
    async def test_the_answer_given_is_the_payment_as_it_stands(self, shop: Shop, superuser: Connection, way: str) -> None:
        payment_id = await WAYS[way](shop)
        async with unit_of_work(shop.merchant_id) as session:
            stands = await queries.payment_view(session, merchant_id=shop.merchant_id, payment_id=payment_id)
        kept = superuser.execute("select body, status from idempotency_key order by finished_at desc limit 1").fetchone()
        assert kept is not None
        assert msgspec.json.decode(kept[0]) == msgspec.json.decode(msgspec.json.encode(stands))
        assert kept[1] == (202 if stands.status in flows.OPEN_STATUSES else 201)


def _note(patches: pytest.MonkeyPatch, name: str, taken: list[str]) -> None:
    whole = getattr(flows, name)

    async def noting(*given: Any, **named: Any) -> Any:
        taken.append(name)
        return await whole(*given, **named)

    patches.setattr(flows, name, noting)


class TestStatements:
    async def test_an_operation_takes_three_and_an_authorisation_two(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flows.health, "count_call", lambda **_call: False)  # every other second its counts are written down
        await refund_available(shop)
        await capture_whole(shop)
        order_id = await shop.order()
        with counted() as sent:
            payment_id = (await shop.pay(order_id, mode=MANUAL)).payment_id
        assert len(sent) == 2, sent
        for work in (shop.capture(payment_id, 4_000), shop.void(payment_id), shop.refund(payment_id, 1_000)):
            with counted() as sent:
                await work
            assert len(sent) == 3, sent


async def heard(shop: Shop, payment_id: PaymentId, result: Result, operation: str) -> None:
    """The provider tells us of an operation that is still under way."""
    async with unit_of_work(shop.merchant_id) as session:
        where = (PaymentAttempt.payment_id == payment_id, PaymentAttempt.operation == operation)
        attempt = (await session.execute(select(PaymentAttempt.id).where(*where))).scalar_one()
        actor = Actor.psp(shop.merchant_id, "PSP")
        await records.record_result(session, actor, merchant_id=shop.merchant_id, attempt_id=AttemptId(attempt), result=result)


class TestSomebodyIsFaster:
    @pytest.mark.parametrize(
        ("verb", "result"),
        [
            ("capture", ok(amount=Money(10_000, "EUR"), fee=Money(30, "EUR"))),
            ("void", ok(amount=Money(10_000, "EUR"))),
            ("capture", Result(outcome=Outcome.DECLINED, code="no")),
        ],
    )
    async def test_a_webhook_before_our_own_record(
        self, shop: Shop, books: Books, monkeypatch: pytest.MonkeyPatch, verb: str, result: Result
    ) -> None:
        payment_id, whole = await authorise(shop), getattr(shop.psp, verb)

        async def call(instruction: Any) -> Result:
            await whole(instruction)
            await heard(shop, payment_id, result, verb)
            return result

        monkeypatch.setattr(shop.psp, verb, call)
        answered = await (shop.capture(payment_id) if verb == "capture" else shop.void(payment_id))
        settled = books()
        async with unit_of_work(shop.merchant_id) as session:
            stands = await queries.payment_view(session, merchant_id=shop.merchant_id, payment_id=payment_id)
        assert view(answered) == msgspec.json.decode(msgspec.json.encode(stands))
        await heard(shop, payment_id, result, verb)
        assert books() == settled

    async def test_another_operation_before_ours_is_recorded(self, shop: Shop, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refund of what was captured before, while the rest is being captured: neither answer hides the other."""
        payment_id, whole = await authorise(shop), shop.psp.capture
        await shop.capture(payment_id, 4_000)

        async def call(instruction: Any) -> Result:
            await shop.refund(payment_id, 1_000)
            return await whole(instruction)

        monkeypatch.setattr(shop.psp, "capture", call)
        answered = view(await shop.capture(payment_id))
        assert (answered["captured"]["minor"], answered["refunded"]["minor"], answered["refundable"]["minor"]) == (10_000, 1_000, 9_000)
        assert len(answered["captures"]) == 2 and len(answered["refunds"]) == 1
        assert books()["1100", "psp"] == 9_000 - 60

    async def test_between_looking_and_asking(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        payment_id, look = await authorise(shop), asking._look
        looked = []

        async def slow(merchant_id: Any, asked: Any) -> Any:
            seen = await look(merchant_id, asked)
            if not looked:
                looked.append(True)
                await shop.capture(payment_id, 9_000)
            return seen

        monkeypatch.setattr(asking, "_look", slow)
        with pytest.raises(NothingToCapture):
            await shop.capture(payment_id, 9_000)
        assert shop.psp.made("capture") == 1
        assert view(await shop.capture(payment_id))["captured"]["minor"] == 10_000

    @pytest.mark.parametrize("sooner", [True, False])
    async def test_the_clock_makes_pending_funds_available(
        self, shop: Shop, books: Books, monkeypatch: pytest.MonkeyPatch, sooner: bool
    ) -> None:
        payment_id, look = (await shop.pay()).payment_id, asking._look

        async def slow(merchant_id: Any, asked: Any) -> Any:
            seen = await look(merchant_id, asked)
            await wallets.release_due()
            return seen

        monkeypatch.setattr(asking, "_look", slow)
        with travel(timedelta(days=4) if sooner else timedelta(0)):
            await shop.refund(payment_id, 5_000)
        code = "2110" if sooner else "2100"
        assert books()[code, "anna"] + books()[code, "bert"] == -(9_300 - 4_650)

    async def test_a_wallet_that_was_emptied_meanwhile_becomes_a_debt_or_a_refusal(self, shop: Shop, books: Books) -> None:
        first, second = await shop.pay(), await shop.pay()
        with travel(timedelta(days=4)):
            await wallets.release_due()
            await self.pay_out(shop, 11_000)
            await shop.refund(first.payment_id)
            assert books()["1300", "anna"] == 5_300
            async with unit_of_work(shop.merchant_id) as session:
                await wallet_service.set_policy(session, shop.actor, availability_days=2, timezone="UTC", allow_negative=False)
            with pytest.raises(InsufficientFunds):
                await shop.refund(second.payment_id)
        assert shop.psp.made("refund") == 1

    async def pay_out(self, shop: Shop, minor: int) -> None:
        """What the first seller has is on its way to the bank."""
        lines = [
            Line(AccountRef(code, "seller", shop.anna), side, Money(minor, "EUR"))
            for code, side in (("2110", Side.DEBIT), ("2140", Side.CREDIT))
        ]
        posting = Posting(kind="payout.requested", source_type="test", source_id=new_id(), event_key="x", effective_on=today(), lines=lines)
        async with unit_of_work(shop.merchant_id) as session:
            await ledger.post(session, merchant_id=shop.merchant_id, postings=[posting])
