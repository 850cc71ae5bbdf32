"""Tables of sellers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.sellers.domain import MAX_BASIS_POINTS, SELLER


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
