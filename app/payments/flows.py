"""Payments and the network: claim → call → record.

The claim (idempotency key, payment, attempt) is committed before the PSP hears anything; the record commits state, ledger and the
answer together. Dying anywhere in between leaves an attempt that is due and gets asked about, and a key that the next try continues.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import idempotency, rounds
from app.core.actors import Actor
from app.core.clock import now
from app.core.db import changed, unit_of_work
from app.core.failpoints import failpoint
from app.core.ids import AttemptId, ConnectionId, MerchantId, OrderId, PaymentId, PspEventId, SellerId, new_id
from app.core.money import Money
from app.payments import queries, service
from app.payments.answering import service as answering
from app.payments.answering.service import Case
from app.payments.asking import service as asking
from app.payments.attempts import queries as attempt_queries
from app.payments.attempts import service as attempts
from app.payments.calls import service as calls
from app.payments.domain import CaptureMode, EventNotConfirmed, Operation, PaymentStatus, RefundFailed
from app.payments.hot import service as hot
from app.payments.operations import service as operations
from app.payments.operations.service import Held, part_of
from app.payments.records import service as records
from app.payments.steps import service as steps
from app.psp.domain import EventKind, Outcome, PspAdapter, Result
from app.psp.service import connections, health, inbox

log = structlog.get_logger()

DECIDED, STILL_OPEN = 201, 202
OPEN_STATUSES = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN, PaymentStatus.IN_REVIEW)

NOT_FOUND_COUNTS_AFTER = timedelta(minutes=5)
"""Far longer than any PSP works on one request; until then “no such payment” proves nothing."""

Begin = Callable[[AsyncSession], Awaitable[service.Asked]]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request, kept byte for byte under its key."""

    status: int
    body: bytes
    payment_id: PaymentId
    attempt_id: AttemptId
    replayed: bool = False


async def pay(
    actor: Actor,
    *,
    order_id: OrderId,
    connection_id: ConnectionId | None = None,
    token: str | None = None,
    capture_mode: CaptureMode = CaptureMode.AUTOMATIC,
    return_url: str | None = None,
    key: str,
    request: bytes,
) -> Answered:
    """Collect an order: with a token at once, without one on the PSP's hosted page. The same key pays once, whatever happens in between."""
    payment_id = PaymentId(new_id())
    begun = await hot.begin_payment(
        actor,
        payment_id=payment_id,
        order_id=order_id,
        connection_id=connection_id,
        capture_mode=capture_mode,
        return_url=return_url,
        key=key,
        request=request,
    )
    if isinstance(begun, idempotency.Claim):
        return await _again(actor, begun, token=token)
    call = calls.prepare(begun.payment, begun.attempt, token=token)
    await failpoint("payments.claimed")
    result = await _send(connections.adapter_of(begun.connection), call)
    await failpoint("payments.called")
    taking = steps.taking_at_once(begun.payment, begun.attempt, [part_of(row) for row in begun.parts], result)
    if taking is not None:
        done = await _record_collected(actor, begun, call, taking, key=key)
    else:
        attempt = changed(begun.attempt, asked_times=0, finished_at=None)
        case = Case(held=Held(payment=begun.payment, parts=begun.parts, operations=[]), attempt=attempt)
        done = await _record_at_once(actor, case, call, result, key=key)
    return done or await _record(actor, call, result, key=key)


async def _record_collected(actor: Actor, begun: hot.Begun, call: calls.Call, taking: hot.Taking, *, key: str) -> Answered | None:
    """The PSP took the whole amount at once: recorded in one round trip. When a webhook was faster, the long way is taken."""
    view = queries.view_of(*hot.after(begun, taking))
    answer = idempotency.Answer(DECIDED, msgspec.json.encode(view))
    if not await hot.take(actor, taking, finish=hot.Finish(key=key, answer=answer)):
        return None
    return await _recorded(call, taking.result, answer)


async def _record_at_once(actor: Actor, case: Case, call: calls.Call, result: Result, *, key: str) -> Answered | None:
    """Any other answer in one round trip, while the payment is as we left it. What a failed refund had set aside is put back the long way."""
    payment, operation = case.held.payment, case.operation
    believed = steps.believed(payment, operation, result)
    taking = None if operation is None else steps.taking_asked_for(payment, case.attempt, operation, believed)
    if taking is not None:
        answer = _answer_of(answering.taken(case, taking))
        done = await answering.record_taking(actor, taking, finish=hot.Finish(key=key, answer=answer))
    else:
        step = steps.of_authorisation(payment, believed) if operation is None else steps.of_operation(payment, operation, believed)
        if step.tells is RefundFailed:
            return None
        recorded = answering.stepped(actor, case, step, believed, now())
        answer = _answer_of(recorded.held)
        done = await answering.record_step(actor, recorded, finish=hot.Finish(key=key, answer=answer))
    return await _recorded(call, result, answer) if done else None


