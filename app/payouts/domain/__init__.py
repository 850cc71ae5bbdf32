"""Payouts: money that leaves a seller's wallet for a bank account. States, what leads from one to the next, errors and events. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, NewType
from uuid import UUID

from app.core.errors import Conflict, Forbidden, Invalid, NotFound, UpstreamFailed
from app.core.events import Event
from app.core.ids import public_id
from app.core.state import Machine

PayoutId = NewType("PayoutId", UUID)
PayoutAttemptId = NewType("PayoutAttemptId", UUID)
PayoutBatchId = NewType("PayoutBatchId", UUID)
PayoutHoldId = NewType("PayoutHoldId", UUID)
PayoutScheduleId = NewType("PayoutScheduleId", UUID)
FundingAccountId = NewType("FundingAccountId", UUID)

BANK = "bank"
"""How the ledger knows a bank account of the merchant's as an owner: of what is on it (1201), and of what is about to leave it (2150)."""


class PayoutStatus(StrEnum):
    DRAFT = "draft"
    REQUESTED = "requested"
    ON_HOLD = "on_hold"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    BATCHED = "batched"
    SENDING = "sending"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    RETURNED = "returned"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


P = PayoutStatus
STOPPABLE = (P.REQUESTED, P.ON_HOLD, P.PENDING_APPROVAL, P.APPROVED, P.SCHEDULED)
"""The money is still in the house."""
EDITABLE = (P.REQUESTED, P.ON_HOLD, P.PENDING_APPROVAL)
OUT = (P.SENDING, P.UNKNOWN, P.SUBMITTED, P.IN_TRANSIT)
"""The bank was asked and has not had its last word."""
UNUSED = (P.CANCELLED, P.REJECTED, P.EXPIRED, P.FAILED)
"""The money never left, or came straight back: such payouts do not count against limits."""
RETRYABLE = (P.FAILED, P.RETURNED)

PAYOUT = Machine(
    "payout",
    states=PayoutStatus,
    initial=P.DRAFT,
    transitions={
        "request": ((P.DRAFT,), P.REQUESTED),
        "hold": ((P.REQUESTED,), P.ON_HOLD),
        "release": ((P.ON_HOLD,), P.REQUESTED),
        "edit": (EDITABLE, P.REQUESTED),
        "submit": ((P.REQUESTED,), P.PENDING_APPROVAL),
        "approve": ((P.PENDING_APPROVAL,), P.APPROVED),
        "schedule": ((P.APPROVED,), P.SCHEDULED),
        "batch": ((P.SCHEDULED,), P.BATCHED),
        "take_out": ((P.BATCHED,), P.SCHEDULED),
        "claim": ((P.BATCHED,), P.SENDING),
        "lose": ((P.SENDING,), P.UNKNOWN),
        "acknowledge": ((P.SENDING, P.UNKNOWN), P.SUBMITTED),
        "resend": ((P.UNKNOWN,), P.APPROVED),
        "accept": ((P.SUBMITTED,), P.IN_TRANSIT),
        "pay": ((P.IN_TRANSIT,), P.PAID),
        "fail": (OUT, P.FAILED),
        "return": ((P.PAID,), P.RETURNED),
        "cancel": (STOPPABLE, P.CANCELLED),
        "reject": (STOPPABLE, P.REJECTED),
        "expire": (STOPPABLE, P.EXPIRED),
    },
)


class Source(StrEnum):
    """What asked for a payout."""

    PERSON = "person"
    PROGRAM = "program"
    SCHEDULE = "schedule"
    RETRY = "retry"


class Rail(StrEnum):
    """How an order reaches the bank: by a call, or in a file that a person hands in."""

    API = "api"
    SEPA = "sepa"
    ACH = "ach"
    CSV = "csv"


MOST_IN_FILE = {Rail.ACH: 9_999_999_999, Rail.SEPA: 99_999_999_999}
"""The largest order a file can carry, in minor units: ten digits in NACHA, 999,999,999.99 by the rules of SEPA."""


