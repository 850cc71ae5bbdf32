"""A payment of which the PSP took another amount than was asked for: what can be done about it, and what must not. Pure."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from app.core.errors import Conflict
from app.core.money import Money
from app.psp.domain import Outcome, ProviderStatus, Result

GONE = (ProviderStatus.REFUNDED, ProviderStatus.VOIDED, ProviderStatus.FAILED, ProviderStatus.EXPIRED)
"""The PSP holds nothing of the buyer's any more."""


class Way(StrEnum):
    """How a person ends a conflict."""

    ACCEPT = "accept"
    GIVE_BACK = "give_back"
    CLOSE = "close"


class PaymentNotConflicted(Conflict):
    """The PSP and the books agree about this payment, or somebody decided already."""

    code = "payment_not_conflicted"
    title = "There is nothing to decide about this payment"


class ConflictNotSettled(Conflict):
    """What the PSP says now does not allow this way of ending the conflict; look at the payment again."""

    code = "payment_conflict_not_settled"
    title = "This does not fit what the PSP says now"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for and what the PSP says now; ``is_booked`` when it was decided before that the buyer gets it back, and that failed."""

    asked: Money
    result: Result
    is_booked: bool

    @property
    def amount(self) -> Money | None:
        """What the PSP has, if it said so."""
        return self.result.amount if self.result.outcome is Outcome.SUCCEEDED else None

    @property
    def is_gone(self) -> bool:
        """Whether the PSP says for certain that it holds nothing of the buyer's any more."""
        return self.result.outcome in (Outcome.SUCCEEDED, Outcome.DECLINED) and self.result.status in GONE

    @property
    def ways(self) -> Sequence[Way]:
        """What can be done. More than was asked for is nobody's to accept, and what is promised to the buyer goes back to the buyer."""
        if self.is_gone:
            return [Way.CLOSE]
        amount = self.amount
        if amount is None or self.result.status is not ProviderStatus.CAPTURED or amount.currency != self.asked.currency:
            return []
        if not amount.is_positive:
            return []
        return [Way.ACCEPT, Way.GIVE_BACK] if amount <= self.asked and not self.is_booked else [Way.GIVE_BACK]

    @property
    def sentence(self) -> str:
        """What the PSP says, and what follows from it."""
        status = self.result.status
        if self.is_gone:
            return f"The PSP says that the payment is {status}: it holds nothing of the buyer’s any more. The payment can be closed."
        if self.result.outcome is not Outcome.SUCCEEDED or status is None:
            return "The PSP gave no clear answer just now. Nothing can be decided before it does; try again in a while."
        if self.amount is None or status is not ProviderStatus.CAPTURED:
            return f"The PSP says that the payment is {status.replace('_', ' ')}. What was not taken is released, not given back."
        if self.amount.currency != self.asked.currency:
            return f"The PSP took {self.amount.format()}. Give it back at the PSP; once it says so, the payment can be closed here."
        said = f"Asked for {self.asked.format()}, the PSP took {self.amount.format()}."
        if self.is_booked:
            return f"{said} It was to be given back, which failed; it is the buyer’s and waits for another try."
        if self.amount > self.asked:
            return f"{said} More than the buyer owes is not accepted: it is given back in full, and the order can be paid again."
        return f"{said} Accept it, and the order is paid in that part; or give it back in full, and the order can be paid again."

    def check(self, way: Way, agreed: Money | None) -> None:
        """Refuse what does not fit the PSP's present word, or another amount than the one the person saw."""
        if way not in self.ways:
            raise ConflictNotSettled(self.sentence)
        if way is not Way.CLOSE and agreed != self.amount:
            raise ConflictNotSettled(f"The PSP says something else now. {self.sentence}")