def _answer_of(held: Held) -> idempotency.Answer:
    view = queries.view_of(held.payment, list(held.parts), list(held.operations))
    return idempotency.Answer(STILL_OPEN if view.status in OPEN_STATUSES else DECIDED, msgspec.json.encode(view))


async def _recorded(call: calls.Call, result: Result, answer: idempotency.Answer) -> Answered:
    if health.count_call(merchant_id=call.merchant_id, connection_id=call.connection_id, result=result):
        async with unit_of_work(call.merchant_id) as session:
            await health.write_tallies(session, merchant_id=call.merchant_id, connection_id=call.connection_id)
    await failpoint("payments.recorded")
    return Answered(status=answer.status, body=answer.body, payment_id=call.payment_id, attempt_id=call.attempt_id)


async def capture(
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    is_final: bool = False,
    split: Mapping[SellerId, int] | None = None,
    reason: str = "",
    key: str,
    request: bytes,
) -> Answered:
    """Take an authorised amount, or a part of it."""

    def plan(held: Held) -> operations.Wanted:
        return operations.capture(held, amount=amount, is_final=is_final, split=split, reason=reason)

    async def begin(session: AsyncSession) -> service.Asked:
        return await service.begin_capture(
            session, actor, payment_id=payment_id, amount=amount, is_final=is_final, split=split, reason=reason
        )

    done = await _at_once(actor, payment_id=payment_id, kind=Operation.CAPTURE, plan=plan, key=key, request=request)
    return done or await do_once(actor, begin=begin, key=key, request=request)


async def refund(
    actor: Actor,
    *,
    payment_id: PaymentId,
    amount: Money | None = None,
    split: Mapping[SellerId, int] | None = None,
    reason: str = "",
    keep_fee: bool = False,
    approval_id: UUID | None = None,
    key: str,
    request: bytes,
) -> Answered:
    """Give a captured amount back to the buyer, or a part of it."""

    def plan(held: Held) -> operations.Wanted:
        return operations.refund_at_once(held, amount=amount, split=split, reason=reason, keep_fee=keep_fee)

    async def begin(session: AsyncSession) -> service.Asked:
        return await service.begin_refund(
            session, actor, payment_id=payment_id, amount=amount, split=split, reason=reason, keep_fee=keep_fee, approval_id=approval_id
        )

    done = None
    if approval_id is None and not actor.has_limit("payments.refund"):
        done = await _at_once(actor, payment_id=payment_id, kind=Operation.REFUND, plan=plan, key=key, request=request)
    return done or await do_once(actor, begin=begin, key=key, request=request)


async def void(actor: Actor, *, payment_id: PaymentId, reason: str = "", key: str, request: bytes) -> Answered:
    """Release what is authorised and not captured."""

    def plan(held: Held) -> operations.Wanted:
        return operations.void(held, reason=reason)

    async def begin(session: AsyncSession) -> service.Asked:
        return await service.begin_void(session, actor, payment_id=payment_id, reason=reason)

    done = await _at_once(actor, payment_id=payment_id, kind=Operation.VOID, plan=plan, key=key, request=request)
    return done or await do_once(actor, begin=begin, key=key, request=request)


async def _at_once(actor: Actor, *, payment_id: PaymentId, kind: Operation, plan: asking.Plan, key: str, request: bytes) -> Answered | None:
    """The plain case of an operation: asked for and recorded in one call each. Nothing, and nothing done, when there is anything to say against it."""
    begun = await asking.begin_operation(actor, payment_id=payment_id, kind=kind, plan=plan, key=key, request=request)
    if begun is None:
        return None
    if isinstance(begun, idempotency.Claim):
        return await _again(actor, begun)
    call = calls.prepare(begun.held.payment, begun.attempt, is_final=begun.operation.is_final)
    await failpoint("payments.claimed")
    result = await _send(connections.adapter_of(begun.connection), call)
    await failpoint("payments.called")
    case = Case(held=begun.held, attempt=begun.attempt, operation=begun.operation)
    return await _record_at_once(actor, case, call, result, key=key) or await _record(actor, call, result, key=key)


