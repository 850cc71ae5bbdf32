"""Tables of the platform's operators: who they are, their visits, each with a reason and an end, and what they set aside."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Operator(Base):
    """A person who runs the platform. Only the owner of the database says who is one."""

    __tablename__ = "operator"

    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"), primary_key=True)
    added_at: Mapped[datetime]


class OperatorVisit(Base):
    """From when to when an operator may look across merchants, and why."""

    __tablename__ = "operator_visit"
    __table_args__ = (
        Index("ix_operator_visit_person_id_expires_at", "person_id", "expires_at"),
        Index("ix_operator_visit_opened_at", "opened_at", "id"),
        CheckConstraint("length(reason) >= 10", name="reason"),
        CheckConstraint("expires_at <= opened_at + interval '1 hour'", name="expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("operator.person_id", ondelete="CASCADE"))
    reason: Mapped[str]
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class SetAside(Base):
    """What an operator looked at and leaves as it is: it no longer waits in the queue. Written once, with the reason."""

    __tablename__ = "set_aside"
    __table_args__ = (
        CheckConstraint("kind in ('conflicted', 'late', 'failed')", name="kind"),
        CheckConstraint("length(reason) >= 10", name="reason"),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    object_id: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str]
    by_name: Mapped[str]
    at: Mapped[datetime]
