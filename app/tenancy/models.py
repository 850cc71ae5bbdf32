"""Tables of merchants, memberships and the chain over the audit trail (its entries are written by ``core.audit``). A sandbox is a merchant of its own, linked to the live one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.tenancy.domain import Role

_ROLES = ", ".join(f"'{role}'" for role in Role)


class Merchant(Base):
    __tablename__ = "merchant"
    __table_args__ = (CheckConstraint("status in ('active', 'closed')", name="status"), CheckConstraint("sandbox_of <> id", name="sandbox"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    sandbox_of: Mapped[UUID | None] = mapped_column(ForeignKey("merchant.id"), unique=True)
    name: Mapped[str]
    legal_name: Mapped[str] = mapped_column(server_default=text("''"))
    website: Mapped[str] = mapped_column(server_default=text("''"))
    support_email: Mapped[str] = mapped_column(server_default=text("''"))
    timezone: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    status: Mapped[str]
    created_at: Mapped[datetime]


class Membership(Base):
    __tablename__ = "membership"
    __table_args__ = (
        UniqueConstraint("merchant_id", "person_id"),
        Index("ix_membership_person_id", "person_id"),
        CheckConstraint(f"role in ({_ROLES})", name="role"),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    role: Mapped[str]
    created_at: Mapped[datetime]
    last_entered_at: Mapped[datetime | None]


class AuditBlock(Base):
    __tablename__ = "audit_block"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entries: Mapped[int]
    content: Mapped[str]
    previous: Mapped[str]
    hash: Mapped[str]
    signature: Mapped[str]
    made_at: Mapped[datetime]


class AuditSealed(Base):
    """Which block an entry went into. Blocks take entries as they become visible, so their order is not that of the entries' ids."""

    __tablename__ = "audit_sealed"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "entry_id"], ["audit_entry.merchant_id", "audit_entry.id"]),
        ForeignKeyConstraint(["merchant_id", "number"], ["audit_block.merchant_id", "audit_block.number"]),
        Index("ix_audit_sealed_number", "merchant_id", "number"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int]


class AuditCheck(Base):
    """What a comparison of trail and chain found."""

    __tablename__ = "audit_check"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    checked_at: Mapped[datetime]
    checked_by: Mapped[str]
    blocks: Mapped[int]
    entries: Mapped[int]
    head: Mapped[str]
    problem: Mapped[str | None]
