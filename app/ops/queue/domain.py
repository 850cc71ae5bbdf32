"""What waits for an operator: why it needs a person, what can be done about it, and what came of it. Pure."""

from enum import StrEnum
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Invalid
from app.core.ids import MalformedId, MerchantId, parse_id, public_id

MOST_AT_ONCE = 25
"""A page of the queue: so many are asked about or tried again by one act."""


class Kind(StrEnum):
    """Why something needs a person."""

    UNKNOWN = "unknown"
    UNANSWERED = "unanswered"
    OPERATION = "operation"
    CONFLICTED = "conflicted"
    LATE = "late"
    FAILED = "failed"
    WEBHOOK = "webhook"
    PAYOUT = "payout"


LABELS = {
    Kind.UNKNOWN: "Payment unknown",
    Kind.UNANSWERED: "Never answered",
    Kind.OPERATION: "Operation unknown",
    Kind.CONFLICTED: "Conflicted",
    Kind.LATE: "Paid too late",
    Kind.FAILED: "Operation failed",
    Kind.WEBHOOK: "Webhook stuck",
    Kind.PAYOUT: "Payout unknown",
}
MEANINGS = {
    Kind.UNKNOWN: "The answer was lost; the payment may have happened",
    Kind.UNANSWERED: "It was written down and sent, and nobody recorded an answer",
    Kind.OPERATION: "A capture, refund or release whose answer was lost",
    Kind.CONFLICTED: "The provider reports another amount or currency",
    Kind.LATE: "Taken after it was given up; another payment paid the order",
    Kind.FAILED: "A capture, refund or release that did not happen",
    Kind.WEBHOOK: "The provider told something that could not be applied",
    Kind.PAYOUT: "Nobody knows whether the bank was told",
}


class Act(StrEnum):
    """What an operator does about what waits."""

    REPAIR = "repair"
    SET_ASIDE = "set_aside"


SETTABLE = (Kind.CONFLICTED, Kind.LATE, Kind.FAILED)
"""What has its final answer and may be left as it is; what is unknown must be answered."""


class QueueItemUnknown(Invalid):
    """What was chosen is not named as the queue names it."""

    code = "queue_item_unknown"
    title = "This is nothing from the queue"


class NothingToRepair(Conflict):
    """It is decided meanwhile, or nothing can be done about it from here."""

    code = "nothing_to_repair"
    title = "Nothing can be done about it here"


class StillNeedsAnAnswer(Conflict):
    """What is unknown is never set aside: it is asked about until it is known."""

    code = "still_needs_an_answer"
    title = "It still needs an answer"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits: why, whose it is, and which payment, attempt, operation, job or payout."""

    kind: Kind
    merchant_id: MerchantId
    id: UUID

    @property
    def token(self) -> str:
        """The item as forms and addresses carry it."""
        return f"{self.kind}.{public_id('mer', self.merchant_id)}.{public_id('qi', self.id)}"

    @classmethod
    def read(cls, token: str) -> "Item":
        """Read an item back from a form or an address."""
        kind, _, rest = token.partition(".")
        merchant, _, found = rest.partition(".")
        try:
            return cls(kind=Kind(kind), merchant_id=MerchantId(parse_id("mer", merchant)), id=parse_id("qi", found))
        except (ValueError, MalformedId):
            raise QueueItemUnknown("Choose from the queue again.") from None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What would come of an act, or what came of it."""

    item: Item
    is_possible: bool
    said: str
