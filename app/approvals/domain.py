"""What needs a second person: which acts, above which amounts, by how many; and a request that waits for their yes or no. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec

from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.core.events import Event
from app.core.money import Money
from app.core.state import Machine

LASTS = timedelta(days=7)
"""A request that nobody decided about for so long can no longer be approved."""


class Act(StrEnum):
    """Acts whose rules are kept here; payouts, bank accounts, credentials and what reconciliation writes off keep their own."""

    REFUND = "refund"
    WRITE_OFF = "write_off"


ALONE_MINOR: dict[Act, int] = {Act.WRITE_OFF: 2_500}
"""Up to which amount one person does an act for which the merchant has set no rule; others have to agree above it. Refunds without rules need nobody."""
DECIDED_WITH: dict[Act, str] = {Act.REFUND: "payments.approve", Act.WRITE_OFF: "reconciliation.approve"}
"""The permission of those who decide, where the merchant chose no other."""


class AboveLimit(StrEnum):
    """What happens when somebody wants more than their own limit allows."""

    ASK = "ask"
    REFUSE = "refuse"


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DONE = "done"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


S = ApprovalStatus

APPROVAL = Machine(
    "approval",
    states=ApprovalStatus,
    initial=S.PENDING,
    transitions={
        "approve": ((S.PENDING,), S.APPROVED),
        "carry_out": ((S.APPROVED,), S.DONE),
        "reject": ((S.PENDING, S.APPROVED), S.REJECTED),
        "withdraw": ((S.PENDING, S.APPROVED), S.WITHDRAWN),
        "expire": ((S.PENDING, S.APPROVED), S.EXPIRED),
    },
)


class ApprovalNotFound(NotFound):
    """There is no such request for approval, or it is decided already."""

    code = "approval_not_found"
    title = "There is no such request"


class ApprovalRequired(Forbidden):
    """This amount needs the agreement of others; ask for it on the page, where they find it in their approvals."""

    code = "approval_required"
    title = "Somebody else has to agree"


class ApprovalIsStale(Conflict):
    """What waits is not what was shown; look again, then decide."""

    code = "approval_is_stale"
    title = "This is not what you were shown"


class ApprovalExpired(Conflict):
    """Nobody decided in time; it has to be asked for again."""

    code = "approval_expired"
    title = "This request has expired"


class AlreadyAsked(Conflict):
    """The same was asked for and still waits."""

    code = "approval_already_asked"
    title = "This waits for approval already"


class SecondPersonNeeded(Forbidden):
    """Whoever asked does not decide, and nobody decides twice."""

    code = "approval_needs_second_person"
    title = "Somebody else has to decide"


class ApprovalLapsed(Event, frozen=True, kw_only=True):
    """A request for approval ended because nobody decided, or nobody carried it out, in time."""

    topic: ClassVar[str] = "approval.expired"
    approval_id: str
    act: str
    object_id: str


class RuleImpossible(Invalid):
    """The rule cannot be kept."""

    code = "approval_rule_impossible"
    title = "This rule cannot be kept"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Which of what waits: so many from an id on, upwards or downwards; or only those with some ids. Ids grow with time."""

    after: UUID | None = None
    backwards: bool = False
    most: int = 200
    only: frozenset[UUID] | None = None


EVERYTHING = Part()


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for a yes or no, of whatever kind: what an approver is shown, and the hash of it."""

    kind: str
    id: str
    title: str
    detail: str
    href: str
    digest: str
    requested_by: str
    requested_at: datetime
    may_decide: bool
    amount: Money | None = None
    expires_at: datetime | None = None
    reason: str = ""
    facts: list[tuple[str, str]] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for approval as the feature that asked needs it: what to do, who agreed, and whether this person may decide."""

    id: UUID
    object_id: UUID
    instruction: dict[str, object]
    digest: str
    amount: Money
    reason: str
    status: ApprovalStatus
    approvers: int
    agreed: list[str]
    requested_by_name: str
    requested_at: datetime
    expires_at: datetime
    may_decide: bool


def digest_of(kind: str, instruction: Mapping[str, object]) -> str:
    """The hash of what is asked for: an approval of one thing is worth nothing for another."""
    return hashlib.sha256(msgspec.json.encode((kind, sorted(instruction.items())), order="sorted")).hexdigest()
