"""Connections to providers: their states, who may change their credentials, the webhook inbox, and their health. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

import msgspec

from app.core import errors
from app.core.events import Event
from app.core.ids import ConnectionId, MalformedId, parse_id
from app.core.state import Machine

CredentialChangeId = NewType("CredentialChangeId", UUID)


class ConnectionStatus(StrEnum):
    """Whether a connection takes payments."""

    DRAFT = "draft"
    ACTIVE = "active"
    DISABLED = "disabled"


CONNECTION = Machine(
    "connection",
    states=ConnectionStatus,
    initial=ConnectionStatus.DRAFT,
    transitions={
        "enable": ((ConnectionStatus.DRAFT, ConnectionStatus.DISABLED), ConnectionStatus.ACTIVE),
        "disable": ((ConnectionStatus.DRAFT, ConnectionStatus.ACTIVE), ConnectionStatus.DISABLED),
    },
)


class ChangeStatus(StrEnum):
    """Where a proposed change of credentials stands."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"


CREDENTIAL_CHANGE = Machine(
    "credential_change",
    states=ChangeStatus,
    initial=ChangeStatus.PENDING,
    transitions={
        "apply": ((ChangeStatus.PENDING,), ChangeStatus.APPLIED),
        "reject": ((ChangeStatus.PENDING,), ChangeStatus.REJECTED),
    },
)


class ChangePolicy(StrEnum):
    """Who must agree before new credentials are used."""

    SINGLE = "single"
    FOUR_EYES = "four_eyes"


class InboxStatus(StrEnum):
    """Where a webhook stands in our inbox."""

    RECEIVED = "received"
    APPLIED = "applied"
    IGNORED = "ignored"
    FAILED = "failed"


MAX_WEBHOOK = 1 << 20
_OPEN = (InboxStatus.RECEIVED, InboxStatus.FAILED)
INBOX = Machine(
    "psp_event",
    states=InboxStatus,
    initial=InboxStatus.RECEIVED,
    transitions={
        "apply": (_OPEN, InboxStatus.APPLIED),
        "ignore": (_OPEN, InboxStatus.IGNORED),
        "fail": (_OPEN, InboxStatus.FAILED),
    },
)


class Circuit(StrEnum):
    """Whether calls to a connection are let through, judged from technical failures only."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The last minutes of calls to a connection."""

    calls: int = 0
    technical: int = 0
    failed_at: datetime | None = None
    succeeded_at: datetime | None = None


WINDOW = timedelta(minutes=3)
COOL_DOWN = timedelta(seconds=30)
MIN_FAILURES = 5


def circuit(window: Window, now: datetime) -> Circuit:
    """Judge a connection: open after five technical failures that are half of all calls; tried again after 30 quiet seconds."""
    tripped = window.technical >= MIN_FAILURES and window.technical * 2 >= window.calls
    if not tripped or window.failed_at is None:
        return Circuit.CLOSED
    if window.succeeded_at is not None and window.succeeded_at > window.failed_at:
        return Circuit.CLOSED
    return Circuit.OPEN if now - window.failed_at < COOL_DOWN else Circuit.HALF_OPEN


# Upper ends of the latency steps in milliseconds; the last step is everything slower.
LATENCY_STEPS = (5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000)


def latency_step(milliseconds: int) -> int:
    """The step of the scale a call falls on."""
    return next((i for i, top in enumerate(LATENCY_STEPS) if milliseconds <= top), len(LATENCY_STEPS))


def percentile(counts: list[int], share: float) -> int | None:
    """The latency that this share of calls did not exceed, as the top of its step; nothing when there were no calls."""
    wanted = share * sum(counts)
    seen = 0
    for step, count in enumerate(counts):
        seen += count
        if seen and seen >= wanted:
            return LATENCY_STEPS[min(step, len(LATENCY_STEPS) - 1)]
    return None


class EventReceived(Event, frozen=True, kw_only=True):
    """A provider's webhook was verified and stored for the first time."""

    topic = "psp.event_received"
    connection_id: str
    kind: str
    our_reference: str | None


class ConnectionChanged(Event, frozen=True, kw_only=True):
    """A connection was added, switched on or off, or got new credentials."""

    topic = "connection.changed"
    connection_id: str
    status: str


class ConnectionNotFound(errors.NotFound):
    code = "connection_not_found"
    title = "There is no such connection"


class EventNotFound(errors.NotFound):
    code = "psp_event_not_found"
    title = "There is no such PSP event"


class ChangeNotFound(errors.NotFound):
    code = "credential_change_not_found"
    title = "There is no such change of credentials"


class ProviderUnknown(errors.Invalid):
    code = "provider_unknown"
    title = "There is no such payment provider"


def connection_id_of(text: str) -> ConnectionId:
    """Read a connection's public id; one that is malformed names nothing."""
    try:
        return ConnectionId(parse_id("con", text))
    except MalformedId:
        raise ConnectionNotFound("There is no such connection.") from None


class ConnectionNameTaken(errors.Conflict):
    code = "connection_name_taken"
    title = "Another connection has this name"


class ConnectionSettingsInvalid(errors.Invalid):
    code = "connection_settings_invalid"
    title = "The settings of the connection are not right"


class ConnectionNotActive(errors.Conflict):
    code = "connection_not_active"
    title = "This connection does not take payments now"


class ChangeNeedsSecondPerson(errors.Forbidden):
    code = "change_needs_second_person"
    title = "Somebody else has to approve this change"


class ChangeIsStale(errors.Conflict):
    code = "change_is_stale"
    title = "The change is not the one you looked at"


class WebhookTooLarge(errors.Invalid):
    code = "webhook_too_large"
    title = "The message is larger than one mebibyte"
    status = 413
