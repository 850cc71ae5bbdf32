"""Tables of merchants, memberships and the chain over the audit trail (its entries are written by ``core.audit``). A sandbox is a merchant of its own, linked to the live one."""

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


class Invitation(Base):
    """Somebody who may join, by a link sent to an e-mail address; only the hash of its key is kept."""

    __tablename__ = "invitation"
    __table_args__ = (
        CheckConstraint("status in ('open', 'accepted', 'revoked')", name="status"),
        Index("uq_invitation_digest", "digest", unique=True),
        Index("uq_invitation_open", "merchant_id", "email_lc", unique=True, postgresql_where=text("status = 'open'")),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    email_lc: Mapped[str]
    role: Mapped[str]
    digest: Mapped[bytes]
    status: Mapped[str]
    invited_by: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class FactorReset(Base):
    """Second factors of a person that two admins want taken away."""

    __tablename__ = "factor_reset"
    __table_args__ = (
        CheckConstraint("status in ('requested', 'approved', 'done', 'cancelled')", name="status"),
        CheckConstraint("approved_by <> requested_by and approved_by <> person_id and requested_by <> person_id", name="four_eyes"),
        CheckConstraint("status not in ('approved', 'done') or (approved_by is not null and due_at is not null)", name="approved"),
        Index(
            "uq_factor_reset_pending", "merchant_id", "person_id", unique=True, postgresql_where=text("status in ('requested', 'approved')")
        ),
        Index("ix_factor_reset_due", "due_at", postgresql_where=text("status = 'approved'")),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    status: Mapped[str]
    reason: Mapped[str]
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("person.id"))
    requested_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("person.id"))
    approved_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class SsoProvider(Base):
    """A sign-in provider of a merchant's own; its secret is sealed."""

    __tablename__ = "sso_provider"
    __table_args__ = (
        UniqueConstraint("merchant_id", "name"),
        Index("ix_sso_provider_id", "id"),
        CheckConstraint("status in ('draft', 'active', 'disabled')", name="status"),
        CheckConstraint("default_role <> 'owner'", name="default_role"),
        CheckConstraint("not enforced or (status = 'active' and break_glass_id is not null)", name="enforced"),
        ForeignKeyConstraint(["merchant_id", "break_glass_id"], ["membership.merchant_id", "membership.person_id"]),
    )

    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    issuer: Mapped[str]
    client_id: Mapped[str]
    sealed_secret: Mapped[str]
    fingerprint: Mapped[str]
    secret_in_body: Mapped[bool]
    scopes: Mapped[str]
    accept_mfa: Mapped[bool]
    mfa_acr: Mapped[list[str]]
    default_role: Mapped[str | None]
    role_rules: Mapped[list[str]]
    enforced: Mapped[bool]
    break_glass_id: Mapped[UUID | None]
    tested_at: Mapped[datetime | None]
    test_problem: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SsoDomain(Base):
    """A domain of e-mail addresses that leads to a merchant's provider, once it is proven to be the merchant's."""

    __tablename__ = "sso_domain"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "provider_id"], ["sso_provider.merchant_id", "sso_provider.id"], ondelete="CASCADE"),
        UniqueConstraint("merchant_id", "domain"),
        Index("uq_sso_domain_proven", "domain", unique=True, postgresql_where=text("proven_at is not null")),
        Index("ix_sso_domain_provider_id", "merchant_id", "provider_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[UUID]
    domain: Mapped[str]
    token: Mapped[str]
    created_at: Mapped[datetime]
    proven_at: Mapped[datetime | None]


class SsoIdentity(Base):
    """Whose an account at a merchant's provider is, for this merchant alone. Who joined once and left the team does not join again by it."""

    __tablename__ = "sso_identity"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "provider_id"], ["sso_provider.merchant_id", "sso_provider.id"], ondelete="CASCADE"),
        Index("ix_sso_identity_person_id", "person_id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    email: Mapped[str]
    created_at: Mapped[datetime]
    joined_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
