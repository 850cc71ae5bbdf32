"""The contract every adapter keeps, as checks that run against a real process of its provider (or a stand-in for it).

A check takes a Bench: the adapter under test, and the means to make its provider misbehave and to ask what really happened there.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
import pytest

from app.core.ids import new_id
from app.core.money import Money
from app.psp.domain import Category, EventKind, Instruction, Outcome, ProviderStatus, PspAdapter, Result, SignatureRejected

EUR = "EUR"


class Bench(Protocol):
    """What a check needs of a provider."""

    adapter: PspAdapter
    secrets: list[str]

    def token(self, behaviour: str) -> str:
        """A token that is accepted, declined, challenged or held for review."""

    def provoke(self, fault: str, operation: str = "authorise") -> None:
        """Let the next call of an operation go wrong."""

    def charges(self, reference: str) -> int:
        """How many charges the provider really has under our reference."""

    def captured(self, reference: str) -> int:
        """How much of them it has captured."""

    def settle_later(self) -> None:
        """Captures and refunds are settled after a while."""

    def settle(self) -> None:
        """The while has passed."""

    def webhook(self, *, age_seconds: int = 0) -> tuple[bytes, dict[str, str]]:
        """The last event, signed as the provider does."""

    def without_provider(self) -> PspAdapter:
        """The adapter, pointed at a port where nobody listens."""

    def with_wrong_key(self) -> PspAdapter:
        """The adapter with a key the provider does not know."""


Check = Callable[[Bench], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Make a function part of the contract."""
    CHECKS[function.__name__] = function
    return function


def instruction(minor: int = 1250, **values: object) -> Instruction:
    """An instruction under a reference of its own."""
    reference = f"att_{new_id().hex}"
    fields: dict[str, object] = {"amount": Money(minor, EUR), "reference": reference, "idempotency_key": reference, **values}
    return msgspec.convert(fields, Instruction)


async def authorised(bench: Bench, minor: int = 1250, *, capture: bool = False) -> tuple[Instruction, Result]:
    """A payment that went well."""
    asked = instruction(minor, token=bench.token("accepted"), capture=capture)
    result = await bench.adapter.authorise(asked)
    assert result.outcome is Outcome.SUCCEEDED, result
    return asked, result


def on(result: Result, minor: int) -> Instruction:
    """An operation on a payment."""
    return instruction(minor, original=result.provider_reference)


@check
async def authorising_reserves_the_amount(bench: Bench) -> None:
    asked, result = await authorised(bench)
    assert result.status is ProviderStatus.AUTHORISED
    assert result.amount == asked.amount
    assert result.provider_reference
    assert result.method is not None
    assert result.method.last4 is not None
    assert len(result.method.last4) == 4
    assert bench.charges(asked.reference) == 1
    assert bench.captured(asked.reference) == 0


@check
async def authorising_with_capture_takes_it_and_tells_the_fee(bench: Bench) -> None:
    asked, result = await authorised(bench, capture=True)
    assert result.status is ProviderStatus.CAPTURED
    assert bench.captured(asked.reference) == 1250
    assert result.fee is not None
    assert result.fee.is_positive


@check
async def a_no_of_the_issuer_is_declined_with_its_code(bench: Bench) -> None:
    result = await bench.adapter.authorise(instruction(token=bench.token("declined")))
    assert result.outcome is Outcome.DECLINED
    assert result.code == "insufficient_funds"
    assert result.network_code == "51"
    assert result.category is Category.SOFT
    assert not result.is_technical_failure


@check
async def a_challenge_is_pending_with_an_address(bench: Bench) -> None:
    result = await bench.adapter.authorise(instruction(token=bench.token("challenged"), return_url="https://shop.example/back"))
    assert result.outcome is Outcome.PENDING
    assert result.status is ProviderStatus.REQUIRES_ACTION
    assert (result.redirect_url or "").startswith("http")


@check
async def a_review_is_pending(bench: Bench) -> None:
    result = await bench.adapter.authorise(instruction(token=bench.token("reviewed")))
    assert (result.outcome, result.status) == (Outcome.PENDING, ProviderStatus.IN_REVIEW)


@check
async def the_hosted_page_has_an_address_and_waits(bench: Bench) -> None:
    asked = instruction(return_url="https://shop.example/back")
    result = await bench.adapter.start_redirect(asked)
    assert result.outcome is Outcome.PENDING
    assert (result.redirect_url or "").startswith("http")
    assert (await bench.adapter.lookup(asked.reference)).outcome is Outcome.PENDING


@check
async def nobody_listening_is_not_sent(bench: Bench) -> None:
    result = await bench.without_provider().authorise(instruction(token=bench.token("accepted")))
    assert result.outcome is Outcome.NOT_SENT
    assert result.code == "connection_refused"
    assert result.retryable
    assert result.is_technical_failure


@check
async def too_many_requests_is_not_sent(bench: Bench) -> None:
    bench.provoke("rate_limit")
    asked = instruction(token=bench.token("accepted"))
    result = await bench.adapter.authorise(asked)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "rate_limited")
    assert result.retry_after is not None
    assert result.retryable
    assert bench.charges(asked.reference) == 0


