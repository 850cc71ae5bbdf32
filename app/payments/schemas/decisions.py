"""Deciding about an attempt that the PSP never settled, as the dialog shows it and as it is sent."""

from typing import Annotated

import msgspec

from app.core.ids import AttemptId, public_id
from app.core.money import Money
from app.payments.domain import Operation
from app.payments.models import Payment, PaymentAttempt
from app.payments.verdicts.domain import Decision, Verdict

NOUNS = {Operation.AUTHORISE: "payment", Operation.CAPTURE: "capture", Operation.VOID: "release", Operation.REFUND: "refund"}
_NO = {
    Operation.AUTHORISE: "The payment failed; the order can be paid again",
    Operation.CAPTURE: "Nothing was taken; it can be captured again",
    Operation.VOID: "It is still authorised",
    Operation.REFUND: "The wallets have the money again",
}
_YES = {
    Operation.AUTHORISE: "The money was taken, or promised, in full",
    Operation.CAPTURE: "The sellers get their parts",
    Operation.VOID: "The authorisation is gone",
    Operation.REFUND: "The buyer has the money",
}


class DecideForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a person found out."""

    verdict: Verdict
    reason: Annotated[str, msgspec.Meta(min_length=10, max_length=200)]
    reference: Annotated[str, msgspec.Meta(max_length=100)] = ""

    def decision(self, attempt_id: AttemptId) -> Decision:
        """The decision in the words of the domain."""
        return Decision(attempt_id=attempt_id, verdict=self.verdict, reference=self.reference, reason=self.reason)


class DecidePage(msgspec.Struct, frozen=True, kw_only=True):
    """The question what became of an attempt."""

    payment: str
    attempt: str
    noun: str
    amount: Money
    facts: list[tuple[str, str]]
    options: list[tuple[str, str, str]]

    @property
    def path(self) -> str:
        """The payment's page."""
        return f"/payments/{self.payment}"

    @property
    def action(self) -> str:
        """Where the form goes."""
        return f"{self.path}/attempts/{self.attempt}/decide"


def decide_page(payment: Payment, attempt: PaymentAttempt, amount: Money) -> DecidePage:
    """Put the dialog together."""
    operation = Operation(attempt.operation)
    facts = [("Our reference", public_id("att", attempt.id)), ("Asked", f"{attempt.asked_times} times")]
    facts += [("Last answer", f"{attempt.outcome or 'none'} {(attempt.code or '').replace('_', ' ')}".strip())]
    facts += sorted((name.replace("_", " "), said) for name, said in attempt.evidence.items())
    return DecidePage(
        payment=public_id("pay", payment.id),
        attempt=public_id("att", attempt.id),
        noun=NOUNS[operation],
        amount=amount,
        facts=facts,
        options=[
            (Verdict.NOT_CARRIED_OUT.value, "It was not carried out", _NO[operation]),
            (Verdict.CARRIED_OUT.value, "It was carried out", _YES[operation]),
        ],
    )
