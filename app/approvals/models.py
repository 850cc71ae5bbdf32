"""Tables of approvals: which acts need how many people, what waits, and who said yes or no."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.approvals.domain import APPROVAL, AboveLimit, Act
from app.core.db import Base

_ACTS = ", ".join(f"'{act}'" for act in Act)
_ABOVE = ", ".join(f"'{one}'" for one in AboveLimit)


class ApprovalPolicy(Base):
    """Who decides about an act, and what a member's limit means."""

    __tablename__ = "approval_policy"
    __table_args__ = (CheckConstraint(f"act in ({_ACTS})", name="act"), CheckConstraint(f"above_limit in ({_ABOVE})", name="above_limit"))

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[str] = mapped_column(primary_key=True)
    permission: Mapped[str]
    above_limit: Mapped[str]


class ApprovalRule(Base):
    """From this amount on so many others have to agree."""

    __tablename__ = "approval_rule"
    __table_args__ = (
        CheckConstraint(f"act in ({_ACTS})", name="act"),
        CheckConstraint("from_minor >= 0", name="from_minor"),
        CheckConstraint("approvers between 1 and 5", name="approvers"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    from_minor: Mapped[int] = mapped_column(primary_key=True)
    approvers: Mapped[int]


class Approval(Base):
    """A request that waits for others. What is asked for never changes: another wish is another request."""

    __tablename__ = "approval"
    __table_args__ = (
        CheckConstraint(f"act in ({_ACTS})", name="act"),
        CheckConstraint(APPROVAL.check_sql("status"), name="status"),
        CheckConstraint("approvers between 1 and 5", name="approvers"),
        UniqueConstraint("merchant_id", "id", "requested_by", "digest"),
        Index(
            "uq_approval_waiting",
            "merchant_id",
            "object_id",
            "digest",
            unique=True,
            postgresql_where=text("status in ('pending', 'approved')"),
        ),
        Index("ix_approval_due", "expires_at", postgresql_where=text("status in ('pending', 'approved')")),
        Index("ix_approval_waiting", "merchant_id", "id", postgresql_where=text("status in ('pending', 'approved')")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[str]
    object_id: Mapped[UUID]
    instruction: Mapped[dict[str, Any]]
    digest: Mapped[str]
    currency: Mapped[str]
    amount_minor: Mapped[int]
    permission: Mapped[str]
    approvers: Mapped[int]
    reason: Mapped[str]
    status: Mapped[str]
    requested_by: Mapped[UUID]
    requested_by_name: Mapped[str]
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]


class ApprovalVote(Base):
    """One person's yes or no to exactly that request. Append-only; the requester cannot be the voter, whatever the service thinks."""

    __tablename__ = "approval_vote"
    __table_args__ = (
        ForeignKeyConstraint(
            ["merchant_id", "approval_id", "requested_by", "digest"],
            ["approval.merchant_id", "approval.id", "approval.requested_by", "approval.digest"],
            name="fk_approval_vote_approval",
        ),
        CheckConstraint("approver_id <> requested_by", name="second_person"),
        CheckConstraint("decision in ('approved', 'rejected')", name="decision"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    approval_id: Mapped[UUID] = mapped_column(primary_key=True)
    approver_id: Mapped[UUID] = mapped_column(primary_key=True)
    approver_name: Mapped[str]
    requested_by: Mapped[UUID]
    digest: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
