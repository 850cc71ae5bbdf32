"""Tables of the platform's operators: who they are, and their visits, each with a reason and an end."""

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
        CheckConstraint("length(reason) >= 10", name="reason"),
        CheckConstraint("expires_at <= opened_at + interval '1 hour'", name="expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("operator.person_id", ondelete="CASCADE"))
    reason: Mapped[str]
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