async def do_once(actor: Actor, *, begin: Begin, key: str, request: bytes) -> Answered:
    """Do an operation on a payment exactly once per key."""
    async with unit_of_work(actor.merchant) as session:
        claim = await idempotency.claim(session, merchant_id=actor.merchant, key=key, request=request)
        if claim.is_new:
            asked = await begin(session)
            await idempotency.name_resource(session, merchant_id=actor.merchant, key=key, resource_id=asked.attempt.id)
            final = await attempt_queries.is_final(session, asked.attempt)
            call = calls.prepare(asked.payment, asked.attempt, is_final=final)
            adapter = await connections.adapter_for(session, merchant_id=actor.merchant, connection_id=call.connection_id)
    if not claim.is_new:
        return await _again(actor, claim)
    await failpoint("payments.claimed")
    result = await _send(adapter, call)
    await failpoint("payments.called")
    return await _record(actor, call, result, key=key)


async def _again(actor: Actor, claim: idempotency.Claim, *, token: str | None = None) -> Answered:
    """The key was used before: repeat the answer, or continue the work of a process that died."""
    if claim.resource_id is None:
        raise idempotency.RequestInProgress("The first request with this key is still running.", retry_after=1)
    async with unit_of_work(actor.merchant) as session:
        payment, attempt = await attempts.lock_attempt(session, merchant_id=actor.merchant, attempt_id=AttemptId(claim.resource_id))
        call = calls.prepare(payment, attempt, token=token, is_final=await attempt_queries.is_final(session, attempt))
        adapter = await connections.adapter_for(session, merchant_id=actor.merchant, connection_id=call.connection_id)
    if claim.replay is not None:
        answer = claim.replay
        return Answered(status=answer.status, body=answer.body, payment_id=call.payment_id, attempt_id=call.attempt_id, replayed=True)
    await failpoint("payments.resumed")
    result = None if call.has_answer else await _resume(adapter, call)
    if result is not None and result.outcome is Outcome.UNKNOWN and call.was_heard:
        result = None  # the question got no answer: what we knew before still stands
    return await _record(actor, call, result, key=claim.key)


async def _send(adapter: PspAdapter, call: calls.Call) -> Result:
    match call.operation:
        case Operation.AUTHORISE:
            return await (adapter.authorise if call.instruction.token else adapter.start_redirect)(call.instruction)
        case Operation.CAPTURE:
            return await adapter.capture(call.instruction)
        case Operation.REFUND:
            return await adapter.refund(call.instruction)
        case Operation.VOID:
            return await adapter.void(call.instruction)


async def _resume(adapter: PspAdapter, call: calls.Call) -> Result:
    """Continue a request whose process died: ask first; only what the PSP certainly does not know is sent, under the same key."""
    found = await adapter.lookup(call.instruction.reference)
    return await _send(adapter, call) if found.outcome is Outcome.NOT_SENT and _certain(found) else found


def _certain(result: Result) -> bool:
    """Whether “not sent” means that the PSP answered it has no such operation, not that the question failed to reach it."""
    return result.code == "not_found"


async def _record(actor: Actor, call: calls.Call, result: Result | None, *, key: str) -> Answered:
    async with unit_of_work(call.merchant_id) as session:
        if result is not None:
            await records.record_result(session, actor, merchant_id=call.merchant_id, attempt_id=call.attempt_id, result=result)
            await health.record_call(session, merchant_id=call.merchant_id, connection_id=call.connection_id, result=result)
        view = await queries.payment_view(session, merchant_id=call.merchant_id, payment_id=call.payment_id)
        status = STILL_OPEN if view.status in OPEN_STATUSES else DECIDED
        answer = idempotency.Answer(status, msgspec.json.encode(view))
        await idempotency.finish(session, merchant_id=call.merchant_id, key=key, answer=answer)
    await failpoint("payments.recorded")
    return Answered(status=answer.status, body=answer.body, payment_id=call.payment_id, attempt_id=call.attempt_id)


