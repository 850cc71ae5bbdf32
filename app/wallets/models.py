"""Tables of wallets. Balances live in the ledger; here stands only when pending funds become available."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.wallets.domain import DEFAULT_AVAILABILITY_DAYS, MAX_AVAILABILITY_DAYS, RELEASE


class WalletPolicy(Base):
    """The merchant's rules for all its sellers' wallets."""

    __tablename__ = "wallet_policy"
    __table_args__ = (CheckConstraint(f"availability_days between 0 and {MAX_AVAILABILITY_DAYS}", name="availability_days"),)

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    availability_days: Mapped[int] = mapped_column(server_default=text(str(DEFAULT_AVAILABILITY_DAYS)))
    timezone: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    allow_negative: Mapped[bool] = mapped_column(server_default=text("true"))
    updated_at: Mapped[datetime]


class FundsRelease(Base):
    """What one capture added to one seller's pending funds, and when it becomes available."""

    __tablename__ = "funds_release"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"]),
        CheckConstraint(RELEASE.check_sql("status"), name="status"),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        CheckConstraint("0 <= taken_minor and taken_minor <= amount_minor", name="taken_within_amount"),
        Index("ix_funds_release_payment", "merchant_id", "payment_id", "seller_id"),
        Index("ix_funds_release_seller", "merchant_id", "seller_id", "due_at", postgresql_where=text("status = 'waiting'")),
        Index("ix_funds_release_released", "merchant_id", "seller_id", "released_at", postgresql_where=text("status = 'released'")),
        Index("ix_funds_release_due", "due_at", postgresql_where=text("status = 'waiting'")),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[UUID]
    payment_id: Mapped[UUID]
    capture_id: Mapped[UUID]
    currency: Mapped[str]
    amount_minor: Mapped[int]
    taken_minor: Mapped[int] = mapped_column(server_default=text("0"))
    status: Mapped[str]
    due_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