class BatchStatus(StrEnum):
    OPEN = "open"
    READY = "ready"
    SENT = "sent"


BATCH = Machine(
    "batch",
    states=BatchStatus,
    initial=BatchStatus.OPEN,
    transitions={
        "close": ((BatchStatus.OPEN,), BatchStatus.READY),
        "send": ((BatchStatus.READY,), BatchStatus.SENT),
    },
)


class HoldScope(StrEnum):
    """What a hold stops."""

    SELLER = "seller"
    PAYOUT = "payout"
    DESTINATION = "destination"
    PAYMENT = "payment"


class HoldKind(StrEnum):
    """Why."""

    MANUAL = "manual"
    VELOCITY = "velocity"
    FIRST_PAYOUT = "first_payout"
    RECENT_CHANGE = "recent_change"
    SELLER_BLOCKED = "seller_blocked"
    COMPLIANCE = "compliance"


class PayoutNotFound(NotFound):
    """The payout does not exist, or belongs to another merchant."""

    code = "payout_not_found"
    title = "There is no such payout"


class BatchNotFound(NotFound):
    """The batch does not exist, or belongs to another merchant."""

    code = "payout_batch_not_found"
    title = "There is no such batch"


class HoldNotFound(NotFound):
    """The hold does not exist, or belongs to another merchant."""

    code = "payout_hold_not_found"
    title = "There is no such hold"


class FundingAccountNotFound(NotFound):
    """The account payouts are made from does not exist, or belongs to another merchant."""

    code = "funding_account_not_found"
    title = "There is no such account to pay from"


class NoFundingAccount(Conflict):
    """No account is set from which payouts in this currency are made."""

    code = "no_funding_account"
    title = "There is no account to pay from in this currency"


class DestinationNotUsable(Conflict):
    """The seller has no bank account that may be paid to: none in the currency, not verified, or still cooling off."""

    code = "payout_destination_not_usable"
    title = "The seller’s bank account cannot be paid to"


class PayoutTooSmall(Invalid):
    """The amount is less than the least that is paid out."""

    code = "payout_too_small"
    title = "This payout is too small"


class PayoutTooLarge(Conflict):
    """The amount is more than one payout may be."""

    code = "payout_too_large"
    title = "This payout is larger than a payout may be"


class PayoutNeedsSecondPerson(Forbidden):
    """Who requested a payout, or last changed its destination, cannot approve it; nor can anybody approve twice."""

    code = "payout_needs_second_person"
    title = "Somebody else has to approve this payout"


class PayoutIsStale(Conflict):
    """The payout is not what the approver was shown."""

    code = "payout_is_stale"
    title = "The payout changed meanwhile"


class PayoutWasSent(Conflict):
    """The bank was asked already; the payout can only be followed now."""

    code = "payout_was_sent"
    title = "The bank has this payout already"


class PayoutRetried(Conflict):
    """A payout that failed or came back is repeated once; the repetition can be repeated in turn."""

    code = "payout_retried"
    title = "This payout was repeated already"


class PayoutStillAskedAbout(Conflict):
    """The bank is still being asked; a person decides only when asking is over."""

    code = "payout_still_asked_about"
    title = "The bank is still being asked about this payout"


class PayoutOutcomeKnown(Conflict):
    """The outcome is known: the bank answered, or somebody decided."""

    code = "payout_outcome_known"
    title = "There is nothing to decide about this payout"


class PayoutReferenceMissing(Invalid):
    """What was carried out has a name at the bank; without it nobody could find it there again."""

    code = "payout_reference_missing"
    title = "The bank’s reference is missing"


class PolicyInvalid(Invalid):
    """Limits are not negative, the least is not above the most, and at most five people approve."""

    code = "payout_policy_invalid"
    title = "These rules for payouts are not possible"


class FundingAccountInvalid(Invalid):
    """The account to pay from does not fit its way to the bank."""

    code = "funding_account_invalid"
    title = "This account to pay from is not valid"


