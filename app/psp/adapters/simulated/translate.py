"""Pure translation between the simulated provider's JSON and the words of the port."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from app.core.errors import Invalid
from app.core.logs import redact
from app.core.money import Money
from app.core.outbound import Answer
from app.psp.domain import (
    Balance,
    EventKind,
    Instruction,
    MethodSummary,
    Outcome,
    Owed,
    ProviderStatus,
    PspEvent,
    Report,
    ReportList,
    Result,
    SignatureRejected,
)

STATUSES: dict[str, ProviderStatus] = {
    "requires_action": ProviderStatus.REQUIRES_ACTION,
    "processing": ProviderStatus.PROCESSING,
    "review": ProviderStatus.IN_REVIEW,
    "authorized": ProviderStatus.AUTHORISED,
    "partially_captured": ProviderStatus.PARTIALLY_CAPTURED,
    "captured": ProviderStatus.CAPTURED,
    "partially_refunded": ProviderStatus.PARTIALLY_REFUNDED,
    "refunded": ProviderStatus.REFUNDED,
    "cancelled": ProviderStatus.VOIDED,
    "declined": ProviderStatus.FAILED,
    "expired": ProviderStatus.EXPIRED,
}
OPERATIONS = {"succeeded": Outcome.SUCCEEDED, "pending": Outcome.PENDING, "failed": Outcome.DECLINED}
_WAITING = frozenset({ProviderStatus.REQUIRES_ACTION, ProviderStatus.PROCESSING, ProviderStatus.IN_REVIEW})

# The provider's words for a no -> ours. What is not listed keeps its word and counts as a hard decline.
DECLINES: dict[str, str] = {
    "suspected_fraud": "fraud_suspected",
    "no_such_account": "invalid_account",
    "too_many_tries": "velocity_exceeded",
    "challenge_failed": "authentication_failed",
    "cancelled_by_buyer": "buyer_cancelled",
    "session_timed_out": "session_expired",
}

# The provider's error codes -> ours; they say that nothing was done.
ERRORS: dict[str, str] = {
    "key_unknown": "credentials_refused",
    "key_reused": "idempotency_key_reused",
    "amount_too_large": "amount_too_large",
    "not_allowed": "not_allowed_now",
    "not_found": "not_found",
}

EVENTS: dict[str, EventKind] = {
    "payment.review": EventKind.PAYMENT_REVIEW,
    "payment.authorized": EventKind.PAYMENT_AUTHORISED,
    "payment.captured": EventKind.PAYMENT_CAPTURED,
    "payment.declined": EventKind.PAYMENT_FAILED,
    "payment.expired": EventKind.PAYMENT_EXPIRED,
    "void.succeeded": EventKind.PAYMENT_VOIDED,
    "capture.succeeded": EventKind.CAPTURE_SUCCEEDED,
    "capture.failed": EventKind.CAPTURE_FAILED,
    "refund.succeeded": EventKind.REFUND_SUCCEEDED,
    "refund.failed": EventKind.REFUND_FAILED,
    "payout.accepted": EventKind.PAYOUT,
    "payout.in_transit": EventKind.PAYOUT,
    "payout.paid": EventKind.PAYOUT,
    "payout.refused": EventKind.PAYOUT,
    "payout.returned": EventKind.PAYOUT,
}


class _Card(msgspec.Struct):
    brand: str
    last4: str
    expiry: str
    fingerprint: str
    country: str


class _Decline(msgspec.Struct):
    code: str
    network_code: str = ""
    message: str = ""


class _Action(msgspec.Struct):
    url: str


class _Object(msgspec.Struct):
    id: str
    object: str
    status: str
    reference: str
    amount: int
    currency: str
    fee: int = 0
    card: _Card | None = None
    decline: _Decline | None = None
    failure: _Decline | None = None
    next_action: _Action | None = None
    payment: "_Object | None" = None


class _List(msgspec.Struct):
    data: list[_Object]


class _Report(msgspec.Struct):
    name: str


class _Reports(msgspec.Struct):
    data: list[_Report]


class _Owed(msgspec.Struct):
    batch: str
    amount: int
    currency: str
    is_open: bool


class _Balance(msgspec.Struct):
    data: list[_Owed]


class _Error(msgspec.Struct):
    error: _Decline


class _Event(msgspec.Struct):
    id: str
    type: str
    created_at: datetime
    data: _Object


_object = msgspec.json.Decoder(_Object)
_list = msgspec.json.Decoder(_List)
_reports = msgspec.json.Decoder(_Reports)
_balance = msgspec.json.Decoder(_Balance)
_error = msgspec.json.Decoder(_Error)
_event = msgspec.json.Decoder(_Event)


def payment_request(instruction: Instruction, *, hosted: bool) -> dict[str, object]:
    """What to send to take a payment."""
    body: dict[str, object] = {
        "amount": instruction.amount.minor,
        "currency": instruction.amount.currency,
        "reference": instruction.reference,
        "capture": instruction.capture,
        "metadata": instruction.metadata,
    }
    if instruction.description is not None:
        body["description"] = instruction.description
    if instruction.return_url is not None:
        body["return_url"] = instruction.return_url
    return body | ({"hosted": True} if hosted else {"token": instruction.token or ""})


def operation_request(instruction: Instruction) -> dict[str, object]:
    """What to send to capture, void or refund."""
    return {
        "amount": instruction.amount.minor,
        "currency": instruction.amount.currency,
        "reference": instruction.reference,
        "metadata": instruction.metadata,
    }


def result(answer: Answer) -> Result:
    """Read the answer to something we asked to be done."""
    if answer.failure is not None:
        outcome = Outcome.UNKNOWN if answer.sent else Outcome.NOT_SENT
        return _failed(answer, outcome, str(answer.failure))
    if answer.status in (200, 201, 402):
        try:
            return _read(answer, _object.decode(answer.body))
        except (msgspec.MsgspecError, Invalid):
            return _failed(answer, Outcome.UNKNOWN, "malformed_answer")
    if answer.status >= 500 or answer.status < 400:
        return _failed(answer, Outcome.UNKNOWN, "server_error" if answer.status >= 500 else "malformed_answer")
    return _refused(answer)


def found(answer: Answer) -> Result:
    """Read the answer to a question: whatever cannot be read leaves the operation unknown."""
    if answer.failure is not None or answer.status not in (200, 404):
        refused = result(answer)
        return msgspec.structs.replace(refused, outcome=Outcome.UNKNOWN)
    if answer.status == 404:
        return _failed(answer, Outcome.NOT_SENT, "not_found")
    try:
        return _read(answer, _object.decode(answer.body))
    except (msgspec.MsgspecError, Invalid):
        return _failed(answer, Outcome.UNKNOWN, "malformed_answer")


def first_found(answer: Answer) -> Result:
    """Read what the provider has under our reference; an empty list means that it never got it."""
    if answer.failure is not None or answer.status != 200:
        return found(answer)
    try:
        read = [_read(answer, subject) for subject in _list.decode(answer.body).data]
    except (msgspec.MsgspecError, Invalid):
        return _failed(answer, Outcome.UNKNOWN, "malformed_answer")
    if not read:
        return _failed(answer, Outcome.NOT_SENT, "not_found")
    # A provider may hold a refused try beside the one that went through: what moved money counts, and a no only when nothing else may be true.
    order = (Outcome.SUCCEEDED, Outcome.PENDING, Outcome.UNKNOWN, Outcome.DECLINED)
    best = min(read, key=lambda one: order.index(one.outcome))
    return msgspec.structs.replace(best, evidence=best.evidence | {"matches": str(len(read))})


def account(answer: Answer) -> Result:
    """Read the answer to the harmless question whether we are known."""
    if answer.failure is None and answer.status == 200:
        return Result(outcome=Outcome.SUCCEEDED, evidence=_evidence(answer, "", None), latency_ms=answer.latency_ms)
    return result(answer)


def balance(answer: Answer) -> Balance:
    """Read what the provider owes; an answer that cannot be read is no balance of nothing."""
    if answer.failure is None and answer.status == 200:
        try:
            owed = tuple(
                Owed(batch=each.batch, amount=_money(each.amount, each.currency), is_open=each.is_open)
                for each in _balance.decode(answer.body).data
            )
        except (msgspec.MsgspecError, Invalid):
            return Balance(outcome=Outcome.UNKNOWN, code="malformed_answer", latency_ms=answer.latency_ms)
        return Balance(outcome=Outcome.SUCCEEDED, owed=owed, latency_ms=answer.latency_ms)
    refused = result(answer)
    return Balance(outcome=refused.outcome, code=refused.code, latency_ms=answer.latency_ms)


def report_list(answer: Answer) -> ReportList:
    """Read which reports there are."""
    if answer.failure is None and answer.status == 200:
        try:
            names = tuple(each.name for each in _reports.decode(answer.body).data)
        except msgspec.MsgspecError:
            return ReportList(outcome=Outcome.UNKNOWN, code="malformed_answer", latency_ms=answer.latency_ms)
        return ReportList(outcome=Outcome.SUCCEEDED, names=names, latency_ms=answer.latency_ms)
    refused = result(answer)
    return ReportList(outcome=refused.outcome, code=refused.code, latency_ms=answer.latency_ms)


def report(answer: Answer) -> Report:
    """Read what came of fetching a report; its bytes are elsewhere."""
    if answer.failure is None and answer.status == 200:
        return Report(outcome=Outcome.SUCCEEDED, latency_ms=answer.latency_ms)
    refused = result(answer)
    return Report(outcome=refused.outcome, code=refused.code, latency_ms=answer.latency_ms)


def events(raw: bytes, headers: Mapping[str, str], secret: str) -> list[PspEvent]:
    """Check the signature (Standard Webhooks, five minutes' tolerance) and read the event."""
    try:
        Webhook(secret).verify(raw, dict(headers), json_parse=False)
        event = _event.decode(raw)
        amount = _money(event.data.amount, event.data.currency)
    except (WebhookVerificationError, ValueError, Invalid) as problem:
        raise SignatureRejected("The signature, its time or the message is not right.") from problem
    return [
        PspEvent(
            provider_event_id=event.id,
            kind=EVENTS.get(event.type, EventKind.OTHER),
            provider_reference=event.data.id,
            our_reference=event.data.reference or None,
            amount=amount,
            occurred_at=event.created_at,
            payload={"type": event.type, "object": event.data.object, "status": event.data.status},
        )
    ]


def _read(answer: Answer, subject: _Object) -> Result:
    if subject.object == "payment":
        return _payment(answer, subject)
    parent, outcome = subject.payment, OPERATIONS.get(subject.status)
    if outcome is None:
        return _failed(answer, Outcome.UNKNOWN, "malformed_answer")
    return Result(
        outcome=outcome,
        provider_reference=subject.id,
        code=_code(subject.failure),
        network_code=_network(subject.failure),
        status=STATUSES.get(parent.status) if parent else None,
        amount=_money(subject.amount, subject.currency),
        fee=_money(subject.fee, subject.currency),
        method=_method(parent.card) if parent else None,
        evidence=_evidence(answer, subject.status, subject.failure),
        latency_ms=answer.latency_ms,
    )


def _payment(answer: Answer, subject: _Object) -> Result:
    status = STATUSES.get(subject.status)
    if status is None:
        return _failed(answer, Outcome.UNKNOWN, "malformed_answer")
    refused = status is ProviderStatus.FAILED or (status is ProviderStatus.EXPIRED and subject.decline is not None)
    outcome = Outcome.DECLINED if refused else Outcome.PENDING if status in _WAITING else Outcome.SUCCEEDED
    url = subject.next_action.url if subject.next_action else ""
    return Result(
        outcome=outcome,
        provider_reference=subject.id,
        code=_code(subject.decline),
        network_code=_network(subject.decline),
        message=subject.decline.message if subject.decline else None,
        redirect_url=url if url.startswith(("https://", "http://")) else None,
        status=status,
        amount=_money(subject.amount, subject.currency),
        fee=_money(subject.fee, subject.currency),
        method=_method(subject.card),
        evidence=_evidence(answer, subject.status, subject.decline),
        latency_ms=answer.latency_ms,
    )


def _refused(answer: Answer) -> Result:
    try:
        error = _error.decode(answer.body).error
    except msgspec.MsgspecError:
        error = _Decline("")
    if answer.status == 408 or error.code == "key_in_progress":
        return _failed(answer, Outcome.UNKNOWN, "in_progress", error)
    code = "rate_limited" if answer.status == 429 else ERRORS.get(error.code)
    if code is None:
        code = "credentials_refused" if answer.status in (401, 403) else "invalid_request"
    wait = answer.headers.get("retry-after", "")
    refused = _failed(answer, Outcome.NOT_SENT, code, error)
    return msgspec.structs.replace(refused, retry_after=int(wait) if wait.isdecimal() else None)


def _failed(answer: Answer, outcome: Outcome, code: str, error: _Decline | None = None) -> Result:
    return Result(
        outcome=outcome,
        code=code,
        message=error.message or None if error else None,
        evidence=_evidence(answer, "", error) | _excerpt(answer),
        latency_ms=answer.latency_ms,
    )


def _evidence(answer: Answer, status: str, decline: _Decline | None) -> dict[str, str]:
    pairs = {
        "http_status": str(answer.status or ""),
        "failure": str(answer.failure or ""),
        "provider_status": status,
        "provider_code": decline.code if decline else "",
        "network_code": decline.network_code if decline else "",
        "latency_ms": str(answer.latency_ms),
    }
    return {name: value for name, value in pairs.items() if value}


def _excerpt(answer: Answer) -> dict[str, str]:
    text = answer.body[:300].decode("utf-8", "replace")
    return {"answer": str(redact(text))} if text else {}


def _code(decline: _Decline | None) -> str | None:
    return DECLINES.get(decline.code, decline.code) if decline else None


def _network(decline: _Decline | None) -> str | None:
    return decline.network_code or None if decline else None


def _money(minor: int, currency: str) -> Money:
    return Money(minor, currency)


def _method(card: _Card | None) -> MethodSummary | None:
    if card is None:
        return None
    return MethodSummary(brand=card.brand, last4=card.last4, expiry=card.expiry, fingerprint=card.fingerprint, country=card.country)
