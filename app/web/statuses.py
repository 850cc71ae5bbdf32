"""One vocabulary of states: label, tone and glyph for every noun, used by pages, CSV files and the docs.

Green is done, blue moves by itself, amber waits for a person, red is wrong, grey is neutral or over. A word goes with every colour.
"""

from enum import StrEnum

import msgspec


class Tone(StrEnum):
    OK = "ok"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"
    MUTED = "mut"


class Status(msgspec.Struct, frozen=True):
    """How one state is shown."""

    label: str
    tone: Tone
    icon: str


def _done(label: str, icon: str = "check") -> Status:
    return Status(label, Tone.OK, icon)


def _moving(label: str, icon: str = "clock") -> Status:
    return Status(label, Tone.INFO, icon)


def _waiting(label: str, icon: str = "circle-alert") -> Status:
    return Status(label, Tone.WARN, icon)


def _wrong(label: str, icon: str = "x") -> Status:
    return Status(label, Tone.BAD, icon)


def _neutral(label: str, icon: str = "clock") -> Status:
    return Status(label, Tone.MUTED, icon)


_COMMON: dict[str, Status] = {
    "active": _done("Active"),
    "applied": _done("Applied"),
    "approved": _done("Approved"),
    "authorised": _waiting("Authorised", "circle-dashed"),
    "blocked": _wrong("Blocked", "ban"),
    "cancelled": _neutral("Cancelled", "ban"),
    "captured": _done("Captured"),
    "closed": _neutral("Closed", "lock-keyhole"),
    "conflicted": _wrong("Conflicted", "circle-alert"),
    "created": _neutral("Created"),
    "dead": _wrong("Dead letter", "ban"),
    "declined": _wrong("Declined"),
    "degraded": _waiting("Degraded"),
    "delivered": _done("Delivered"),
    "disabled": _neutral("Disabled", "ban"),
    "disputed": _wrong("Disputed", "shield-alert"),
    "down": _wrong("Down"),
    "draft": _neutral("Draft", "pencil"),
    "expired": _neutral("Expired"),
    "failed": _wrong("Failed"),
    "healthy": _done("Healthy"),
    "ignored": _neutral("Ignored", "ban"),
    "in_review": _waiting("In review", "eye"),
    "in_transit": _moving("In transit", "arrow-right"),
    "invited": _waiting("Invited", "hourglass"),
    "lost": _wrong("Lost"),
    "matched": _done("Matched"),
    "needs_approval": _waiting("Needs approval", "hourglass"),
    "needs_response": _waiting("Needs response"),
    "needs_review": _waiting("Needs review"),
    "not_sent": _neutral("Not sent", "ban"),
    "on_hold": _waiting("On hold", "pause"),
    "open": _moving("Open", "circle-dashed"),
    "paid": _done("Paid"),
    "batched": _moving("In a batch", "layers"),
    "partially_captured": _waiting("Partially captured", "circle-dot"),
    "partially_paid": _waiting("Partially paid", "circle-dot"),
    "partially_refunded": _neutral("Partial refund", "undo-2"),
    "paused": _waiting("Paused", "pause"),
    "pending": _moving("Pending"),
    "pending_approval": _waiting("Needs approval", "hourglass"),
    "posted": _neutral("Posted", "check"),
    "processed": _done("Processed"),
    "processing": _moving("Processing"),
    "published": _done("Published"),
    "queued": _waiting("Queued", "clock"),
    "ready": _done("Ready"),
    "received": _moving("Received"),
    "recovered": _done("Recovered"),
    "refunded": _neutral("Refunded", "undo-2"),
    "released": _done("Released"),
    "rejected": _wrong("Rejected"),
    "requested": _moving("Requested"),
    "requires_action": _moving("Requires action"),
    "requires_method": _moving("Awaiting method"),
    "reserved": _moving("Reserved", "lock-keyhole"),
    "resolved": _done("Resolved"),
    "restricted": _waiting("Restricted", "shield-alert"),
    "retrying": _moving("Retrying", "refresh-cw"),
    "returned": _wrong("Returned", "undo-2"),
    "reversed": _neutral("Reversed", "undo-2"),
    "revoked": _neutral("Revoked", "ban"),
    "scheduled": _moving("Scheduled", "calendar"),
    "sending": _moving("Sending", "arrow-right"),
    "sent": _moving("Sent", "arrow-right"),
    "settled": _done("Settled"),
    "submitted": _moving("Submitted", "arrow-right"),
    "succeeded": _done("Succeeded"),
    "suspended": _wrong("Suspended", "ban"),
    "uncaptured": _waiting("Uncaptured", "circle-dashed"),
    "under_review": _moving("Under review", "eye"),
    "unknown": _waiting("Unknown", "circle-help"),
    "used_up": _neutral("Used up"),
    "verified": _done("Verified"),
    "voided": _neutral("Voided", "ban"),
    "waiting": _moving("Waiting"),
}

