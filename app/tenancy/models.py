"""Tables of merchants and memberships. A sandbox is a merchant of its own, linked to the live one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.tenancy.domain import OTHER_ROLE, Role

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
        Index("ix_membership_merchant_id_role_id", "merchant_id", "role_id"),
        CheckConstraint(f"role in ({_ROLES}, '{OTHER_ROLE}')", name="role"),
        CheckConstraint(f"(role = '{OTHER_ROLE}') = (role_id is not null)", name="role_id"),
        ForeignKeyConstraint(["merchant_id", "role_id"], ["merchant_role.merchant_id", "merchant_role.id"]),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    role: Mapped[str]
    created_at: Mapped[datetime]
    last_entered_at: Mapped[datetime | None]
    role_id: Mapped[UUID | None] = mapped_column(default=None)


class MerchantRole(Base):
    __tablename__ = "merchant_role"
    __table_args__ = (UniqueConstraint("merchant_id", "name_lc"), CheckConstraint(f"name_lc not in ({_ROLES})", name="name"))

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_lc: Mapped[str]
    summary: Mapped[str]
    permissions: Mapped[list[str]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class MemberLimit(Base):
    __tablename__ = "member_limit"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "membership_id"], ["membership.merchant_id", "membership.id"], ondelete="CASCADE"),
        CheckConstraint("most_minor >= 0", name="most_minor"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    membership_id: Mapped[UUID] = mapped_column(primary_key=True)
    permission: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    most_minor: Mapped[int]


class StepUpRule(Base):
    __tablename__ = "step_up_rule"
    __table_args__ = (CheckConstraint("minutes between 1 and 60", name="minutes"),)

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    permission: Mapped[str] = mapped_column(primary_key=True)
    minutes: Mapped[int]


class StepUpLimit(Base):
    __tablename__ = "step_up_limit"
    __table_args__ = (CheckConstraint("limit_minor >= 0", name="limit_minor"),)

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    limit_minor: Mapped[int]
