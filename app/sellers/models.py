"""Tables of sellers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.sellers.domain import MAX_BASIS_POINTS, SELLER
from app.sellers.domain.bank_accounts import BANK_ACCOUNT, VERIFICATION, BankAccountKind


class Seller(Base):
    __tablename__ = "seller"
    __table_args__ = (
        UniqueConstraint("merchant_id", "reference"),
        CheckConstraint(SELLER.check_sql("status"), name="status"),
        Index("ix_seller_name", "merchant_id", "name_lc", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str]
    name: Mapped[str]
    name_lc: Mapped[str]
    email: Mapped[str]
    country: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PlatformFee(Base):
    """What the platform keeps per currency: the merchant's rule (no seller), or one seller's own."""

    __tablename__ = "platform_fee"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        CheckConstraint(f"basis_points between 0 and {MAX_BASIS_POINTS}", name="basis_points"),
        CheckConstraint("fixed_minor >= 0", name="fixed_minor"),
        Index("uq_platform_fee_rule", "merchant_id", "seller_id", "currency", unique=True, postgresql_nulls_not_distinct=True),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID | None]
    currency: Mapped[str]
    basis_points: Mapped[int]
    fixed_minor: Mapped[int] = mapped_column(server_default=text("0"))
    updated_at: Mapped[datetime]


class BankAccount(Base):
    """Where a seller's money goes. What decides that never changes in a row: a new number is a new row that retires the old one."""

    __tablename__ = "bank_account"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        CheckConstraint(BANK_ACCOUNT.check_sql("status"), name="status"),
        CheckConstraint(VERIFICATION.check_sql("verification"), name="verification"),
        CheckConstraint(f"kind in ({', '.join(repr(kind.value) for kind in BankAccountKind)})", name="kind"),
        CheckConstraint("approved_by <> requested_by", name="second_person"),
        CheckConstraint("status not in ('active', 'retired') or (approved_by is not null and usable_from is not null)", name="approved"),
        Index(
            "uq_bank_account_proposed", "merchant_id", "seller_id", "currency", unique=True, postgresql_where=text("status = 'proposed'")
        ),
        Index("uq_bank_account_active", "merchant_id", "seller_id", "currency", unique=True, postgresql_where=text("status = 'active'")),
        Index("ix_bank_account_fingerprint", "merchant_id", "fingerprint"),
        Index("ix_bank_account_status", "merchant_id", "status", "id"),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID]
    status: Mapped[str]
    verification: Mapped[str]
    verified_by: Mapped[str | None]
    kind: Mapped[str]
    country: Mapped[str]
    currency: Mapped[str]
    holder_name: Mapped[str]
    bank_name: Mapped[str]
    bic: Mapped[str]
    routing: Mapped[str]
    number: Mapped[str]
    last4: Mapped[str]
    fingerprint: Mapped[str]
    digest: Mapped[str]
    requested_by: Mapped[UUID]
    requested_by_name: Mapped[str]
    requested_at: Mapped[datetime]
    approved_by: Mapped[UUID | None]
    decided_by_name: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    usable_from: Mapped[datetime | None]
