"""The port every way to a bank is plugged into. Pure: no network, no database.

An adapter never raises for the bank's misbehaviour. What is not a clear word of the bank is unknown, and unknown is asked about.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from app.core.money import Money


class BankWord(StrEnum):
    """What a bank says of one order."""

    ACCEPTED = "accepted"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    REFUSED = "refused"
    RETURNED = "returned"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


UNDECIDED = (None, BankWord.ACCEPTED, BankWord.IN_TRANSIT, BankWord.UNKNOWN, BankWord.NOT_FOUND)
"""The bank's last word is missing."""


class BankOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One payout as a bank is asked for it. The number is in clear only here, for the length of the call."""

    end_to_end_id: str
    amount: Money
    creditor_name: str
    account_kind: str
    number: str
    routing: str = ""
    bic: str = ""
    text: str = ""


class BankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a bank answered, translated; the evidence is redacted and safe to store."""

    word: BankWord
    provider_reference: str | None = None
    code: str | None = None
    message: str | None = None
    amount: Money | None = None
    evidence: dict[str, str] = {}
    latency_ms: int = 0


class RailAdapter(Protocol):
    """How the house talks to a bank."""

    async def send(self, order: BankOrder) -> BankAnswer:
        """Ask the bank to pay. The same end-to-end id is one order for ever, however often it is sent."""

    async def lookup(self, end_to_end_id: str) -> BankAnswer:
        """Ask what became of an order; not_found means the bank certainly has no such order now."""