@check
async def a_refused_request_is_not_sent_and_not_retried(bench: Bench) -> None:
    bench.provoke("invalid")
    result = await bench.adapter.authorise(instruction(token=bench.token("accepted")))
    assert (result.outcome, result.category) == (Outcome.NOT_SENT, Category.CONFIGURATION)
    assert not result.retryable


@check
async def a_wrong_key_is_a_matter_of_configuration(bench: Bench) -> None:
    for result in (await bench.with_wrong_key().ping(), await bench.with_wrong_key().authorise(instruction(token=bench.token("accepted")))):
        assert (result.outcome, result.code) == (Outcome.NOT_SENT, "credentials_refused")
        assert not result.retryable


async def _stays_unknown(bench: Bench, fault: str, *, really_charged: int) -> None:
    bench.provoke(fault)
    asked = instruction(token=bench.token("accepted"))
    result = await bench.adapter.authorise(asked)
    assert result.outcome is Outcome.UNKNOWN, (fault, result)
    assert not result.retryable
    assert result.is_technical_failure
    assert bench.charges(asked.reference) == really_charged
    found = await bench.adapter.lookup(asked.reference)
    assert found.outcome is (Outcome.SUCCEEDED if really_charged else Outcome.NOT_SENT)
    again = await bench.adapter.authorise(asked)
    assert again.outcome is Outcome.SUCCEEDED
    assert bench.charges(asked.reference) == 1


@check
async def an_error_before_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "error_before", really_charged=0)


@check
async def an_error_after_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "error_after", really_charged=1)


@check
async def a_lost_answer_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "lost_answer", really_charged=1)


@check
async def a_reset_before_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "reset_before", really_charged=0)


@check
async def a_reset_after_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "reset_after", really_charged=1)


@check
async def silence_before_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "timeout_before", really_charged=0)


@check
async def silence_after_the_charge_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "timeout_after", really_charged=1)


@check
async def a_dripping_answer_meets_the_total_deadline(bench: Bench) -> None:
    await _stays_unknown(bench, "drip", really_charged=1)


@check
async def an_answer_that_cannot_be_read_is_unknown(bench: Bench) -> None:
    await _stays_unknown(bench, "malformed", really_charged=1)


@check
async def a_question_that_fails_leaves_the_operation_unknown(bench: Bench) -> None:
    asked, _ = await authorised(bench)
    for fault in ("rate_limit", "error_before", "reset_before", "invalid"):
        bench.provoke(fault, "lookup")
        assert (await bench.adapter.lookup(asked.reference)).outcome is Outcome.UNKNOWN, fault
    assert (await bench.without_provider().lookup(asked.reference)).outcome is Outcome.UNKNOWN


@check
async def the_same_key_twice_is_one_charge(bench: Bench) -> None:
    asked = instruction(token=bench.token("accepted"), capture=True)
    first, second = await bench.adapter.authorise(asked), await bench.adapter.authorise(asked)
    assert first.provider_reference == second.provider_reference
    assert bench.charges(asked.reference) == 1


@check
async def the_same_key_for_something_else_is_refused(bench: Bench) -> None:
    asked = instruction(token=bench.token("accepted"))
    await bench.adapter.authorise(asked)
    other = msgspec.structs.replace(asked, amount=Money(9900, EUR))
    result = await bench.adapter.authorise(other)
    assert (result.outcome, result.code) == (Outcome.NOT_SENT, "idempotency_key_reused")
    assert bench.charges(asked.reference) == 1


@check
async def looking_up_our_reference_finds_it(bench: Bench) -> None:
    asked, result = await authorised(bench)
    found = await bench.adapter.lookup(asked.reference)
    assert (found.outcome, found.provider_reference, found.amount) == (Outcome.SUCCEEDED, result.provider_reference, asked.amount)


@check
async def looking_up_what_was_declined_says_so(bench: Bench) -> None:
    asked = instruction(token=bench.token("declined"))
    await bench.adapter.authorise(asked)
    found = await bench.adapter.lookup(asked.reference)
    assert (found.outcome, found.code) == (Outcome.DECLINED, "insufficient_funds")


@check
async def looking_up_what_never_was_is_certain(bench: Bench) -> None:
    found = await bench.adapter.lookup("att_never")
    assert (found.outcome, found.code) == (Outcome.NOT_SENT, "not_found")


@check
async def another_amount_than_asked_is_reported_as_it_is(bench: Bench) -> None:
    bench.provoke("wrong_amount")
    asked = instruction(token=bench.token("accepted"))
    result = await bench.adapter.authorise(asked)
    assert result.amount is not None
    assert result.amount != asked.amount