class PayoutEventNotConfirmed(UpstreamFailed):
    """A bank told us something and could not be asked whether it is so."""

    code = "payout_event_not_confirmed"
    title = "The bank could not be asked about its own message"


class PayoutEvent(Event, frozen=True):
    """Something about a payout changed; the event's topic says what."""

    payout_id: str
    seller_id: str
    status: str
    amount_minor: int
    currency: str


class PayoutRequested(PayoutEvent, frozen=True):
    """Money was set aside for a payout."""

    topic: ClassVar[str] = "payout.requested"


class PayoutHeld(PayoutEvent, frozen=True):
    """A payout waits because of a hold."""

    topic: ClassVar[str] = "payout.on_hold"


class PayoutWaits(PayoutEvent, frozen=True):
    """A payout waits for people to approve it."""

    topic: ClassVar[str] = "payout.pending_approval"


class PayoutApproved(PayoutEvent, frozen=True):
    """Enough people approved a payout; it goes to the bank on its value date."""

    topic: ClassVar[str] = "payout.approved"


class PayoutUnknown(PayoutEvent, frozen=True):
    """The bank's answer was lost; the payout may have happened and is being asked about."""

    topic: ClassVar[str] = "payout.unknown"


class PayoutSubmitted(PayoutEvent, frozen=True):
    """The bank has the order."""

    topic: ClassVar[str] = "payout.submitted"


class PayoutInTransit(PayoutEvent, frozen=True):
    """The bank accepted the order and is carrying it out."""

    topic: ClassVar[str] = "payout.in_transit"


class PayoutPaid(PayoutEvent, frozen=True):
    """The money left our account for the seller's."""

    topic: ClassVar[str] = "payout.paid"


class PayoutFailed(PayoutEvent, frozen=True):
    """The bank refused the order; the money is back in the wallet."""

    topic: ClassVar[str] = "payout.failed"


class PayoutReturned(PayoutEvent, frozen=True):
    """The money came back from the seller's bank and waits until the bank details are put right."""

    topic: ClassVar[str] = "payout.returned"


class PayoutStopped(PayoutEvent, frozen=True):
    """A payout was cancelled, rejected or expired before the bank heard of it; the money is back in the wallet."""

    topic: ClassVar[str] = "payout.stopped"


APPROVAL_LASTS = timedelta(days=7)
"""How long a payout waits for people before it expires."""
NOT_FOUND_COUNTS_AFTER = timedelta(minutes=5)
"""Far longer than any bank works on one request; until then “no such order” proves nothing."""
ALARM_AFTER = timedelta(minutes=15)
"""An outcome unknown for longer is shown to people."""
ASK_AFTER = (
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    *(timedelta(hours=6),) * 20,
)
"""When the bank is asked about an order on which its last word is missing, counted from the last time; then a person decides."""


PEOPLE_DECIDE_AFTER = sum(ASK_AFTER, timedelta())
"""From when on a person may say what became of an order, even if somebody asked the bank more often than the clock does."""
DECIDED_BY = "decided_by"
"""What is kept with an order whose outcome a person found out."""
CONTRADICTED = "contradicted"
"""What is kept with such an order once the bank says something else."""


class Verdict(StrEnum):
    """What a person found out at the bank."""

    CARRIED_OUT = "carried_out"
    NOT_CARRIED_OUT = "not_carried_out"


FINAL_AFTER = timedelta(days=7)
"""A payout that was paid may still come back for so long (five business days, by most banks' terms); it is asked about once a day until then."""
AGAIN_AFTER_PAID = timedelta(days=1)


def next_ask_at(asked_times: int, moment: datetime) -> datetime | None:
    """When to ask the bank again; nothing means a person decides."""
    return moment + ASK_AFTER[asked_times] if asked_times < len(ASK_AFTER) else None


def end_to_end_id(payout_id: PayoutId) -> str:
    """The one name of a payout at the bank, the same through every try: 28 capital letters and digits, as every rail takes them (at most 35)."""
    return f"PO{public_id('po', payout_id).removeprefix('po_').upper()}"
