"""What a person finds out about an attempt on which the PSP never gave its word: whether it was carried out. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Invalid
from app.core.ids import AttemptId, PaymentId, parse_id, public_id
from app.core.money import Money
from app.payments.domain import CaptureMode, Operation
from app.payments.instructions.domain import refund_instruction
from app.psp.domain import Outcome, ProviderStatus, Result

DECIDED_BY = "decided_by"
"""What is kept with an attempt whose outcome a person found out."""
CONTRADICTED = "contradicted"
"""What is kept with such an attempt once the PSP says something else."""


class Verdict(StrEnum):
    """What a person found out at the PSP."""

    CARRIED_OUT = "carried_out"
    NOT_CARRIED_OUT = "not_carried_out"


class StillAskedAbout(Conflict):
    """The PSP is still being asked; a person decides only when it was asked as often as it is."""

    code = "attempt_still_asked_about"
    title = "The PSP is still being asked about this"


class AlreadyKnown(Conflict):
    """The outcome is known meanwhile: the PSP answered, or somebody decided."""

    code = "attempt_outcome_known"
    title = "The outcome is known already"


class ReferenceMissing(Invalid):
    """What was carried out has a name at the PSP; without it nobody could find it there again."""

    code = "provider_reference_missing"
    title = "The PSP’s reference is missing"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person found out about one attempt, from where, and why it is believed."""

    attempt_id: AttemptId
    verdict: Verdict
    reference: str
    reason: str

    def check(self) -> None:
        """Refuse a yes without the PSP's reference."""
        if self.verdict is Verdict.CARRIED_OUT and not self.reference.strip():
            problem = "Enter the reference under which the PSP has it."
            raise ReferenceMissing(problem, fields={"reference": problem})

    def instruction(self, *, payment_id: PaymentId, amount: Money) -> dict[str, object]:
        """The decision as others are asked to agree to it."""
        told = refund_instruction(payment_id=payment_id, amount=amount, split=None, reason=self.reason, keep_fee=False)
        return told | {"attempt": public_id("att", self.attempt_id), "verdict": self.verdict.value, "reference": self.reference}


def decision_in(instruction: Mapping[str, object]) -> Decision | None:
    """The decision that others were asked to agree to, if it is one."""
    if "verdict" not in instruction:
        return None
    attempt_id: UUID = parse_id("att", str(instruction["attempt"]))
    return Decision(
        attempt_id=AttemptId(attempt_id),
        verdict=Verdict(str(instruction["verdict"])),
        reference=str(instruction["reference"]),
        reason=str(instruction["reason"]),
    )


def result_of(decision: Decision, *, operation: Operation, mode: CaptureMode, amount: Money, by: str) -> Result:
    """The decision as if the PSP had said it: all that follows from an answer follows from it."""
    evidence = {DECIDED_BY: by, "reason": decision.reason}
    if decision.verdict is Verdict.NOT_CARRIED_OUT:
        message = f"{by} found out that it was not carried out: {decision.reason}"
        return Result(outcome=Outcome.NOT_SENT, code=Verdict.NOT_CARRIED_OUT, message=message, evidence=evidence)
    at_once = ProviderStatus.CAPTURED if mode is CaptureMode.AUTOMATIC else ProviderStatus.AUTHORISED
    return Result(
        outcome=Outcome.SUCCEEDED,
        provider_reference=decision.reference.strip(),
        status=at_once if operation is Operation.AUTHORISE else None,
        amount=amount,
        message=f"{by} found out that it was carried out: {decision.reason}",
        evidence=evidence,
    )