@check
async def captures_in_parts_add_up_and_no_further(bench: Bench) -> None:
    asked, payment = await authorised(bench, 1000)
    first = await bench.adapter.capture(on(payment, 400))
    assert (first.outcome, first.status, first.amount) == (Outcome.SUCCEEDED, ProviderStatus.PARTIALLY_CAPTURED, Money(400, EUR))
    assert first.fee is not None
    assert first.fee.is_positive
    second = await bench.adapter.capture(on(payment, 600))
    assert (second.outcome, second.status) == (Outcome.SUCCEEDED, ProviderStatus.CAPTURED)
    third = await bench.adapter.capture(on(payment, 1))
    assert third.outcome is Outcome.NOT_SENT
    assert third.category is Category.CONFIGURATION
    assert bench.captured(asked.reference) == 1000
    last, payment = await authorised(bench, 1000)
    await bench.adapter.capture(msgspec.structs.replace(on(payment, 400), is_final=True))
    assert (await bench.adapter.capture(on(payment, 1))).outcome is Outcome.NOT_SENT, "the final one released the rest"
    assert (await bench.adapter.lookup(last.reference)).status is ProviderStatus.CAPTURED


@check
async def a_capture_that_got_lost_is_found_by_its_own_reference(bench: Bench) -> None:
    asked, payment = await authorised(bench, 1000)
    step = on(payment, 1000)
    bench.provoke("lost_answer", "capture")
    assert (await bench.adapter.capture(step)).outcome is Outcome.UNKNOWN
    found = await bench.adapter.lookup(step.reference)
    assert (found.outcome, found.amount) == (Outcome.SUCCEEDED, step.amount)
    assert (await bench.adapter.capture(step)).outcome is Outcome.SUCCEEDED
    assert bench.captured(asked.reference) == 1000


@check
async def voiding_releases_the_reservation(bench: Bench) -> None:
    _, payment = await authorised(bench)
    released = await bench.adapter.void(on(payment, 1250))
    assert (released.outcome, released.status) == (Outcome.SUCCEEDED, ProviderStatus.VOIDED)
    late = await bench.adapter.capture(on(payment, 1250))
    assert (late.outcome, late.code) == (Outcome.NOT_SENT, "not_allowed_now")


@check
async def refunds_in_parts_add_up_and_no_further(bench: Bench) -> None:
    _, payment = await authorised(bench, 1000, capture=True)
    first = await bench.adapter.refund(on(payment, 300))
    assert (first.outcome, first.status, first.amount) == (Outcome.SUCCEEDED, ProviderStatus.PARTIALLY_REFUNDED, Money(300, EUR))
    rest = await bench.adapter.refund(on(payment, 700))
    assert (rest.outcome, rest.status) == (Outcome.SUCCEEDED, ProviderStatus.REFUNDED)
    assert (await bench.adapter.refund(on(payment, 1))).outcome is Outcome.NOT_SENT


@check
async def what_is_settled_later_is_pending_until_then(bench: Bench) -> None:
    _, payment = await authorised(bench, 1000)
    bench.settle_later()
    capture = on(payment, 1000)
    assert (await bench.adapter.capture(capture)).outcome is Outcome.PENDING
    assert (await bench.adapter.lookup(capture.reference)).outcome is Outcome.PENDING
    bench.settle()
    assert (await bench.adapter.lookup(capture.reference)).outcome is Outcome.SUCCEEDED


@check
async def a_genuine_webhook_is_read(bench: Bench) -> None:
    asked, payment = await authorised(bench, capture=True)
    raw, headers = bench.webhook()
    events = bench.adapter.verify_webhook(raw, headers)
    assert [(e.kind, e.our_reference, e.provider_reference) for e in events] == [
        (EventKind.PAYMENT_CAPTURED, asked.reference, payment.provider_reference)
    ]
    assert events[0].amount == asked.amount
    fetched = await bench.adapter.fetch_event_object(events[0])
    assert (fetched.outcome, fetched.status) == (Outcome.SUCCEEDED, ProviderStatus.CAPTURED)


def _refused(bench: Bench, raw: bytes, headers: Mapping[str, str]) -> None:
    with pytest.raises(SignatureRejected):
        bench.adapter.verify_webhook(raw, headers)


@check
async def a_forged_webhook_is_refused(bench: Bench) -> None:
    await authorised(bench)
    raw, headers = bench.webhook()
    _refused(bench, raw.replace(b"1250", b"9250"), headers)
    _refused(bench, raw, {})
    for name in headers:
        if "signature" in name:
            _refused(bench, raw, {**headers, name: headers[name][:-4] + "AAA="})
            _refused(bench, raw, {**headers, name: "v1,nonsense"})
            _refused(bench, raw, {**headers, name: ""})


@check
async def an_old_webhook_is_refused(bench: Bench) -> None:
    await authorised(bench)
    _refused(bench, *bench.webhook(age_seconds=3600))
    _refused(bench, *bench.webhook(age_seconds=-3600))


@check
async def no_secret_and_no_card_number_leaves_in_a_result(bench: Bench) -> None:
    results = [await bench.adapter.authorise(instruction(token=bench.token(what))) for what in ("accepted", "declined", "challenged")]
    results += [await bench.with_wrong_key().ping(), await bench.without_provider().ping()]
    for fault in ("invalid", "error_before", "malformed"):
        bench.provoke(fault)
        results.append(await bench.adapter.authorise(instruction(token=bench.token("accepted"))))
    shown = json.dumps([msgspec.to_builtins(result) for result in results]) + repr(results) + repr(bench.adapter)
    assert [secret for secret in bench.secrets if secret in shown] == []
