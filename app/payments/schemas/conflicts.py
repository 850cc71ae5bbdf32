"""Ending a conflict, as the dialog shows it and as it is sent."""

from typing import Annotated

import msgspec

from app.core.money import Money
from app.payments.reported.domain import Report, Way
from app.psp.domain import ProviderStatus

_WORDS = {
    Way.ACCEPT: ("Accept {amount}", "The sellers get their parts of it; the order is paid in that part"),
    Way.GIVE_BACK: ("Give back {amount} in full", "The buyer gets back all that was taken; the order can be paid again"),
    Way.CLOSE: ("Close the payment", "The provider holds nothing of it any more; the order can be paid again"),
}


class ConflictForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a person ends a conflict, and the amount that they saw."""

    way: Way
    reason: Annotated[str, msgspec.Meta(min_length=5, max_length=200)]
    idempotency_key: Annotated[str, msgspec.Meta(max_length=200)] = ""
    amount: Money | None = None


class ConflictPage(msgspec.Struct, frozen=True, kw_only=True):
    """What the PSP says now, and what can be done about it."""

    payment: str
    text: str
    amount: Money | None
    options: list[tuple[str, str, str]]
    facts: list[tuple[str, str]]
    is_promise: bool
    """Whether the PSP took nothing yet: a promise is released."""

    @property
    def path(self) -> str:
        """The payment's page."""
        return f"/payments/{self.payment}"


def conflict_page(payment: str, report: Report) -> ConflictPage:
    """Put the dialog together from what the PSP said a moment ago."""
    shown, result = report.amount.format() if report.amount else "it", report.result
    facts = [("Asked for", report.asked.format()), ("The PSP says", str(result.status or result.outcome).replace("_", " "))]
    is_promise = result.status is ProviderStatus.AUTHORISED
    facts += [("It promised" if is_promise else "It has", report.amount.format())] if report.amount else []
    facts += [("Its reference", result.provider_reference)] if result.provider_reference else []
    options = [(way.value, _WORDS[way][0].format(amount=shown), _WORDS[way][1]) for way in report.ways]
    return ConflictPage(
        payment=payment, text=report.sentence, amount=report.amount, options=options, facts=facts, is_promise=is_promise and not options
    )
