"""The “why” of a payment: what the PSP said, what it means, what happens next. Read from what was stored, never worked out anew."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.core.ids import public_id
from app.core.money import Money
from app.payments.domain import ASK_AFTER, IN_FLIGHT, Operation, PaymentStatus
from app.payments.models import Payment, PaymentAttempt, PaymentOperation
from app.payments.verdicts.domain import CONTRADICTED, DECIDED_BY
from app.psp.domain import CATEGORIES, Category, Outcome
from app.routing.domain import Decision

P = PaymentStatus
UNDECIDED = (None, Outcome.PENDING, Outcome.UNKNOWN)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to “why”: its tone, a headline, what it means and what happens next."""

    tone: str
    title: str
    text: str
    facts: list[tuple[str, str]] = []
    next_at: datetime | None = None
    can_ask: bool = False
    can_settle: bool = False
    decide: str | None = None
    link: str | None = None


_ADVICE: dict[Category, tuple[str, str]] = {
    Category.SOFT: ("a soft decline", "The same card may work later. The buyer can try again, or pay another way now."),
    Category.HARD: ("a final decline", "This card will not work. Ask the buyer for another way to pay; do not try the same card again."),
    Category.TECHNICAL: ("a technical failure", "Nothing was taken. Neither buyer nor card is at fault; trying again is safe."),
    Category.NEEDS_CUSTOMER: ("up to the buyer", "The buyer has to check what was entered, or confirm it with the bank, and try again."),
    Category.FRAUD: (
        "a suspicion of fraud",
        "Do not try again. Do not name the reason to the buyer; the bank will talk to the card’s holder.",
    ),
    Category.CONFIGURATION: (
        "a set-up problem",
        "The connection or the request is not as the PSP wants it. Check the connection; trying again will not help.",
    ),
}
_WAITING: dict[PaymentStatus, tuple[str, str, str]] = {
    P.PROCESSING: ("info", "The PSP has not answered yet", "It will tell us by webhook; if it does not, it is asked again by itself."),
    P.IN_REVIEW: (
        "warn",
        "The PSP holds it for review",
        "Nothing is taken until the PSP has decided. Its decision arrives by webhook; otherwise it is asked.",
    ),
    P.UNKNOWN: (
        "warn",
        "We do not know whether it happened",
        "The answer was lost on the way. It is never sent a second time under another key, so nobody pays twice: the PSP is asked until it knows.",
    ),
}


def reasons(
    payment: Payment, attempts: Sequence[PaymentAttempt], operations: Sequence[PaymentOperation], routing: Decision | None
) -> list[Reason]:
    """Everything about the payment that needs an explanation, most pressing first."""
    status = PaymentStatus(payment.status)
    first = attempts[0] if attempts else None
    found = [_undecided(operation, attempts, payment) for operation in operations if operation.status in IN_FLIGHT]
    if status is P.FAILED and first is not None:
        found.append(_declined(payment, first))
    elif status in _WAITING and first is not None:
        tone, title, text = _WAITING[status]
        found.append(
            Reason(
                tone=tone, title=title, text=text, facts=_asked(first), next_at=first.next_ask_at, can_ask=True, decide=_for_people(first)
            )
        )
    elif status is P.REQUIRES_ACTION:
        text = "The buyer has to finish on the PSP’s page. What happened there arrives by webhook, when the buyer returns, or when the PSP is asked."
        found.append(
            Reason(tone="info", title="Waits for the buyer", text=text, next_at=payment.expires_at, can_ask=True, link=payment.redirect_url)
        )
    elif status is P.CONFLICTED:
        text = f"{payment.failure_message or 'The amounts differ.'} Compare it with the PSP’s own console. What was only authorised is released; what was taken is accepted or given back."
        found.append(Reason(tone="bad", title="The PSP reports another amount", text=text, can_settle=True))
    return _contradicted(attempts) + found + _promised(payment, status) + _rerouted(routing)


