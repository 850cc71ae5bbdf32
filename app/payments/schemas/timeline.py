"""The timeline of a payment: what happened, who did it and why, in words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from app.core.actors import ActorKind
from app.core.money import Money
from app.payments.domain import Operation
from app.payments.models import Payment, PaymentAttempt, PaymentEvent, PaymentOperation


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the timeline."""

    icon: str
    tone: str
    title: str
    text: str
    at: datetime


class _Look(msgspec.Struct, frozen=True):
    icon: str
    tone: str
    title: str


_LOOKS: dict[str, _Look] = {
    "payment.created": _Look("store", "", "Payment of {amount} started"),
    "payment.requires_action": _Look("external-link", "info", "The buyer was sent to the PSP’s page"),
    "payment.processing": _Look("clock", "info", "The PSP is working on it"),
    "payment.in_review": _Look("eye", "warn", "Held for review by the PSP"),
    "payment.unknown": _Look("circle-help", "warn", "The PSP’s answer was lost: the outcome is unknown"),
    "payment.authorised": _Look("shield-check", "info", "Authorised {amount}"),
    "payment.captured": _Look("check", "ok", "Captured {amount} of {whole}"),
    "payment.failed": _Look("x", "bad", "{amount} was not paid"),
    "payment.conflicted": _Look("circle-alert", "bad", "The PSP reports something else than was asked for"),
    "payment.conflict_accepted": _Look("check", "ok", "Accepted as the PSP took it: {amount} of {whole}"),
    "payment.conflict_closed": _Look("ban", "", "Closed: the PSP holds nothing of it any more"),
    "payment.given_back": _Look("undo-2", "ok", "{amount} given back in full; the order can be paid again"),
    "payment.voided": _Look("ban", "", "The authorisation was released"),
    "payment.rest_released": _Look("ban", "", "The rest of the authorisation was released"),
    "payment.expired": _Look("clock", "", "Expired: nobody finished it in time"),
    "payment.rest_expired": _Look("clock", "", "The rest of the authorisation expired"),
    "payment.refunded": _Look("undo-2", "ok", "Refund of {amount} succeeded"),
    "capture.requested": _Look("arrow-right", "", "Capture of {amount} asked for"),
    "refund.requested": _Look("arrow-right", "", "Refund of {amount} asked for"),
    "void.requested": _Look("arrow-right", "", "Release of {amount} asked for"),
    "capture.failed": _Look("x", "bad", "Capture of {amount} failed"),
    "refund.failed": _Look("x", "bad", "Refund of {amount} failed; the wallets have it back"),
    "void.succeeded": _Look("ban", "", "The PSP confirms the release; nothing was left to release"),
    "void.failed": _Look("x", "bad", "The release failed"),
    "psp.contradicted": _Look("shield-alert", "bad", "The PSP contradicts its earlier answer"),
    "psp.late_success": _Look("shield-alert", "bad", "The PSP reports success for a payment that was closed"),
}
_BY = {
    ActorKind.API_KEY: "API key “{}”",
    ActorKind.API_CLIENT: "OAuth client “{}”",
    ActorKind.OPERATOR: "By {}, who runs the platform",
    ActorKind.PSP: "Told by {}",
    ActorKind.WORKER: "By the job “{}”",
    ActorKind.SYSTEM: "By {}",
}


def steps(
    payment: Payment, events: Sequence[PaymentEvent], attempts: Sequence[PaymentAttempt], operations: Sequence[PaymentOperation]
) -> list[Step]:
    """The history, newest first, each step with its cause."""
    tries = {attempt.id: attempt for attempt in attempts}
    of_attempt = {operation.attempt_id: operation for operation in operations}
    return [_step(payment, event, tries, of_attempt) for event in reversed(events)]


def _step(payment: Payment, event: PaymentEvent, tries: Mapping[UUID, PaymentAttempt], operations: Mapping[UUID, PaymentOperation]) -> Step:
    look = _LOOKS.get(event.kind) or _Look("activity", "", event.kind.replace(".", " ").replace("_", " ").capitalize())
    minor = payment.amount_minor if event.amount_minor is None else event.amount_minor
    whole = Money(payment.amount_minor, payment.currency).format()
    attempt = tries.get(event.attempt_id) if event.attempt_id else None
    operation = operations.get(event.attempt_id) if event.attempt_id else None
    said = [_by(event), *_causes(event, attempt, operation)]
    return Step(
        icon=look.icon,
        tone=look.tone,
        title=look.title.format(amount=Money(minor, payment.currency).format(), whole=whole),
        text=". ".join(part.rstrip(".") for part in said if part),
        at=event.at,
    )


def _by(event: PaymentEvent) -> str:
    return _BY.get(ActorKind(event.actor_kind), "By {}").format(event.actor_name)


def _causes(event: PaymentEvent, attempt: PaymentAttempt | None, operation: PaymentOperation | None) -> list[str]:
    details = event.details
    said = [str(details["message"])] if details.get("message") else []
    if details.get("code"):
        network = f", the bank’s code is {attempt.network_code}" if attempt is not None and attempt.network_code else ""
        said.append(f"Code {details['code']}{network}")
    reason = details.get("reason") or (operation.reason if operation is not None and operation.kind == Operation.REFUND else "")
    if reason:
        said.append(f"Reason: {reason}")
    if attempt is not None and attempt.provider_reference and not event.kind.endswith((".requested", ".created")):
        said.append(f"PSP reference {attempt.provider_reference}")
    return said