_BY_NOUN: dict[str, dict[str, Status]] = {
    "order": {"open": _moving("Awaiting payment")},
    "attempt": {"authorised": _done("Authorised"), "started": _moving("Started")},
    "capture": {"succeeded": _done("Captured")},
    "refund": {"succeeded": _done("Refunded", "undo-2")},
    "connection": {"draft": _neutral("Set-up", "pencil"), "failing": _wrong("Failing")},
    "credential_change": {"pending": _waiting("Needs approval", "hourglass")},
    "psp_event": {"received": _moving("Waiting")},
    "job": {"dead": _wrong("Given up", "ban"), "failed": _moving("Being tried again"), "discarded": _neutral("Discarded", "ban")},
    "bank account": {"proposed": _waiting("Needs approval", "hourglass"), "retired": _neutral("Retired", "ban")},
    "verification": {"unverified": _waiting("Not verified"), "failed": _wrong("Came back", "undo-2")},
    "batch": {"open": _moving("Open"), "ready": _waiting("To be sent", "hourglass"), "sent": _done("Sent")},
    "bank word": {
        "accepted": _moving("Accepted"),
        "paid": _done("Paid"),
        "refused": _wrong("Refused"),
        "not_found": _waiting("Not found", "circle-help"),
        "started": _moving("No answer yet"),
    },
    "wallet": {"available": _done("Available"), "pending": _neutral("Pending")},
    "ledger": {"unbalanced": _wrong("Unbalanced"), "balanced": _done("Balanced")},
    "merchant": {"live": _done("Live"), "sandbox": _waiting("Test", "flask-conical")},
    "visit": {"open": _waiting("Open now", "eye"), "closed": _neutral("Over", "check")},
    "session": {"current": _done("This session")},
    "approval": {
        "pending": _waiting("Needs approval", "hourglass"),
        "approved": _moving("Agreed, about to happen"),
        "done": _done("Done"),
        "withdrawn": _neutral("Taken back", "ban"),
    },
    "routing_version": {
        "pending": _waiting("Needs approval", "hourglass"),
        "live": _done("Live"),
        "retired": _neutral("Replaced", "undo-2"),
        "discarded": _neutral("Discarded", "ban"),
    },
    "factor_reset": {
        "requested": _waiting("Another admin has to agree", "hourglass"),
        "approved": _moving("Happens a day later"),
        "done": _done("Done"),
        "cancelled": _neutral("Stopped", "ban"),
    },
    "credential": {
        "renew": _waiting("Renew", "rotate-ccw"),
    },
    "invitation": {
        "open": _waiting("Sent", "hourglass"),
        "accepted": _done("Accepted"),
        "revoked": _neutral("Taken back", "ban"),
        "expired": _neutral("Too old", "ban"),
    },
    "break": {
        "open": _wrong("Open", "circle-alert"),
        "parked": _neutral("Parked", "pause"),
        "awaiting_approval": _waiting("Needs approval", "hourglass"),
        "cleared": _done("Cleared itself"),
    },
    "arrival": {
        "received": _moving("Waits to be read"),
        "reading": _moving("Being read"),
        "comparing": _moving("Being compared"),
        "compared": _done("Compared"),
        "refused": _wrong("Refused", "file-x"),
        "repeated": _neutral("Taken before"),
    },
    "fetch": {
        "fetched": _done("Fetched"),
        "nothing_new": _done("Nothing new"),
        "failed": _wrong("Failed"),
        "unknown": _waiting("No clear answer", "circle-help"),
        "looking": _moving("Looking now"),
    },
    "recon_file": {"imported": _done("Imported"), "refused": _wrong("Refused", "file-x")},
}


def status(noun: str, state: str) -> Status:
    """How a state of this noun is shown; a state nobody described is shown by its own name, in grey."""
    key = str(state)
    own = _BY_NOUN.get(noun, {}).get(key)
    if own is not None:
        return own
    return _COMMON.get(key) or _neutral(key.replace("_", " ").capitalize(), "circle-dashed")


def is_described(noun: str, state: str) -> bool:
    """Whether the table has an entry of its own for this state, so that a test can ask for all of them."""
    return str(state) in _BY_NOUN.get(noun, {}) or str(state) in _COMMON


def vocabulary() -> dict[str, dict[str, Status]]:
    """Every described state: the common ones under “any”, then what a noun says differently."""
    return {"any": dict(_COMMON), **{noun: dict(states) for noun, states in _BY_NOUN.items()}}


class Method(msgspec.Struct, frozen=True):
    """How a way of paying is shown: a short mark and its name."""

    mark: str
    name: str


_METHODS: dict[str, Method] = {
    "visa": Method("VISA", "Visa"),
    "mastercard": Method("MC", "Mastercard"),
    "mc": Method("MC", "Mastercard"),
    "amex": Method("AMEX", "American Express"),
    "jcb": Method("JCB", "JCB"),
    "discover": Method("DISC", "Discover"),
    "diners": Method("DC", "Diners Club"),
    "unionpay": Method("UP", "UnionPay"),
    "maestro": Method("MAE", "Maestro"),
    "card": Method("CARD", "Card"),
    "paypal": Method("PP", "PayPal"),
    "klarna": Method("KL", "Klarna"),
    "ideal": Method("iD", "iDEAL"),
    "bancontact": Method("BC", "Bancontact"),
    "sepa": Method("SEPA", "SEPA debit"),
    "bank": Method("BANK", "Bank transfer"),
    "simulated": Method("SIM", "Simulated"),
}


def method(kind: str | None) -> Method:
    """How a way of paying is shown; an unknown one by the first letters of its name."""
    if not kind:
        return Method("–", "Not chosen yet")
    return _METHODS.get(kind.lower()) or Method(kind[:4].upper(), kind.replace("_", " ").capitalize())