def _rerouted(routing: Decision | None) -> list[Reason]:
    if routing is None or not routing.skipped:
        return []
    skipped = " and ".join(one.name for one in routing.skipped)
    text = (
        f"It was {skipped}’s turn by the rule “{routing.rule}”, but no payments were taken there at that moment; {routing.taken} was next."
    )
    return [Reason(tone="info", title=f"Went through {routing.taken} because {skipped} was off", text=text)]


def _declined(payment: Payment, attempt: PaymentAttempt) -> Reason:
    code = payment.failure_code or attempt.code or "unknown"
    kind, advice = _ADVICE[CATEGORIES.get(code, Category.TECHNICAL if attempt.outcome == Outcome.NOT_SENT else Category.HARD)]
    facts = [("Code", code), ("Bank’s code", attempt.network_code or ""), ("PSP says", attempt.message or payment.failure_message or "")]
    return Reason(
        tone="bad", title=f"Not paid: {code.replace('_', ' ')}, {kind}", text=advice, facts=[(label, said) for label, said in facts if said]
    )


def _undecided(operation: PaymentOperation, attempts: Sequence[PaymentAttempt], payment: Payment) -> Reason:
    attempt = next((attempt for attempt in attempts if attempt.id == operation.attempt_id), None)
    amount = Money(operation.amount_minor, payment.currency).format()
    names = {Operation.CAPTURE: "capture", Operation.REFUND: "refund", Operation.VOID: "release"}
    noun = names.get(Operation(operation.kind), operation.kind)
    text = "The PSP is asked until it knows, always about the same operation: it cannot happen twice."
    if operation.kind == Operation.REFUND:
        text += " The sellers’ money is set aside until then."
    title = f"The {noun} of {amount} is {'on its way' if operation.status == 'pending' else 'not decided'}"
    return Reason(
        tone="warn",
        title=title,
        text=text,
        facts=_asked(attempt) if attempt else [],
        next_at=attempt.next_ask_at if attempt else None,
        can_ask=True,
        decide=_for_people(attempt) if attempt else None,
    )


def _for_people(attempt: PaymentAttempt) -> str | None:
    """The attempt, if a person may decide about it now: the PSP was asked as often as it is."""
    return public_id("att", attempt.id) if attempt.outcome in UNDECIDED and attempt.next_ask_at is None else None


def _contradicted(attempts: Sequence[PaymentAttempt]) -> list[Reason]:
    found = [attempt for attempt in attempts if CONTRADICTED in attempt.evidence]
    return [
        Reason(
            tone="bad",
            title="The PSP says otherwise than a person decided",
            text="Nothing was moved by that. Compare both with the PSP’s own console and settle the difference: as a break in reconciliation, or by a refund.",
            facts=[
                ("Decided by", attempt.evidence.get(DECIDED_BY, "–")),
                ("Decided", (attempt.outcome or "").replace("_", " ")),
                ("The PSP says", attempt.evidence[CONTRADICTED].replace("_", " ")),
            ],
        )
        for attempt in found
    ]


def _asked(attempt: PaymentAttempt) -> list[tuple[str, str]]:
    times = attempt.asked_times
    asked = "not yet" if times == 0 else f"{times} time{'' if times == 1 else 's'}, of {len(ASK_AFTER)} before a person decides"
    last = [("Last answer", f"{attempt.code.replace('_', ' ')}{f': {attempt.message}' if attempt.message else ''}")] if attempt.code else []
    return [("Asked", asked), *last]


def _promised(payment: Payment, status: PaymentStatus) -> list[Reason]:
    if status not in (P.AUTHORISED, P.PARTIALLY_CAPTURED) or payment.rest_released:
        return []
    left = Money(payment.amount_minor - payment.captured_minor, payment.currency).format()
    text = f"{left} is reserved on the buyer’s card and not taken. Capture it when the goods leave, or release it."
    return [Reason(tone="info", title="Authorised, waiting for the capture", text=text, next_at=payment.expires_at)]