async def ask(*, merchant_id: MerchantId, attempt_id: AttemptId) -> None:
    """Ask the PSP what became of an attempt. What it certainly does not know is sent again under the same key, except a card payment, whose token we never keep."""
    actor = Actor.worker(merchant_id, "Payment follow-up")
    async with unit_of_work(merchant_id) as session:
        attempt = await attempts.count_question(session, merchant_id=merchant_id, attempt_id=attempt_id)
        if attempts.is_decided(attempt):
            return
        payment = await queries.payment(session, merchant_id=merchant_id, payment_id=PaymentId(attempt.payment_id))
        call = calls.prepare(payment, attempt, is_final=await attempt_queries.is_final(session, attempt))
        adapter = await connections.adapter_for(session, merchant_id=merchant_id, connection_id=call.connection_id)
    await failpoint("payments.before_ask")
    result = await adapter.lookup(call.instruction.reference)
    if result.outcome is Outcome.NOT_SENT:
        result = await _settle_missing(adapter, call, result)
    await failpoint("payments.asked")
    if result.outcome is Outcome.UNKNOWN and call.was_heard:
        # the question got no answer: what we knew before still stands, and the next question is due already
        return
    async with unit_of_work(merchant_id) as session:
        await records.record_result(session, actor, merchant_id=merchant_id, attempt_id=attempt_id, result=result)


async def _settle_missing(adapter: PspAdapter, call: calls.Call, answer: Result) -> Result:
    """The PSP does not know the operation. A capture, void or refund is sent again under the same key. A card payment, whose token we never keep,
    is over, but only when it is old enough: the PSP may still be working on a request whose answer we did not wait for."""
    if not _certain(answer) or (call.operation is Operation.AUTHORISE and now() - call.begun_at < NOT_FOUND_COUNTS_AFTER):
        return msgspec.structs.replace(answer, outcome=Outcome.UNKNOWN)
    return answer if call.operation is Operation.AUTHORISE else await _send(adapter, call)


async def refresh(*, merchant_id: MerchantId, payment_id: PaymentId) -> None:
    """Ask the PSP about everything of a payment that is undecided; nothing is asked when nothing is."""
    async with unit_of_work(merchant_id) as session:
        await queries.payment(session, merchant_id=merchant_id, payment_id=payment_id)
        undecided = await attempt_queries.undecided_attempts(session, merchant_id=merchant_id, payment_id=payment_id)
    for attempt_id in undecided:
        await ask(merchant_id=merchant_id, attempt_id=attempt_id)


async def apply_psp_event(*, merchant_id: MerchantId, event_id: PspEventId) -> None:
    """Apply what a PSP told us: find the attempt it is about, fetch the PSP's present word on it, and record that, whatever the order of arrival."""
    async with unit_of_work(merchant_id) as session:
        event, connection_id = await attempt_queries.received_event(session, merchant_id=merchant_id, event_id=event_id)
        if event.kind is EventKind.PAYOUT:
            return
        attempt = await attempt_queries.attempt_of_event(session, merchant_id=merchant_id, connection_id=connection_id, event=event)
        if attempt is None:
            await inbox.mark_ignored(session, merchant_id=merchant_id, event_id=event_id, reason="It is about nothing we asked for.")
            return
        attempt_id, provider = (
            AttemptId(attempt.id),
            await connections.adapter_for(session, merchant_id=merchant_id, connection_id=connection_id),
        )
    result = await provider.fetch_event_object(event)
    await failpoint("payments.event_fetched")
    async with unit_of_work(merchant_id) as session:
        actor = Actor.psp(merchant_id, provider.name)
        if result.outcome not in (Outcome.UNKNOWN, Outcome.NOT_SENT):
            await records.record_result(session, actor, merchant_id=merchant_id, attempt_id=attempt_id, result=result)
            await inbox.mark_applied(session, merchant_id=merchant_id, event_id=event_id)
            return
    raise EventNotConfirmed("The PSP could not be asked about its own event; it is tried again.")


async def ask_due(*, most: int = 500) -> int:
    """Ask about every attempt that is due, of all merchants, a few at a time; returns how many."""
    async with unit_of_work(None) as session:
        due = await attempts.due_attempts(session, moment=now(), most=most)
    gate = asyncio.Semaphore(8)

    async def one(merchant_id: MerchantId, attempt_id: AttemptId) -> None:
        async with gate:
            try:
                await ask(merchant_id=merchant_id, attempt_id=attempt_id)
            except Exception:
                log.exception("asking about an attempt failed; it stays due", attempt=str(attempt_id))

    await asyncio.gather(*(one(*each) for each in due))
    return len(due)


async def expire_due() -> int:
    """Close every payment whose time has passed, after asking the PSP a last time; returns how many were closed."""
    async with unit_of_work(None) as session:
        due = await service.due_to_expire(session)
    return await rounds.each(due, _expire)


async def _expire(which: tuple[MerchantId, PaymentId]) -> int:
    merchant_id, payment_id = which
    await refresh(merchant_id=merchant_id, payment_id=payment_id)
    async with unit_of_work(merchant_id) as session:
        return await service.expire_payment(session, merchant_id=merchant_id, payment_id=payment_id)
